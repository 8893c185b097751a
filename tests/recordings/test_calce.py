"""The CALCE workbook reader: order, duplicates, cut cycles, and agreement with the tidy form."""

from __future__ import annotations

import itertools
import zipfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from recordings.calce import open_calce, split_cycle
from recordings.open import open_recording
from recordings.types import RecordingError
from tests import recording_files as made


def test_whole_life_from_workbooks_equals_the_tidy_form(shared_data: Path) -> None:
    [books] = open_calce(shared_data / "calce" / "CS2_35")
    [tidy] = open_recording(shared_data / "calce" / "tidy" / "CS2_35.parquet")
    assert tuple(map(str, books.info.problems)) == (
        "no temperature was recorded",
        "CS2_35_2_4_11.xlsx holds the same data as CS2_35_2_10_11.xlsx: left out",
    )
    rows = count = 0
    for a, b in zip(books.operations(), tidy.operations(), strict=True):
        assert (a.index, a.cycle, a.kind) == (b.index, b.cycle, b.kind)
        assert [str(note) for note in a.notes] == [str(note) for note in b.notes]
        assert abs(a.start_ms - b.start_ms) <= 1
        np.testing.assert_allclose(a.time_s, b.time_s, atol=1.1e-3)
        np.testing.assert_allclose(a.voltage_v, b.voltage_v, rtol=1e-6)
        np.testing.assert_allclose(a.current_a, b.current_a, rtol=1e-6, atol=1e-7)
        assert a.capacity_ah == pytest.approx(b.capacity_ah, abs=1e-6)
        rows, count, last = rows + len(a), count + 1, a
        if a.index == 0:
            assert a.kind == "charge"
            first_ms = a.start_ms
        if a.index == 1:
            assert a.capacity_ah == pytest.approx(1.13846, abs=1e-5)
        if a.index in (208, 728):  # a workbook ended in mid-discharge
            assert a.capacity_ah is None
            assert "cut short" in str(a.notes[0])
    assert (rows, count, last.cycle) == (260_931, 1768, 886)
    assert first_ms == 1281966297000  # 2010-08-16 13:44:57
    assert last.capacity_ah == pytest.approx(0.3036, abs=1e-4)


def test_workbooks_go_by_their_start_and_once(tmp_path: Path) -> None:
    [recording] = open_calce(made.calce_folder(tmp_path / "CS2_99"))
    assert recording.info.asset == "CS2_99"
    assert recording.info.cell_type == "calce-cs2"
    assert recording.info.sensors == 0
    assert tuple(map(str, recording.info.problems[1:])) == (
        "CS2_99_10_9_10.xlsx holds the same data as CS2_99_10_1_10.xlsx: left out",
    )
    found = list(recording.operations())
    assert [(op.cycle, op.kind) for op in found] == [
        (cycle, kind) for cycle in (1, 2, 3, 4) for kind in ("charge", "discharge")
    ]
    starts = [op.start_ms for op in found]
    assert starts == sorted(starts)
    first = found[0]
    assert len(first) == 3 + 20 + 3 + 8 + 1  # rest, CC, rest, CV, rest
    assert first.start_ms == 1281966297000 + 30_000


def test_capacity_is_the_increase_and_a_cut_one_is_none(tmp_path: Path) -> None:
    [recording] = open_calce(made.calce_folder(tmp_path / "CS2_99"))
    capacities = [op.capacity_ah for op in recording.operations() if op.kind == "discharge"]
    whole = 1.1 * 25 * 30 / 3600
    assert capacities == [pytest.approx(whole), None, pytest.approx(whole), pytest.approx(whole)]


def test_the_longer_of_two_with_one_start_is_read(tmp_path: Path) -> None:
    rows = made.arbin_rows(made.START, 3)
    made.arbin_workbook(tmp_path / "CS2_1_1_1_10.xlsx", rows[:40], start=made.START)
    made.arbin_workbook(tmp_path / "CS2_1_1_9_10.xlsx", rows, start=made.START)
    [recording] = open_calce(tmp_path)
    assert "CS2_1_1_1_10.xlsx starts with, and is shorter than," in str(recording.info.problems[1])
    assert len(list(recording.operations())) == 6


def test_start_comes_from_the_samples_without_an_info_sheet(tmp_path: Path) -> None:
    path = made.arbin_workbook(tmp_path / "CS2_1_1_1_10.xlsx", made.arbin_rows(made.START, 1))
    [recording] = open_calce(path)
    assert next(recording.operations()).start_ms == 1281966297000 + 30_000


def test_a_zip_gives_what_the_folder_gives(tmp_path: Path) -> None:
    folder = made.calce_folder(tmp_path / "CS2_99")
    with zipfile.ZipFile(tmp_path / "CS2_99.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"CS2_99/{file.name}")
        archive.writestr("__MACOSX/CS2_99/._CS2_99_9_7_10.xlsx", b"junk")
    [zipped] = open_recording(tmp_path / "CS2_99.zip")
    [plain] = open_recording(folder)
    for a, b in zip(zipped.operations(), plain.operations(), strict=True):
        assert a.start_ms == b.start_ms
        np.testing.assert_array_equal(a.voltage_v, b.voltage_v)


def test_two_cells_in_a_folder_are_two_recordings(tmp_path: Path) -> None:
    for cell in ("CS2_1", "CX2_2"):
        rows = made.arbin_rows(made.START, 1)
        made.arbin_workbook(tmp_path / f"{cell}_1_1_10.xlsx", rows, start=made.START)
    found = open_recording(tmp_path)
    assert [one.info.asset for one in found] == ["CS2_1", "CX2_2"]
    assert [one.info.nominal_capacity_ah for one in found] == [1.1, 1.35]
    assert [one.info.cell_type for one in found] == ["calce-cs2", None]


def test_workbooks_without_a_date_in_their_names_are_one_cell(tmp_path: Path) -> None:
    folder = tmp_path / "CX2_8"
    folder.mkdir()
    for number in (1, 2):
        start = made.START + timedelta(days=number)
        made.arbin_workbook(folder / f"test {number}.xlsx", made.arbin_rows(start, 1), start=start)
    [recording] = open_recording(folder)
    assert recording.info.asset == "CX2_8"
    assert [op.cycle for op in recording.operations()] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("current_a", "parts"),
    [
        ([0, 0, 0], [("rest", 0, 3)]),
        ([0, 1, 0, 0.5, 0, -1, -1, 0], [("charge", 0, 5), ("discharge", 5, 8)]),
        ([-1, 0, 1], [("discharge", 0, 2), ("charge", 2, 3)]),
        ([0.0009, -0.0009], [("rest", 0, 2)]),
    ],
)
def test_split_cycle(current_a: list[float], parts: list[tuple[str, int, int]]) -> None:
    found = split_cycle(np.array(current_a, dtype=float))
    assert [(kind, cut.start, cut.stop) for kind, cut in found] == parts


def broken(path: Path, row: int, column: str, value: object) -> Path:
    rows = made.arbin_rows(made.START, 2)
    rows[row][made.ARBIN_HEAD.index(column)] = value
    return made.arbin_workbook(path / "CS2_1_1_1_10.xlsx", rows, start=made.START)


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (4, "Voltage(V)", "n/a", r"sheet Channel_1-008, row 6: Voltage\(V\) is 'n/a'"),
        (70, "Cycle_Index", 1.0, "row 72: Cycle_Index runs backwards"),
        (9, "Test_Time(s)", 0.0, "time runs backwards"),
        (0, "Date_Time", 7.0, "first Date_Time is 7.0"),
    ],
)
def test_bad_cells_are_named(
    tmp_path: Path, row: int, column: str, value: object, message: str
) -> None:
    path = broken(tmp_path, row, column, value)
    with pytest.raises(RecordingError, match=message) as raised:
        list(open_calce(path)[0].operations())
    assert "CS2_1_1_1_10.xlsx" in str(raised.value)


def test_a_bad_workbook_can_be_skipped(tmp_path: Path) -> None:
    folder = made.calce_folder(tmp_path / "CS2_99")
    (folder / "CS2_99_8_8_10.xlsx").write_bytes(b"PK\x03\x04 nothing")
    reports: list[RecordingError] = []
    [recording] = open_recording(folder, on_bad=reports.append)
    assert "CS2_99_8_8_10.xlsx" in str(reports[0])
    assert len(list(itertools.islice(recording.operations(), 20))) == 8


def test_missing_column_and_sheet_are_named(tmp_path: Path) -> None:
    head = ["Voltage" if name == "Voltage(V)" else name for name in made.ARBIN_HEAD]
    rows = made.arbin_rows(made.START, 1)
    path = tmp_path / "CS2_1_1_1_10.xlsx"
    made.arbin_workbook(path, rows, head=head, start=made.START)
    with pytest.raises(RecordingError, match=r"no column Voltage\(V\)"):
        list(open_calce(path)[0].operations())
    made.arbin_workbook(path, rows, sheet="Sheet1")
    with pytest.raises(RecordingError, match="no sheet named Channel"):
        open_calce(path)
