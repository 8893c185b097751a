"""The bundled recording: small, synthetic by name, and with a fault that physics explains."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from recordings.bundle import open_bundle
from simulator.demo_file import demo_recording
from simulator.demo_recording import CELLS, demo_recordings, make_demo


def test_bundled_file_is_what_the_command_makes(tmp_path: Path) -> None:
    path = tmp_path / "demo.parquet"
    make_demo(path, seed=0)
    assert demo_recording().stat().st_size < 5_000_000
    for bundled, made in zip(open_bundle(demo_recording()), demo_recordings(0), strict=True):
        assert bundled.info.synthetic
        assert bundled.info.asset.startswith("twin-")
        for a, b in zip(bundled.operations(), made.operations(), strict=True):
            assert (a.kind, a.start_ms, a.fault) == (b.kind, b.start_ms, b.fault)
            np.testing.assert_allclose(a.voltage_v, b.voltage_v, atol=2e-3)
            np.testing.assert_allclose(a.temperature_c, b.temperature_c, atol=2e-2)
    again = tmp_path / "again.parquet"
    make_demo(again, seed=0)
    assert again.read_bytes() == path.read_bytes()


def test_it_starts_as_a_discharge_ends_and_overheats_one_cell_only() -> None:
    recordings = demo_recordings(0)
    assert len(recordings) == len(CELLS) >= 4
    for recording in recordings:
        operations = list(recording.operations())
        assert [o.kind for o in operations[:3]] == ["discharge", "rest", "charge"]
        assert operations[0].capacity_ah is None  # its beginning is not in the recording
        assert 2.7 < operations[0].voltage_v[0, 0] < 3.5
        assert operations[0].voltage_v[-1, 0] < 2.7
        start_ms = operations[0].start_ms
        minutes = np.concatenate(
            [(o.start_ms - start_ms) / 6e4 + o.time_s / 60 for o in operations]
        )
        assert np.all(np.diff(minutes) > 0)
        assert minutes[-1] > 8 * 60
        temperature_c = np.concatenate([o.temperature_c[:, 0] for o in operations])
        if recording.info.asset != "twin-shorting":
            assert temperature_c.max() < 58.0
            assert all(o.fault is None for o in operations)
            continue
        active = np.concatenate(
            [
                np.zeros(len(o), bool) if o.fault_active is None else o.fault_active
                for o in operations
            ]
        )
        onset = minutes[active][0]
        assert 30 < onset < 45
        assert np.all(active == (minutes >= onset))
        hot = minutes[temperature_c > 60.0][0]
        assert onset < hot < 95


def test_operations_follow_each_other_as_a_cycler_runs_them() -> None:
    for recording in demo_recordings(3):
        kinds = [o.kind for o in recording.operations()]
        for a, b in itertools.pairwise(kinds):
            assert (a, b) in {
                ("charge", "rest"),
                ("rest", "discharge"),
                ("discharge", "rest"),
                ("rest", "charge"),
            }
