"""Recordings made to trouble a reader: valid small files changed, and files built to be extreme.

Each maker takes a `random.Random` and a folder, and returns the file to be opened. The same random
state gives the same file. Past 400 lines because the makers of nine formats stand together, on the
same extreme numbers and names.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io

from recordings.bundle import METADATA_KEY, write_bundle
from recordings.open import open_recording
from tests import hostile_files as hostile
from tests import recording_files as made

Maker = Callable[[random.Random, Path], Path]

NUMBERS = (
    float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e308, -1e308, 5e-324, 1e-9, 1e15, -1.0,
    3.7, 4.2, 25.0, 2.0**53, 1e11, 1.7e12,
)  # fmt: skip
WORDS = (
    "nan", "inf", "-inf", "", "-", "1e400", "-1e308", "9" * 400, "1e-400", "0x10", "1:02:03",
    "2024-01-01 00:00:00", "9999-12-31", "0001-01-01", "true", "x", "\0", "\x1b[2J", "1,5", "电压",
)  # fmt: skip
COUNTS = (0, 1, 2, 3, 7, 100, 1_000, 4_096, 4_097, 5_200)
INTEGERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 255, 65_535)
NAMES = (
    "", " ", "time", "Voltage(V)", "voltage_v", "a/b", "x" * 999, "x" * 1_001, "电压", "\n",
    "_" * 64, "..", "current_a", " " * 900 + "!",
)  # fmt: skip


def mapping(rng: random.Random, path: Path, columns: dict[str, Any] | None = None) -> None:
    """A mapping beside a file: right most of the time."""
    odd = rng.random() < 0.1
    lines = ["[info]", f"nominal_capacity_ah = {rng.choice(_TOML) if odd else '2.0'}"]
    others = ("charge_voltage_v", "discharge_voltage_v", "temperature_max_c", "asset", "cells")
    lines += [f"{key} = {rng.choice(_TOML)}" for key in others if rng.random() < 0.02]
    if columns:
        lines += ["[columns]", *(f"{key} = {json.dumps(name)}" for key, name in columns.items())]
    if rng.random() < 0.08:
        key = rng.choice(["time", "clock", "current", "voltage", "temperature", "ambient", "x"])
        unit = rng.choice(['"ms"', '"h"', '"K"', '"f"', '"unix_s"', '"iso"', '""', *_TOML])
        lines += ["[units]", f"{key} = {unit}"]
    if rng.random() < 0.08:
        key = rng.choice(["delimiter", "decimal", "skip_rows", "start", "positive_current", "x"])
        lines += ["[options]", f"{key} = {rng.choice(_TOML)}"]
    if rng.random() < 0.03:
        lines = [rng.choice(["x = " + "[" * 3_000, "info = 1", "[columns]\n[columns]", "\0", "[["])]
    path.write_text("\n".join(lines) + "\n")


_TOML = (
    "0", "-1", "1e-300", "1e300", "nan", "inf", "true", '"x"', '""', "[]", '["a", "b"]', "{}",
    "1" + "0" * 400, "2024-05-01T00:00:00Z", "0001-01-01T00:00:00Z", "99999999999", '";"', "3",
    "12:00:00", '"\\u001b[2J"',
)  # fmt: skip


def column(rng: random.Random, rows: int) -> np.ndarray:
    """A column of numbers: plausible, extreme, or some of both."""
    base = rng.choice((3.7, -2.0, 2.0, 25.0, 0.0)) + 0.01 * np.arange(rows)
    if rng.random() < 0.3:
        base = base * rng.choice((1e3, 1e6, 1e150, -1.0))
    for _ in range(rng.choice((0, 0, 0, 1, 3, rows))):
        if rows:
            base[rng.randrange(rows)] = rng.choice(NUMBERS)
    return base


def times(rng: random.Random, rows: int) -> np.ndarray:
    """A clock: mostly right, sometimes still, jumping, backwards or none."""
    step = rng.choice((0.0, 0.1, 1.0, 10.0, 60.0, 4_000.0, 1e6))
    base = step * np.arange(rows) + rng.choice((0.0, 0.0, 0.0, -5.0, 1e8, 1.7e9, 1e12))
    return column(rng, rows) if rng.random() < 0.1 else base


def currents(rng: random.Random, rows: int) -> np.ndarray:
    """Charges and discharges in turn, so that operations begin and end."""
    period = rng.choice((1, 2, 5, 20, 1_000))
    sign = np.where((np.arange(rows) // period) % 2, -1.0, 1.0)
    return column(rng, rows) if rng.random() < 0.2 else sign * rng.choice((0.0, 1e-9, 2.0, 1e9))


def changed(rng: random.Random, content: bytes) -> bytes:
    """Bytes with a few of them changed, cut, doubled or replaced by an extreme number."""
    body = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not body:
            break
        at = rng.randrange(len(body))
        how = rng.randrange(6)
        if how == 0:
            body[at] = rng.randrange(256)
        elif how == 1:
            body[at] ^= 1 << rng.randrange(8)
        elif how == 2:
            number = rng.choice(INTEGERS) & (2**64 - 1)
            size = rng.choice((2, 4, 8))
            body[at : at + size] = number.to_bytes(8, rng.choice(("little", "big")))[:size]
        elif how == 3:
            del body[at : at + rng.choice((1, 4, 64, 1_000_000))]
        elif how == 4:
            body[at:at] = body[at : at + rng.choice((1, 8, 512))]
        else:
            body[at:at] = bytes(rng.choice((1, 8, 5_000)))
    return bytes(body)


def changed_text(rng: random.Random, text: str) -> str:
    """Text with some of its numbers or words replaced."""
    parts = re.split(r"([\w.+-]+)", text)
    for _ in range(rng.choice((1, 1, 3, 30))):
        at = rng.randrange(len(parts))
        parts[at] = rng.choice((*WORDS, *map(repr, NUMBERS), str(rng.choice(INTEGERS))))
    return "".join(parts)


def mat(rng: random.Random, folder: Path) -> Path:
    """NASA's `.mat`: valid, changed in its bytes or in its inflated ones, or a head that lies."""
    path = folder / "B0005.mat"
    how = rng.randrange(5)
    if how == 0:
        dims = [
            rng.choice((0, 1, 2, 2**31 - 1)) for _ in range(rng.choice((2, 2, 3, 32, 33, 9_999)))
        ]
        width = rng.choice((0, 1, 8, 32, 64, 65, 2**31 - 1))
        names = rng.choice((b"cycle\0\0\0", b"c" * 640, b"", bytes(10_000)))
        path.write_bytes(hostile.mat_struct(dims, rng.choice((b"B", b"", b"x" * 99)), width, names))
        return path
    if how == 1:
        values: list[Any] = [
            "charge", "discharge", "impedance", "", "x", 1.0, np.nan, np.array([]), None,
            np.array([2010, 8, 16, 13, 44, 57.0]), np.array([np.nan] * 6), np.array([1e300] * 6),
            np.arange(3) * 1j, {"a": 1.0}, {}, np.array([np.inf, -np.inf]),
        ]  # fmt: skip
        values = [np.zeros((1, 0), object) if value is None else value for value in values]
        rows = rng.choice((0, 1, 3))
        data = {
            name: rng.choice((column(rng, rows), rng.choice(values)))
            for name in ("Time", "Voltage_measured", "Current_measured", "Temperature_measured",
                         "Capacity")
        }  # fmt: skip
        cycle = np.zeros(
            (1, 2), [(n, "O") for n in ("type", "ambient_temperature", "time", "data")]
        )
        for number in range(2):
            kind = rng.choice(("charge", "discharge", rng.choice(values)))
            moment = rng.choice((values[9], rng.choice(values)))
            cycle[0, number] = (kind, rng.choice(values), moment, rng.choice((data, data, 1.0)))
        scipy.io.savemat(path, {"B0005": {"cycle": cycle}}, do_compression=rng.random() < 0.5)
        return path
    made.nasa_mat(path, 1, compress=how != 2)
    content = path.read_bytes()
    if how == 3:  # change what is inside the compressed element
        inside = changed(rng, zlib.decompress(content[136:]))
        packed = zlib.compress(inside, 1)
        content = content[:128] + struct.pack("<II", 15, len(packed)) + packed
    else:
        content = changed(rng, content)
    path.write_bytes(content)
    return path


def workbook(rng: random.Random, folder: Path) -> Path:
    """An Arbin workbook: strange cells, parts changed, or a cell far away."""
    path = folder / "CS2_99_1_1_10.xlsx"
    how = rng.randrange(4)
    if how == 0:
        place = rng.choice(("XFD1048576", "AB1000000", "A4294967295", "ZZZZZ1", "C3", "A0"))
        return hostile.far_cell_workbook(path, place, rng.choice(("sheet1.xml", "sheet2.xml")))
    rows = made.arbin_rows(made.START, 1, last_is_cut=rng.random() < 0.3)
    for _ in range(rng.choice((0, 1, 5))):
        row = rng.choice(rows)
        odd: tuple[Any, ...] = (*NUMBERS[3:], rng.choice(WORDS[:12]), "", made.START)
        row[rng.randrange(len(row))] = rng.choice(odd)
    start = made.START if rng.random() < 0.7 else None
    head = list(made.ARBIN_HEAD)
    if rng.random() < 0.1:
        head[rng.randrange(len(head))] = rng.choice(("x", "Voltage(V)", ""))
    made.arbin_workbook(path, rows, start=start, head=head)
    if how == 1:
        _rewrite(rng, path, lambda body: changed_text(rng, body.decode()).encode())
    elif how == 2:
        path.write_bytes(changed(rng, path.read_bytes()))
    return path


def _rewrite(rng: random.Random, path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change one part of a zip, its checksum right again."""
    with zipfile.ZipFile(path) as source:
        parts = {entry.filename: source.read(entry) for entry in source.infolist()}
    chosen = rng.choice(list(parts))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, body in parts.items():
            target.writestr(name, change(body) if name == chosen else body)


def zipped(rng: random.Random, folder: Path) -> Path:
    """Zips in zips, some without names, with directories, changed, or with claims that lie."""
    how = rng.randrange(4)
    if how == 0:
        return hostile.nameless_zip(folder / "nameless.zip", rng.choice((b"x", b"PK\3\4")))
    inner = mat(rng, folder) if rng.random() < 0.6 else workbook(rng, folder)
    depth = rng.choice((1, 1, 2, 3, 4, 6))
    for level in range(depth):
        outer = folder / f"level{level}.zip"
        with zipfile.ZipFile(outer, "w", rng.choice((0, 8))) as archive:
            archive.writestr("folder/", b"")
            archive.write(inner, rng.choice((inner.name, f"a/{inner.name}", f"../{inner.name}")))
        inner = outer
    if how == 1:
        inner.write_bytes(changed(rng, inner.read_bytes()))
    return inner


def csv(rng: random.Random, folder: Path) -> Path:
    """A text: the Battery Data Format, plain names or a mapping; numbers and words replaced."""
    path = folder / rng.choice(("a.csv", "a.bdf.csv", "a.txt"))
    how = rng.randrange(5)
    if how == 0:
        names = [rng.choice(NAMES) + str(k) for k in range(rng.choice((2, 5, 300)))]
        lines = [",".join(rng.choice(WORDS) for _ in names) for _ in range(rng.choice((0, 1, 9)))]
        text = ",".join(names) + "\n" + "\n".join(lines)
        mapping(rng, folder / "a.toml", {"time": names[0], "voltage": names[1:]})
    elif how == 1:
        rows, cells = rng.choice((1, 5, 300)), rng.choice((1, 2, 8, 4_096, 4_097))
        if cells > 8:
            rows = min(rows, 5)
        clock, amps = times(rng, rows), currents(rng, rows)
        volts = column(rng, rows)
        names = [f"u{k}" for k in range(cells)]
        lines = [
            ",".join(map(repr, [float(t), float(i), *[float(v)] * cells]))
            for t, i, v in zip(clock, amps, volts, strict=True)
        ]
        text = f"t,i,{','.join(names)}\n" + "\n".join(lines) + "\n"
        mapping(rng, folder / "a.toml", {"time": "t", "current": "i", "voltage": names})
    else:
        made.csv(path, made.bdf_columns(rng.random() < 0.5), rng.choice(",;\t|"), rng.choice(".,"))
        text = path.read_text()
        if rng.random() < 0.7:
            text = changed_text(rng, text[: rng.choice((400, 3_000, len(text)))])
        mapping(rng, folder / "a.toml")
    content = text.encode(rng.choice(("utf-8", "utf-8-sig", "utf-16", "gb18030")), "replace")
    if rng.random() < 0.1:
        content = changed(rng, content)
    if rng.random() < 0.1:
        path = path.with_name(f"{path.name}.gz")
        content = gzip.compress(content, 1)
    path.write_bytes(content)
    return path


def hdf5(rng: random.Random, folder: Path) -> Path:
    """HDF5: any width, type, chunk and number of rows, claimed or there; sometimes changed."""
    path = folder / "a.h5"
    rows = rng.choice((0, 1, 5, 60))
    mapped: dict[str, Any] = {"time": "time_s", "current": "current_a", "voltage": "voltage_v"}
    calm = rng.random() < 0.6  # then only numbers and widths are strange
    with h5py.File(path, "w") as file:
        for name, values in (
            ("time_s", times(rng, rows)),
            ("current_a", currents(rng, rows)),
            ("voltage_v", column(rng, rows)),
            ("temperature_c", column(rng, rows)),
        ):
            odd = rng.randrange(4 if calm else 14)
            with np.errstate(all="ignore"):
                if odd < 6:
                    width = rng.choice(COUNTS[1:6]) if odd < 4 else rng.choice(COUNTS)
                    wide = name in ("voltage_v", "temperature_c") or odd == 5
                    table = np.repeat(values[:, None], width, 1) if wide else values
                    file.create_dataset(name, data=table.astype(rng.choice(("f4", "f8"))))
                elif odd == 6:
                    file.create_dataset(name, data=np.nan_to_num(values).astype("i2"))
                elif odd == 7:
                    file.create_dataset(name, data=np.array(["x"] * rows, "S4"))
                elif odd == 8:
                    shape = (rng.choice((10**4, 10**7, 10**12)),)
                    chunks = (rng.choice((64, 4_096, 2**25)),)
                    file.create_dataset(name, shape, "f8", chunks=chunks, maxshape=(None,))
                elif odd == 9:
                    kind = np.dtype([("v", "f8", (rng.choice((1, 3, 4_097)),)), ("w", "f4")])
                    file.create_dataset(name, (rows,), kind)
                    mapped["voltage" if name == "voltage_v" else "current"] = f"{name}/v"
                elif odd == 10:
                    file.create_dataset(name, data=np.zeros((2, 2, 2)))
                elif odd == 11:
                    file.create_dataset(name, data=h5py.Empty("f4"))
                else:
                    file.create_dataset(name, data=values)
    if rng.random() < 0.7:
        mapped["temperature"] = "temperature_c"
    mapping(rng, folder / "a.toml", mapped if rng.random() < 0.8 else None)
    if not calm and rng.random() < 0.2:
        path.write_bytes(changed(rng, path.read_bytes()))
    return path


def _arrow(rng: random.Random, rows: int) -> pa.Array:
    """An Arrow column of some type."""
    with np.errstate(all="ignore"):
        values = column(rng, rows)
        whole = np.nan_to_num(values, posinf=0, neginf=0).clip(-1e18, 1e18).astype(np.int64)
    width = rng.choice((0, 1, 2, 16, 4_096, 4_097))
    kinds: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.array(values),
        lambda: pa.array(values),
        lambda: pa.array(values, pa.float32()),
        lambda: pa.array(whole),
        lambda: pa.array([None] * rows, pa.float64()),
        lambda: pa.array([None] * rows),
        lambda: pa.array([rng.choice(WORDS) for _ in range(rows)]),
        lambda: pa.array([rng.choice(WORDS) for _ in range(rows)]).dictionary_encode(),
        lambda: pa.array(whole, pa.timestamp("ms", rng.choice((None, "UTC")))),
        lambda: pa.array([[float(v)] * width for v in values], pa.list_(pa.float32())),
        lambda: pa.array([[float(v)] * rng.choice((1, 2)) for v in values]),
        lambda: pa.array([rng.choice((None, [1.0])) for _ in values], pa.list_(pa.float64())),
        lambda: pa.array([[1.0] * width] * rows, pa.list_(pa.float64(), width)),
        lambda: pa.array([[[1.0]]] * rows),
        lambda: pa.array([True] * rows),
        lambda: pa.array([{"a": 1.0}] * rows),
        lambda: pa.array([b"x"] * rows),
    )
    return rng.choice(kinds)()


def _lists(rng: random.Random, rows: int) -> pa.Array:
    """A column of numbers, or of lists of one length."""
    values = column(rng, rows)
    width = rng.choice((1, 1, 2, 13, rng.choice(COUNTS)))
    if width == 1:
        return pa.array(values)
    return pa.array([[float(v)] * width for v in values], pa.list_(pa.float32()))


def parquet(rng: random.Random, folder: Path) -> Path:
    """Parquet of any column types under a mapping or plain names; sometimes changed."""
    path = folder / "a.parquet"
    calm = rng.random() < 0.6  # then only numbers and widths are strange
    rows = rng.choice((1, 3, 60) if calm else (0, 1, 3, 60))
    names = ["time_s", "current_a", "voltage_v", "temperature_c"]
    columns = [
        pa.array(times(rng, rows)) if name == "time_s" and (calm or rng.random() < 0.8)
        else pa.array(currents(rng, rows)) if name == "current_a" and (calm or rng.random() < 0.8)
        else _lists(rng, rows) if calm
        else _arrow(rng, rows)
        for name in names
    ]  # fmt: skip
    if not calm:
        names.append(rng.choice(NAMES))
        columns.append(_arrow(rng, rows))
    pq.write_table(pa.Table.from_arrays(columns, names), path, row_group_size=rng.choice((1, 1000)))
    mapped = {"time": "time_s", "current": "current_a", "voltage": "voltage_v"}
    mapping(rng, folder / "a.toml", mapped if rng.random() < 0.5 else None)
    if not calm and rng.random() < 0.3:
        path.write_bytes(changed(rng, path.read_bytes()))
    return path


def tidy(rng: random.Random, folder: Path) -> Path:
    """The tidy form with columns of another type, missing or extreme; sometimes changed."""
    path = made.tidy_parquet(folder / "tidy.parquet", 1)
    table = pq.read_table(path)
    if rng.random() < 0.3:
        table = table.rename_columns(
            ["file_no" if name == "op_index" else name for name in table.column_names]
        )
    if rng.random() < 0.2:
        table = table.drop_columns(
            ["op_index"] if "op_index" in table.column_names else ["file_no"]
        )
    for _ in range(rng.choice((0, 1, 2))):
        at = rng.randrange(table.num_columns)
        name = table.column_names[at]
        if rng.random() < 0.15:
            table = table.remove_column(at)
        else:
            table = table.set_column(at, name, _arrow(rng, len(table)))
    pq.write_table(table, path, row_group_size=rng.choice((7, 1_000)))
    if rng.random() < 0.2:
        path.write_bytes(changed(rng, path.read_bytes()))
    return path


def bundle(rng: random.Random, folder: Path) -> Path:
    """Our own recording with other metadata or columns; sometimes changed."""
    path = folder / "bundle.parquet"
    write_bundle(path, open_recording(made.nasa_mat(folder / "B0005.mat", 1)))
    table = pq.read_table(path)
    meta = dict(pq.read_metadata(path).metadata)
    text = meta[METADATA_KEY].decode()
    how = rng.randrange(4)
    if how == 0:
        text = changed_text(rng, text)
    elif how == 1:
        said = json.loads(text)
        odd: tuple[Any, ...] = (
            *INTEGERS,
            *NUMBERS,
            *WORDS,
            None,
            [],
            {},
            True,
            [[1]],
            10**400,
            5_000,
        )
        part = rng.choice((said["assets"][0]["info"], said["assets"][0]["operations"][0], said))
        part[rng.choice((*part, "x"))] = rng.choice(odd)
        text = json.dumps(said)
    elif how == 2:
        text = rng.choice(("[" * 100_000, "{}", "null", '{"version": 1}', '{"version": 2}', ""))
    if rng.random() < 0.4:
        at = rng.randrange(table.num_columns)
        table = table.set_column(at, table.column_names[at], _arrow(rng, len(table)))
    meta[METADATA_KEY] = text.encode("utf-8", "replace")
    pq.write_table(table.replace_schema_metadata(meta), path)
    if rng.random() < 0.2:
        path.write_bytes(changed(rng, path.read_bytes()))
    return path


def wide(rng: random.Random, folder: Path) -> Path:
    """About and far over as many cells or sensors as a pack may have."""
    cells = rng.choice((1, 4_090, 4_097, 5_200, 6_000, 20_000))
    sensors = rng.choice((1, 2, 5_200))
    return hostile.wide_hdf5(folder / "wide.h5", cells, sensors, rng.choice((2, 4)))


MAKERS: dict[str, Maker] = {
    "mat": mat, "xlsx": workbook, "zip": zipped, "csv": csv, "hdf5": hdf5, "parquet": parquet,
    "tidy": tidy, "bundle": bundle, "wide": wide,
}  # fmt: skip
