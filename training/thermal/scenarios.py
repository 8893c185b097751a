"""The thermal benchmark's scenarios: what is injected, where, how strongly, from which seeds.

Fixed before any detector was tuned. Sites are drawn on healthy recordings, as many in every group
of cells; a group is the cells that shared a chamber. Detectors are fitted and their thresholds set
on the other groups alone. Every fault here is synthetic; the real abuse tests are a table of their
own and are never pooled with these.

Only heat steps are like anything that a detector was trained with (the denoising autoencoder adds
steps). Shorts, cooling loss, external heating, overcharge and growing shorts are families that no
detector was trained or tuned on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.thermal.data import Stream

SEED = 20_261_123
TUNING_SEED = 777  # of other sites on the same cells, where the balance's constants were chosen
SITES_PER_GROUP = 24
WARM_UP_S = 12 * 3600.0  # recorded life before the onset that a detector gets to see
AFTER_S = 2 * 3600.0  # how long a constant fault is watched
GROWTH_AFTER_S = 4 * 3600.0
DETECT_WITHIN_S = 15 * 60.0
EARLIEST_ONSET_S = 15 * 60.0  # into its operation
LATEST_ONSET_S = 20 * 60.0  # before its end

Family = Literal["heat", "short", "cooling_loss", "external_heating", "overcharge", "growing_short"]
FAMILIES: tuple[Family, ...] = (
    "heat",
    "short",
    "cooling_loss",
    "external_heating",
    "overcharge",
    "growing_short",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault at one severity; the unit of `level` is in `unit`."""

    family: Family
    level: float
    unit: str

    @property
    def name(self) -> str:
        """Such as `short 20 ohm`."""
        return f"{self.family} {self.level:g} {self.unit}"


SCENARIOS: tuple[Scenario, ...] = (
    *(Scenario("heat", w, "W") for w in (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0)),
    *(Scenario("short", r, "ohm") for r in (100.0, 50.0, 20.0, 10.0, 5.0)),
    *(Scenario("cooling_loss", f, "of hA left") for f in (0.5, 0.2)),
    *(Scenario("external_heating", k, "K around the cell") for k in (10.0, 20.0, 40.0)),
    Scenario("overcharge", 1.0, "C past full"),
    *(Scenario("growing_short", m, "min from 100 to 0.3 ohm") for m in (19.0, 55.0, 180.0)),
)

Nuisance = Literal[
    "ambient_step_5",
    "ambient_step_10",
    "offset_2",
    "quantised_0.5",
    "quantised_1",
    "sampled_30_s",
    "sampled_60_s",
    "dropped_20_percent",
    "no_ambient_sensor",
]
NUISANCES: tuple[Nuisance, ...] = (
    "ambient_step_5",
    "ambient_step_10",
    "offset_2",
    "quantised_0.5",
    "quantised_1",
    "sampled_30_s",
    "sampled_60_s",
    "dropped_20_percent",
    "no_ambient_sensor",
)

SensorFault = Literal[
    "disconnected", "open_circuit_reading", "short_circuit_reading", "frozen", "spikes", "jump"
]
SENSOR_FAULTS: tuple[SensorFault, ...] = (
    "disconnected",
    "open_circuit_reading",
    "short_circuit_reading",
    "frozen",
    "spikes",
    "jump",
)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a fault begins, and the body it heats: one draw of the two-node cell.

    Parameters belong to the injection alone; the detectors' one-node balance never sees them.
    """

    number: int
    group: str
    asset: str
    onset_ms: int
    heat_capacity_j_per_k: float
    core_share: float  # of the heat capacity
    core_to_surface_w_per_k: float
    cooling_w_per_k: float
    sensor_lag_s: float
    contact_ohm: float  # between the short and the terminals
    seed: int


def sites(
    streams: Sequence[Stream], per_group: int = SITES_PER_GROUP, seed: int = SEED
) -> list[Site]:
    """The benchmark's sites on these healthy streams, the same ones every time."""
    groups: dict[str, list[Stream]] = {}
    for stream in streams:
        groups.setdefault(stream.group, []).append(stream)
    found: list[Site] = []
    for group in sorted(groups):
        rng = np.random.default_rng([seed, *group.encode()])
        members = sorted(groups[group], key=lambda stream: stream.asset)
        for number in range(per_group):
            stream = members[int(rng.integers(len(members)))]
            found.append(_site(stream, number, rng))
    return found


def _site(stream: Stream, number: int, rng: np.random.Generator) -> Site:
    starts = np.flatnonzero(np.diff(stream.operation, prepend=-1))
    ends = np.append(starts[1:], len(stream)) - 1
    first, last = stream.timestamp_ms[starts], stream.timestamp_ms[ends]
    room = (last - first) / 1000.0 - EARLIEST_ONSET_S - LATEST_ONSET_S
    lived = (first - stream.timestamp_ms[0]) / 1000.0
    fit = np.flatnonzero((room > 0.0) & (lived > 3600.0))
    chosen = int(fit[int(rng.integers(len(fit)))])
    onset = first[chosen] + round(1000.0 * (EARLIEST_ONSET_S + rng.uniform(0.0, room[chosen])))
    size = stream.nominal_ah / 2.0
    return Site(
        number=number,
        group=stream.group,
        asset=stream.asset,
        onset_ms=int(onset),
        heat_capacity_j_per_k=float(rng.uniform(37.0, 48.0) * size**0.5),
        core_share=float(rng.uniform(0.65, 0.85)),
        core_to_surface_w_per_k=float(rng.uniform(0.6, 2.0)),
        cooling_w_per_k=float(np.exp(rng.uniform(np.log(0.03), np.log(0.09)))),
        sensor_lag_s=float(rng.uniform(4.0, 25.0)),
        contact_ohm=float(rng.uniform(0.03, 0.08)),
        seed=int(rng.integers(2**31)),
    )
