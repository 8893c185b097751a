"""One suite for every loader: what `Recording` promises holds on made-up files and on real ones."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recordings.bundle import write_bundle
from recordings.open import open_recording
from recordings.types import Operation, Recording
from tests import recording_files as made

Make = Callable[[Path], Recording]


def _made_bundle(folder: Path) -> Recording:
    write_bundle(folder / "b.parquet", open_recording(made.nasa_mat(folder / "a.mat")))
    return open_recording(folder / "b.parquet")[0]


def _made_bdf(folder: Path) -> Recording:
    path = made.bdf_csv(folder / "A0001.bdf.csv")
    return open_recording(path, nominal_capacity_ah=2.0)[0]


MADE: dict[str, Make] = {
    "nasa": lambda folder: open_recording(made.nasa_mat(folder / "B0005.mat"))[0],
    "calce": lambda folder: open_recording(made.calce_folder(folder / "CS2_99"))[0],
    "tidy": lambda folder: open_recording(made.tidy_parquet(folder / "B0005.parquet"))[0],
    "bundle": _made_bundle,
    "bdf": _made_bdf,
}

REAL = {
    "nasa": "nasa/mat/B0025.mat",
    "nasa-rebuilt": "nasa/mat/B0005.reconstructed.mat",
    "nasa-tidy": "nasa/tidy/B0029.parquet",
    "calce": "calce/CS2_35",
    "calce-tidy": "calce/tidy/CS2_38.parquet",
    "dmegc": "dmegc/DMEGC_R1.parquet",
    "abuse": "abuse/tidy/500mAh3-40S0C.parquet",
}
SAMPLED = 40  # operations looked at; the whole lives are read in the loaders' own tests


@pytest.fixture(params=[*(f"made-{name}" for name in MADE), *(f"real-{name}" for name in REAL)])
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> Recording:
    """Each loader's recording in turn."""
    origin, _, name = request.param.partition("-")
    if origin == "made":
        return MADE[name](tmp_path)
    data: Path = request.getfixturevalue("shared_data")
    path = data / REAL[name]
    if name == "calce":  # four of its 25 workbooks: the whole life is read in its own test
        some_books = tmp_path / path.name
        some_books.mkdir()
        for day in ("8_17_10", "8_18_10", "8_19_10", "9_8_10"):
            book = f"{path.name}_{day}.xlsx"
            (some_books / book).symlink_to(path / book)
        path = some_books
    return open_recording(path)[0]


def some(recording: Recording, start: int = 0) -> list[Operation]:
    return list(itertools.islice(recording.operations(start), SAMPLED))


def same(a: Operation, b: Operation) -> None:
    assert (a.index, a.cycle, a.kind, a.start_ms) == (b.index, b.cycle, b.kind, b.start_ms)
    assert (a.capacity_ah, a.fault, a.notes) == (b.capacity_ah, b.fault, b.notes)
    for name in ("time_s", "current_a", "voltage_v", "temperature_c"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_info_is_plausible(recording: Recording) -> None:
    info = recording.info
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", info.asset)
    assert 0.1 < info.nominal_capacity_ah < 100
    assert 1.5 < info.discharge_voltage_v < info.charge_voltage_v < 5
    assert info.cells == 1
    assert info.citation or info.dataset == "bdf"
    assert info.problems or info.dataset == "bdf"
    assert not info.synthetic
    assert Path(info.source).exists()


def test_shapes_and_order(recording: Recording) -> None:
    info = recording.info
    end_ms = -1.0
    cycle = 1
    for number, op in enumerate(some(recording)):
        n = len(op)
        assert op.index == number
        assert op.cycle >= cycle
        assert n > 0
        assert op.time_s.shape == (n,)
        assert op.current_a.shape == (n,)
        assert op.voltage_v.shape == (n, info.cells)
        assert op.temperature_c.shape == (n, info.sensors)
        assert op.ambient_c is None or op.ambient_c.shape == (n,)
        assert op.time_s.dtype == op.voltage_v.dtype == np.float64
        assert (np.diff(op.time_s) >= 0).all()
        assert op.start_ms + op.time_s[0] * 1000 >= end_ms
        end_ms = op.start_ms + op.time_s[-1] * 1000 - 1
        cycle = op.cycle


def test_units_are_plausible(recording: Recording) -> None:
    for op in some(recording):
        assert 0 <= np.nanmedian(op.voltage_v) < 5.1
        if np.isfinite(op.current_a).any():
            assert np.nanmax(np.abs(op.current_a)) < 10
        if op.temperature_c.shape[1]:
            assert -20 < np.nanmedian(op.temperature_c) < 400
        if op.capacity_ah is not None:
            assert 0 < op.capacity_ah <= 1.1 * recording.info.nominal_capacity_ah


def test_positive_current_charges(recording: Recording) -> None:
    compared = 0
    for op in some(recording):
        steady = np.flatnonzero(np.abs(op.current_a) > 0.1)[2:]  # NASA's false start left out
        if op.kind not in ("charge", "discharge") or len(steady) < 10:
            continue
        want = 1 if op.kind == "charge" else -1
        assert np.median(np.sign(op.current_a[steady])) == want
        rise_v = op.voltage_v[steady[-1], 0] - op.voltage_v[steady[0], 0]
        assert rise_v * want > 0
        compared += 1
    assert compared or recording.info.dataset == "abuse"


def test_restarts_from_the_beginning(recording: Recording) -> None:
    first, again = some(recording), some(recording)
    assert len(first) == len(again)
    for a, b in zip(first, again, strict=True):
        same(a, b)


@pytest.mark.parametrize("start", [1, 3])
def test_start_equals_skipping(recording: Recording, start: int) -> None:
    skipped = list(itertools.islice(recording.operations(), start, start + 3))
    started = list(itertools.islice(recording.operations(start), 3))
    assert len(skipped) == len(started)
    for a, b in zip(skipped, started, strict=True):
        same(a, b)


def test_start_past_the_end_is_empty(recording: Recording) -> None:
    assert list(recording.operations(10_000)) == []


def test_two_runs_do_not_disturb_each_other(recording: Recording) -> None:
    one, two = recording.operations(), recording.operations()
    for a, b in zip(itertools.islice(one, 3), itertools.islice(two, 3), strict=True):
        same(a, b)
