"""CSV, Parquet and HDF5 as tables: what is no table of numbers is refused in a sentence."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recordings.generic import GenericRecording
from recordings.mapping import resolve
from recordings.open import open_recording
from recordings.parquet import floats, numpy_column
from recordings.tables import open_table
from recordings.types import MAX_COLUMNS, Operation, RecordingError

HEAD = "Test Time,Voltage(V),Current(A)"


def read(path: Path, **mapping: Any) -> list[Operation]:
    """All operations of a file with plain names, or as a mapping says."""
    given = mapping or None
    return list(GenericRecording(path, mapping=given, nominal_capacity_ah=2.0).operations())


def refused(path: Path, **mapping: Any) -> str:
    with pytest.raises(RecordingError) as caught:
        read(path, **mapping)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"gone\.csv: No such file or directory"):
        open_table(tmp_path / "gone.csv", {})


# Text


@pytest.mark.parametrize(("text", "skip"), [("", 0), ("\n1,2\n", 0), ("a,b\n", 1), ("a,b\n", 9)])
def test_a_text_without_a_header_row(tmp_path: Path, text: str, skip: int) -> None:
    path = written(tmp_path / "x.csv", text)
    with pytest.raises(RecordingError, match=r"x\.csv: no header row"):
        open_table(path, {"options": {"skip_rows": skip}})


def test_a_text_of_its_header_alone_has_no_operation(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", f"{HEAD}\n")
    assert open_table(path, {}).names == HEAD.split(",")
    assert read(path) == []


def test_times_as_hours_minutes_and_seconds(tmp_path: Path) -> None:
    rows = ["0:00:00,3.7,1", "0:01:30.5,3.7,1", ",3.7,1", "1-00:00:01,3.7,1", "2 1:00,3.7,1"]
    path = written(tmp_path / "x.csv", "\n".join([HEAD, *rows]))
    table = open_table(path, {})
    (batch,) = table.batches(["Test Time"], resolve(path, table, {}, 2.0))
    expected = [0.0, 90.5, np.nan, 86_401.0, 2 * 86_400 + 3_600]
    np.testing.assert_array_equal(batch["Test Time"], expected)


def test_a_time_that_is_none_among_them_names_its_column(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", f"{HEAD}\n0:00:00,3.7,1\nsoon,3.7,1\n")
    words = "x.csv: column 'Test Time' has 'soon', not hours:minutes:seconds"
    assert refused(path) == words


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,3.7\n", "x.csv, after row 0: CSV parse error: Row #3: Expected 3 columns, got 2"),
        ("1,3.7,much\n", "line 3: column 'Current(A)': CSV conversion error to double"),
        (f'1,3.7,"{"x" * 300}"\n', "…"),
        ('1,3.7,"\x07"\n', r"\x07"),
        (f'1,3.7,"{"x" * (1 << 21)}\n1,3.7,1\n', "a line of over 1 MB"),
    ],
)
def test_a_row_that_is_none_names_its_place_in_one_short_line(
    tmp_path: Path, row: str, words: str
) -> None:
    path = written(tmp_path / "x.csv", f"{HEAD}\n0,3.7,1\n{row}")
    said = refused(path)
    assert words in said
    assert said.isprintable()
    assert len(said) < 300


def test_options_that_are_no_single_sign_are_refused_and_not_used(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", f"{HEAD}\n0,3.7,1\n1,3.7,1\n")
    columns = {"time": "Test Time", "voltage": "Voltage(V)"}
    for options in ({"delimiter": ";;"}, {"decimal": 3}):
        said = refused(path, columns=columns, options=options)
        assert said.startswith("x.csv: ")
        assert next(iter(options)) in said


# Parquet


def parquet(path: Path, *columns: tuple[str, pa.Array]) -> Path:
    """A table of columns, whose names may be the same."""
    names = [name for name, _ in columns]
    pq.write_table(pa.table([column for _, column in columns], names=names), path)
    return path


PLAIN = (("time_s", pa.array([0.0, 1.0])), ("current_a", pa.array([1.0, 1.0])))


@pytest.mark.parametrize(
    ("voltage", "words"),
    [
        (pa.array([[[3.7]], [[3.7]]]), "column 'voltage_v' holds lists of lists"),
        (pa.array([{"a": 3.7}, {"a": 3.7}]), "column 'voltage_v' is not numbers"),
        (pa.array(["high", "low"]), "column 'voltage_v' is not numbers"),
        (pa.array([b"\x00", b"\x01"]), "column 'voltage_v' is not numbers"),
        (pa.array([[3.7, 3.8], [3.7]]), "column 'voltage_v' is not numbers"),
    ],
)
def test_a_column_that_is_not_of_numbers(tmp_path: Path, voltage: pa.Array, words: str) -> None:
    path = parquet(tmp_path / "x.parquet", *PLAIN, ("voltage_v", voltage))
    assert words in refused(path)


@pytest.mark.parametrize(
    ("voltage", "expected"),
    [
        (pa.array([[3.7, 3.8], [3.6, 3.9]], pa.list_(pa.float32(), 2)), [[3.7, 3.8], [3.6, 3.9]]),
        (pa.array([[3.7], [3.6]]), [[3.7], [3.6]]),
        (pa.array([3.7, 3.7]).dictionary_encode(), [[3.7], [3.7]]),
        (pa.array([4, None]), [[4.0], [np.nan]]),
        (pa.array([True, False]), [[1.0], [0.0]]),
    ],
)
def test_a_column_of_numbers_in_another_form(
    tmp_path: Path, voltage: pa.Array, expected: list[list[float]]
) -> None:
    path = parquet(tmp_path / "x.parquet", *PLAIN, ("voltage_v", voltage))
    (operation,) = read(path)
    np.testing.assert_allclose(operation.voltage_v, expected, rtol=1e-6)


def test_a_column_of_nothing_is_missing(tmp_path: Path) -> None:
    nothing = ("temperature_c", pa.nulls(2))
    path = parquet(tmp_path / "x.parquet", *PLAIN, ("voltage_v", pa.array([3.7, 3.7])), nothing)
    (operation,) = read(path)
    assert np.isnan(operation.temperature_c).all()


def test_a_table_of_no_rows(tmp_path: Path) -> None:
    empty = pa.array([], pa.float64())
    lists = pa.array([], pa.list_(pa.float64()))
    path = parquet(
        tmp_path / "x.parquet", ("time_s", empty), ("current_a", empty), ("voltage_v", lists)
    )
    assert open_table(path, {}).width("voltage_v") == 0
    assert "cells is 0" in refused(path)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", *PLAIN, *PLAIN)
    with pytest.raises(RecordingError, match=r"x\.parquet: two columns of one name"):
        open_table(path, {})


def test_a_table_of_more_columns_inside_than_are_read(tmp_path: Path) -> None:
    inside = pa.StructArray.from_arrays(
        [pa.array([1.0])] * (MAX_COLUMNS + 1), [f"c{k}" for k in range(MAX_COLUMNS + 1)]
    )
    path = parquet(tmp_path / "x.parquet", ("all", inside))
    with pytest.raises(RecordingError, match=r"x\.parquet: more than 10,000 columns"):
        open_table(path, {})


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.chunked_array([[1, 2], [3]]), [1, 2, 3]),
        (pa.chunked_array([[1, None], [3]]), [1, np.nan, 3]),
        (pa.array([], pa.float64()), []),
        (pa.array([None, 2.5]), [np.nan, 2.5]),
        (pa.array([1.0, None, 3.0])[1:], [np.nan, 3.0]),
        (pa.array([True, None]), [1, np.nan]),
    ],
)
def test_a_column_as_floats(column: pa.Array, expected: list[float]) -> None:
    np.testing.assert_array_equal(floats(column), expected)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.chunked_array([["a"], ["b"]]), ["a", "b"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([1, 2]), [1, 2]),
        (pa.array([1, None]), [1, np.nan]),
        (pa.array([0, 1], pa.timestamp("s", "UTC")), np.array([0, 1_000], "datetime64[ms]")),
    ],
)
def test_a_column_as_numpy(column: pa.Array, expected: Any) -> None:
    np.testing.assert_array_equal(numpy_column(column), expected)


def test_a_date_that_is_missing_is_an_error() -> None:
    with pytest.raises(ValueError, match="a date is missing"):
        numpy_column(pa.array([0, None], pa.timestamp("ms")))


# HDF5


def hdf5(path: Path, fill: Callable[[h5py.File], object]) -> Path:
    with h5py.File(path, "w") as file:
        file["time_s"], file["current_a"] = np.arange(4.0), np.ones(4)
        fill(file)
    return path


def put(name: str, **about: Any) -> Callable[[h5py.File], object]:
    return lambda file: file.create_dataset(name, **about)


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (put("voltage_v", data=np.ones(3)), "x.h5: datasets of different length: {"),
        (
            put("voltage_v", data=np.array([b"a"] * 4, "S1")),
            "dataset 'voltage_v': its values are |S1, not numbers",
        ),
        (
            put("voltage_v", shape=(4,), dtype="f8", chunks=(1 << 25,), maxshape=(None,)),
            "chunks of 268,435,456 bytes; at most 134,217,728 are read",
        ),
    ],
)
def test_datasets_that_are_no_table(
    tmp_path: Path, fill: Callable[[h5py.File], object], words: str
) -> None:
    assert words in refused(hdf5(tmp_path / "x.h5", fill))


def test_a_compound_dataset_is_a_table_of_its_fields(tmp_path: Path) -> None:
    kind = np.dtype([("time", "f8"), ("volts", "f4", (2,)), ("amps", "f4")])
    rows = np.array([(0, (3.7, 3.8), 1), (1, (3.6, 3.9), 1)], kind)
    path = hdf5(tmp_path / "x.h5", put("log", data=rows))
    columns = {"time": "log/time", "voltage": "log/volts", "current": "log/amps"}
    (operation,) = read(path, columns=columns)
    np.testing.assert_allclose(operation.voltage_v, [[3.7, 3.8], [3.6, 3.9]], rtol=1e-6)
    assert operation.current_a.tolist() == [1, 1]


def test_a_row_of_a_compound_dataset_that_cannot_be(tmp_path: Path) -> None:
    kind = np.dtype([("time", "f8"), ("volts", "f4"), ("blob", "f8", (40_000,))])
    path = hdf5(tmp_path / "x.h5", put("log", shape=(4,), dtype=kind))
    said = refused(path, columns={"time": "log/time", "voltage": "log/volts"})
    assert "320,012 bytes a row cannot be" in said


def test_what_is_no_column_is_passed_over(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["voltage_v"] = np.full(4, 3.7)
        file["one number"] = 3.0
        file["a cube"] = np.ones((2, 2, 2))
        file.create_group("a group")["inner"] = np.ones(4)

    names = open_table(hdf5(tmp_path / "x.h5", fill), {}).names
    assert sorted(names) == ["a group/inner", "current_a", "time_s", "voltage_v"]


def test_more_datasets_than_are_read(tmp_path: Path) -> None:
    kind = np.dtype([(f"c{k}", "u1") for k in range(1_000)])

    def fill(file: h5py.File) -> None:
        for number in range(12):
            file.create_dataset(f"t{number:02d}", data=np.zeros(1, kind))

    path = hdf5(tmp_path / "x.h5", fill)
    with pytest.raises(RecordingError, match=r"x\.h5: more than 10,000 columns"):
        open_table(path, {})


def test_hdf5_without_h5py_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hdf5(tmp_path / "x.h5", put("voltage_v", data=np.full(4, 3.7)))
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RecordingError, match=r"HDF5 needs h5py: pip install 'cellpulse\[data\]'"):
        open_recording(path)
