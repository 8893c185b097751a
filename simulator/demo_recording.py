"""The recording that the demonstration replays, made from the twin.

    python -m simulator.demo_recording [PATH]

Six twin cells of different health, all with the parameters of one real cell (NASA's B0005), run
the NASA protocol for nine hours. Each begins in the last minutes of a discharge: a monitor that saw
a cell become empty knows its state of charge, and the charge that follows is seen from its start.
One of them develops an internal short circuit 35 minutes in: at 120 times real time that is 18 s
after the start. Everything in it is synthetic, and the names say so.
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
from simulator.demo_file import demo_recording
from simulator.faults import InternalShort
from simulator.twin import TwinState, load_parameters
from simulator.twin_cycler import Protocol, Rig, Sensors, before_empty, cycle

DURATION_S = 9 * 3600.0
START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
FAULT_ONSET_S = 35 * 60.0
SAMPLE_S = 10.0  # NASA logged discharges every 9 to 19 s, charges every 3 or 10 s
PARAMETERS = "nasa-18650-b0005"
# NASA's logger flickers by 0.15 mV, and no step can be seen in it.
SENSORS = Sensors(voltage_noise_v=0.00015, voltage_step_v=0.0001)


@dataclass(frozen=True, slots=True)
class _Cell:
    asset: str
    soh: float
    left_s: float  # of the discharge in which its recording begins
    rest_s: float  # after a discharge; NASA's cells rested from 6 to 44 minutes
    ambient_c: float = 24.0
    shorting: bool = False


CELLS = (
    _Cell("twin-fresh", soh=0.91, left_s=180.0, rest_s=1800.0),
    _Cell("twin-used", soh=0.88, left_s=210.0, rest_s=1500.0),
    _Cell("twin-aged", soh=0.80, left_s=240.0, rest_s=1200.0),
    _Cell("twin-old", soh=0.75, left_s=60.0, rest_s=900.0),
    _Cell("twin-hot-but-healthy", soh=0.85, left_s=150.0, rest_s=1500.0, ambient_c=40.0),
    _Cell("twin-shorting", soh=0.90, left_s=120.0, rest_s=600.0, shorting=True),
)


@dataclass(frozen=True, slots=True)
class MadeRecording:
    """A `recordings.types.Recording` that is in memory."""

    info: RecordingInfo
    made: tuple[Operation, ...]

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """The operations from number `start` on."""
        return iter(self.made[start:])


def make_demo(path: Path | None = None, seed: int = 0) -> None:
    """Write the demonstration's recording. The same seed gives the same bytes."""
    path = demo_recording() if path is None else path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bundle(path, demo_recordings(seed))


def demo_recordings(seed: int) -> list[MadeRecording]:
    """Every cell's recording. The same seed gives the same values."""
    tables = load_parameters(PARAMETERS).tables()
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
            protocol=Protocol(trip_c=70.0, rest_after_discharge_s=cell.rest_s, sample_s=SAMPLE_S),
            ambient_c=ambient_c,
            fault=short if cell.shorting else None,
            fault_onset_s=FAULT_ONSET_S,
        )
        full = TwinState.full(tables, loss=1.0 - cell.soh, temperature_c=cell.ambient_c)
        operations = cycle(
            rig,
            before_empty(rig, full, cell.left_s),
            DURATION_S,
            start_ms=START_MS,
            sensors=SENSORS,
            rng=rng,
            first="discharge",
        )
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
    """The command line of `python -m simulator.demo_recording`."""
    parser = argparse.ArgumentParser(prog="python -m simulator.demo_recording", description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=demo_recording())
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make_demo(arguments.path, arguments.seed)
    size_mb = arguments.path.stat().st_size / 1e6
    print(f"wrote {arguments.path} ({size_mb:.2f} MB, {len(CELLS)} twin cells, synthetic)")


if __name__ == "__main__":
    main()
