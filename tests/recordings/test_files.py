"""Opening by content, the bundle, and broken bytes: nothing but RecordingError, with the name."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recordings import archive
from recordings.bundle import METADATA_KEY, write_bundle
from recordings.open import open_recording
from recordings.types import Operation, RecordingError, RecordingInfo
from tests import recording_files as made


class Pack:
    """A made-up pack with a fault, in memory."""

    def __init__(self, asset: str = "pack-1", operations: int = 5) -> None:
        self.info = RecordingInfo(
            asset=asset,
            dataset="twin",
            nominal_capacity_ah=2.0,
            cells=3,
            sensors=2,
            synthetic=True,
            problems=("made up",),
        )
        self._operations = operations

    def operations(self, start: int = 0) -> Iterator[Operation]:
        for index in range(start, self._operations):
            n = 30_000
            random = np.random.default_rng(index)
            time_s = np.arange(n) + random.uniform(0, 0.5, n)
            yield Operation(
                index=index,
                cycle=index // 2 + 1,
                kind="charge" if index % 2 == 0 else "discharge",
                start_ms=1_700_000_000_000 + index * 40_000_000,
                time_s=time_s,
                current_a=random.normal(1, 0.1, n).astype(np.float32).astype(float),
                voltage_v=random.normal(3.7, 0.1, (n, 3)).astype(np.float32).astype(float),
                temperature_c=np.where(random.random((n, 2)) < 0.1, np.nan, 25.0),
                ambient_c=np.full(n, 24.0) if index % 2 else None,
                capacity_ah=1.9 if index % 2 else None,
                fault="isc" if index == 3 else None,
                fault_active=np.arange(n) > 100 if index == 3 else None,
                notes=("odd",) if index == 1 else (),
            )


def test_bundle_gives_back_what_was_written(tmp_path: Path) -> None:
    packs = [Pack("pack-1"), Pack("pack-2", 2)]
    path = tmp_path / "x.parquet"
    write_bundle(path, packs)
    read = open_recording(path)
    assert [one.info for one in read] == [replace(one.info, source=str(path)) for one in packs]
    for pack, one in zip(packs, read, strict=True):
        for start in (0, 1, 4):
            for a, b in zip(pack.operations(start), one.operations(start), strict=True):
                for name in ("index", "cycle", "kind", "start_ms", "capacity_ah", "fault", "notes"):
                    assert getattr(a, name) == getattr(b, name)
                for name in ("time_s", "current_a", "voltage_v", "temperature_c"):
                    np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
                for name in ("ambient_c", "fault_active"):
                    wanted, found = getattr(a, name), getattr(b, name)
                    assert (wanted is None) == (found is None)
                    if wanted is not None:
                        np.testing.assert_array_equal(wanted, found)


def test_bundle_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_bundle(tmp_path / name, [Pack()])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_bundle_reads_one_row_group_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_bundle(path, [Pack(operations=9)])
    groups = pq.ParquetFile(path).metadata
    assert groups.num_row_groups == 3
    pa.default_memory_pool().release_unused()
    before = pa.total_allocated_bytes()
    most = 0
    for _ in open_recording(path)[0].operations():
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < groups.num_rows * 8 * 8 / 2


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="two recordings named pack-1"):
        write_bundle(tmp_path / "x.parquet", [Pack(operations=1), Pack(operations=1)])
    assert list(tmp_path.iterdir()) == []


def test_bundle_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    meta = {METADATA_KEY: json.dumps({"version": 99, "assets": []}).encode()}
    table = pa.table({"asset": ["a"]})
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(meta)
    with pytest.raises(RecordingError, match="recording version 99, this program reads 1"):
        open_recording(path)


def test_tidy_with_two_cells_is_refused(tmp_path: Path) -> None:
    path = made.tidy_parquet(tmp_path / "B0005.parquet")
    table = pq.read_table(path)
    names = pa.array(["B0005"] * (len(table) - 1) + ["B0006"])
    pq.write_table(
        table.set_column(table.schema.get_field_index("cell_id"), "cell_id", names), path
    )
    with pytest.raises(RecordingError, match="rows of B0006 among B0005's"):
        list(open_recording(path)[0].operations())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello\n", "not a known recording; formats read: nasa"),
        (b"hello, world\n", "the columns are not known: hello, world. Name them such as"),
        (b"MATLAB 7.3 MAT-file, Platform", "save it as level 5"),
        (b"MATLAB 5.0 MAT-file", "not a NASA battery .mat file: too short"),
        (b"PK\x03\x04", "not a readable zip"),
        (b"PAR1", "not a readable Parquet file"),
    ],
)
def test_wrong_files_are_told_apart(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=message) as raised:
        open_recording(path)
    assert "x.bin" in str(raised.value)


def test_missing_path_folder_and_format(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no such file"):
        open_recording(tmp_path / "nothing.mat")
    with pytest.raises(RecordingError, match="no recording in this folder; formats read"):
        open_recording(tmp_path)
    with pytest.raises(RecordingError, match="unknown format 'odd'; formats read"):
        open_recording(tmp_path, format="odd")


def test_parquet_with_other_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    with pytest.raises(RecordingError, match="the columns are not known: a"):
        open_recording(tmp_path / "x.parquet")


def _bundle(path: Path) -> Path:
    write_bundle(path, open_recording(made.nasa_mat(path.with_suffix(".mat"))))
    return path


def _hdf5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["t_s"] = np.arange(500.0)
        file["u_v"] = np.full((500, 2), 3.7)
    return path


def _zip_of(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def zipped(path: Path) -> Path:
        inner = make(path.parent / path.name.replace(".zip", ""))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(inner, inner.name)
        return path

    return zipped


def _workbook(path: Path) -> Path:
    return made.arbin_workbook(path, made.arbin_rows(made.START, 2), start=made.START)


WHOLE: dict[str, Callable[[Path], Path]] = {
    "B0005.mat": made.nasa_mat,
    "plain.mat": lambda path: made.nasa_mat(path, compress=False),
    "CS2_9_1_1_10.xlsx": _workbook,
    "B0005.mat.zip": _zip_of(made.nasa_mat),
    "CS2_9_1_1_10.xlsx.zip": _zip_of(_workbook),
    "tidy.parquet": made.tidy_parquet,
    "bundle.parquet": _bundle,
    "cell.bdf.csv": made.bdf_csv,
    "cell.bdf.h5": _hdf5,
}
SIDECAR = """
[info]
nominal_capacity_ah = 2.0
[columns]
time = "t_s"
voltage = "u_v"
"""


@pytest.mark.parametrize("name", WHOLE)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_bytes_raise_nothing_else(name: str, tmp_path: Path, data: st.DataObject) -> None:
    whole = tmp_path / name
    if not whole.exists():
        WHOLE[name](whole)
    content = bytearray(whole.read_bytes())
    if data.draw(st.booleans(), label="truncate"):
        content = content[: data.draw(st.integers(0, len(content) - 1), label="length")]
    else:
        places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
        for at, value in data.draw(st.lists(places, min_size=1, max_size=8), label="changed"):
            content[at] = value
    damaged = tmp_path / f"damaged-{name}"
    damaged.write_bytes(content)
    mapped = SIDECAR if name.endswith("h5") else "[info]\nnominal_capacity_ah = 2.0\n"
    if ".bdf." in name:
        (tmp_path / "damaged-cell.toml").write_text(mapped)
    reports: list[RecordingError] = []
    for on_bad in (None, reports.append):
        try:
            for recording in open_recording(damaged, on_bad=on_bad):
                for operation in recording.operations():
                    assert len(operation) > 0
        except RecordingError as error:
            reports.append(error)
    assert all(name.partition(".")[0] in str(error) for error in reports)


def test_a_hostile_zip_costs_no_more_than_its_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1_000_000)
    monkeypatch.setattr(archive, "MAX_INFLATED_BYTES", 3_000)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 50)
    bomb, many, deep, wide = (tmp_path / f"{n}.zip" for n in ("bomb", "many", "deep", "wide"))
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made_zip:
        made_zip.writestr("B0005.mat", bytes(1_000_001))
    with zipfile.ZipFile(many, "w") as made_zip:
        for number in range(51):
            made_zip.writestr(f"{number}.mat", b"")
    inside = b"x"
    for _ in range(6):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as made_zip:
            made_zip.writestr("n.zip", inside)
        inside = buffer.getvalue()
    deep.write_bytes(inside)
    with zipfile.ZipFile(wide, "w") as made_zip:
        for number in range(10):
            made_zip.writestr(f"{number}.zip", inside)
    for path, words in (
        (bomb, "1 MiB when inflated; at most"),
        (many, "more than 50 files in the zip"),
        (deep, "zips inside zips, more than 3 deep"),
        (wide, "deep|MiB when inflated"),
    ):
        with pytest.raises(RecordingError, match=words) as refused:
            open_recording(path)
        assert len(str(refused.value)) < len(str(path)) + 120


def test_a_workbook_that_inflates_to_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.arbin_workbook(tmp_path / "a.xlsx", made.arbin_rows(made.START), start=made.START)
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 10_000)
    with pytest.raises(RecordingError, match="its sheets are 0 MiB when inflated"):
        open_recording(path)


@pytest.mark.parametrize("way", ["external", "virtual"])
def test_hdf5_values_in_another_file_of_the_machine_are_not_read(tmp_path: Path, way: str) -> None:
    """An uploaded file could show what the server may read: /etc/passwd as eight-byte floats."""
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(200.0).tobytes())
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["time_s"], file["voltage_v"] = np.arange(200.0), np.full(200, 3.7)
        if way == "external":
            outside = [(str(secret), 0, 1_600)]
            file.create_dataset("current_a", shape=(200,), dtype="f8", external=outside)
        else:
            layout = h5py.VirtualLayout((200,), "f8")
            layout[:] = h5py.VirtualSource(str(secret), "x", (200,))
            file.create_virtual_dataset("current_a", layout)
    with pytest.raises(RecordingError, match="'current_a' keeps its values in another file"):
        open_recording(path, nominal_capacity_ah=2.0)


def test_a_table_of_too_many_columns_and_a_name_without_end_are_said_shortly(
    tmp_path: Path,
) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{k}" for k in range(10_001)) + "\n1\n")
    with pytest.raises(RecordingError, match="more than 10,000 columns"):
        open_recording(path)
    pq.write_table(
        pa.table({"n" * 500 + str(k): [1.0] for k in range(500)}), tmp_path / "a.parquet"
    )
    with pytest.raises(RecordingError, match="and 480 more") as refused:
        open_recording(tmp_path / "a.parquet")
    assert len(str(refused.value)) < 1_200


@pytest.mark.parametrize("text", ["0,3.7,1\n1e300,3.7,1\n", "1e200,3.7,1\n1e200,3.7,1\n"])
def test_a_time_that_cannot_be_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "far.csv"
    path.write_text(f"Time [s],Voltage [V],Current [A]\n{text}")
    (recording,) = open_recording(path, nominal_capacity_ah=2.0)
    with pytest.raises(RecordingError, match="cannot be"):
        list(recording.operations())
