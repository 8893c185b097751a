"""A file of some kilobytes may claim anything: each claim has a bound, and ends in a sentence."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor import contract
from recordings import archive, types
from recordings.mat5 import Mat5Error, Raw
from recordings.open import open_recording
from recordings.segmenting import segments
from recordings.types import Operation, RecordingError, RecordingInfo
from tests import hostile_files as hostile
from tests import recording_files as made

TOML = "[info]\nnominal_capacity_ah = 2.0\n"
INFO = RecordingInfo("a", "generic", 2.0)
OPERATION = Operation(
    0, 1, "charge", 0, np.arange(2.0), np.ones(2), np.ones((2, 1)), np.ones((2, 1))
)


def refused(path: Path, words: str) -> str:
    """What opening or reading the file is refused with; `words` must be in it."""
    with pytest.raises(RecordingError) as caught:
        _ = [list(recording.operations()) for recording in open_recording(path)]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_bound_of_files_is_the_bound_of_messages() -> None:
    assert types.MAX_CELLS == contract.MAX_CELLS


@pytest.mark.parametrize("cells", [4_097, 5_200, 20_000])
def test_more_cells_than_a_pack_has_are_refused(tmp_path: Path, cells: int) -> None:
    path = hostile.wide_hdf5(tmp_path / "wide.h5", cells)
    words = refused(path, f"{cells:,} cells; a pack has at most 4,096")
    assert words.startswith("wide.h5, column voltage_v")


def test_more_sensors_than_a_pack_has_are_refused(tmp_path: Path) -> None:
    path = hostile.wide_hdf5(tmp_path / "wide.h5", 2, 4_097)
    refused(path, "wide.h5, column temperature_c: 4,097 sensors; a pack has at most 4,096")


def test_as_many_cells_as_a_pack_has_are_read(tmp_path: Path) -> None:
    (recording,) = open_recording(hostile.wide_hdf5(tmp_path / "wide.h5", 4_096, rows=3))
    (operation,) = recording.operations()
    assert recording.info.cells == 4_096
    assert operation.voltage_v.shape == (3, 4_096)


def test_cells_in_lists_and_in_many_columns_are_counted(tmp_path: Path) -> None:
    lists = pa.array([[3.7] * 4_097] * 3, pa.list_(pa.float32()))
    table = {"time_s": [0.0, 1.0, 2.0], "current_a": [1.0] * 3, "voltage_v": lists}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    (tmp_path / "a.toml").write_text(TOML)
    refused(tmp_path / "a.parquet", "claims 12,291 values in 3 rows; at most 4,096 a row are read")
    names = [f"u{k}" for k in range(4_097)]
    (tmp_path / "b.csv").write_text(f"t,i,{','.join(names)}\n0,1{',3.7' * 4_097}\n")
    (tmp_path / "b.toml").write_text(
        f'{TOML}[columns]\ntime = "t"\ncurrent = "i"\nvoltage = {names}\n'
    )
    refused(tmp_path / "b.csv", "4,097 cells; a pack has at most 4,096")


def test_lists_of_another_length_than_the_first_are_refused(tmp_path: Path) -> None:
    lists = pa.array([[3.7] * 4, [3.7] * 8], pa.list_(pa.float32()))
    table = {"time_s": [0.0, 1.0], "current_a": [1.0] * 2, "voltage_v": lists}
    (tmp_path / "a.toml").write_text(TOML)
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "6 values of voltage_v a row where the first row has 4")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("cells", 5_000, "5,000 cells; a pack has at most 4,096"),
        ("cells", 0, "cells is 0, not a whole number from 1 on"),
        ("cells", True, "cells is True"),
        ("cells", "4", "cells is '4'"),
        ("sensors", -1, "sensors is -1, not a whole number from 0 on"),
        ("sensors", 2**40, "a pack has at most 4,096"),
        ("nominal_capacity_ah", float("nan"), "nominal_capacity_ah is nan"),
        ("nominal_capacity_ah", 10**400, "nominal_capacity_ah is 1000"),
        ("nominal_capacity_ah", 0.0, "not a number over 1e-06 and up to 1e+06"),
        ("charge_voltage_v", float("inf"), "charge_voltage_v is inf"),
        ("temperature_max_c", -300.0, "temperature_max_c is -300.0"),
        ("chemistry", "x" * 3_000, "chemistry has 3,000 characters; at most 2,000"),
        ("asset", "../x", "asset '../x' is no name"),
    ],
)
def test_what_is_said_of_a_recording_is_bounded(name: str, value: object, words: str) -> None:
    change: dict[str, Any] = {name: value}
    with pytest.raises(RecordingError) as caught:
        replace(INFO, **change)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("voltage_v", (2, 4_097), "operation 0: 4,097 cells; a pack has at most 4,096"),
        ("temperature_c", (2, 4_097), "operation 0: 4,097 sensors; a pack has at most 4,096"),
        ("voltage_v", (2,), "voltage_v has the shape (2,); a list of values a row belongs there"),
        ("time_s", (2, 2), "time_s has the shape (2, 2); one value a row belongs there"),
    ],
)
def test_an_operation_is_of_its_shape(name: str, shape: tuple[int, ...], words: str) -> None:
    change: dict[str, Any] = {name: np.ones(shape)}
    with pytest.raises(RecordingError) as caught:
        replace(OPERATION, **change)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("dims", "name", "width", "names"),
    [
        ([2] * 300_000, b"B0005", 8, b"cycle\0\0\0"),
        ([2] * 33, b"B0005", 8, b"cycle\0\0\0"),
        ([1, 1], b"B" * 100_000, 8, b"cycle\0\0\0"),
        ([1, 1], b"B0005", 1, b"c" * 195_000),
        ([1, 1], b"B0005", 1 << 20, b"c" * (1 << 20)),
        ([1, 1], b"B0005", 0, b"cycle\0\0\0"),
    ],
)
def test_what_a_mat_file_claims_is_bounded(
    tmp_path: Path, dims: list[int], name: bytes, width: int, names: bytes
) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(hostile.mat_struct(dims, name, width, names))
    refused(path, "a.mat: not a NASA battery .mat file")


def test_the_fields_of_an_element_are_bounded_together() -> None:
    field = hostile.element(14, hostile.element(6, b"\6" + bytes(7)))
    head = hostile.mat_struct([1, 1], b"", 8, b"a".ljust(8, b"\0"))[128 + 8 :]
    with pytest.raises(Mat5Error, match="take more than 134,217,728 bytes"):
        Raw(head + field[:4] + (1 << 28).to_bytes(4, "little"), "<").value()


@pytest.mark.parametrize("inside", [False, True])
def test_a_member_without_a_name_is_passed_over(tmp_path: Path, inside: bool) -> None:
    path = hostile.nameless_zip(tmp_path / "a.zip")
    with zipfile.ZipFile(path) as content:
        assert [entry.filename for entry in content.infolist()] == [""]
    if inside:
        outer = tmp_path / "outer.zip"
        with zipfile.ZipFile(outer, "w") as content:
            content.write(path, "a.zip")
        path = outer
    refused(path, "neither a NASA .mat nor an Arbin .xlsx workbook in it")


def test_zips_that_would_be_inflated_again_and_again_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.nasa_mat(tmp_path / "B0005.mat", 1)
    with zipfile.ZipFile(tmp_path / "inner.zip", "w", zipfile.ZIP_DEFLATED) as inner:
        inner.writestr("zeros", bytes(1 << 20))
        for number in range(4):
            inner.write(tmp_path / "B0005.mat", f"{number}.mat")
    size = (tmp_path / "inner.zip").stat().st_size
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "inner.zip", "inner.zip")
    assert len(open_recording(tmp_path / "outer.zip")) == 4
    monkeypatch.setattr(archive, "MAX_REPEATED_BYTES", 3 * size)
    refused(tmp_path / "outer.zip", "would be inflated; unpack it first")


@pytest.mark.parametrize("place", ["XFD1048576", "AAAAAAAA3", "B4000000000", "xfd9999999"])
@pytest.mark.parametrize("sheet", ["sheet1.xml", "sheet2.xml"])
def test_a_workbook_with_a_far_cell_is_refused_before_room_is_made(
    tmp_path: Path, place: str, sheet: str
) -> None:
    path = hostile.far_cell_workbook(tmp_path / "a.xlsx", place, sheet)
    refused(path, f"a.xlsx, xl/worksheets/{sheet}: cells up to row")


def test_a_far_cell_is_found_across_the_pieces_in_which_a_sheet_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hostile.far_cell_workbook(tmp_path / "a.xlsx")
    for size in range(20, 90, 7):
        monkeypatch.setattr("recordings.sheets._CHUNK_BYTES", size)
        refused(path, "cells up to row 1,048,576 and column 16,384")


def test_a_far_cell_that_is_there_for_its_looks_is_no_hindrance(tmp_path: Path) -> None:
    path = hostile.far_cell_workbook(tmp_path / "a.xlsx", body='<c r="XFD1048576" s="1"/>')
    (recording,) = open_recording(path)
    assert len(list(recording.operations())) == 2
    path = hostile.far_cell_workbook(tmp_path / "b.xlsx", body="")
    assert len(open_recording(path)) == 1


def test_a_cell_that_only_its_row_places_is_found(tmp_path: Path) -> None:
    path = hostile.far_cell_workbook(tmp_path / "a.xlsx", "A9999999", body="<c><v>1</v></c>")
    refused(path, "cells up to row 9,999,999 and column 26")


def test_a_workbook_that_is_another_kind_inside_is_refused(tmp_path: Path) -> None:
    path = hostile.far_cell_workbook(tmp_path / "a.xlsx", "B9")
    assert len(open_recording(path)) == 1
    with zipfile.ZipFile(path, "a") as book:
        book.writestr("content.xml", "<x/>")
    refused(path, "a.xlsx: not an .xlsx workbook")


def empty_rows(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in ("time_s", "current_a", "voltage_v"):
            file.create_dataset(name, (50_000_000,), "f8", chunks=(1 << 16,))


def too_many_rows(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in ("time_s", "current_a", "voltage_v"):
            file.create_dataset(name, (1 << 40,), "f8", chunks=(1 << 16,))


def huge_chunk(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in ("time_s", "current_a", "voltage_v"):
            file.create_dataset(name, (100,), "f8", chunks=(1 << 25,), maxshape=(None,))


def huge_row(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["time_s"], file["current_a"] = [0.0], [1.0]
        file.create_dataset("voltage_v", (1,), np.dtype([("v", "f8", (2_000_000,))]))
    path.with_suffix(".toml").write_text(
        f'{TOML}[columns]\ntime = "time_s"\ncurrent = "current_a"\nvoltage = "voltage_v/v"\n'
    )


def text_values(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["time_s"], file["current_a"], file["voltage_v"] = [0.0], ["x" * 10], [3.7]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (empty_rows, "50,000,000 rows claimed and 0 bytes stored: most of it is not there"),
        (too_many_rows, "1,099,511,627,776 rows; at most 100,000,000 are read"),
        (huge_chunk, "chunks of 268,435,456 bytes; at most 134,217,728 are read"),
        (huge_row, "2,000,000 cells; a pack has at most 4,096"),
        (text_values, "dataset 'current_a': its values are object, not numbers"),
    ],
)
def test_what_an_hdf5_file_claims_is_bounded(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    (tmp_path / "a.toml").write_text(TOML)
    make(tmp_path / "a.h5")
    refused(tmp_path / "a.h5", words)


def test_a_tidy_file_of_lists_is_refused(tmp_path: Path) -> None:
    path = made.tidy_parquet(tmp_path / "a.parquet", 1)
    table = pq.read_table(path)
    lists = pa.array([[1.0, 2.0]] * len(table), pa.list_(pa.float32()))
    pq.write_table(
        table.set_column(table.column_names.index("current_a"), "current_a", lists), path
    )
    refused(path, "column 'current_a' holds lists; one value a row belongs there")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cells": 5_000}, "5,000 cells; a pack has at most 4,096"),
        ({"cells": "many"}, "damaged recording metadata"),
        ({"nominal_capacity_ah": 0}, "nominal_capacity_ah is 0"),
        ({"asset": "a/b"}, "is no name"),
        ({"operations": {"rows": 2**40}}, "damaged recording metadata"),
        ({"operations": {"cycle": "x"}}, "damaged recording metadata"),
        ({"operations": {"row_group": 77}}, "no row group 77"),
        ({"operations": {"row": 2**31 - 1}}, "fewer rows than announced"),
    ],
)
def test_what_a_bundle_says_of_itself_is_bounded(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    from recordings.bundle import METADATA_KEY, write_bundle

    made.nasa_mat(tmp_path / "B0005.mat", 1)
    path = tmp_path / "a.parquet"
    write_bundle(path, open_recording(tmp_path / "B0005.mat"))
    table = pq.read_table(path)
    meta = dict(pq.read_metadata(path).metadata)
    said = msgspec.json.decode(meta[METADATA_KEY])
    operation = change.pop("operations", {})
    said["assets"][0]["info"].update(change)
    said["assets"][0]["operations"][0].update(operation)
    meta[METADATA_KEY] = msgspec.json.encode(said)
    pq.write_table(table.replace_schema_metadata(meta), path)
    refused(path, words)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("info = 3", "[info] of its mapping is '3', not a table"),
        ("columns = [1]", "[columns] of its mapping is"),
        ("options = 'x'", "[options] of its mapping is 'x'"),
        ("x = " + "[" * 5_000, "not a readable mapping"),
        ("x = " + "9" * 5_000, "not a readable mapping"),
        ("[info]\nnominal_capacity_ah = 1" + "0" * 400, "nominal_capacity_ah is inf"),
        ("[info]\nnominal_capacity_ah = inf", "nominal_capacity_ah is inf"),
        ("[info]\nnominal_capacity_ah = 2\ncharge_voltage_v = nan", "charge_voltage_v is nan"),
        (f"{TOML}[options]\ndelimiter = ''", "delimiter is '', not one character"),
        (f"{TOML}[options]\nskip_rows = -1", "skip_rows is -1"),
        ("#" * (1 << 21), "at most 1,048,576 are read"),
    ],
    ids=range(11),
)
def test_what_a_mapping_says_is_bounded(tmp_path: Path, toml: str, words: str) -> None:
    made.bdf_csv(tmp_path / "a.bdf.csv")
    (tmp_path / "a.toml").write_text(toml)
    refused(tmp_path / "a.bdf.csv", words)


def test_a_number_that_no_instrument_reads_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Time [s],Voltage [V],Current [A]\n0,3.7,1\n1,1e300,-1e308\n2,3.7,1\n")
    (recording,) = open_recording(path, nominal_capacity_ah=2.0)
    (operation,) = recording.operations()
    assert np.array_equal(operation.current_a, [1.0, 1.0])
    made.tidy_parquet(tmp_path / "t.parquet", 1)
    table = pq.read_table(tmp_path / "t.parquet")
    huge = pa.array([1e300, *[1.0] * (len(table) - 1)])
    place = table.column_names.index("current_a")
    pq.write_table(table.set_column(place, "current_a", huge), tmp_path / "t.parquet")
    (recording,) = open_recording(tmp_path / "t.parquet")
    first = next(recording.operations())
    assert np.isnan(first.current_a[0])
    assert [str(note) for note in first.notes] == ["1 number that no instrument reads left out"]


def test_a_number_that_its_unit_takes_past_every_number_is_refused(tmp_path: Path) -> None:
    """A clock in seconds is made milliseconds: 1e306 of them are infinite."""
    path = tmp_path / "clock.csv"
    path.write_text("t,U,I\n1700000000,3.7,1\n1e306,3.7,1\n1700000002,3.6,1\n")
    path.with_name("clock.csv.toml").write_text(
        '[info]\nnominal_capacity_ah = 2.0\n[columns]\nclock = "t"\nvoltage = "U"\ncurrent = "I"\n'
        '[units]\nclock = "unix_s"\n'
    )
    (recording,) = open_recording(path)
    with pytest.raises(RecordingError, match="row 1: the time is not a number"):
        list(recording.operations())


def test_a_refusal_is_short_and_steers_no_terminal() -> None:
    said = str(RecordingError("a\x1b[2J\nb" + "x" * 10_000))
    assert said.startswith(r"a\x1b[2J\nb")
    assert len(said) < 1_600


def test_operations_of_one_row_cost_no_look_at_all_the_rest() -> None:
    n = 20_000
    rows = {
        "elapsed_s": np.arange(n) * 60.0,
        "current_a": np.where(np.arange(n) % 2, 2.0, -2.0),
        "cycle": np.zeros(n),
    }
    found = list(segments([rows], 2.0))
    assert sum(len(part["cycle"]) for part in found) == n
    assert len(found) == n / 2  # the first row of an operation has moved nothing yet
    rows["cycle"] = np.arange(n) * 1.0
    assert len(list(segments([rows], 2.0))) == n


def test_an_operation_of_many_cells_is_cut_after_fewer_rows() -> None:
    rows = {name: np.zeros(20_000) for name in ("elapsed_s", "current_a", "cycle")}
    assert [len(part["cycle"]) for part in segments([rows], 2.0, values=4_096)] == [
        4_096, 4_096, 4_096, 4_096, 3_616
    ]  # fmt: skip


def test_the_analysis_of_a_wide_file_ends_in_a_sentence(tmp_path: Path) -> None:
    path = hostile.wide_hdf5(tmp_path / "wide.h5", 5_200)
    done = subprocess.run(
        [sys.executable, "-m", "analysis.process", str(path)], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert msgspec.json.decode(done.stdout.splitlines()[-1]) == {
        "error": "wide.h5, column voltage_v: 5,200 cells; a pack has at most 4,096",
        "error_zh": "wide.h5，列 voltage_v：5,200 个单体；一个电池组最多 4,096 个",
    }
