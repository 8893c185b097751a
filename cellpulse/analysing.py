"""A file through the monitor's own engine, for the page: what it is, its health, its heat.

`analyse` runs this module as a process of its own with bounds on memory and time, so that a
hostile or huge file can neither stop nor slow the page. The process prints JSON lines: the share
done, then the result or a sentence that says why there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from monitor.contract import CycleSummary, Event, Readings, as_list
from monitor.dashboard.analysis import (
    AnalysedTrace,
    Analysis,
    AnalysisCurve,
    AnalysisError,
    Segment,
)
from monitor.dashboard.ica import FIRST_CURVES
from monitor.dashboard.rows import risk_of
from monitor.dashboard.thinning import Record, keep_extremes
from monitor.risk import ThermalSigns

MEMORY_BYTES = 6 * 2**30  # of address space: models and Numba map a good part of it
TIME_S = 600.0
MAX_SAMPLES = 20_000_000
MAX_RECORDINGS = 8
BATCH = 4_000
KEPT_PER_BATCH = 120
TRACE_POINTS = 4_000
FIRST_BIN_V = 2.705  # the centre of the histogram's first bin
JOIN_MS = 600_000  # two stretches of heat closer than this are one


async def analyse(path: Path, progress: Callable[[float], None]) -> list[Analysis]:
    """What is in the file at `path`; raises AnalysisError saying why it cannot be told."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cellpulse.analysing", str(path),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, limit=256 * 2**20,
    )  # fmt: skip
    try:
        if process.stdout is None:
            raise AnalysisError("the analysis did not start")
        async with asyncio.timeout(TIME_S):
            async for line in process.stdout:
                said = msgspec.json.decode(line)
                if "progress" in said:
                    progress(said["progress"])
                elif "result" in said:
                    return msgspec.convert(said["result"], list[Analysis])
                else:
                    raise AnalysisError(said["error"])
    except TimeoutError as error:
        raise AnalysisError(f"the file took longer than {TIME_S / 60:g} minutes") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    raise AnalysisError("the file needs more memory than an analysis may take, or is damaged")


def read(path: Path, progress: Callable[[float], None]) -> list[Analysis]:
    """Analyse every recording of a file here and now.

    Raises RecordingError where the file cannot be read and AnalysisError where it is too much.
    """
    from cellpulse.report.gathering import file_sha256
    from recordings.open import open_recording

    recordings = open_recording(path)[:MAX_RECORDINGS]
    digest = file_sha256(path)
    results = []
    for number, recording in enumerate(recordings):

        def share(part: float, number: int = number) -> None:
            progress((number + part) / len(recordings))

        results.append(_analyse_one(recording, path, digest, share))
    return results


def _analyse_one(
    recording: Any, path: Path, digest: str, progress: Callable[[float], None]
) -> Analysis:
    from cellpulse.advising import advice_of
    from cellpulse.forecasting import forecaster
    from cellpulse.paths import models_folder
    from cellpulse.report.gathering import Noting, of_file
    from cellpulse.report.making import of_material
    from cellpulse.report.record import to_json
    from monitor.advice import sentence
    from monitor.engine import Engine
    from monitor.inputs import ConfigIn, FrameIn
    from monitor.service import load_models
    from simulator.replay import ReplayOptions, asset_config

    info = recording.info
    options = ReplayOptions(speed=None)
    config = asset_config(info, options, "analysis")
    engine = Engine(*load_models(models_folder()))
    engine.process([ConfigIn(info.asset, config, 0)])
    kept: list[Record] = []
    hot: list[tuple[int, float, float | None]] = []
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
            raise AnalysisError(f"more than {MAX_SAMPLES:,} samples; analyse a part of it")
        rows = [_record(frame, row) for frame, row in zip(batch, results.rows, strict=True)]
        hot.extend((int(r[0] or 0), r[4], r[3]) for r in rows if r[4] is not None and r[4] >= 1)
        kept.extend(keep_extremes(rows, KEPT_PER_BATCH, columns=(1, 2, 3, 4)))
        cycles.extend((found.summary, found.histogram) for found in results.cycles)
        events.extend(results.events)
    if not samples:
        raise AnalysisError("the file holds no samples")
    material.finish(truths, noting, engine.counters)
    advice = advice_of(material.newest.state(config), models_folder())
    trace = keep_extremes(kept, TRACE_POINTS, columns=(1, 2, 3, 4))
    first = [pair for pair in cycles if pair[0].cell == "c001"]
    signs = ThermalSigns(
        temperature_c=_largest(kept, 3),
        temperature_max_c=info.temperature_max_c,
        score=_largest(kept, 4),
    )
    return Analysis(
        asset=info.asset,
        dataset=info.dataset,
        nominal_capacity_ah=info.nominal_capacity_ah,
        cells=info.cells,
        samples=samples,
        start_ms=int(trace[0][0] or 0),
        end_ms=int(trace[-1][0] or 0),
        risk=risk_of(signs, [event.alarm for event in events]),
        problems=[str(problem) for problem in info.problems][:50],
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
        segments=thermal_segments(hot),
        events=events[-200:],
        report=to_json(of_material(material, models_folder())).decode(),
        outlook=forecaster(models_folder())(info.asset, config, [summary for summary, _ in first]),
        advice=None if advice is None else sentence(advice),
        advice_zh=None if advice is None else sentence(advice, zh=True),
    )


def batches(
    recording: Any, options: Any, truths: list[tuple[int, float]], progress: Callable[[float], None]
) -> Iterator[tuple[list[Any], list[int]]]:
    """Frames with their times, some thousands at once; the recording's own SOH goes to `truths`."""
    from monitor.contract import Frame
    from simulator.replay import messages

    total = sum(1 for _ in recording.operations()) or 1
    done = 0
    batch: list[Any] = []
    stamps: list[int] = []
    for timed in messages(recording, options):
        message = timed.message
        if isinstance(message, Frame):
            batch.append(message)
            stamps.append(message.timestamp_ms)
            if len(batch) >= BATCH:
                yield batch, stamps
                batch, stamps = [], []
            continue
        done += 1
        progress(min(1.0, done / total))
        if message.soh is not None and (not truths or truths[-1][1] != message.soh):
            truths.append((message.timestamp_ms, message.soh))
    if batch:
        yield batch, stamps


def _record(frame: Any, row: Any) -> Record:
    """Event time, V, A, degrees Celsius and thermal score of the first cell."""
    from monitor.latest import Result

    voltages, temperatures = as_list(frame.voltage_v), as_list(frame.temperature_c)
    score = None if row is None else float(row[0][Result.THERMAL_SCORE])
    return (
        frame.timestamp_ms,
        voltages[0] if voltages else None,
        frame.current_a,
        temperatures[0] if temperatures else None,
        None if score is None or score != score else round(score, 4),
    )


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


def thermal_segments(hot: list[tuple[int, float, float | None]]) -> list[Segment]:
    """Stretches of time from samples (time, score, temperature) over the thermal threshold."""
    segments: list[Segment] = []
    for stamp, score, temperature in hot:
        last = segments[-1] if segments else None
        if last is None or stamp - last.end_ms > JOIN_MS:
            segments.append(Segment(stamp, stamp, score, temperature))
            continue
        hottest = max(
            (t for t in (last.peak_temperature_c, temperature) if t is not None), default=None
        )
        segments[-1] = Segment(last.start_ms, stamp, max(last.peak_score, score), hottest)
    return segments[:500]


def main(path: Path) -> None:
    """The process: bounded, one line of JSON at a time on standard output."""
    from monitor.errors import CellpulseError
    from recordings.types import RecordingError

    with contextlib.suppress(ImportError):  # Windows has no such bound; the time's remains
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    def say(**words: object) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(words) + b"\n")
        sys.stdout.buffer.flush()

    try:
        say(result=read(path, lambda share: say(progress=share)))
    except (RecordingError, CellpulseError) as error:
        say(error=str(error).replace(f"{path.parent}/", ""))
    except MemoryError:
        say(error="the file needs more memory than an analysis may take")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
