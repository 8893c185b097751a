"""Small made-up recordings in every format that is read: for tests without real data."""

from __future__ import annotations

import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io

START = datetime(2010, 8, 16, 13, 44, 57)
BDF_START_S = 1_714_557_600.0  # 2024-05-01T10:00:00Z


def charge(rows: int = 60, current_a: float = 1.5) -> dict[str, np.ndarray]:
    """A CC charge: time, current, voltage, temperature."""
    time_s = np.arange(rows) * 10.0
    return {
        "time_s": time_s,
        "current_a": np.full(rows, current_a),
        "voltage_v": 3.4 + 0.7 * time_s / time_s[-1],
        "temperature_c": 24 + time_s / 600,
    }


def discharge(rows: int = 50, current_a: float = -2.0) -> dict[str, np.ndarray]:
    """A CC discharge down to 2.6 V, then three rows of rest."""
    time_s = np.arange(rows) * 12.0
    current = np.full(rows, current_a)
    voltage = 4.1 - 1.5 * (np.arange(rows) / (rows - 4)) ** 2
    current[-3:] = 0.0
    voltage[-3:] = 3.2
    return {
        "time_s": time_s,
        "current_a": current,
        "voltage_v": voltage,
        "temperature_c": 24 + time_s / 60,
    }


def nasa_mat(path: Path, cycles: int = 3, *, compress: bool = True, name: str = "B0005") -> Path:
    """A `.mat` with the publisher's nesting: charge, discharge, impedance, again and again."""
    kinds: list[str] = []
    data: list[dict[str, object]] = []
    for number in range(cycles):
        for kind, columns in (("charge", charge()), ("discharge", discharge())):
            fields: dict[str, object] = {
                "Voltage_measured": columns["voltage_v"],
                "Current_measured": columns["current_a"],
                "Temperature_measured": columns["temperature_c"],
                "Time": columns["time_s"],
            }
            if kind == "discharge":
                fields["Capacity"] = 1.8 - 0.01 * number
            kinds.append(kind)
            data.append(fields)
        kinds.append("impedance")
        data.append(
            {
                "Battery_impedance": np.array([0.1 + 0.02j, 0.2 - 0.01j]),
                "Rectified_Impedance": np.array([0.07 - 0.001j]),
                "Re": 0.045,
                "Rct": 0.07,
            }
        )
    operations = np.zeros(
        (1, len(kinds)),
        dtype=[("type", "O"), ("ambient_temperature", "O"), ("time", "O"), ("data", "O")],
    )
    for number, (kind, fields) in enumerate(zip(kinds, data, strict=True)):
        moment = START + timedelta(hours=number, milliseconds=109)
        clock = [moment.year, moment.month, moment.day, moment.hour, moment.minute]
        seconds = moment.second + moment.microsecond / 1e6
        operations[0, number] = (kind, 24.0, np.array([*clock, seconds], dtype=float), fields)
    scipy.io.savemat(path, {name: {"cycle": operations}}, do_compression=compress)
    return path


ARBIN_HEAD = [
    "Data_Point",
    "Test_Time(s)",
    "Date_Time",
    "Step_Time(s)",
    "Step_Index",
    "Cycle_Index",
    "Current(A)",
    "Voltage(V)",
    "Charge_Capacity(Ah)",
    "Discharge_Capacity(Ah)",
]


def arbin_rows(
    start: datetime, cycles: int = 2, *, last_is_cut: bool = False
) -> list[list[object]]:
    """Rows of an Arbin workbook: rest, CC, rest, CV, rest, discharge, rest in each cycle."""
    rows: list[list[object]] = []
    elapsed_s = discharged_ah = charged_ah = 0.0

    def add(step: int, cycle: int, current_a: float, voltage_v: float, dt_s: float = 30.0) -> None:
        nonlocal elapsed_s, discharged_ah, charged_ah
        elapsed_s += dt_s
        discharged_ah += max(0.0, -current_a) * dt_s / 3600
        charged_ah += max(0.0, current_a) * dt_s / 3600
        clock = (start + timedelta(seconds=elapsed_s)).replace(microsecond=0)
        numbers = [len(rows) + 1.0, elapsed_s, clock, dt_s, float(step), float(cycle)]
        rows.append([*numbers, current_a, voltage_v, charged_ah, discharged_ah])

    for cycle in range(1, cycles + 1):
        cut = last_is_cut and cycle == cycles
        for _ in range(3):
            add(1, cycle, 0.0, 3.4)
        for k in range(20):
            add(2, cycle, 0.55, 3.5 + 0.035 * k)
        for _ in range(3):
            add(3, cycle, 0.0007, 4.1)
        for k in range(8):
            add(4, cycle, 0.5 - 0.06 * k, 4.2)
        add(5, cycle, 0.0, 4.19)
        for k in range(10 if cut else 25):
            add(7, cycle, -1.1, 4.05 - 1.36 * (k / 24) ** 2)
        if not cut:
            add(8, cycle, -0.00002, 3.26)
    return rows


def arbin_workbook(
    path: Path,
    rows: list[list[object]],
    *,
    head: list[str] | None = None,
    sheet: str = "Channel_1-008",
    start: datetime | None = None,
) -> Path:
    """Write a minimal `.xlsx` with an Info sheet (if `start` is given) and one data sheet."""
    sheets: dict[str, list[list[Any]]] = {sheet: [list(head or ARBIN_HEAD), *rows]}
    if start is not None:
        sheets = {"Info": [["Channel", "Start_DateTime"], [8.0, start]], **sheets}
    names = list(sheets)
    listed = "".join(
        f'<sheet name="{name}" sheetId="{i}" r:id="rId{i}"/>' for i, name in enumerate(names, 1)
    )
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    links = "".join(
        f'<Relationship Id="rId{i}" Type="{office}/worksheet" Target="worksheets/sheet{i}.xml"/>'
        for i in range(1, len(names) + 1)
    )
    links += f'<Relationship Id="rId99" Type="{office}/styles" Target="styles.xml"/>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="xml" '
            'ContentType="application/xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
            f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{listed}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships">{links}</Relationships>',
        )
        archive.writestr(
            "xl/styles.xml",
            f'<styleSheet xmlns="{main}"><cellXfs><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
            "</styleSheet>",
        )
        for i, name in enumerate(names, 1):
            body = "".join(
                f'<row r="{r}">{"".join(_cell(value, r, c) for c, value in enumerate(row))}</row>'
                for r, row in enumerate(sheets[name], 1)
            )
            archive.writestr(
                f"xl/worksheets/sheet{i}.xml",
                f'<worksheet xmlns="{main}"><sheetData>{body}</sheetData></worksheet>',
            )
    return path


def _cell(value: object, row: int, column: int) -> str:
    place = f"{chr(ord('A') + column)}{row}"
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    if isinstance(value, datetime):
        days = (value - datetime(1899, 12, 30)) / timedelta(days=1)
        return f'<c r="{place}" s="1"><v>{days!r}</v></c>'
    return f'<c r="{place}"><v>{value!r}</v></c>'


def calce_folder(path: Path) -> Path:
    """Three workbooks whose names sort wrongly, one of them twice, one ending in mid-cycle."""
    path.mkdir()
    first, second = START, START + timedelta(days=3)
    arbin_workbook(path / "CS2_99_9_7_10.xlsx", arbin_rows(first, 2, last_is_cut=True), start=first)
    arbin_workbook(path / "CS2_99_10_1_10.xlsx", arbin_rows(second, 2), start=second)
    arbin_workbook(path / "CS2_99_10_9_10.xlsx", arbin_rows(second, 2), start=second)
    return path


def life() -> dict[str, np.ndarray]:
    """Two cycles of charge and discharge in our units, one long table."""
    parts = [charge(), discharge()] * 2
    elapsed_s = 0.0
    columns: dict[str, list[np.ndarray]] = {name: [] for name in parts[0]}
    for part in parts:
        for name, column in part.items():
            columns[name].append(column + (elapsed_s if name == "time_s" else 0.0))
        elapsed_s += part["time_s"][-1] + 30.0
    table = {name: np.concatenate(column) for name, column in columns.items()}
    table["cycle"] = np.repeat([1, 2], 110)
    drawn = np.clip(-table["current_a"], 0, None) * np.diff(table["time_s"], prepend=0) / 3600
    table["drawn_ah"] = np.concatenate([np.cumsum(drawn[:110]), np.cumsum(drawn[110:])])
    return table


def bdf_columns(preferred: bool = True) -> dict[str, list[float]]:
    """`life()` under the names of the Battery Data Format."""
    table = life()
    columns = {
        ("Test Time / s", "test_time_second"): table["time_s"],
        ("Unix Time / s", "unix_time_second"): BDF_START_S + table["time_s"],
        ("Voltage / V", "voltage_volt"): table["voltage_v"],
        ("Current / A", "current_ampere"): table["current_a"],
        ("Cycle Count / 1", "cycle_count"): table["cycle"],
        ("Discharging Capacity / Ah", "discharging_capacity_ah"): table["drawn_ah"],
        ("Surface Temperature T1 / degC", "temperature_t1_celsius"): table["temperature_c"],
        ("Ambient Temperature / degC", "ambient_temperature_celsius"): np.full(220, 24.0),
    }
    return {names[0 if preferred else 1]: column.tolist() for names, column in columns.items()}


def csv(
    path: Path, columns: dict[str, list[Any]], delimiter: str = ",", decimal: str = "."
) -> Path:
    """Write columns as text."""

    def text(value: object) -> str:
        return str(value).replace(".", decimal) if isinstance(value, float) else str(value)

    lines = [delimiter.join(columns)]
    lines += [delimiter.join(text(v) for v in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def bdf_csv(path: Path) -> Path:
    """A file in the Battery Data Format."""
    return csv(path, bdf_columns())


def tidy_parquet(path: Path, cycles: int = 3) -> Path:
    """A tidy file with the NASA columns."""
    tables = []
    for number in range(cycles):
        for offset, (kind, columns) in enumerate(
            (("charge", charge()), ("discharge", discharge()))
        ):
            n = len(columns["time_s"])
            start = START + timedelta(hours=2 * number + offset)
            clock = [start + timedelta(seconds=float(t)) for t in columns["time_s"]]
            tables.append(
                pa.table(
                    {
                        "cell_id": pa.array(["B0005"] * n).dictionary_encode(),
                        "cycle": pa.array([number + 1] * n, pa.int16()),
                        "op_index": pa.array([2 * number + offset] * n, pa.int16()),
                        "step": pa.array([kind] * n),
                        "time_s": columns["time_s"],
                        "timestamp": pa.array(clock, pa.timestamp("ms")),
                        "voltage_v": columns["voltage_v"].astype(np.float32),
                        "current_a": columns["current_a"].astype(np.float32),
                        "temperature_c": columns["temperature_c"].astype(np.float32),
                        "capacity_ah": pa.array(
                            [1.8 if kind == "discharge" else None] * n, pa.float32()
                        ),
                        "ambient_c": np.full(n, 24, np.float32),
                    }
                )
            )
    pq.write_table(pa.concat_tables(tables).unify_dictionaries(), path)
    return path
