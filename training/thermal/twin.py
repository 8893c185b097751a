"""The twin as a stranger: healthy at many ambients and currents, and shorted to its runaway.

The twin's equations, parameters and sensors are not the benchmark's injection and not the
detector's balance. Detectors are fitted on the recorded groups alone; the twin's results stand in a
table of their own and are never pooled with recorded hours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from recordings.types import Operation, RecordingInfo
from simulator.faults import InternalShort
from simulator.twin import TwinState, load_parameters
from simulator.twin_cycler import Protocol, Rig, Sensors, cycle
from training.thermal.benchmark import Fitted
from training.thermal.data import Floats, Ints, Stream, stream_of
from training.thermal.injection import RUNAWAY_C, RUNAWAY_C_PER_S
from training.thermal.scenarios import SEED, WARM_UP_S
from training.thermal.scoring import FalseAlarms, alarm_times
from training.thermal.slots import slots_of

AMBIENTS_C = (4.0, 24.0, 43.0)
DISCHARGES_A = (1.0, 2.0, 4.0)
HEALTHY_S = 24 * 3600.0
STATES_OF_HEALTH = (0.92, 0.78)
GROWTHS_MIN = (19.0, 55.0, 180.0)
SAMPLE_S = 10.0
START_MS = 1_767_225_600_000
NO_TRIP_C = 1e9  # the cycler goes on, so that the runaway comes


@dataclass(frozen=True, slots=True)
class TwinShort:
    """One shorted twin: minutes from onset to runaway and to the alarm; None is never."""

    growth_min: float
    runaway_min: float | None
    delay_min: float | None

    @property
    def lead_min(self) -> float | None:
        """From the alarm to the runaway; -1 where the alarm did not come before it."""
        if self.runaway_min is None:
            return None
        if self.delay_min is None or self.delay_min > self.runaway_min:
            return -1.0
        return self.runaway_min - self.delay_min


@dataclass(frozen=True, slots=True)
class TwinResult:
    """What a detector made of the twin."""

    healthy: FalseAlarms
    by_ambient: dict[float, FalseAlarms]
    shorts: tuple[TwinShort, ...]

    def leads_min(self, growth_min: float) -> Floats:
        """Leads of the shorts of one growth that ran away."""
        leads = [s.lead_min for s in self.shorts if s.growth_min == growth_min]
        return np.array([lead for lead in leads if lead is not None])


def judge_twin(fitted: Fitted, seed: int = SEED) -> TwinResult:
    """Run the twin healthy and shorted, and the detector over it."""
    by_ambient: dict[float, FalseAlarms] = {}
    for ambient_c in AMBIENTS_C:
        streams = healthy_twins(ambient_c, seed)
        alarms = sum(len(_alarms(fitted, stream)) for stream in streams)
        by_ambient[ambient_c] = FalseAlarms(alarms, sum(stream.hours for stream in streams))
    parts = by_ambient.values()
    shorts = []
    for growth_min, ambient_c, soh in product(GROWTHS_MIN, AMBIENTS_C, STATES_OF_HEALTH):
        stream, onset_ms = shorted_twin(growth_min, ambient_c, soh, seed)
        late = _alarms(fitted, stream)
        late = late[late >= onset_ms]
        delay = (int(late[0]) - onset_ms) / 60_000 if len(late) else None
        shorts.append(TwinShort(growth_min, _runaway_min(stream, onset_ms), delay))
    healthy = FalseAlarms(sum(p.alarms for p in parts), sum(p.hours for p in parts))
    return TwinResult(healthy, by_ambient, tuple(shorts))


def healthy_twins(ambient_c: float, seed: int, duration_s: float = HEALTHY_S) -> list[Stream]:
    """Every current and state of health at one ambient, a day of each."""
    return [
        _twin(ambient_c, amps, soh, duration_s, seed + number)
        for number, (amps, soh) in enumerate(product(DISCHARGES_A, STATES_OF_HEALTH))
    ]


def shorted_twin(growth_min: float, ambient_c: float, soh: float, seed: int) -> tuple[Stream, int]:
    """A twin with a short that grows from 100 to 0.3 ohm after 12 h, and when it begins, ms."""
    short = InternalShort(start_ohm=100.0, end_ohm=0.3, growth_s=60.0 * growth_min)
    duration_s = WARM_UP_S + 60.0 * growth_min + 3600.0
    stream = _twin(ambient_c, 2.0, soh, duration_s, seed, short)
    return stream, START_MS + round(1000 * WARM_UP_S)


def _twin(
    ambient_c: float,
    amps: float,
    soh: float,
    duration_s: float,
    seed: int,
    short: InternalShort | None = None,
) -> Stream:
    tables = load_parameters("nasa-18650").tables()
    rng = np.random.default_rng([SEED, seed])
    phase = rng.uniform(0.0, 2.0 * math.pi)

    def ambient(time_s: float) -> float:
        return ambient_c + 0.25 * math.sin(2.0 * math.pi * time_s / 2400.0 + phase)

    rig = Rig(
        tables=tables,
        protocol=Protocol(discharge_a=amps, trip_c=NO_TRIP_C, sample_s=SAMPLE_S),
        ambient_c=ambient,
        fault=short,
        fault_onset_s=WARM_UP_S,
    )
    state = TwinState.at(tables, soc=0.2, loss=1.0 - soh, temperature_c=ambient_c)
    made = cycle(rig, state, duration_s, start_ms=START_MS, sensors=Sensors(), rng=rng)
    return stream_of(_Twin(_info(ambient_c, amps, soh)), list(made))


@dataclass(frozen=True, slots=True)
class _Twin:
    """A recording whose operations are given beside it."""

    info: RecordingInfo

    def operations(self, start: int = 0) -> Iterator[Operation]:
        return iter(())


def _info(ambient_c: float, amps: float, soh: float) -> RecordingInfo:
    return RecordingInfo(
        asset=f"twin-{ambient_c:g}C-{amps:g}A-{100 * soh:g}",
        dataset="twin",
        nominal_capacity_ah=2.0,
        chemistry="Li-ion 18650",
        cell_type="nasa-18650",
        synthetic=True,
        citation="Synthetic: made by training.thermal.twin from the digital twin.",
        source="training.thermal.twin",
    )


def _alarms(fitted: Fitted, stream: Stream) -> Ints:
    slots = slots_of(stream)
    return alarm_times(slots.timestamp_ms, fitted.score(slots))


def _runaway_min(stream: Stream, onset_ms: int) -> float | None:
    """Minutes to the first sample at the maker's maximum that is as steep as a runaway."""
    step_s = np.diff(stream.timestamp_ms, prepend=stream.timestamp_ms[:1]) / 1000.0
    rise = np.diff(stream.temperature_c, prepend=stream.temperature_c[:1])
    steep = rise >= RUNAWAY_C_PER_S * np.maximum(step_s, 1e-9)
    hits = np.flatnonzero((stream.temperature_c >= RUNAWAY_C) & steep & (step_s > 0.0))
    return None if not len(hits) else float(stream.timestamp_ms[hits[0]] - onset_ms) / 60_000
