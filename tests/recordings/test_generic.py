"""CSV, Parquet, HDF5 and BDF through a mapping: units, sign, clocks, cuts, and what is refused.

The module is long because the files of every format are made here.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recordings.generic import GenericRecording
from recordings.mapping import is_bdf, plain_columns
from recordings.open import open_recording
from recordings.segmenting import kind_of, segments
from recordings.types import Operation, RecordingError
from tests import recording_files as made
from tests.recording_files import bdf_columns, csv, life

START_MS = round(made.BDF_START_S * 1000)


def check_life(operations: list[Operation], atol: float = 1e-9) -> None:
    """The operations are those of `life()`."""
    table = life()
    assert [(op.cycle, op.kind) for op in operations] == [
        (1, "charge"),
        (1, "discharge"),
        (2, "charge"),
        (2, "discharge"),
    ]
    for name in ("current_a", "voltage_v", "temperature_c"):
        found = np.concatenate([np.ravel(getattr(op, name)) for op in operations])
        np.testing.assert_allclose(found, table[name], atol=atol)
    start = operations[0].start_ms
    clock = np.concatenate([(op.start_ms - start) / 1000 + op.time_s for op in operations])
    np.testing.assert_allclose(clock, table["time_s"], atol=1e-3)


INFO = {"nominal_capacity_ah": 2.0}


def test_csv_with_foreign_units_and_sign(tmp_path: Path) -> None:
    table = life()
    columns = {
        "t": [float(v) for v in table["time_s"] / 3600],
        "I(mA)": [float(v) for v in -table["current_a"] * 1000],
        "U / mV": [float(v) for v in table["voltage_v"] * 1000],
        "T [K]": [float(v) for v in table["temperature_c"] + 273.15],
        "Tamb_f": [75.2] * len(table["time_s"]),
    }
    path = csv(tmp_path / "cell.csv", columns, ";", ",")
    (tmp_path / "cell.toml").write_text(
        """
        [info]
        nominal_capacity_ah = 2.0
        asset = "my cell"
        chemistry = "NMC"
        [columns]
        time = "t"
        current = "I(mA)"
        voltage = "U / mV"
        temperature = "T [K]"
        ambient = "Tamb_f"
        [units]
        time = "h"
        [options]
        positive_current = "discharges"
        start = 2024-05-01T10:00:00Z
        """
    )
    [recording] = open_recording(path)
    info = recording.info
    assert (info.asset, info.dataset, info.chemistry) == ("my-cell", "generic", "NMC")
    assert (info.cells, info.sensors, info.problems) == (1, 1, ())
    operations = list(recording.operations())
    check_life(operations)
    assert operations[0].start_ms == START_MS
    assert operations[0].ambient_c is not None
    np.testing.assert_allclose(operations[0].ambient_c, 24.0)


@pytest.mark.parametrize("form", ["iso", "iso-zone", "unix_s", "unix_ms"])
def test_clock_alone(tmp_path: Path, form: str) -> None:
    table = life()
    clock_ms = START_MS + np.round(table["time_s"] * 1000).astype(np.int64)
    texts: list[Any] = [str(v) for v in clock_ms.astype("datetime64[ms]")]
    if form == "iso-zone":
        texts = [text.replace("T1", " 1")[:19] + "Z" for text in texts]
    elif form == "unix_s":
        texts = [float(v) / 1000 for v in clock_ms]
    elif form == "unix_ms":
        texts = clock_ms.tolist()
    names = {"Date": texts, "I_a": table["current_a"].tolist(), "U_v": table["voltage_v"].tolist()}
    columns = {**names, "T_c": table["temperature_c"].tolist()}
    mapping: dict[str, Any] = {
        "info": INFO,
        "columns": {"clock": "Date", "current": "I_a", "voltage": "U_v", "temperature": "T_c"},
    }
    if form.startswith("unix"):
        mapping["units"] = {"clock": form}
    [recording] = open_recording(csv(tmp_path / "x.csv", columns), mapping=mapping)
    operations = list(recording.operations())
    check_life(operations)
    assert operations[0].start_ms == START_MS


def test_numbers_as_clock_must_say_their_unit(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", {"Date": [1.7e9, 1.7e9 + 1], "U_v": [3.7, 3.7]})
    mapping = {"info": INFO, "columns": {"clock": "Date", "voltage": "U_v"}}
    with pytest.raises(RecordingError, match=r"say .units. clock as unix_s or unix_ms"):
        list(open_recording(path, mapping=mapping)[0].operations())


@pytest.mark.parametrize("preferred", [True, False])
@pytest.mark.parametrize("suffix", [".bdf", ".bdf.csv", ".bdf.gz", ".bdf.parquet"])
def test_bdf_needs_no_mapping(tmp_path: Path, preferred: bool, suffix: str) -> None:
    columns = bdf_columns(preferred)
    path = tmp_path / f"UCam__A0001__20240501_001{suffix}"
    if suffix.endswith("parquet"):
        pq.write_table(pa.table(columns), path)
    elif suffix.endswith("gz"):
        plain = csv(tmp_path / "plain", columns)
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        csv(path, columns)
    with pytest.raises(RecordingError, match="nominal capacity is not known; say it in UCam__A"):
        open_recording(path)
    [recording] = open_recording(path, nominal_capacity_ah=2.0)
    assert recording.info.asset == "UCam__A0001__20240501_001"
    assert (recording.info.dataset, recording.info.problems) == ("bdf", ())
    operations = list(recording.operations())
    check_life(operations)
    assert operations[0].start_ms == START_MS
    drawn = 2.0 * 12 * 46 / 3600
    assert operations[1].capacity_ah == pytest.approx(drawn, rel=0.05)
    assert operations[0].capacity_ah is None


def test_older_bdf_names_are_known() -> None:
    names = ["test_time_millisecond", "current_ampere", "voltage_volt", "cycle_dimensionless"]
    assert is_bdf(names)
    assert not is_bdf(names[1:])


def test_hdf5_with_a_matrix_of_cells(tmp_path: Path) -> None:
    table = life()
    path = tmp_path / "pack.h5"
    cells = np.column_stack([table["voltage_v"], table["voltage_v"] + 0.01]) * 1000
    with h5py.File(path, "w") as file:
        file["data/time_ms"] = table["time_s"] * 1000
        file["data/current_a"] = table["current_a"]
        file["data/cells_mv"] = cells
        record = np.zeros(len(cells), dtype=[("t1", "f4"), ("n", "i4")])
        record["t1"] = table["temperature_c"]
        file["thermal/log"] = record
    mapping = {
        "info": INFO,
        "columns": {
            "time": "data/time_ms",
            "current": "data/current_a",
            "voltage": "data/cells_mv",
            "temperature": "thermal/log/t1",
        },
    }
    [recording] = open_recording(path, mapping=mapping)
    assert (recording.info.cells, recording.info.sensors) == (2, 1)
    assert tuple(map(str, recording.info.problems)) == (
        "column 'thermal/log/t1' states no unit: c is assumed",
        "no date was recorded: it is laid at 1970-01-01",
    )
    first = next(recording.operations())
    assert first.voltage_v.shape == (60, 2)
    np.testing.assert_allclose(first.voltage_v[:, 1] - first.voltage_v[:, 0], 0.01)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(RecordingError, match=r"pack\.h5"):
        list(open_recording(path, mapping=mapping)[0].operations())


def test_parquet_with_lists_of_cells(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(
        pa.table({"t_s": [0.0, 1.0], "cells_v": [[3.7, 3.8, None], [3.7, 3.8, 3.9]]}), path
    )
    mapping = {"info": INFO, "columns": {"time": "t_s", "voltage": "cells_v"}}
    [op] = open_recording(path, mapping=mapping)[0].operations()
    assert op.kind == "mixed"  # no current: not known
    np.testing.assert_array_equal(op.voltage_v, [[3.7, 3.8, np.nan], [3.7, 3.8, 3.9]])
    assert np.isnan(op.current_a).all()


def test_missing_values_are_nan(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("# made by us\ntime_s|i_a|u_v\n0|1|3.5\n1||NaN\n2|1|-\n")
    mapping = {
        "info": INFO,
        "columns": {"time": "time_s", "current": "i_a", "voltage": "u_v"},
        "options": {"skip_rows": 1},
    }
    [op] = open_recording(path, mapping=mapping)[0].operations()
    np.testing.assert_array_equal(op.current_a, [1, 1])
    np.testing.assert_array_equal(op.voltage_v[:, 0], [3.5, np.nan])
    assert [str(note) for note in op.notes] == ["1 row without any measurement left out"]


# What is refused, and how


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "the nominal capacity is not known; say it in x.toml"),
        ({"columns": {"time": "time_s"}, "info": INFO}, "the mapping needs `voltage`"),
        ({"columns": {"volts": "u_v"}}, "unknown column 'volts'; known: time, clock"),
        ({"columns": {"time": "zeit", "voltage": "u_v"}}, "no column 'zeit' for `time`; its col"),
        (
            {"columns": {"time": "time_s", "voltage": "u_v"}, "units": {"time": "fortnight"}},
            "unknown unit 'fortnight' for `time`; known: s, sec",
        ),
        ({"columns": {"time": "time_s", "voltage": "u_v"}}, "the nominal capacity is not known"),
        (
            {"columns": {"time": "time_s", "voltage": "u_v"}, "info": {"nominal": 2}},
            "unknown field 'nominal' in .info.; known: asset",
        ),
        (
            {"columns": {"time": "time_s", "voltage": "u_v"}, "info": {"chemistry": 3}},
            "chemistry is 3, which is not str",
        ),
        (
            {
                "columns": {"time": "time_s", "voltage": "u_v"},
                "info": INFO,
                "options": {"positive_current": "in"},
            },
            "positive_current is 'in'; it is `charges` or `discharges`",
        ),
        ({"colums": {}}, r"unknown section \[colums\]"),
    ],
)
def test_bad_mapping_names_key_value_and_what_is_right(
    tmp_path: Path, mapping: dict[str, Any], message: str
) -> None:
    path = csv(tmp_path / "x.csv", {"time_s": [0.0], "i_a": [1.0], "u_v": [3.7]})
    with pytest.raises(RecordingError, match=message):
        GenericRecording(path, mapping=mapping)


def test_foreign_names_ask_for_a_mapping(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", {"zeit": [0.0], "strom": [1.0], "spannung": [3.7]})
    message = r"the columns are not known: zeit, strom, spannung. Name them such as `time_s`"
    with pytest.raises(RecordingError, match=message):
        GenericRecording(path, mapping={})


@pytest.mark.parametrize("skip", [0, 2])
def test_bad_cell_names_line_and_column(tmp_path: Path, skip: int) -> None:
    rows = [
        *["made by us"] * skip,
        "time_s,u_v",
        *(f"{i},3.7" for i in range(100_000)),
        "100000,oops",
    ]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(rows))
    mapping: dict[str, Any] = {"info": INFO, "columns": {"time": "time_s", "voltage": "u_v"}}
    mapping["options"] = {"skip_rows": skip}
    recording = open_recording(path, mapping=mapping)[0]
    message = rf"x\.csv, line {100_002 + skip}: column 'u_v': .*oops"
    with pytest.raises(RecordingError, match=message):
        list(recording.operations())


def test_text_without_mapping_is_told_what_is_read(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", {"a": [1.0], "b": [2.0]})
    with pytest.raises(RecordingError, match=r"columns are not known: a, b\. Name them such as"):
        open_recording(path)
    (tmp_path / "x.toml").write_text("[info\n")
    with pytest.raises(RecordingError, match=r"x\.toml: not a readable mapping"):
        open_recording(path)


PLAIN = [
    ("time_s", "voltage_v", "current_a", "temperature_c"),
    ("Time [s]", "Voltage [V]", "Current [A]", "Temperature [degC]"),
    ("t", "U(V)", "I(A)", "Temp (C)"),
    ("Test_Time(s)", "Voltage(V)", "Current(A)", "Cell Temperature"),
]


@pytest.mark.parametrize("names", PLAIN)
def test_plain_names_need_no_mapping(tmp_path: Path, names: tuple[str, ...]) -> None:
    table = life()
    ours = ("time_s", "voltage_v", "current_a", "temperature_c")
    columns = {name: table[key].tolist() for name, key in zip(names, ours, strict=True)}
    path = csv(tmp_path / "x.csv", columns)
    with pytest.raises(RecordingError, match="nominal capacity is not known"):
        open_recording(path)
    [recording] = open_recording(path, nominal_capacity_ah=2.0)
    found = list(recording.operations())
    assert [op.kind for op in found] == ["charge", "discharge"] * 2
    np.testing.assert_allclose(
        np.concatenate([op.current_a for op in found]), table["current_a"], atol=1e-9
    )
    assert any("told by their names" in str(one) for one in recording.info.problems)


def test_plain_names_in_other_units_are_converted(tmp_path: Path) -> None:
    table = life()
    columns = {"Time (min)": (table["time_s"] / 60).tolist(), "U (mV)": [3700.0] * 220,
               "I (mA)": (1000 * table["current_a"]).tolist()}  # fmt: skip
    path = csv(tmp_path / "x.csv", columns)
    first = next(open_recording(path, nominal_capacity_ah=2.0)[0].operations())
    np.testing.assert_allclose(first.voltage_v, 3.7)
    np.testing.assert_allclose(first.current_a, table["current_a"][: len(first)], atol=1e-9)


@pytest.mark.parametrize(
    "names",
    [["time_s", "voltage_v"], ["time_s", "t", "voltage_v", "current_a"], ["a", "v", "i"],
     ["time_s", "V1", "V2", "current_a"]],
)  # fmt: skip
def test_names_that_leave_a_doubt_are_not_guessed(names: list[str]) -> None:
    assert plain_columns(names) == {}


# Where operations are cut


def rows(current_a: list[float], dt_s: float = 60.0) -> dict[str, np.ndarray]:
    n = len(current_a)
    current = np.array(current_a, dtype=float)
    return {"elapsed_s": np.arange(n) * dt_s, "current_a": current, "cycle": np.zeros(n)}


@pytest.mark.parametrize(
    ("current_a", "lengths", "kinds"),
    [
        ([0] * 5, [5], ["rest"]),
        ([0, 0] + [2] * 10 + [0] * 3 + [-2] * 10, [15, 10], ["charge", "discharge"]),
        ([-2] * 5 + [2] * 1 + [-2] * 5, [11], ["mixed"]),  # 1 min at 1 C moves 1.7 %
        ([-2] * 20 + [0.3] * 2 + [-2] * 5, [27], ["discharge"]),  # a regenerative pulse
        ([np.nan] * 4, [4], ["mixed"]),
        ([2], [1], ["charge"]),
    ],
)
def test_cuts(current_a: list[float], lengths: list[int], kinds: list[str]) -> None:
    nominal_ah = 2.0 if current_a != [-2] * 5 + [2] * 1 + [-2] * 5 else 20.0
    found = list(segments([rows(current_a)], nominal_ah))
    assert [len(part["elapsed_s"]) for part in found] == lengths
    told = [kind_of(part["elapsed_s"], part["current_a"], nominal_ah) for part in found]
    assert told == kinds


def test_an_hour_of_silence_and_a_new_cycle_cut() -> None:
    table = rows([1] * 10)
    table["elapsed_s"][4:] += 4000
    table["cycle"][7:] = 1
    assert [len(part["cycle"]) for part in segments([table], 2.0)] == [4, 3, 3]


def test_a_file_without_structure_is_cut_too() -> None:
    batches = [rows([0.0] * 32_768, 1.0) for _ in range(10)]
    for number, batch in enumerate(batches):
        batch["elapsed_s"] += number * 32_768.0
    lengths = [len(part["cycle"]) for part in segments(batches, 2.0)]
    assert lengths == [200_000, 127_680]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from([-2.0, -0.5, 0.0, 0.3, 2.0]), st.integers(1, 30)), max_size=12
    ),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_cuts_do_not_depend_on_batches(runs: list[tuple[float, int]], cuts: list[int]) -> None:
    table = rows([current for current, count in runs for _ in range(count)])
    n = len(table["cycle"])
    whole = [len(part["cycle"]) for part in segments([table], 2.0)]
    places = sorted({min(cut, n) for cut in cuts})
    batches = [
        {name: column[a:b] for name, column in table.items()}
        for a, b in zip([0, *places], [*places, n], strict=True)
    ]
    assert [len(part["cycle"]) for part in segments(batches, 2.0)] == whole
    assert sum(whole) == n


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-8-sig"])
def test_a_chinese_cyclers_export_is_read_in_the_encodings_that_excel_writes(
    tmp_path: Path, encoding: str
) -> None:
    """Columns as Neware exports them; the step's own time, which restarts, is not the test's."""
    table = life()
    lines = ["数据序号,循环号,工步类型,时间,总时间,电流(mA),电压(V),温度(℃),绝对时间"]
    for k, t in enumerate(table["time_s"].astype(int).tolist()):
        clock = f"{t // 60 % 60:02d}:{t % 60:02d}"
        lines.append(
            f"{k + 1},{table['cycle'][k]},恒流,00:00:01,{t // 3600:02d}:{clock}.000,"
            f"{1000 * table['current_a'][k]:.1f},{table['voltage_v'][k]:.4f},"
            f"{table['temperature_c'][k]:.2f},2024/5/1 {10 + t // 3600}:{clock}"
        )
    path = tmp_path / "export.csv"
    path.write_text("\r\n".join(lines), encoding=encoding)
    (recording,) = open_recording(path, nominal_capacity_ah=2.0)
    operations = list(recording.operations())
    assert [one.kind for one in operations] == ["charge", "discharge"] * 2
    assert [one.cycle for one in operations] == [1, 1, 2, 2]
    assert operations[0].start_ms == 1_714_557_600_000
    np.testing.assert_allclose(
        np.concatenate([one.current_a for one in operations]), table["current_a"], atol=1e-4
    )
    np.testing.assert_array_equal(operations[1].time_s, made.discharge()["time_s"])


def test_noise_is_not_taken_for_chinese(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xb5\xe7\xd1\xb9(V),\x01\x02\n1,2\n")
    with pytest.raises(RecordingError, match="not a known recording"):
        open_recording(path)
