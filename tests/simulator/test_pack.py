"""Recorded cells stacked into one pack."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from monitor.contract import AssetConfig, Frame
from recordings.open import open_recording
from recordings.types import RecordingError
from simulator.pack import StackedPack
from simulator.replay import ReplayOptions, asset_config, merged
from tests.conftest import ROOT

DEMO = ROOT / "simulator" / "bundled" / "demo.parquet"


def test_every_cell_keeps_its_voltage_and_temperature() -> None:
    cells = open_recording(DEMO)[:3]
    pack = StackedPack("rack", cells)
    operation = next(iter(pack.operations()))
    own = [next(iter(cell.operations())) for cell in cells]
    assert operation.voltage_v.shape == (len(own[0]), 3)
    assert operation.temperature_c.shape == (len(own[0]), 3)
    np.testing.assert_array_equal(operation.current_a, own[0].current_a)
    for k, single in enumerate(own):
        assert operation.voltage_v[0, k] == single.voltage_v[0, 0]
        assert operation.voltage_v[-1, k] == single.voltage_v[-1, 0]
    assert pack.info.synthetic
    config: AssetConfig = asset_config(pack.info, ReplayOptions(), "simulator")
    assert config.cells == 3


def test_real_sister_cells_become_one_pack(shared_data: Path) -> None:
    folder = shared_data / "nasa" / "tidy"
    cells = [open_recording(folder / f"{name}.parquet")[0] for name in ("B0005", "B0006", "B0007")]
    stream = merged([StackedPack("rack", cells)], ReplayOptions(speed=None))
    first = islice(stream, 2_000)
    frames = [timed.message for timed in first if isinstance(timed.message, Frame)]
    assert all(isinstance(f.voltage_v, list) and len(f.voltage_v) == 3 for f in frames)
    assert len({f.timestamp_ms for f in frames}) == len(frames)


def test_what_does_not_fit_is_refused(shared_data: Path) -> None:
    twin = open_recording(DEMO)[0]
    calce = open_recording(shared_data / "calce" / "tidy" / "CS2_34.parquet")[0]
    with pytest.raises(RecordingError, match="nominal capacity"):
        StackedPack("rack", [twin, calce])
    with pytest.raises(RecordingError, match="at least one"):
        StackedPack("rack", [])
    with pytest.raises(RecordingError, match="pack already"):
        StackedPack("rack", [StackedPack("inner", [twin, twin])])
