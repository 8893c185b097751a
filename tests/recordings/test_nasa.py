"""The NASA `.mat` reader: the format against SciPy, and every quirk of the data README."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from recordings.mat5 import Mat5Error, open_struct_array
from recordings.messages import Message
from recordings.nasa import NasaRecording, usable_capacity
from recordings.open import open_recording
from recordings.types import Operation, RecordingError
from tests import recording_files as made

NO_CAPACITY = Message("note.no_capacity")


def nasa(data: Path, cell: str) -> NasaRecording:
    return NasaRecording(data / "nasa" / "mat" / f"{cell}.mat")


def tidy(data: Path, cell: str) -> list[Operation]:
    return list(open_recording(data / "nasa" / "tidy" / f"{cell}.parquet")[0].operations())


def discharges(operations: list[Operation]) -> list[Operation]:
    return [op for op in operations if op.kind == "discharge"]


# The format


@pytest.mark.parametrize("compress", [True, False])
def test_every_kind_of_value_equals_scipys(tmp_path: Path, compress: bool) -> None:
    one = {
        "real": np.array([[1.5, -2.25, np.nan]]),
        "small": np.arange(5, dtype=float),  # MATLAB stores such numbers in one byte each
        "whole": np.array([[1, 2], [3, 4]], dtype=np.int16),
        "complex": np.array([1 + 2j, 3 - 4j]),
        "text": "charge",
        "empty": np.empty((0, 0)),
        "inner": {"deep": np.array([7.0])},
    }
    cells = np.zeros((1, 2), dtype=[(name, "O") for name in one])
    cells[0, 0] = tuple(one.values())
    cells[0, 1] = tuple(one.values())
    path = tmp_path / "x.mat"
    scipy.io.savemat(
        path, {"other": np.arange(3.0), "B1": {"cycle": cells}}, do_compression=compress
    )
    want = scipy.io.loadmat(path)["B1"]["cycle"][0, 0]
    with path.open("rb") as file:
        array = open_struct_array(file, "cycle")
        assert (array.variable, array.count) == ("B1", 2)
        for number, fields in enumerate(array.elements):
            for name in ("real", "small", "whole", "empty"):
                expected = want[0, number][name].flatten(order="F").astype(float)
                np.testing.assert_array_equal(fields[name].numbers(), expected)
            np.testing.assert_array_equal(fields["complex"].value(), [1 + 2j, 3 - 4j])
            assert fields["text"].text() == "charge"
            assert fields["inner"].fields()["deep"].numbers().tolist() == [7.0]
            with pytest.raises(Mat5Error, match="complex"):
                fields["complex"].numbers()
            with pytest.raises(Mat5Error, match="text expected"):
                fields["real"].text()


def test_big_endian_file_is_read() -> None:
    def element(kind: int, body: bytes) -> bytes:
        tag = kind.to_bytes(4, "big") + len(body).to_bytes(4, "big")
        return tag + body + bytes(-len(body) % 8)

    def matrix(kind: int, dims: tuple[int, int], name: bytes, rest: bytes) -> bytes:
        flags = element(6, kind.to_bytes(4, "big") + bytes(4))
        sizes = element(5, b"".join(size.to_bytes(4, "big") for size in dims))
        return element(14, flags + sizes + element(1, name) + rest)

    def struct(name: bytes, field: bytes, value: bytes) -> bytes:
        width = bytes([0, 4, 0, 5]) + (32).to_bytes(4, "big")  # the small form: 4 bytes of type 5
        return matrix(2, (1, 1), name, width + element(1, field.ljust(32, b"\0")) + value)

    numbers = matrix(6, (1, 2), b"", element(9, np.array([2.0, -3.0], ">f8").tobytes()))
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    content = head + struct(b"B1", b"cycle", struct(b"", b"Time", numbers))
    array = open_struct_array(io.BytesIO(content), "cycle")
    assert next(array.elements)["Time"].numbers().tolist() == [2.0, -3.0]


def test_publishers_file_equals_scipys(shared_data: Path) -> None:
    cell = scipy.io.loadmat(shared_data / "nasa" / "mat" / "B0025.mat")["B0025"]["cycle"][0, 0]
    records = [record for record in cell[0] if record["type"][0] != "impedance"]
    operations = list(nasa(shared_data, "B0025").operations())
    assert len(operations) == len(records) == 59
    for op, record in zip(operations[:-1], records[:-1], strict=True):  # the last has empty rows
        data = record["data"][0, 0]
        assert op.kind == record["type"][0]
        np.testing.assert_array_equal(op.time_s, data["Time"].ravel())
        np.testing.assert_array_equal(op.voltage_v[:, 0], data["Voltage_measured"].ravel())
        np.testing.assert_array_equal(op.current_a, data["Current_measured"].ravel())
        np.testing.assert_array_equal(op.temperature_c[:, 0], data["Temperature_measured"].ravel())
        if op.kind == "discharge":
            assert op.capacity_ah == data["Capacity"][0, 0]


@pytest.mark.parametrize("cell", ["B0025", "B0029", "B0041", "B0050", "B0052"])
def test_mat_and_tidy_give_the_same(shared_data: Path, cell: str) -> None:
    for a, b in zip(nasa(shared_data, cell).operations(), tidy(shared_data, cell), strict=True):
        assert (a.index, a.cycle, a.kind) == (b.index, b.cycle, b.kind)
        assert [str(note) for note in a.notes] == [str(note) for note in b.notes]
        assert abs(a.start_ms - b.start_ms) <= 1
        np.testing.assert_allclose(a.time_s, b.time_s, atol=1e-3)
        np.testing.assert_allclose(a.voltage_v, b.voltage_v, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(a.current_a, b.current_a, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(a.temperature_c, b.temperature_c, rtol=1e-6)
        assert (a.capacity_ah is None) == (b.capacity_ah is None)
        assert a.capacity_ah is None or a.capacity_ah == pytest.approx(b.capacity_ah, rel=1e-6)


def test_a_long_cell_never_sits_in_memory_whole(shared_data: Path) -> None:
    recording = nasa(shared_data, "B0005.reconstructed")
    tracemalloc.start()
    try:
        samples = sum(len(op) for op in recording.operations())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert samples == 591_458
    assert peak < 0.15 * samples * 6 * 8  # six columns of float64 are 28 MB


# The quirks, numbered as in the data README


def test_1_published_capacity_is_the_charge_down_to_2_7_v(shared_data: Path) -> None:
    for op in discharges(list(nasa(shared_data, "B0029").operations())):
        current_a, voltage_v = op.current_a, op.voltage_v[:, 0]
        below = np.flatnonzero((voltage_v < 2.7) & (current_a < -0.1))
        end = below[0] + 1
        moved = np.trapezoid(-current_a[:end], op.time_s[:end]) / 3600
        assert op.capacity_ah == pytest.approx(moved, rel=0.03)
    assert any("2.7 V" in str(problem) for problem in nasa(shared_data, "B0029").info.problems)


def test_2_idle_rows_behind_the_cut_off_stay(shared_data: Path) -> None:
    rows = np.concatenate([op.current_a for op in discharges(tidy(shared_data, "B0033"))])
    assert np.mean(np.abs(rows) < 0.05) == pytest.approx(0.55, abs=0.02)


def test_3_sampling_is_as_recorded(shared_data: Path) -> None:
    for op in nasa(shared_data, "B0005.reconstructed").operations(2):
        assert len(np.unique(np.round(np.diff(op.time_s), 3))) > 10
        break


def test_4_square_wave_is_kept_and_named(shared_data: Path) -> None:
    recording = nasa(shared_data, "B0025")
    first = discharges(list(recording.operations()))[0]
    assert np.mean(np.abs(first.current_a) < 0.05) > 0.4
    assert np.mean(first.current_a < -3.9) > 0.25
    assert any("square wave" in str(problem) for problem in recording.info.problems)
    [b0028] = open_recording(shared_data / "nasa" / "tidy" / "B0028.parquet")
    assert any("2 A though" in str(problem) for problem in b0028.info.problems)


def test_5_false_first_current_is_kept_and_named(shared_data: Path) -> None:
    recording = nasa(shared_data, "B0025")
    charges = [op for op in recording.operations() if op.kind == "charge"]
    false = [op for op in charges if -4.5 < op.current_a[1] < -2.3]
    assert len(false) > 0.9 * len(charges)
    assert any("false current" in str(problem) for problem in recording.info.problems)


def test_6_glitches_are_kept(shared_data: Path) -> None:
    operations = list(nasa(shared_data, "B0005.reconstructed").operations())
    assert max(op.voltage_v.max() for op in operations) == pytest.approx(8.39, abs=0.01)
    assert len(operations[-1]) == 5
    assert operations[-1].voltage_v.max() > 4.9
    b0033 = min(op.voltage_v.min() for op in tidy(shared_data, "B0033"))
    assert b0033 == pytest.approx(0.99, abs=0.01)


def test_7_discharge_is_negative_throughout(shared_data: Path) -> None:
    for op in discharges(list(nasa(shared_data, "B0005.reconstructed").operations())):
        assert np.median(op.current_a) < -1.9


@pytest.mark.parametrize(("cell", "rows"), [("B0041", 57), ("B0025", 2)])
def test_8_rows_of_nan_are_left_out(shared_data: Path, cell: str, rows: int) -> None:
    operations = list(nasa(shared_data, cell).operations())
    notes = [str(note) for op in operations for note in op.notes if "left out" in str(note)]
    assert notes == [f"{rows} rows without any measurement left out"]
    assert all(np.isfinite(op.voltage_v).all() for op in operations)


def test_9_capacities_that_are_none(shared_data: Path) -> None:
    for cell, missing in (("B0050", 4), ("B0052", 21)):
        found = discharges(list(nasa(shared_data, cell).operations()))
        assert sum(NO_CAPACITY in op.notes for op in found) == missing
        for op in found:
            assert op.capacity_ah is None or 0.01 < op.capacity_ah < 2.2
    impossible = discharges(list(nasa(shared_data, "B0050").operations()))
    assert any("2.64 Ah is impossible" in str(note) for op in impossible for note in op.notes)
    low = discharges(list(nasa(shared_data, "B0041").operations()))
    assert sum(op.capacity_ah is not None and op.capacity_ah < 0.5 for op in low) == 42


@pytest.mark.parametrize(
    ("published", "usable"),
    [(None, None), (float("nan"), None), (0.0, None), (0.01, None), (2.64, None), (1.8, 1.8)],
)
def test_9_usable_capacity(published: float | None, usable: float | None) -> None:
    found, notes = usable_capacity(published)
    assert found == usable
    assert bool(notes) == (usable is None)


def test_10_dead_cell_is_passed_on_and_named(shared_data: Path) -> None:
    recording = nasa(shared_data, "B0052")
    dead = [op for op in recording.operations() if NO_CAPACITY in op.notes]
    assert len(dead) == 21
    assert all(op.voltage_v.max() < 0.8 for op in dead)
    assert any("0.3 V" in str(problem) for problem in recording.info.problems)


def test_12_cycle_counts_discharges(shared_data: Path) -> None:
    operations = tidy(shared_data, "B0018")
    assert len(discharges(operations)) == 132
    rebuilt = list(nasa(shared_data, "B0005.reconstructed").operations())
    assert len(discharges(rebuilt)) == 168
    seen = 0
    for op in rebuilt:
        assert op.cycle == seen + 1
        seen += op.kind == "discharge"


def test_13_impedance_is_apart_and_garbage_is_told(shared_data: Path) -> None:
    sane = list(nasa(shared_data, "B0025").impedance())
    assert len(sane) == 21
    assert all(eis.sane and eis.battery_ohm.shape == (48,) for eis in sane)
    assert np.iscomplexobj(sane[0].rectified_ohm)
    assert sane[0].electrolyte_ohm == pytest.approx(0.05, abs=0.03)
    broken = [eis for eis in nasa(shared_data, "B0052").impedance() if not eis.sane]
    assert len(broken) == 10


def test_15_hot_but_healthy_is_named(shared_data: Path) -> None:
    recording = nasa(shared_data, "B0029")
    assert max(op.temperature_c.max() for op in recording.operations()) > 60
    assert "passes 60 C in normal use" in map(str, recording.info.problems)


@pytest.mark.parametrize(
    ("cell", "cut_off_v"), [("B0025", 2.0), ("B0050", 2.2), ("B0029", 2.0), ("B0041", 2.0)]
)
def test_cut_off_is_the_publishers(shared_data: Path, cell: str, cut_off_v: float) -> None:
    recording = nasa(shared_data, cell)
    assert recording.info.discharge_voltage_v == cut_off_v


# Errors


def broken_mat(path: Path, **change: object) -> Path:
    """One charge with a column replaced."""
    columns = made.charge()
    data = {
        "Voltage_measured": columns["voltage_v"],
        "Current_measured": columns["current_a"],
        "Temperature_measured": columns["temperature_c"],
        "Time": columns["time_s"],
        **change,
    }
    one = {
        "type": "charge",
        "ambient_temperature": 24.0,
        "time": np.array([2008.0, 4, 2, 13, 8, 17]),
    }
    scipy.io.savemat(path, {"B1": {"cycle": {**one, "data": data}}})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Time": np.array([0.0, 1.0])}, "2 times but 60 current values"),
        (
            {"Time": np.where(np.arange(60) == 7, -1.0, np.arange(60.0))},
            "row 7: time runs backwards",
        ),
        ({"Time": np.where(np.arange(60) == 9, np.nan, np.arange(60.0))}, "row 9: the time is not"),
        ({"Voltage_measured": "text"}, "numbers expected"),
    ],
)
def test_bad_operation_names_file_operation_and_row(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = broken_mat(tmp_path / "bad.mat", **change)
    with pytest.raises(RecordingError, match=message) as raised:
        list(NasaRecording(path).operations())
    assert "bad.mat, operation 0 (record 0, charge)" in str(raised.value)
    reports: list[RecordingError] = []
    assert list(NasaRecording(path, on_bad=reports.append).operations()) == []
    assert message in str(reports[0])


def test_truncated_file_plays_until_the_damage(tmp_path: Path) -> None:
    path = made.nasa_mat(tmp_path / "B0005.mat", cycles=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    reports: list[RecordingError] = []
    found = list(NasaRecording(path, on_bad=reports.append).operations())
    assert 10 < len(found) < 80
    assert [str(error) for error in reports] == [
        f"B0005.mat, after record {len(found) * 3 // 2 - 1}: the compressed data end too early"
    ]


def test_mats_in_a_zip_in_a_zip(tmp_path: Path) -> None:
    mat = made.nasa_mat(tmp_path / "B0005.mat")
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as inner:
        inner.write(mat, "B0005.mat")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "inner.zip", "5. Battery/inner.zip")
    [recording] = open_recording(tmp_path / "outer.zip")
    assert recording.info.asset == "B0005"
    assert len(list(recording.operations())) == 6
