"""A file through the monitor's own engine, for the page: what it is, its health, its heat.

`analyse` runs this module as a process of its own with bounds on memory and time, so that a
hostile or huge file can neither stop nor slow the page. The process prints JSON lines: the share
done, then the result or a sentence that says why there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from analysis.chinese import in_chinese
from analysis.replayed import Noting, batches, file_sha256
from analysis.thermal import Heat
from monitor.contract import CycleSummary, Event, Readings, as_list
from monitor.dashboard.analysis import (
    AnalysedTrace,
    Analysis,
    AnalysisCurve,
    AnalysisError,
    Segment,
)
from monitor.dashboard.live.rows import THERMAL_CODES, gravest_of, risk_of
from monitor.dashboard.pages.ica import FIRST_CURVES
from monitor.dashboard.thinning import Record, keep_extremes, mark_silences
from monitor.kernels.results import Result
from monitor.risk import ThermalSigns

log = logging.getLogger(__name__)

MEMORY_BYTES = 4 * 2**30  # of address space: models and Numba map a good part of it
TIME_S = 1_800.0
MAX_SAMPLES = 20_000_000
MAX_RECORDINGS = 8
NAMED = 40  # of the batteries beyond that
KEPT_PER_BATCH = 120
TRACE_POINTS = 4_000
FIRST_BIN_V = 2.705  # the centre of the histogram's first bin
DETAIL_ROWS = 200_000  # kept of stretches of heat beyond that, so that they can be looked into
DETAIL_POINTS = 300  # of each stretch on the page
DETAIL_SEGMENTS = 50
LAST_WORDS_BYTES = 2_000
LONGEST_WORDS = 1_000
NICE = 5  # the live page and the monitor come first
NEAR_ROWS = 120  # before and behind a hot sample


async def analyse(path: Path, progress: Callable[[float], None]) -> list[Analysis]:
    """What is in the file at `path`; raises AnalysisError saying why it cannot be told."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "analysis.file", str(path),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, limit=256 * 2**20,
    )  # fmt: skip
    last_words = asyncio.ensure_future(_last_words(process.stderr))
    try:
        if process.stdout is None:
            raise _refused("the analysis did not start")
        async with asyncio.timeout(TIME_S):
            async for line in process.stdout:
                said = msgspec.json.decode(line)
                if "progress" in said:
                    progress(said["progress"])
                elif "result" in said:
                    return msgspec.convert(said["result"], list[Analysis])
                else:
                    raise _refused(said["error"])
    except TimeoutError as error:
        raise _refused(f"{path.name}: it took longer than {TIME_S / 60:g} minutes") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        words = await last_words
    log.error("an analysis ended without an answer: %s", words.decode(errors="replace"))
    raise _refused(f"{path.name}: more memory is needed than an analysis may take, or damaged")


def _refused(words: str) -> AnalysisError:
    return AnalysisError(words, in_chinese(words))


async def _last_words(stream: asyncio.StreamReader | None) -> bytes:
    """The end of what a process complains of; all of it is read, so that it never waits."""
    kept = b""
    while stream is not None and (block := await stream.read(1 << 16)):
        kept = (kept + block)[-LAST_WORDS_BYTES:]
    return kept


def read(path: Path, progress: Callable[[float], None]) -> list[Analysis]:
    """Analyse every recording of a file here and now.

    Raises RecordingError where the file cannot be read and AnalysisError where it is too much.
    """
    from recordings.open import open_recording

    progress(0.0)
    found = open_recording(path)
    recordings = found[:MAX_RECORDINGS]
    digest = file_sha256(path)
    results = []
    if len(found) > len(recordings):
        names = ", ".join(one.info.asset for one in found[MAX_RECORDINGS:][:NAMED])
        left_out = (
            f"{len(found)} batteries in the file: the first {len(recordings)} were analysed; "
            f"left out: {names}{' and others' * (len(found) > MAX_RECORDINGS + NAMED)}"
        )
    else:
        left_out = ""
    for number, recording in enumerate(recordings):

        def share(part: float, number: int = number) -> None:
            progress((number + part) / len(recordings))

        one = _analyse_one(recording, path, digest, share)
        if left_out:
            one = msgspec.structs.replace(one, problems=[left_out, *one.problems])
        results.append(one)
    return [
        msgspec.structs.replace(one, problems_zh=[in_chinese(words) for words in one.problems])
        for one in results
    ]


def _analyse_one(
    recording: Any, path: Path, digest: str, progress: Callable[[float], None]
) -> Analysis:
    from analysis.advice import advice_of
    from analysis.forecast import forecaster
    from analysis.report.make import of_material
    from analysis.report.material import of_file
    from analysis.report.record import to_json
    from monitor.charging.advice import sentence
    from monitor.engine import Engine
    from monitor.inputs import ConfigIn, FrameIn
    from monitor.models.folder import load_models, models_folder
    from simulator.replay import ReplayOptions, asset_config

    info = recording.info
    options = ReplayOptions(speed=None)
    config = asset_config(info, options, "analysis")
    announced = getattr(recording, "rows", 0)
    if announced > MAX_SAMPLES:
        raise AnalysisError(
            f"{path.name}: {announced:,} rows; at most {MAX_SAMPLES:,} samples are analysed"
        )
    engine = Engine(*load_models(models_folder()))
    engine.process([ConfigIn(info.asset, config, 0)])
    kept: list[Record] = []
    detail: list[Record] = []
    heat = Heat(config)
    unmarked: list[Record] = []  # the row before a batch: a silence may lie between
    cycles: list[tuple[CycleSummary, Any]] = []
    events: list[Event] = []
    truths: list[tuple[int, float]] = []
    samples = 0
    material = of_file(path, digest, info, config)
    noting = Noting(recording)
    for batch, stamps in batches(noting, options, truths, progress):
        inputs = [
            FrameIn(info.asset, frame, stamp, b"")
            for frame, stamp in zip(batch, stamps, strict=True)
        ]
        results = engine.process(inputs)
        material.take(batch, results)
        samples += len(inputs)
        if samples > MAX_SAMPLES:
            raise AnalysisError(
                f"{path.name}: more than {MAX_SAMPLES:,} samples; analyse a part of it"
            )
        rows = [_record(frame, row) for frame, row in zip(batch, results.rows, strict=True)]
        hot = heat.take(batch, results.rows)
        if len(detail) < DETAIL_ROWS:
            detail.extend(_around(rows, hot))
        marked = mark_silences([*unmarked, *rows], KEPT_PER_BATCH // 6)[len(unmarked) :]
        unmarked = rows[-1:]
        kept.extend(keep_extremes(marked, KEPT_PER_BATCH, columns=(1, 2, 3, 4)))
        cycles.extend((found.summary, found.histogram) for found in results.cycles)
        events.extend(results.events)
    if not samples:
        raise AnalysisError(f"{path.name}: the file holds no samples")
    material.finish(truths, noting, engine.counters)
    advice = advice_of(material.newest.state(config), models_folder())
    segments = heat.segments()
    trace = _with_detail(keep_extremes(kept, TRACE_POINTS, columns=(1, 2, 3, 4)), detail, segments)
    first = [pair for pair in cycles if pair[0].cell == "c001"]
    signs = ThermalSigns(
        temperature_c=_largest(kept, 3),
        temperature_max_c=info.temperature_max_c,
        score=_largest(kept, 4),
    )
    records = [event.alarm for event in events]
    by_alarm = max(
        (record for record in records if record.code.startswith(THERMAL_CODES)),
        key=lambda record: record.severity,
        default=None,
    )
    why = heat.reason() or (
        ("", "") if by_alarm is None else (by_alarm.message, by_alarm.message_zh)
    )
    return Analysis(
        asset=info.asset,
        dataset=info.dataset,
        nominal_capacity_ah=info.nominal_capacity_ah,
        cells=info.cells,
        samples=samples,
        start_ms=int(trace[0][0] or 0),
        end_ms=int(trace[-1][0] or 0),
        risk=gravest_of(risk_of(signs, records), heat.risk),
        problems=[str(problem) for problem in info.problems][:50],
        problems_zh=[],
        cycles=[summary for summary, _ in first],
        truths=truths,
        curves=_curves(first),
        trace=AnalysedTrace(
            ts=[int(record[0] or 0) for record in trace],
            v=[record[1] for record in trace],
            i=[record[2] for record in trace],
            t=[record[3] for record in trace],
            score=[record[4] for record in trace],
        ),
        segments=segments,
        events=events[-200:],
        report=to_json(of_material(material, models_folder())).decode(),
        outlook=forecaster(models_folder())(info.asset, config, [summary for summary, _ in first]),
        advice=None if advice is None else sentence(advice),
        advice_zh=None if advice is None else sentence(advice, zh=True),
        why=why[0],
        why_zh=why[1],
    )


def _record(frame: Any, row: Any) -> Record:
    """Event time, V of the first cell, A, the hottest sensor's °C, the highest thermal score."""
    voltages = as_list(frame.voltage_v)
    warm = [value for value in as_list(frame.temperature_c) if value is not None]
    scores = [] if row is None else [s for s in row[:, Result.THERMAL_SCORE].tolist() if s == s]
    return (
        frame.timestamp_ms,
        voltages[0] if voltages else None,
        frame.current_a,
        max(warm, default=None),
        round(max(scores), 4) if scores else None,
    )


def _around(rows: list[Record], hot: list[int]) -> list[Record]:
    """The rows at the places `hot` and some before and behind them, each once, in order."""
    if not hot:
        return []
    near = np.zeros(len(rows) + 1, np.int64)
    places = np.array(hot)
    np.add.at(near, np.maximum(places - NEAR_ROWS, 0), 1)
    np.add.at(near, np.minimum(places + NEAR_ROWS + 1, len(rows)), -1)
    return [rows[k] for k in np.flatnonzero(np.cumsum(near[:-1])).tolist()]


def _with_detail(
    trace: Sequence[Record], detail: list[Record], segments: list[Segment]
) -> list[Record]:
    """The trace with more rows of the stretches of heat, so that one can look into them."""
    more: dict[float | None, Record] = {}
    times = np.array([row[0] for row in detail], np.int64)
    for segment in segments[:DETAIL_SEGMENTS]:
        pad = max(60_000, (segment.end_ms - segment.start_ms) // 2)
        first, last = np.searchsorted(times, (segment.start_ms - pad, segment.end_ms + pad))
        part = keep_extremes(detail[first:last], DETAIL_POINTS, columns=(1, 2, 3, 4))
        more.update((row[0], row) for row in part)
    more.update((row[0], row) for row in trace)
    return [more[time] for time in sorted(more)]  # type: ignore[type-var]


def _curves(cycles: list[tuple[CycleSummary, Any]]) -> list[AnalysisCurve]:
    charges = [(c, h) for c, h in cycles if c.kind == "charge" and c.complete]
    chosen = [("first", pair) for pair in charges[:FIRST_CURVES]]
    if len(charges) > FIRST_CURVES:
        chosen.append(("newest", charges[-1]))
    curves = []
    for age, (cycle, histogram) in chosen:
        used = np.flatnonzero(histogram > 0)
        if not len(used):
            continue
        part = slice(int(used[0]), int(used[-1]) + 1)
        volts = FIRST_BIN_V + 0.01 * np.arange(len(histogram))
        curves.append(
            AnalysisCurve(
                cycle.number, age, _readings(volts[part], 3), _readings(histogram[part] / 0.01, 4)
            )
        )
    return curves


def _largest(records: list[Record], column: int) -> float | None:
    values = [value for record in records if (value := record[column]) is not None]
    return max(values, default=None)


def _readings(values: Any, digits: int) -> Readings:
    return [round(float(value), digits) for value in values]


def main(path: Path) -> None:
    """The process: bounded, one line of JSON at a time on standard output."""
    from monitor.errors import CellpulseError
    from recordings.types import RecordingError

    with contextlib.suppress(ImportError):  # Windows has no such bound; the time's remains
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        os.nice(NICE)

    def say(**words: object) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(words) + b"\n")
        sys.stdout.buffer.flush()

    try:
        say(result=read(path, lambda share: say(progress=share)))
    except (RecordingError, CellpulseError) as error:
        say(error=str(error).replace(f"{path.parent}/", "")[:LONGEST_WORDS])
    except MemoryError:
        say(error=f"{path.name}: more memory is needed than an analysis may take")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
