"""Looking a battery up: by id, by path, near names, and what a survey tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from recordings import lookup
from recordings.bundle import write_bundle
from recordings.open import open_recording
from recordings.types import RecordingError
from tests import recording_files as made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a .mat, its tidy form, CALCE workbooks, and what is no recording."""
    data = tmp_path / "data"
    (data / "nasa").mkdir(parents=True)
    made.nasa_mat(data / "nasa" / "B0005.reconstructed.mat")
    made.tidy_parquet(data / "nasa" / "B0005.parquet")
    made.calce_folder(data / "CS2_99")
    (data / "index.csv").write_text("a,b\n")
    (data / "broken.mat").write_bytes(b"nothing")
    return data


@pytest.mark.parametrize("name", ["B0005", "b0005", "B5", "5", "#05"])
def test_short_ids_are_understood(folder: Path, name: str) -> None:
    [recording] = lookup.find(name, [folder])
    assert recording.info.asset == "B0005"
    assert recording.info.source.endswith(".mat")  # the publisher's form goes first


def test_workbooks_and_paths_are_found(folder: Path) -> None:
    assert lookup.find("cs2_99", [folder])[0].info.dataset == "calce"
    path = folder / "nasa" / "B0005.parquet"
    assert lookup.find(str(path), [])[0].info.source == str(path)


def test_an_asset_within_a_bundle_is_found(folder: Path) -> None:
    write_bundle(
        folder / "demo.parquet", open_recording(made.nasa_mat(folder / "x.mat", name="in_it"))
    )
    (folder / "x.mat").unlink()
    [recording] = lookup.find("in_it", [folder])
    assert recording.info.asset == "in_it"
    assert recording.info.source.endswith("demo.parquet")


def test_unknown_id_suggests_near_ones(folder: Path) -> None:
    with pytest.raises(RecordingError, match=r"CS2_98: no such file.*; near: CS2_99"):
        lookup.find("CS2_98", [folder])
    with pytest.raises(RecordingError, match=r"B0017: .*near: .*B0018"):
        lookup.find("B0017", [folder])
    with pytest.raises(RecordingError, match="no battery of this name in"):
        lookup.find("zzz", [folder])


def test_published_cell_that_is_not_here_says_how_to_get_it(folder: Path) -> None:
    with pytest.raises(RecordingError, match=r"B0036: a NASA cell .* `cellpulse data fetch nasa`"):
        lookup.find("B0036", [folder])


def test_everything_lists_each_recording_and_nothing_else(folder: Path) -> None:
    found = [(one.info.asset, one.path.name) for one in lookup.everything([folder])]
    assert found == [
        ("B0005", "B0005.reconstructed.mat"),
        ("B0005", "B0005.parquet"),
        ("CS2_99", "CS2_99"),
    ]
    assert list(lookup.everything([folder / "missing"])) == []


def test_survey_counts(folder: Path) -> None:
    told = lookup.survey(lookup.find("B0005", [folder])[0])
    assert (told.charges, told.discharges, told.rests, told.cycles) == (3, 3, 0, 3)
    assert told.samples == 3 * 110
    assert told.first_capacity_ah == 1.8
    assert told.last_capacity_ah == pytest.approx(1.78)
    assert (told.first_day, told.ambients_c) == ("2010-08-16", (24.0,))
    assert told.notes == ()
    cut = lookup.survey(lookup.find("CS2_99", [folder])[0])
    assert cut.unknown_capacities == 1
    assert cut.notes == ("discharge cut short at … V after … Ah: no capacity (1 times)",)
    assert cut.hottest_c is None


def test_survey_of_nothing_is_an_error(tmp_path: Path) -> None:
    path = made.nasa_mat(tmp_path / "B0005.mat", cycles=1)
    path.write_bytes(path.read_bytes()[:700])
    skipped: list[RecordingError] = []
    [recording] = open_recording(path, on_bad=skipped.append)
    with pytest.raises(RecordingError, match="no operation could be read"):
        lookup.survey(recording)
    assert skipped


def test_protocols() -> None:
    from recordings.calce import cell_info
    from recordings.nasa import nasa_info

    assert lookup.protocol(nasa_info("B0007", "")) == (
        "charge CC 1.5 A to 4.2 V, then CV until 20 mA; discharge CC 2 A to 2.2 V; ambient 24 C"
    )
    assert "discharge CC 1.1 A" in lookup.protocol(cell_info("CS2_35", ""))
    assert "discharge CC 0.55 A" in lookup.protocol(cell_info("CS2_33", ""))
    assert lookup.protocol(nasa_info("B9999", "")) == "not stated"


def test_real_cells(shared_data: Path) -> None:
    told = lookup.survey(lookup.find("B0050", [shared_data])[0])
    assert told.info.source.endswith("B0050.mat")
    assert (told.charges, told.discharges, told.unknown_capacities) == (25, 25, 6)
    assert "no capacity was published (4 times)" in told.notes
    ids = {one.info.asset for one in lookup.everything([shared_data])}
    assert len(ids & {f"B00{n:02d}" for n in range(57)}) == 29
    assert {"CS2_34", "CS2_35", "CS2_36", "CS2_38", "DMEGC_R1"} <= ids
    assert not any("nasa_ops" in one for one in ids)
