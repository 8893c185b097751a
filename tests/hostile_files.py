"""Small files that claim very much, for the tests of the readers' bounds."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np

from tests import recording_files as made


def wide_hdf5(path: Path, cells: int, sensors: int = 1, rows: int = 60) -> Path:
    """Some kilobytes of HDF5 with so many voltages a row, and the mapping beside it."""
    with h5py.File(path, "w") as file:
        file["time_s"] = np.arange(rows) * 10.0
        file["current_a"] = np.full(rows, 1.0)
        for name, width, value in (("voltage_v", cells, 3.7), ("temperature_c", sensors, 25.0)):
            file.create_dataset(
                name, (rows, width), "f4", data=np.full((rows, width), value, np.float32),
                compression="gzip", chunks=(rows, width),
            )  # fmt: skip
    path.with_suffix(".toml").write_text("[info]\nnominal_capacity_ah = 2.0\n")
    return path


def element(kind: int, body: bytes) -> bytes:
    """A data element of a MAT file."""
    return struct.pack("<II", kind, len(body)) + body + b"\0" * (-len(body) % 8)


def mat_head() -> bytes:
    """What a level 5 MAT file begins with."""
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"


def mat_struct(dims: list[int], name: bytes, width: int, names: bytes) -> bytes:
    """A MAT file of one struct: its head, and nothing behind it."""
    head = element(6, struct.pack("<II", 2, 0))
    head += element(5, struct.pack(f"<{len(dims)}i", *dims)) + element(1, name)
    head += element(5, struct.pack("<i", width)) + element(1, names)
    return mat_head() + element(14, head)


def nameless_zip(path: Path, inside: bytes = b"x") -> Path:
    """A zip with one member that has no name."""
    entry = zipfile.ZipInfo("a")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, inside)
    content = path.read_bytes()
    # The name in both heads becomes the first byte of an extra field's place: no name, same length.
    local = content.index(b"PK\x03\x04")
    central = content.index(b"PK\x01\x02")
    body = bytearray(content)
    body[local + 26 : local + 28] = b"\0\0"
    body[central + 28 : central + 30] = b"\0\0"
    del body[local + 30]
    central -= 1
    del body[central + 46]
    end = bytes(body).index(b"PK\x05\x06")
    body[end + 12 : end + 16] = struct.pack("<I", end - central)
    body[end + 16 : end + 20] = struct.pack("<I", central)
    path.write_bytes(bytes(body))
    return path


def far_cell_workbook(
    path: Path, place: str = "XFD1048576", sheet: str = "sheet2.xml", body: str | None = None
) -> Path:
    """An Arbin workbook of some kilobytes with one more row, far from the others."""
    plain = made.arbin_workbook(
        path.with_suffix(".plain"), made.arbin_rows(made.START, 1), start=made.START
    )
    row = "".join(letter for letter in place if letter.isdigit())
    cell = f'<c r="{place}"><v>1</v></c>' if body is None else body
    far = f'<row r="{row}">{cell}</row></sheetData>'.encode()
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            part = source.read(entry)
            if entry.filename.endswith(sheet):
                part = part.replace(b"</sheetData>", far)
            target.writestr(entry.filename, part)
    plain.unlink()
    return path
