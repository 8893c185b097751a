"""The whole thermal benchmark, from recordings to the object that `--json` prints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from msgspec import Struct

from training.resume import all_kept, keep
from training.thermal.abuse import abuse_tests
from training.thermal.benchmark import (
    Bench,
    Fitted,
    Result,
    fit_leaving_out,
    in_parts,
    judge,
    judge_nuisance,
    limit_of,
    one_each,
)
from training.thermal.data import Stream, healthy_streams
from training.thermal.detectors import all_detectors
from training.thermal.healthy import healthy_alarms
from training.thermal.report import as_report, figures
from training.thermal.scenarios import SITES_PER_GROUP
from training.thermal.scenarios import sites as site_draw
from training.thermal.sensors import (
    falsely_named,
    falsely_named_disturbed,
    frozen_coarse,
    judge_sensors,
)
from training.thermal.single import glitch_costs, rising_warnings, second_readings
from training.thermal.slots import Slots, group_hours, slots_of
from training.thermal.tables import OURS, Beside
from training.thermal.twin import judge_twin

MODELS = Path(__file__).resolve().parents[2] / "models"
QUICK = (
    "random",
    "absolute temperature",
    "60 C limit",
    "dT/dt",
    "heat balance, fixed prior",
    OURS,
)  # judged on every site, one group left out at a time


class Kept(Struct):
    """One detector's result in a file, so that a long run can be made in pieces."""

    sites_per_group: int
    result: Result


def kept(folder: Path) -> dict[str, tuple[Result, int]]:
    """Every kept result by the detector's name, with its number of sites a group."""
    return {k.result.name: (k.result, k.sites_per_group) for k in all_kept(folder, Kept)}


def file_name(detector: str) -> str:
    """A detector's name as a file's."""
    return "".join(c if c.isalnum() else "-" for c in detector).strip("-")


def evaluate(
    data: Path,
    *,
    keep_in: Path | None = None,
    detectors: Sequence[str] | None = None,
    sites: int = SITES_PER_GROUP,
    seed: int = 0,
    budget_s: float | None = None,
) -> dict[str, Any]:
    """Run the benchmark; the object that `--json` prints, with the page's tables.

    Results in `keep_in` are taken as they are and new ones are written there, so that a long run
    can be made in pieces. `detectors` are beginnings of names, None for all. Windowed detectors get
    a quarter of the sites. With `budget_s` only the quick detectors run, on as many sites as fit,
    and then of what stands beside them what still fits. Raises RecordingError where the data cannot
    be read.
    """
    begun = time.monotonic()
    clock = _Clock(begun, budget_s)
    found = {} if keep_in is None else kept(keep_in)
    streams, hashes = [], {}
    for stream, digest in healthy_streams(data):
        streams.append(stream)
        hashes[stream.asset] = digest
    slots = [slots_of(stream) for stream in streams]
    budget = ""
    if budget_s is not None:
        detectors = [
            name for name in QUICK if detectors is None or name.startswith(tuple(detectors))
        ]
        sites = _affordable(streams, slots, clock, seed)
        budget = f"; cut to {sites} sites a group and quick detectors by a budget of {budget_s:g} s"
    every = [site for site in site_draw(streams, SITES_PER_GROUP) if site.number < sites]
    makers = all_detectors()
    wanted = [
        name
        for name in makers
        if name not in found and (detectors is None or name.startswith(tuple(detectors)))
    ]
    ours: dict[str, dict[str, Fitted]] = {}
    for names, per_group in (
        ([n for n in wanted if n in QUICK], sites),
        *(([n], max(1, sites // 4)) for n in wanted if n not in QUICK),
    ):
        if not names:
            continue
        bench = Bench(streams, slots, [site for site in every if site.number < per_group])
        parts = one_each(bench.groups) if names[0] in QUICK else in_parts(bench.groups)
        fitted = {name: fit_leaving_out(makers[name], bench, parts, seed) for name in names}
        results = judge(fitted, bench)
        if OURS in fitted:
            ours[OURS] = fitted[OURS]
        if names[0] in QUICK:
            judge_nuisance(results, fitted, bench)
        for name, result in results.items():
            found[name] = (result, per_group)
            if keep_in is not None:
                keep(keep_in, file_name(name), Kept(per_group, result))
    bench = Bench(streams, slots, every)
    if not ours:
        ours[OURS] = fit_leaving_out(makers[OURS], bench, one_each(bench.groups), seed)
    if OURS not in found:
        found[OURS] = (judge(ours, bench)[OURS], sites)
    everything = makers[OURS]()
    everything.fit(slots, seed)
    ordered = {name: found[name] for name in makers if name in found}
    few = bench if budget_s is None else Bench(streams, slots, [s for s in every if s.number == 0])
    beside = Beside(
        chamber_hours=sum(group_hours(slots).values()),
        cost_us=_cost_us(),
        abuse=abuse_tests(data),
        second=second_readings(data),
        glitches=glitch_costs(data),
        alarms=healthy_alarms(ours[OURS], streams, slots),
        sensors=judge_sensors(ours[OURS], few) if clock.has(0.1) else [],
        coarse_frozen=frozen_coarse(few) if clock.has(0.05) else None,
        named=falsely_named(streams) if clock.has(0.15) else None,
        named_disturbed=(
            falsely_named_disturbed(few, max(1, sites // 4)) if clock.has(0.1) else {}
        ),
        rising=rising_warnings(streams) if clock.has(0.15) else None,
        twin=(
            judge_twin(Fitted(everything, limit_of(everything, slots))) if clock.has(0.25) else None
        ),
        budget=budget,
    )
    return as_report(hashes, figures(ordered, beside), ordered, beside)


class _Clock:
    """What is left of a budget; without one, everything fits."""

    def __init__(self, begun: float, budget_s: float | None) -> None:
        self._begun = begun
        self._budget_s = budget_s

    def left_s(self) -> float:
        if self._budget_s is None:
            return float("inf")
        return self._budget_s - (time.monotonic() - self._begun)

    def has(self, share: float) -> bool:
        """Whether so large a share of the budget is left."""
        return self._budget_s is None or self.left_s() >= share * self._budget_s


def _affordable(streams: Sequence[Stream], slots: Sequence[Slots], clock: _Clock, seed: int) -> int:
    """How many sites a group fit into half of what is left once the detectors are fitted.

    One site of every group is tried on the quick detectors, and the rest scaled.
    """
    first = [site for site in site_draw(streams, SITES_PER_GROUP) if site.number == 0]
    bench = Bench(streams, slots, first[:2])
    makers = all_detectors()
    begun = time.monotonic()
    fitted = {
        name: fit_leaving_out(makers[name], bench, one_each(bench.groups), seed) for name in QUICK
    }
    spent_on_fits = time.monotonic() - begun
    judge_nuisance(judge(fitted, bench), fitted, bench)
    each = max(1e-3, time.monotonic() - begun - spent_on_fits) * len(first) / len(bench.sites)
    left = clock.left_s() - 2.0 * spent_on_fits
    return int(np.clip(0.5 * left // each, 1, SITES_PER_GROUP))


def _cost_us() -> dict[str, float]:
    """Microseconds a sample of the shipped models in batches of 512, one thread: the median."""
    cost: dict[str, float] = {}
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    for name in ("soh", "thermal"):
        path = MODELS / f"{name}.onnx"
        if not path.exists():
            continue
        session = ort.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        shape = session.get_inputs()[0].shape
        x = np.zeros((512, int(shape[1])), np.float32)
        spent = []
        for _ in range(400):
            begun = time.perf_counter()
            session.run(None, {"x": x})
            spent.append(time.perf_counter() - begun)
        cost[name] = float(np.median(spent)) / 512 * 1e6
    return cost
