"""The thermal benchmark: detectors judged on groups of cells that they never saw.

For each group the detector is fitted, and its limit set, on the other groups; then it meets the
group's whole healthy life and its fault sites. Alarms are those of the monitor: the score above the
limit for 60 s of event time. Slow detectors leave four parts of the groups out in turn instead of
one group. No point adjustment anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.thermal.data import Floats, Mask, Stream
from training.thermal.detectors import Detector
from training.thermal.injection import Injected, disturb, inject
from training.thermal.scenarios import (
    DETECT_WITHIN_S,
    NUISANCES,
    SCENARIOS,
    Scenario,
    Site,
)
from training.thermal.scoring import RATE_PER_1000_H, FalseAlarms, alarm_times, limit_for
from training.thermal.slots import Slots, group_hours, slots_of
from training.thermal.vus import Series, vus_pr

BEFORE_S = 3 * 3600.0  # of each site's past that counts as healthy in the VUS-PR
PARTS = 4


@dataclass(frozen=True, slots=True)
class Fitted:
    """A detector and its limit for the groups that were held out from it."""

    detector: Detector
    limit: float

    def score(self, slots: Slots) -> Floats:
        """Scores with the limit at 1 where the limit is positive."""
        return (
            self.detector.score(slots) / self.limit
            if self.limit > 0
            else self.detector.score(slots) - self.limit + 1.0
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """One fault at one site: minutes to the alarm (None: never) and to the runaway (None: none)."""

    group: str
    delay_min: float | None
    runaway_min: float | None

    @property
    def lead_min(self) -> float | None:
        """Minutes from the alarm to the runaway."""
        if self.runaway_min is None or self.delay_min is None:
            return None
        return self.runaway_min - self.delay_min


@dataclass(slots=True)
class Result:
    """What one detector reached."""

    name: str
    limits: dict[str, float] = field(default_factory=dict)
    healthy: dict[str, FalseAlarms] = field(default_factory=dict)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    nuisance: dict[str, FalseAlarms] = field(default_factory=dict)
    vus: dict[str, float] = field(default_factory=dict)

    @property
    def pooled(self) -> FalseAlarms:
        """Every group's false alarms together."""
        return FalseAlarms(
            sum(f.alarms for f in self.healthy.values()),
            sum(f.hours for f in self.healthy.values()),
        )

    @property
    def worst_group(self) -> tuple[str, FalseAlarms]:
        """The group with the most false alarms an hour."""
        return max(self.healthy.items(), key=lambda item: item[1].per_1000_h)

    def found_within(self, scenario: str, minutes: float = DETECT_WITHIN_S / 60.0) -> float:
        """Share of a scenario's sites with an alarm in so many minutes."""
        outcomes = self.outcomes[scenario]
        hits = sum(o.delay_min is not None and o.delay_min <= minutes for o in outcomes)
        return hits / len(outcomes) if outcomes else float("nan")

    def median_delay_min(self, scenario: str) -> float:
        """Median delay, infinite where fewer than half were found."""
        delays = [np.inf if o.delay_min is None else o.delay_min for o in self.outcomes[scenario]]
        return float(np.sort(delays)[len(delays) // 2]) if delays else float("nan")

    def leads_min(self, scenario: str, least_physics_min: float = 0.0) -> Floats:
        """Lead of every event that ran away; -1 where nothing warned before."""
        leads = [
            -1.0 if o.lead_min is None else o.lead_min
            for o in self.outcomes[scenario]
            if o.runaway_min is not None and o.runaway_min >= least_physics_min
        ]
        return np.array(leads)


@dataclass(frozen=True, slots=True)
class Bench:
    """The healthy streams, their slots and the sites on them."""

    streams: Sequence[Stream]
    slots: Sequence[Slots]
    sites: Sequence[Site]

    @property
    def groups(self) -> list[str]:
        """The groups of cells, each once, in order."""
        return sorted({slots.group for slots in self.slots})

    def injected(self, group: str, scenario: Scenario) -> Iterator[tuple[Site, Injected]]:
        """The scenario at every site of a group."""
        by_asset = {stream.asset: stream for stream in self.streams}
        for site in self.sites:
            if site.group == group:
                yield site, inject(by_asset[site.asset], site, scenario)


def fit_leaving_out(
    make: Callable[[], Detector], bench: Bench, parts: Sequence[Sequence[str]], seed: int
) -> dict[str, Fitted]:
    """For every group a detector that saw neither it nor the groups in the same part."""
    found: dict[str, Fitted] = {}
    for part in parts:
        train = [slots for slots in bench.slots if slots.group not in part]
        detector = make()
        detector.fit(train, seed)
        fitted = Fitted(detector, limit_of(detector, train))
        found.update(dict.fromkeys(part, fitted))
    return found


def limit_of(detector: Detector, train: Sequence[Slots]) -> float:
    """The largest limit that any training group needs; what is calibrated already keeps its own."""
    own = getattr(detector, "limit", None)
    if own is not None:
        return float(own)
    groups: dict[str, list[Slots]] = {}
    for slots in train:
        groups.setdefault(slots.group, []).append(slots)
    return max(
        limit_for(
            [(slots.timestamp_ms, detector.score(slots)) for slots in members],
            sum(slots.hours for slots in members),
            RATE_PER_1000_H,
        )
        for members in groups.values()
    )


def one_each(groups: Sequence[str]) -> list[list[str]]:
    """Leave one group out."""
    return [[group] for group in groups]


def in_parts(groups: Sequence[str], parts: int = PARTS) -> list[list[str]]:
    """Leave a part of the groups out; the parts are the same every time."""
    return [list(groups[first::parts]) for first in range(min(parts, len(groups)))]


def judge(
    fitted: Mapping[str, Mapping[str, Fitted]],
    bench: Bench,
    scenarios: Sequence[Scenario] = SCENARIOS,
) -> dict[str, Result]:
    """Healthy hours, faults and VUS-PR of several detectors, by name; a fault is made once."""
    results = {name: _healthy(name, by_group, bench) for name, by_group in fitted.items()}
    series: dict[str, dict[str, list[Series]]] = {name: {} for name in fitted}
    for scenario in scenarios:
        for result in results.values():
            result.outcomes[scenario.name] = []
        for group in bench.groups:
            for site, made in bench.injected(group, scenario):
                slots = slots_of(made.stream)
                for name, by_group in fitted.items():
                    outcome, seen = _watch(by_group[group], site, made, slots)
                    results[name].outcomes[scenario.name].append(outcome)
                    series[name].setdefault(scenario.family, []).append(seen)
    for name, families in series.items():
        vus = {family: vus_pr(every) for family, every in families.items()}
        vus["all"] = vus_pr([one for every in families.values() for one in every])
        results[name].vus.update(vus)
    return results


def _healthy(name: str, fitted: Mapping[str, Fitted], bench: Bench) -> Result:
    result = Result(name, {group: fitted[group].limit for group in bench.groups})
    for group in bench.groups:
        alarms, hours = 0, 0.0
        for slots in bench.slots:
            if slots.group == group:
                alarms += len(alarm_times(slots.timestamp_ms, fitted[group].score(slots)))
                hours += slots.hours
        result.healthy[group] = FalseAlarms(alarms, hours)
    return result


def _watch(fitted: Fitted, site: Site, made: Injected, slots: Slots) -> tuple[Outcome, Series]:
    if np.isfinite(fitted.detector.history_s):
        first = site.onset_ms - round(1000 * (BEFORE_S + 2 * fitted.detector.history_s))
        slots = slots.after(first)
    score = fitted.score(slots)
    alarms = alarm_times(slots.timestamp_ms, score)
    # An alarm that was on already is a false one and warns of nothing here.
    alarms = alarms[alarms >= site.onset_ms]
    delay = (int(alarms[0]) - site.onset_ms) / 60_000 if len(alarms) else None
    runaway = None if made.runaway_ms is None else (made.runaway_ms - site.onset_ms) / 60_000
    seen = slots.timestamp_ms >= site.onset_ms - round(1000 * BEFORE_S)
    label: Mask = slots.timestamp_ms >= site.onset_ms
    return Outcome(site.group, delay, runaway), Series(score[seen], label[seen])


def judge_nuisance(
    results: Mapping[str, Result], fitted: Mapping[str, Mapping[str, Fitted]], bench: Bench
) -> None:
    """Add to the results what the detectors do with disturbances that are no fault."""
    by_asset = {stream.asset: stream for stream in bench.streams}
    for nuisance in NUISANCES:
        alarms, hours = dict.fromkeys(results, 0), 0.0
        for site in bench.sites:
            slots = slots_of(disturb(by_asset[site.asset], site, nuisance))
            hours += slots.hours
            for name in results:
                score = fitted[name][site.group].score(slots)
                alarms[name] += len(alarm_times(slots.timestamp_ms, score))
        for name, result in results.items():
            result.nuisance[nuisance] = FalseAlarms(alarms[name], hours)


def chamber_bound(result: Result, slots: Sequence[Slots]) -> FalseAlarms:
    """The pooled rate if sisters count once: alarms over chamber-hours, the cautious bound."""
    return FalseAlarms(result.pooled.alarms, sum(group_hours(slots).values()))
