"""Broken temperature sensors: are they named, and is anything taken for heat?

A broken sensor counts as named when the monitor's own kernel flags the temperature as missing,
impossible, frozen, a spike or a jump; as heat when the detector alarms after the break and before
it is named. The price is a sound sensor that is named: it is counted over every healthy hour, and
over the disturbances that are no fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.kernels.columns import TEMPERATURE_BAD, Feature, Quality
from training.thermal.benchmark import Bench, Fitted
from training.thermal.data import HeatParameters, Stream, run_kernel
from training.thermal.injection import break_sensor, disturb
from training.thermal.scenarios import NUISANCES, SENSOR_FAULTS, Nuisance, SensorFault
from training.thermal.scoring import FalseAlarms, alarm_times
from training.thermal.slots import slots_of

NAMED_WITHIN_S: Mapping[SensorFault, float] = {
    "disconnected": 60.0,
    "open_circuit_reading": 60.0,
    "short_circuit_reading": 60.0,
    "frozen": 3600.0,
    "spikes": 3600.0,
    "jump": 900.0,
}
COARSE_C = 0.5
_FLAGS = Quality.TEMPERATURE_MISSING | TEMPERATURE_BAD
_ANY = HeatParameters(20.0, 0.025, 0.2)  # the flags do not depend on it


@dataclass(frozen=True, slots=True)
class SensorOutcome:
    """Shares of the sites, 0..1."""

    fault: SensorFault
    sites: int
    named: float
    taken_for_heat: float


def judge_sensors(fitted: Mapping[str, Fitted], bench: Bench) -> list[SensorOutcome]:
    """Every sensor fault at every site."""
    by_asset = {stream.asset: stream for stream in bench.streams}
    return [_judge(fault, fitted, bench, by_asset) for fault in SENSOR_FAULTS]


def _judge(
    fault: SensorFault,
    fitted: Mapping[str, Fitted],
    bench: Bench,
    by_asset: Mapping[str, Stream],
) -> SensorOutcome:
    named = heat = 0
    for site in bench.sites:
        broken = break_sensor(by_asset[site.asset], site, fault)
        pieces = list(run_kernel(broken, _ANY, chunk=max(1, len(broken))))
        quality = np.concatenate([piece.quality for piece in pieces])
        accepted = np.concatenate([p.features[:, Feature.TEMPERATURE_C] for p in pieces])
        after = broken.timestamp_ms >= site.onset_ms
        flagged = broken.timestamp_ms[after & ((quality & int(_FLAGS)) != 0)]
        limit_ms = site.onset_ms + round(1000 * NAMED_WITHIN_S[fault])
        in_time = len(flagged) > 0 and flagged[0] <= limit_ms
        named += in_time
        slots = slots_of(replace(broken, temperature_c=accepted))
        alarms = alarm_times(slots.timestamp_ms, fitted[site.group].score(slots))
        until = flagged[0] if len(flagged) else broken.timestamp_ms[-1]
        heat += bool(((alarms >= site.onset_ms) & (alarms <= until)).any())
    n = len(bench.sites)
    return SensorOutcome(fault, n, named / n, heat / n)


def frozen_coarse(bench: Bench, step_c: float = COARSE_C) -> float:
    """Share of the sites where a frozen thermometer of so coarse a step is named in time."""
    by_asset = {stream.asset: stream for stream in bench.streams}
    named = 0
    for site in bench.sites:
        broken = break_sensor(by_asset[site.asset], site, "frozen")
        broken = replace(broken, temperature_c=np.round(broken.temperature_c / step_c) * step_c)
        (rows,) = run_kernel(broken, _ANY, chunk=max(1, len(broken)))
        since_s = (broken.timestamp_ms - site.onset_ms) / 1000.0
        watched = (since_s >= 0.0) & (since_s <= NAMED_WITHIN_S["frozen"])
        named += bool((rows.quality[watched] & int(_FLAGS)).any())
    return named / len(bench.sites)


def falsely_named(streams: Sequence[Stream]) -> FalseAlarms:
    """How often the kernel calls the thermometer of a healthy recording broken."""
    episodes = 0
    for stream in streams:
        for piece in run_kernel(stream, _ANY, chunk=max(1, len(stream))):
            named = (piece.quality & int(TEMPERATURE_BAD)) != 0
            episodes += int((named & ~np.append(False, named[:-1])).sum())
    return FalseAlarms(episodes, sum(stream.hours for stream in streams))


def falsely_named_disturbed(bench: Bench, per_group: int) -> dict[Nuisance, FalseAlarms]:
    """The same over a day around some sites with a disturbance that is no fault."""
    by_asset = {stream.asset: stream for stream in bench.streams}
    chosen = [site for site in bench.sites if site.number < per_group]
    return {
        nuisance: falsely_named([disturb(by_asset[site.asset], site, nuisance) for site in chosen])
        for nuisance in NUISANCES
    }


def share_named_and_not_heat(outcomes: Sequence[SensorOutcome]) -> float:
    """The figure asked for: named, and not as heat; the mean over kinds of fault."""
    return float(np.mean([max(0.0, min(o.named, 1.0 - o.taken_for_heat)) for o in outcomes]))
