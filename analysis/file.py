"""What is in a file, through the monitor's own engine: each battery, its health, its heat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from analysis.advice import advice_of
from analysis.forecast import outlook_of
from analysis.ica import charge_curves
from analysis.messages import AnalysisMessage, refusal
from analysis.replayed import Replayed, file_sha256
from analysis.report.make import of_material
from analysis.report.material import of_file
from analysis.report.record import to_json
from analysis.thermal import Heat
from analysis.trace import TraceMaker
from monitor.charging.advice import sentence
from monitor.contract import Event
from monitor.dashboard.analysis import Analysis, AnalysisCurve
from monitor.dashboard.live.rows import THERMAL_CODES, gravest_of, risk_of
from monitor.models.folder import models_folder
from monitor.risk import ThermalSigns
from recordings.messages import Words, in_language
from recordings.open import open_recording
from recordings.types import Recording

MAX_SAMPLES = 20_000_000
MAX_RECORDINGS = 8
MOST_PROBLEMS = 50  # of each
NAMED = 40  # of the batteries beyond that


def read(path: Path, progress: Callable[[float], None]) -> list[Analysis]:
    """Analyse every recording of a file here and now.

    Raises RecordingError where the file cannot be read and AnalysisError where it is too much.
    """
    progress(0.0)
    found = open_recording(path)
    recordings = found[:MAX_RECORDINGS]
    digest = file_sha256(path)
    results = []
    left_out: list[Words] = []
    if len(found) > len(recordings):
        names = ", ".join(one.info.asset for one in found[MAX_RECORDINGS:][:NAMED])
        left_out.append(
            AnalysisMessage(
                "left_out" if len(found) <= MAX_RECORDINGS + NAMED else "left_out_many",
                found=len(found),
                analysed=len(recordings),
                names=names,
            )
        )
    for number, recording in enumerate(recordings):

        def share(part: float, number: int = number) -> None:
            progress((number + part) / len(recordings))

        one = _analyse_one(recording, path, digest, share)
        problems = [*left_out, *recording.info.problems[:MOST_PROBLEMS]]
        results.append(
            msgspec.structs.replace(
                one,
                problems=[in_language(words, "en") for words in problems],
                problems_zh=[in_language(words, "zh") for words in problems],
            )
        )
    return results


def _analyse_one(
    recording: Recording, path: Path, digest: str, progress: Callable[[float], None]
) -> Analysis:
    info = recording.info
    announced = getattr(recording, "rows", 0)
    if announced > MAX_SAMPLES:
        raise refusal(AnalysisMessage("rows", found=announced, most=MAX_SAMPLES), path.name)
    models = models_folder()
    replayed = Replayed(recording, "analysis", models)
    config = replayed.config
    material = of_file(path, digest, info, config)
    heat, made = Heat(config), TraceMaker()
    for frames, results in replayed.results(progress):
        material.take(frames, results)
        if replayed.frames > MAX_SAMPLES:
            raise refusal(AnalysisMessage("samples", most=MAX_SAMPLES), path.name)
        made.take(frames, results.rows, heat.take(frames, results.rows))
    if not replayed.frames:
        raise refusal(AnalysisMessage("no_samples"), path.name)
    material.finish(replayed)
    advice = advice_of(material.newest.state(config), models)
    segments = heat.segments()
    trace = made.trace(segments)
    first = [pair for pair in material.cycles if pair[0].cell == "c001"]
    summaries = [summary for summary, _ in first]
    signs = ThermalSigns(
        temperature_c=made.temperature_max_c,
        temperature_max_c=info.temperature_max_c,
        score=made.score_max,
    )
    why, why_zh = _why(heat, material.events)
    return Analysis(
        asset=info.asset,
        dataset=info.dataset,
        nominal_capacity_ah=info.nominal_capacity_ah,
        cells=info.cells,
        samples=replayed.frames,
        start_ms=trace.ts[0],
        end_ms=trace.ts[-1],
        risk=gravest_of(risk_of(signs, [event.alarm for event in material.events]), heat.risk),
        problems=[],
        problems_zh=[],
        cycles=summaries,
        truths=replayed.truths,
        curves=[
            AnalysisCurve(one.number, one.age, one.voltage_v, one.dqdv_ah_per_v)
            for one in charge_curves(first)
        ],
        trace=trace,
        segments=segments,
        events=material.events[-200:],
        report=to_json(of_material(material, models)).decode(),
        outlook=outlook_of(models, info.asset, config, summaries),
        advice=None if advice is None else sentence(advice),
        advice_zh=None if advice is None else sentence(advice, zh=True),
        why=why,
        why_zh=why_zh,
    )


def _why(heat: Heat, events: Sequence[Event]) -> tuple[str, str]:
    """The reason for the risk lamp in two languages: the heat's, else the gravest alarm's."""
    found = heat.reason()
    if found:
        return found
    thermal = [event.alarm for event in events if event.alarm.code.startswith(THERMAL_CODES)]
    if not thermal:
        return "", ""
    gravest = max(thermal, key=lambda record: record.severity)
    return gravest.message, gravest.message_zh
