"""`cellpulse bench engine`: samples a second on one core, beside the obvious way in the same run.

Both sides get the same JSON bytes. Ours: contract decoding, `Engine.process` on batches of up to
1,000 messages (admission, features, both models, limits, alarms), and every frame's result row as
the bytes that the journal stores beside the payload. The baseline (`benchmarks/baseline.py`): the
same outputs for every sample, written as line protocol. First their outputs are compared
(`benchmarks/agreement.py`), then they run in turns, a slice each a round. Both sides, their turns
and the page stand together here: nobody should have to trust a comparison spread over files.

The module is long because both sides, their agreement and the figures are one protocol.
"""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from msgspec import structs

from benchmarks.agreement import Agreement, compare
from benchmarks.baseline import Baseline
from benchmarks.results import as_object, figure, table
from benchmarks.stream import FIRST_S, GROUPS, LAST_S, START_MS, WARM_S, FleetStream, Message
from monitor.contract import decode_telemetry
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn
from monitor.models.folder import load_models, models_folder
from monitor.models.onnx import SohModel, ThermalModel
from training.figures import Figure

BATCH_MESSAGES = 1_000
OUR_SLICE = 100_000  # samples a round, at least one of every cell
BASELINE_SLICE = 2_000
SINGLE_BATCHES = 20_000
MODEL_FILES = ("soh.onnx", "thermal.onnx")
SIZES = (1, 100, 1_000, 10_000, 100_000)
FRAMES = (1, 96)
COMPARED_AT = 1_000  # cells; where the issue has its targets
BASELINE_UP_TO = 1_000  # cells; its dicts take some 20 KB each
FULL_ROUNDS = 7
SMALL_BUDGET_S = 120.0
TARGET_RATE = {1: 100_000.0, 96: 500_000.0}
TARGET_RATIO = {1: 5.0, 96: 25.0}
TARGET_BYTES = 4_096.0
TARGET_P99_MS = 0.3
TARGET_GROWTH = 3.0


@dataclass(frozen=True, slots=True)
class Models:
    """The models as both sides need them."""

    soh: SohModel
    thermal: ThermalModel
    files: dict[str, bytes]

    @staticmethod
    def read(folder: Path) -> Models:
        """The models of a folder, and their files' bytes."""
        soh, thermal = load_models(folder)
        files = {name: (folder / name).read_bytes() for name in MODEL_FILES}
        return Models(soh, thermal, files)

    def baseline(self) -> Baseline:
        """A baseline with sessions of its own, of the engine's options."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        soh, thermal = (
            ort.InferenceSession(self.files[name], options, providers=["CPUExecutionProvider"])
            for name in MODEL_FILES
        )
        return Baseline(soh, thermal, self.thermal.prior, dt_s=1.0)


@dataclass(slots=True)
class Runner:
    """One side on one fleet: started in mid-charge, then a slice of the stream at a time."""

    stream: FleetStream
    slice_samples: int
    start: Callable[[FleetStream], Callable[[list[Message]], object]]
    rates: list[float] = field(default_factory=list)  # samples a second of processor time
    wall_rates: list[float] = field(default_factory=list)
    _step: Callable[[list[Message]], object] | None = None
    _second: int = LAST_S

    def round(self) -> None:
        """Run one slice and note its rate."""
        samples = len(self.stream.assets) * self.stream.frame
        sweeps = min(max(1, self.slice_samples // samples), 1_000)
        if self._step is None or self._second + sweeps > LAST_S:
            self._step = self.start(self.stream)
            self._second = FIRST_S
        messages = [
            message
            for second in range(self._second, self._second + sweeps)
            for message in self.stream.messages(second)
        ]
        self._second += sweeps
        _forget_garbage()
        wall, processor = time.perf_counter(), time.process_time()
        self._step(messages)
        processor, wall = time.process_time() - processor, time.perf_counter() - wall
        self.rates.append(sweeps * samples / processor)
        self.wall_rates.append(sweeps * samples / wall)

    @property
    def rate(self) -> float:
        """Samples a second, the median of the rounds."""
        return median(self.rates)


def start_engine(models: Models, stream: FleetStream) -> Engine:
    """An engine that has seen ten minutes of the fleet's charge."""
    engine = Engine(models.soh, models.thermal)
    engine.process([ConfigIn(name, stream.config, START_MS) for name in stream.assets])
    for second in WARM_S:
        run_engine(engine, list(stream.messages(second, numbered=False)))
    return engine


def run_engine(engine: Engine, messages: list[Message]) -> int:
    """Payloads to results, in batches; returns the bytes of the result rows."""
    size = 0
    for begin in range(0, len(messages), BATCH_MESSAGES):
        inputs = [
            FrameIn(message.asset, frame, message.arrival_ms, message.payload)
            for message in messages[begin : begin + BATCH_MESSAGES]
            for frame in decode_telemetry(message.payload)
        ]
        results = engine.process(inputs)
        size += sum([len(row.tobytes()) for row in results.rows if row is not None])
    return size


def start_baseline(models: Models, stream: FleetStream) -> Baseline:
    """A baseline in the same state: one cell of each group run through, the others copied."""
    baseline = models.baseline()
    few = FleetStream(GROUPS, min(GROUPS, stream.frame), stream.seed)
    table = models.soh.table(stream.config.cell_type)
    for name in few.assets:
        baseline.configure(name, few.config, few.sensors, table)
    for second in range(FIRST_S):
        run_baseline(baseline, few.messages(second))
    warm = [cell for name in few.assets for cell in baseline.cells[name]]
    for name in stream.assets:
        baseline.configure(name, stream.config, stream.sensors, table)
    cells = [cell for name in stream.assets for cell in baseline.cells[name]]
    for k, cell in enumerate(cells):
        own = {key: cell[key] for key in ("sensor", "alarms")}
        cell |= copy.deepcopy(warm[k % GROUPS]) | own
    return baseline


def run_baseline(baseline: Baseline, messages: Iterable[Message]) -> int:
    """Payloads to line protocol; returns its length."""
    size = 0
    for message in messages:
        size += sum([len(line) for line in baseline.frame(message.asset, message.payload)])
    return size


def single_batches(models: Models, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of batches of one sample, 1,000 cells in turn: processor time, wall time."""
    stream = FleetStream(COMPARED_AT, 1)
    engine = start_engine(models, stream)
    processor: list[float] = []
    wall: list[float] = []
    second = FIRST_S
    while len(wall) < count:
        messages = list(stream.messages(second))
        second += 1
        _forget_garbage()
        for message in messages:
            wall_from, processor_from = time.perf_counter_ns(), time.thread_time_ns()
            run_engine(engine, [message])
            processor_to, wall_to = time.thread_time_ns(), time.perf_counter_ns()
            processor.append((processor_to - processor_from) / 1e6)
            wall.append((wall_to - wall_from) / 1e6)
    return processor, wall


@dataclass(frozen=True, slots=True)
class Measured:
    """All that a run gave."""

    agreements: list[Agreement]
    ours: dict[tuple[int, int], Runner]  # by cells and cells a frame
    baseline: dict[tuple[int, int], Runner]
    state_bytes: int
    single_processor_ms: list[float]
    single_wall_ms: list[float]
    rounds: int

    @property
    def largest(self) -> int:
        """The largest number of cells that was measured."""
        return max(cells for cells, _ in self.ours)


def measure(models: Models, budget_s: float | None) -> Measured:
    """Compare, then measure in rounds until the budget is spent (at least one round)."""
    began = time.monotonic()
    small = budget_s is not None and budget_s < SMALL_BUDGET_S
    engine = Engine(models.soh, models.thermal)
    agreements = compare(engine, models.baseline(), models.soh.table("nasa-18650"))
    sizes = [cells for cells in SIZES if cells <= COMPARED_AT or not small]
    state_bytes = 0

    def our_side(stream: FleetStream) -> Callable[[list[Message]], object]:
        nonlocal state_bytes
        engine = start_engine(models, stream)
        state_bytes = max(state_bytes, engine.fleet.state_bytes_per_cell())
        return lambda messages: run_engine(engine, messages)

    def their_side(stream: FleetStream) -> Callable[[list[Message]], object]:
        baseline = start_baseline(models, stream)
        return lambda messages: run_baseline(baseline, messages)

    pairs = [(cells, frame) for frame in FRAMES for cells in sizes]
    ours = {pair: Runner(FleetStream(*pair), OUR_SLICE, our_side) for pair in pairs}
    theirs = {
        pair: Runner(FleetStream(*pair), BASELINE_SLICE, their_side)
        for pair in pairs
        if pair[0] <= BASELINE_UP_TO and (not small or pair[0] == COMPARED_AT)
    }
    rounds = 0
    lasted = 0.0
    while rounds < (FULL_ROUNDS if budget_s is None else 100):
        if budget_s is not None and rounds and time.monotonic() - began + 2 * lasted > budget_s:
            break
        start = time.monotonic()
        for runner in (*ours.values(), *theirs.values()):
            runner.round()
        lasted = time.monotonic() - start
        rounds += 1
    processor, wall = single_batches(models, SINGLE_BATCHES // (10 if small else 1))
    return Measured(agreements, ours, theirs, state_bytes, processor, wall, rounds)


def figures(run: Measured) -> list[Figure]:
    """The figures and the issue's targets."""
    how = (
        f"one core, one thread, processor time, median of {run.rounds} rounds; messages of one "
        f"frame, at most {BATCH_MESSAGES:,} a batch, constant-current charge at 1 s, both models "
        "on nearly every sample; "
    )
    ours_how = how + "JSON bytes to result-row bytes"
    found = []
    for (cells, frame), runner in run.ours.items():
        found.append(
            figure(
                f"engine, {_fleet(cells, frame)}", runner.rate, "samples/s",
                TARGET_RATE[frame] if cells == COMPARED_AT else None, "higher", ours_how,
            )
        )  # fmt: skip
    for (cells, frame), runner in run.baseline.items():
        found.append(
            figure(
                f"baseline, {_fleet(cells, frame)}", runner.rate, "samples/s", None, "higher",
                how + "JSON bytes to line protocol",
            )
        )  # fmt: skip
        found.append(
            figure(
                f"engine over baseline, {_fleet(cells, frame)}", _ratio(run, cells, frame), "times",
                TARGET_RATIO[frame] if cells == COMPARED_AT else None, "higher",
                how + "median of the rounds' ratios",
            )
        )  # fmt: skip
    for frame in FRAMES if run.largest > COMPARED_AT else ():
        few, many = run.ours[COMPARED_AT, frame].rates, run.ours[run.largest, frame].rates
        growth = median(a / b for a, b in zip(few, many, strict=True))
        found.append(
            figure(
                f"cost a sample at {run.largest:,} cells over {COMPARED_AT:,}, frames of {frame}",
                growth, "times", TARGET_GROWTH, "lower",
                ours_how + ", median of the rounds' ratios",
            )
        )  # fmt: skip
    single_how = (
        f"one message with one sample, JSON bytes to result row, {len(run.single_wall_ms):,} times "
        f"over {COMPARED_AT:,} cells; "
    )
    for name, times in (
        ("processor time", run.single_processor_ms),
        ("wall time", run.single_wall_ms),
    ):
        found.append(
            figure(
                f"single-sample batch, p99 of {name}", float(np.percentile(times, 99)), "ms",
                TARGET_P99_MS, "lower", single_how + name,
            )
        )  # fmt: skip
        found.append(
            figure(
                f"single-sample batch, median of {name}", median(times), "ms", None, "lower",
                single_how + name,
            )
        )  # fmt: skip
    found.append(
        figure(
            "state a cell", float(run.state_bytes), "bytes", TARGET_BYTES, "lower",
            "all arrays of features, newest values and alarm conditions",
        )
    )  # fmt: skip
    if run.largest < SIZES[-1]:
        left = f"; small run within --budget: nothing above {run.largest:,} cells was measured"
        found = [_with_note(figure, left) for figure in found]
    return found


def report(run: Measured, found: list[Figure]) -> str:
    """The tables for people, in Markdown."""
    rates = []
    for (cells, frame), runner in run.ours.items():
        theirs = run.baseline.get((cells, frame))
        rates.append(
            (
                f"{len(runner.stream.assets) * frame:,}", str(frame), f"{runner.rate:,.0f}",
                f"{1e6 / runner.rate:.2f}", f"{median(runner.wall_rates):,.0f}",
                "-" if theirs is None else f"{theirs.rate:,.0f}",
                "-" if theirs is None else f"{_ratio(run, cells, frame):.1f}",
            )
        )  # fmt: skip
    header = ("cells", "cells a frame", "samples/s", "us a sample", "samples/s of wall time",
              "baseline samples/s", "ratio")  # fmt: skip
    targets = [
        figure.row()
        for figure in found
        if figure.target is not None or figure.name.startswith("single")
    ]
    return "\n\n".join(
        [
            "## Against the targets",
            table(("figure", "value", "target", "met"), targets),
            "## Samples a second on one core",
            table(header, rates),
            "## Outputs compared before timing",
            "The largest difference is relative to the larger of 1 and the value.",
            table(
                ("output", "values compared", "largest difference", "allowed"),
                [agreement.row() for agreement in run.agreements],
            ),
        ]
    )


def main(
    json_out: bool,
    budget_s: float | None,
    page: Path | None = None,
    models: Path | None = None,
) -> None:
    """Run the benchmark; a table, or with `json_out` one object, on standard output.

    `page` is a Markdown file to write the same to. Raises OutputsDifferError before any timing
    where the two sides do not give the same.
    """
    _stay_on_one_core()
    loaded = Models.read(models or models_folder())
    run = measure(loaded, budget_s)
    found = figures(run)
    text = report(run, found)
    data = {name: hashlib.sha256(content).hexdigest() for name, content in loaded.files.items()}
    result = as_object("bench engine", data, found)
    if page is not None:
        page.write_text(_page(result, text), encoding="utf-8")
    print(json.dumps(result, indent=1) if json_out else text)


def _forget_garbage() -> None:
    """Collect, and keep the collector from walking fleets and messages while time is taken."""
    gc.collect()
    gc.freeze()


def _stay_on_one_core() -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _page(result: dict[str, Any], text: str) -> str:
    protocols = "\n".join(dict.fromkeys(f"- {figure['protocol']}" for figure in result["figures"]))
    return (
        f"# The engine's speed\n\n"
        f"Written by `cellpulse bench engine --page docs/results-engine.md` at commit "
        f"{result['commit']} on {_processor()}, at a load average of {_load()}: where others run "
        f"beside it, processor time and the ratios within the run say more than wall time.\n\n"
        f"The engine does contract decoding, admission (duplicates, late frames, clock jumps), "
        f"screening of values, features, both ONNX models on whole batches, limits with deadband "
        f"and delays, the alarm life cycle, and gives each frame's result row as the bytes that "
        f"the journal stores beside the payload. The baseline (`benchmarks/baseline.py`) does "
        f"`json.loads`, River transforms and a dict a cell, one onnxruntime call a model and "
        f"sample, plain limit checks, and an `influxdb_client.Point` in line protocol a sample.\n\n"
        f"{text}\n\n## Protocol\n\n{protocols}\n"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "a processor that does not say its name"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'an unnamed processor'} ({len(names)} cores)"


def _load() -> str:
    return f"{os.getloadavg()[1]:.1f} over five minutes" if hasattr(os, "getloadavg") else "?"


def _fleet(cells: int, frame: int) -> str:
    held = -(-cells // frame) * frame
    return f"{held:,} cells, frames of {frame}"


def _ratio(run: Measured, cells: int, frame: int) -> float:
    ours, theirs = run.ours[cells, frame].rates, run.baseline[cells, frame].rates
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def _with_note(one: Figure, note: str) -> Figure:
    return structs.replace(one, protocol=one.protocol + note)
