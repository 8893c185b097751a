"""The recording that the demonstration replays, made from the twin.

    python -m simulator.demo_recording [PATH]

Six twin cells of different health run the NASA protocol for nine hours, from the middle of a
charge. One of them develops an internal short circuit 35 minutes in: at 120 times real time that
is 18 s after the start. Everything in it is synthetic, and the names say so.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recordings.bundle import write_bundle
from recordings.types import Operation, RecordingInfo
from simulator.faults import InternalShort
from simulator.twin import TwinState, load_parameters
from simulator.twin_cycler import Protocol, Rig, Sensors, cycle

DEMO_PATH = Path(__file__).parent / "bundled" / "demo.parquet"
DURATION_S = 9 * 3600.0
START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
FAULT_ONSET_S = 35 * 60.0
RESISTANCE_SCALE = 0.87  # where B0005, B0007 and B0018 lie beside the calibration's mean


@dataclass(frozen=True, slots=True)
class _Cell:
    asset: str
    soh: float
    soc: float
    ambient_c: float = 24.0
    shorting: bool = False


CELLS = (
    _Cell("twin-fresh", soh=0.93, soc=0.16),
    _Cell("twin-used", soh=0.88, soc=0.20),
    _Cell("twin-aged", soh=0.80, soc=0.13),
    _Cell("twin-old", soh=0.75, soc=0.08),
    _Cell("twin-hot-but-healthy", soh=0.85, soc=0.15, ambient_c=40.0),
    _Cell("twin-shorting", soh=0.90, soc=0.22, shorting=True),
)


@dataclass(frozen=True, slots=True)
class MadeRecording:
    """A `recordings.types.Recording` that is in memory."""

    info: RecordingInfo
    made: tuple[Operation, ...]

    def operations(self, start: int = 0) -> Iterator[Operation]:
        return iter(self.made[start:])


def make_demo(path: Path = DEMO_PATH, seed: int = 0) -> None:
    """Write the demonstration's recording. The same seed gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bundle(path, demo_recordings(seed))


def demo_recordings(seed: int) -> list[MadeRecording]:
    """Every cell's recording. The same seed gives the same values."""
    tables = load_parameters("nasa-18650").tables()
    result = []
    for number, cell in enumerate(CELLS):
        rng = np.random.default_rng([seed, number])
        phase = rng.uniform(0.0, 2.0 * math.pi)

        def ambient_c(time_s: float, mean_c: float = cell.ambient_c, phase: float = phase) -> float:
            # An air conditioner's slow swing.
            return mean_c + 0.25 * math.sin(2.0 * math.pi * time_s / 2400.0 + phase)

        short = InternalShort(start_ohm=150.0, end_ohm=3.4, growth_s=45 * 60.0)
        rig = Rig(
            tables=tables,
            protocol=Protocol(trip_c=70.0),
            ambient_c=ambient_c,
            fault=short if cell.shorting else None,
            fault_onset_s=FAULT_ONSET_S,
        )
        state = TwinState.at(
            tables, soc=cell.soc, loss=1.0 - cell.soh, temperature_c=cell.ambient_c + 1.0
        )
        state.resistance_scale[:] = RESISTANCE_SCALE
        operations = cycle(rig, state, DURATION_S, start_ms=START_MS, sensors=Sensors(), rng=rng)
        result.append(MadeRecording(_info(cell), tuple(operations)))
    return result


def _info(cell: _Cell) -> RecordingInfo:
    return RecordingInfo(
        asset=cell.asset,
        dataset="twin",
        nominal_capacity_ah=2.0,
        chemistry="Li-ion 18650",
        cell_type="nasa-18650",
        synthetic=True,
        citation="Synthetic: made by simulator.demo_recording from the digital twin.",
        source="simulator/bundled/demo.parquet",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulator.demo_recording", description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=DEMO_PATH)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make_demo(arguments.path, arguments.seed)
    size_mb = arguments.path.stat().st_size / 1e6
    print(f"wrote {arguments.path} ({size_mb:.2f} MB, {len(CELLS)} twin cells, synthetic)")


if __name__ == "__main__":
    main()
