"""A MAT file made of single bytes: each part that is not as the format says ends in a sentence."""

from __future__ import annotations

import io
import struct
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from recordings.mat5 import Mat5Error, Raw, StructArray, open_struct_array
from recordings.nasa import NasaRecording
from recordings.types import RecordingError
from tests.hostile_files import element, mat_head

FLAGS = {"struct": 2, "char": 4, "cell": 1, "double": 6}


def head(
    kind: str, dims: tuple[int, ...] = (1, 1), name: bytes = b"", complex_: bool = False
) -> bytes:
    """The flags, dimensions and name of a matrix, without its element around it."""
    flags = FLAGS[kind] | (0x800 if complex_ else 0)
    sizes = struct.pack(f"<{len(dims)}i", *dims)
    return element(6, struct.pack("<II", flags, 0)) + element(5, sizes) + element(1, name)


def numbers(*values: float) -> bytes:
    """The body of a matrix of doubles."""
    return head("double", (1, len(values))) + element(9, np.array(values, "<f8").tobytes())


def text(words: str, kind: int = 16, codec: str = "utf-8") -> bytes:
    """The body of a character array."""
    return head("char", (1, len(words))) + element(kind, words.encode(codec))


def struct_head(*names: str, dims: tuple[int, ...] = (1, 1), name: bytes = b"") -> bytes:
    """The head of a struct array with its fields' names."""
    padded = b"".join(one.encode().ljust(32, b"\0") for one in names)
    return head("struct", dims, name) + element(5, struct.pack("<i", 32)) + element(1, padded)


def struct_of(dims: tuple[int, ...] = (1, 1), name: bytes = b"", **fields: bytes) -> bytes:
    """The body of a struct (array): every field is a matrix's body."""
    values = b"".join(element(14, body) for body in fields.values())
    return struct_head(*fields, dims=dims, name=name) + values


def opened(*elements: bytes, wanted: str = "cycle") -> StructArray:
    return open_struct_array(io.BytesIO(mat_head() + b"".join(elements)), wanted)


def refused(words: str, *elements: bytes) -> None:
    with pytest.raises(Mat5Error, match=words):
        list(opened(*elements).elements)


CYCLE = element(14, struct_of(name=b"B1", cycle=struct_of(x=numbers(1.0, 2.0))))


def test_what_stands_before_the_struct_is_stepped_over() -> None:
    other = element(14, numbers(1.0))
    elsewhere = element(14, struct_of(other=numbers(1.0)))
    two = element(14, struct_of(dims=(1, 2), cycle=numbers(1.0)))  # an array has no one `cycle`
    for before in (b"", other, elsewhere, two):
        array = opened(before, CYCLE)
        assert (array.variable, array.count) == ("B1", 1)
        assert next(array.elements)["x"].numbers().tolist() == [1.0, 2.0]


def test_a_field_before_the_wanted_one_is_stepped_over() -> None:
    both = struct_of(name=b"B1", note=text("new"), cycle=struct_of(x=numbers(3.0)))
    assert next(opened(element(14, both)).elements)["x"].numbers().tolist() == [3.0]


def test_a_file_of_nothing_else_has_no_such_struct() -> None:
    refused("no variable with a field 'cycle'", element(14, numbers(1.0)))
    refused("no variable with a field 'cycle'")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"MATLAB 5.0", "too short for a MAT file"),
        (mat_head()[:126] + b"??", "no MAT level 5 mark in its head"),
        (mat_head()[:124] + b"\x00\x02IM", "MAT version 0x0200, only level 5"),
        (mat_head() + element(7, b"1234"), "unknown element type 7"),
        (mat_head() + element(15, zlib.compress(element(7, b"12"))), "compressed element type 7"),
        (mat_head() + element(15, b"no zlib at all"), "the compressed data are damaged"),
        (mat_head() + element(15, zlib.compress(CYCLE))[:-30], "the compressed data end too early"),
        (mat_head() + element(15, zlib.compress(CYCLE[:60])), "the compressed data end too early"),
        (mat_head() + CYCLE[:60], "the file ends too early"),
    ],
)
def test_the_file_is_what_its_head_says(content: bytes, words: str) -> None:
    with pytest.raises(Mat5Error, match=words):
        list(open_struct_array(io.BytesIO(content), "cycle").elements)


def test_an_element_is_not_read_at_whatever_size_it_claims() -> None:
    claims = struct_head("first", "cycle") + struct.pack("<II", 14, 1 << 28)
    refused("claims 268,435,456 bytes; at most 134,217,728", element(14, claims))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (element(5, bytes(8)), "array flags expected"),
        (element(6, bytes(4)), "array flags expected"),
        (element(6, bytes(8)) + element(6, bytes(8)), "array dimensions expected"),
        (element(6, bytes(8)) + element(5, bytes(4)), "array dimensions expected"),
        (element(6, bytes(8)) + element(5, bytes(10)), "array dimensions expected"),
        (head("double", (1, -1)), "a negative array dimension"),
        (element(6, bytes(8)) + element(5, bytes(8)) + element(9, b""), "array name expected"),
        (head("struct") + element(6, bytes(4)), "field name length expected"),
        (head("struct") + element(5, bytes(8)), "field name length expected"),
        (
            head("struct") + element(5, struct.pack("<i", 32)) + element(1, bytes(33)),
            "field names do not fit their length",
        ),
        (struct_head("a", "cycle") + element(9, bytes(8)), "field 'a' is not a matrix"),
        (struct_of(cycle=numbers(1.0)), "field 'cycle' is not a struct array"),
        (
            struct_of(cycle=struct_head("x", dims=(1, 1_000_001))),
            "has 1,000,001 elements; at most 1,000,000",
        ),
        (
            struct_of(cycle=struct_head("x") + element(9, bytes(8))),
            r"field 'x' is not a matrix \(data type 9\)",
        ),
    ],
)
def test_a_matrix_is_as_the_format_says(body: bytes, words: str) -> None:
    refused(words, element(14, body))


def test_a_small_element_holds_four_bytes() -> None:
    small = struct.pack("<HH", 5, 5) + bytes(4)
    refused("a small element with more than 4 bytes", element(14, element(6, bytes(8)) + small))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (head("double", (1, 1)) + element(18, bytes(8)), "numbers stored as data type 18"),
        (head("double", (1, 3)) + element(9, bytes(16)), "3 numbers announced, 16 bytes found"),
        (head("char", (1, 1)) + element(9, bytes(8)), "text stored as data type 9"),
        (head("double", (1, 1)) + element(9, bytes(8))[:12], "past the end of what holds it"),
        (head("char", (1, 1)) + element(16, bytes(70_000)), "70,000 bytes where at most 65,536"),
    ],
)
def test_a_value_is_as_its_head_says(body: bytes, words: str) -> None:
    with pytest.raises(Mat5Error, match=words):
        Raw(body, "<").value()


def test_values_of_every_kind() -> None:
    assert Raw(b"", "<").numbers().shape == (0,)  # how MATLAB writes `[]`
    assert Raw(struct_of(dims=(0, 0), a=b""), "<").value() == {}
    assert Raw(head("cell"), "<").value() is None
    for kind, codec in ((16, "utf-8"), (4, "utf-16-le"), (17, "utf-16-le"), (18, "utf-32-le")):
        assert Raw(text("充电", kind, codec), "<").text() == "充电"
    for wrong in (text("a"), head("cell")):
        with pytest.raises(Mat5Error, match="numbers expected"):
            Raw(wrong, "<").numbers()
        with pytest.raises(Mat5Error, match="struct expected"):
            Raw(wrong, "<").fields()


# The same through the reader of NASA's files.

MOMENT = numbers(2008, 4, 2, 13, 8, 17.5)
TIMES, VOLTS = numbers(0, 10, 20), numbers(3.7, 3.7, 3.7)
AMPS, WARM = numbers(1, 1, 1), numbers(24, 24, 24)
DATA = struct_of(
    Time=TIMES, Voltage_measured=VOLTS, Current_measured=AMPS, Temperature_measured=WARM
)


def nasa(folder: Path, **fields: bytes) -> Path:
    """A NASA file of one operation with these fields."""
    path = folder / "B1.mat"
    path.write_bytes(
        mat_head() + element(14, struct_of(name=b"B1", cycle=struct_of((1, 1), b"", **fields)))
    )
    return path


def test_an_operation_of_single_bytes_is_read(tmp_path: Path) -> None:
    path = nasa(tmp_path, type=text("charge"), time=MOMENT, data=DATA)
    (operation,) = NasaRecording(path).operations()
    began = datetime(2008, 4, 2, 13, 8, 17, 500_000, UTC)
    assert operation.start_ms == began.timestamp() * 1000
    assert operation.time_s.tolist() == [0, 10, 20]
    assert operation.ambient_c is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"type": text("charge"), "time": MOMENT}, "after record 0: no `type` or no `data`"),
        ({"time": MOMENT, "data": DATA}, "after record 0: no `type` or no `data`"),
        (
            {"type": text("x" * 50), "time": MOMENT, "data": DATA},
            f"an operation of unknown type '{'x' * 40}'",
        ),
        ({"type": text("charge"), "data": DATA}, "operation 0 (record 0, charge): no `time`"),
        (
            {"type": text("charge"), "time": numbers(2008, 4, 31, 0, 0, 0), "data": DATA},
            "[2008.0, 4.0, 31.0, 0.0, 0.0, 0.0] is not a date and time",
        ),
        (
            {"type": text("charge"), "time": numbers(2008, 4), "data": DATA},
            "[2008.0, 4.0] is not a date and time",
        ),
        (
            {"type": text("charge"), "time": numbers(2008, 4, 2, 0, 0, 1e300), "data": DATA},
            "is not a date and time",
        ),
        (
            {"type": text("charge"), "time": numbers(float("inf"), 4, 2, 0, 0, 0), "data": DATA},
            "is not a date and time",
        ),
        (
            {"type": text("charge"), "time": MOMENT, "data": struct_of(Time=TIMES)},
            "operation 0 (record 0, charge): no `Voltage_measured`",
        ),
        (
            {"type": text("charge"), "time": MOMENT, "data": numbers(1.0)},
            "operation 0 (record 0, charge): struct expected",
        ),
    ],
)
def test_an_operation_with_something_missing_names_it(
    tmp_path: Path, fields: dict[str, bytes], words: str
) -> None:
    recording = NasaRecording(nasa(tmp_path, **fields))
    with pytest.raises(RecordingError) as caught:
        list(recording.operations())
    assert str(caught.value).startswith("B1.mat, ")
    assert words in str(caught.value)


def test_impedance_that_is_no_number_is_none_and_damage_is_said(tmp_path: Path) -> None:
    said = struct_of(
        Re=text("low"), Rct=numbers(float("nan")), Battery_impedance=head("cell")
    )  # no Rectified_Impedance
    path = nasa(tmp_path, type=text("impedance"), time=MOMENT, data=said)
    (one,) = NasaRecording(path).impedance()
    assert (one.electrolyte_ohm, one.charge_transfer_ohm, one.ambient_c) == (None, None, None)
    assert (len(one.battery_ohm), len(one.rectified_ohm)) == (0, 0)
    path = nasa(tmp_path, type=text("impedance"), time=MOMENT, data=text("none"))
    reports: list[RecordingError] = []
    assert list(NasaRecording(path, on_bad=reports.append).impedance()) == []
    assert [str(one) for one in reports] == ["B1.mat, record 0 (impedance): struct expected"]


def test_a_file_without_operations_and_one_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "B1.mat"
    empty = struct_of(name=b"B1", cycle=struct_of(dims=(1, 0), type=b""))
    path.write_bytes(mat_head() + element(14, empty))
    with pytest.raises(RecordingError, match=r"B1\.mat: no operations in it"):
        NasaRecording(path)
    with pytest.raises(RecordingError, match=r"gone\.mat: No such file or directory"):
        NasaRecording(tmp_path / "gone.mat")
