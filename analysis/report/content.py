"""From a report's material to what it says; no page, no words, no disk.

Every figure is about one cell, the weakest of a pack, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from analysis.ica import charge_curves
from analysis.report.health import END_OF_LIFE, health_of, measured_of
from analysis.report.material import Material
from analysis.report.record import (
    VERSION,
    About,
    Advice,
    AlarmLine,
    Alarms,
    Card,
    DataQuality,
    FadePoint,
    Flagged,
    Forecast,
    ForecastMissing,
    Health,
    HeatPoint,
    Measured,
    Report,
    Resistance,
    ResistancePoint,
    Segment,
    Source,
    Thermal,
)
from analysis.report.regulation import annex_vii
from analysis.report.use import use_of
from analysis.thermal import JOIN_MS
from monitor.contract import CycleSummary, Event
from monitor.dashboard.live.rows import THERMAL_CODES, is_active, risk_of
from monitor.models.forecast import FARTHEST, HISTORY, ForecastModel, forecast_series
from monitor.models.onnx import Card as ModelCard
from monitor.risk import ThermalSigns

T = TypeVar("T")

RECENT = 5
POINTS = 600  # of a plotted series at most
SEGMENTS = 20
LINES = 24
UNDATED_MS = 365 * 86_400_000  # a clock in 1970 is one that counts from a recording's start
TRIMMED_MS = 3_600_000  # samples that begin so long after the first half-cycle were trimmed
GROWTH_LEAST = 30  # complete discharges, under which a resistance's growth is not told
SUDDEN = 0.15  # of nominal capacity, less than in the complete discharge before
GAPS_ARE_MANY = 0.1  # of the time that the data span


def make_report(
    material: Material,
    cards: Sequence[ModelCard],
    forecast_model: ForecastModel | None,
    advice: Advice | None = None,
) -> Report:
    """The report of one asset, from `cards` of the models that judged it."""
    cell = weakest_cell(material)
    own = [pair for pair in material.cycles if pair[0].cell == cell]
    cycles = [summary for summary, _ in own]
    measured = measured_of(cycles, material.truths, material.config.nominal_capacity_ah)
    health = health_of(material, cycles, measured, _card(cards, "soh"))
    forecast, missing = _forecast(material, measured, forecast_model)
    resistance = _resistance(cycles)
    use = use_of(material, cycles)
    thermal = _thermal(material)
    alarms = _alarms(material.events)
    quality = _quality(material, cycles)
    about = _about(material, cell)
    samples = material.samples
    source = Source(
        material.kind, material.name, material.sha256,
        min([samples.first_ms, *(c.start_ms for c in cycles)]), samples.last_ms,
        samples.first_ms, samples.frames,
    )  # fmt: skip
    sudden = _sudden(list(measured.values()))
    remarks = _remarks(source, about, health, thermal, alarms, quality, forecast, sudden=sudden)
    return Report(
        v=VERSION,
        made_by=f"Cellpulse {_version()}",
        remarks=remarks,
        source=source,
        about=about,
        use=use,
        health=health,
        fade=_fade(cycles, measured),
        ica=charge_curves(own),
        forecast=forecast,
        forecast_missing=missing,
        resistance=resistance,
        thermal=thermal,
        alarms=alarms,
        advice=advice,
        quality=quality,
        models=[_shown(card) for card in cards],
        regulation=annex_vii(about, health, use, resistance),
    )  # fmt: skip


def weakest_cell(material: Material) -> str:
    """The cell with the lowest newest SOH, estimated or else measured; `c001` where none has."""
    newest: dict[str, float] = {}
    for summary, _ in sorted(material.cycles, key=lambda pair: pair[0].end_ms):
        if summary.soh is not None:
            newest[summary.cell] = summary.soh
        elif summary.cell not in newest and summary.complete and summary.kind == "discharge":
            newest[summary.cell] = summary.capacity_ah / material.config.nominal_capacity_ah
    return min(newest, key=lambda cell: (newest[cell], cell)) if newest else "c001"


def _about(material: Material, cell: str) -> About:
    config = material.config
    return About(
        asset=material.asset,
        cells=config.cells,
        cell=cell,
        nominal_capacity_ah=config.nominal_capacity_ah,
        chemistry=config.chemistry,
        cell_type=config.cell_type,
        limits=config.limits,
        dataset=material.dataset,
        citation=material.citation,
        synthetic=config.provenance.synthetic,
        replay=config.provenance.replay,
    )


def _fade(
    cycles: Sequence[CycleSummary], measured: Mapping[tuple[str, int], Measured]
) -> list[FadePoint]:
    points = []
    discharge = 0
    for cycle in cycles:
        discharge += cycle.kind == "discharge" and cycle.complete
        found = measured.get((cycle.kind, cycle.number))
        answered = cycle.soh is not None and cycle.soh_state == "ok"
        if found is None and not answered:
            continue
        points.append(
            FadePoint(
                discharge,
                cycle.kind,
                cycle.end_ms,
                None if found is None else found.soh,
                cycle.soh if answered else None,
                cycle.soh_low if answered else None,
                cycle.soh_high if answered else None,
            )
        )
    return _thinned(points, 2 * POINTS)


def _forecast(
    material: Material,
    measured: Mapping[tuple[str, int], Measured],
    model: ForecastModel | None,
) -> tuple[Forecast | None, ForecastMissing | None]:
    if model is None:
        return None, "no_model"
    families = {template["cell_type"] for template in model.templates}
    if material.config.cell_type not in families:
        return None, "unknown_family"
    series = np.array([one.soh for one in measured.values()])
    if len(series) < HISTORY:
        return None, "too_few_cycles"
    threshold = material.config.limits.soh_end_of_life or END_OF_LIFE
    found = forecast_series(
        model, material.asset, material.config.cell_type, series, end_of_life=threshold
    )
    steps = _chosen(len(found.soh), POINTS // 2)

    def shown(values: NDArray[np.float64]) -> list[float]:
        return [round(float(value), 5) for value in values[steps]]

    return (
        Forecast(
            found.seen, [int(step) + 1 for step in steps],
            shown(found.soh), shown(found.low), shown(found.high),
            found.remaining, found.remaining_low, found.remaining_high, FARTHEST,
        ),
        None,
    )  # fmt: skip


def _resistance(cycles: Sequence[CycleSummary]) -> Resistance:
    from recordings.analysis import growth_per_cycle

    points: dict[str, list[ResistancePoint]] = {"charge": [], "discharge": []}
    discharge = 0
    for cycle in cycles:
        discharge += cycle.kind == "discharge" and cycle.complete
        if cycle.resistance_ohm is not None:
            points[cycle.kind].append(ResistancePoint(discharge, cycle.resistance_ohm))
    kind = "discharge" if len(points["discharge"]) >= len(points["charge"]) else "charge"
    found = points[kind]
    if not found:
        return Resistance(None, [], None, None, None)
    ohm = np.array([point.resistance_ohm for point in found])
    per_cycle = growth_per_cycle(np.array([float(point.discharge) for point in found]), ohm)
    return Resistance(
        "discharge" if kind == "discharge" else "charge",
        _thinned(found, POINTS),
        float(np.median(ohm[:RECENT])),
        float(np.median(ohm[-RECENT:])),
        None if per_cycle is None or found[-1].discharge < GROWTH_LEAST else 100.0 * per_cycle,
    )


def _thermal(material: Material) -> Thermal:
    samples, limits = material.samples, material.config.limits
    signs = ThermalSigns(
        temperature_c=_known(samples.temperature.high),
        temperature_max_c=limits.temperature_max_c,
        score=_known(samples.score.high),
    )
    records = [event.alarm for event in material.events]
    segments = thermal_segments(samples.hot)
    gravest = sorted(segments, key=lambda s: -s.peak_score)[:SEGMENTS]
    return Thermal(
        risk=risk_of(signs, records),
        hours_judged=samples.hours_judged,
        score_max=_known(samples.score.high),
        temperature_max_c=_known(samples.temperature.high),
        limit_c=limits.temperature_max_c,
        thermal_alarms=sum(
            event.cause == "raise" and event.alarm.code.startswith(THERMAL_CODES)
            for event in material.events
        ),
        segments=sorted(gravest, key=lambda s: s.start_ms),
        segments_left_out=len(segments) - len(gravest),
        stretch_s=samples.peaks.width_ms / 1_000.0,
        course=[
            HeatPoint(ms, _known(hot), _known(score)) for ms, hot, score in samples.peaks.points()
        ],
    )


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
    return segments


def _alarms(events: Sequence[Event]) -> Alarms:
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        groups.setdefault((event.alarm.code, event.alarm.source), []).append(event)
    lines = []
    for (code, source), group in groups.items():
        gravest = max(group, key=lambda event: event.alarm.severity).alarm
        lines.append(
            AlarmLine(
                code, source, gravest.severity,
                sum(event.cause in ("raise", "suppress") for event in group),
                group[0].alarm.timestamp_ms, group[-1].alarm.timestamp_ms,
                group[-1].alarm.state,
                gravest.message, gravest.message_zh, gravest.action, gravest.action_zh,
            )
        )  # fmt: skip
    lines.sort(key=lambda line: (-line.severity, line.first_ms, line.code, line.source))
    standing = sum(is_active(group[-1].alarm) and not _returned(group) for group in groups.values())
    return Alarms(lines[:LINES], max(0, len(lines) - LINES), standing)


def _returned(group: Sequence[Event]) -> bool:
    return group[-1].alarm.state == "returned-unacknowledged"


def _quality(material: Material, cycles: Sequence[CycleSummary]) -> DataQuality:
    samples = material.samples
    return DataQuality(
        samples=samples.samples,
        gaps=samples.gaps,
        gap_limit_s=material.config.max_gap_ms / 1_000.0,
        gap_longest_s=samples.gap_longest_s,
        gap_hours=samples.gap_hours,
        clock_jumps=samples.clock_jumps,
        missing_frames=samples.missing,
        late_frames=material.late,
        duplicates=material.duplicates,
        incomplete=sum(not c.complete for c in cycles),
        flagged=[Flagged(flag, count) for flag, count in sorted(samples.flags.items())],
        findings=material.findings,
        rejected=material.rejected,
    )


def _remarks(
    source: Source, about: About, health: Health, thermal: Thermal, alarms: Alarms,
    quality: DataQuality, forecast: Forecast | None, *, sudden: bool,
) -> list[str]:  # fmt: skip
    """What a reader must not overlook, the gravest first."""
    measured, estimated = health.measured, health.estimated
    soh = measured.soh if measured is not None else estimated.soh if estimated is not None else None
    apart = (
        measured is not None
        and estimated is not None
        and estimated.state == "ok"
        and not estimated.low <= measured.soh <= estimated.high
    )
    span_h = max(1e-9, (source.last_ms - source.samples_from_ms) / 3_600_000.0)
    said = {
        "synthetic": about.synthetic,
        "undated": source.first_ms < UNDATED_MS,
        "thermal": thermal.risk in ("warning", "danger"),
        "standing_alarms": alarms.standing > 0,
        "no_temperature": thermal.temperature_max_c is None,
        "below_end_of_life": soh is not None and soh < health.end_of_life,
        "sudden": sudden,
        "no_soh": soh is None,
        "unlike_training": health.state == "unlike_training",
        "no_model": health.state == "no_model",
        "apart": apart,
        "in_training": health.in_training,
        "no_forecast": forecast is None,
        "trimmed": source.samples_from_ms - source.first_ms > TRIMMED_MS,
        "gaps": quality.gap_hours > GAPS_ARE_MANY * span_h,
        "lost": quality.missing_frames > 0 or bool(quality.rejected),
        "pack": about.cells > 1,
    }
    return [code for code, holds in said.items() if holds]


def _sudden(known: Sequence[Measured]) -> bool:
    """Whether the last capacity is too far under the one before for any ageing."""
    return len(known) > 1 and known[-2].soh - known[-1].soh > SUDDEN


def _card(cards: Sequence[ModelCard], name: str) -> ModelCard | None:
    return next((card for card in cards if card.name == name), None)


def _shown(card: ModelCard) -> Card:
    return Card(
        card.name, card.onnx_sha256, card.description, sorted(card.training_data), card.limits,
        dict(sorted(card.versions.items())),
    )  # fmt: skip


def _chosen(n: int, most: int) -> NDArray[np.int64]:
    """At most `most` places out of n, evenly, both ends among them."""
    if n <= most:
        return np.arange(n, dtype=np.int64)
    return np.unique(np.linspace(0, n - 1, most).round().astype(np.int64))


def _thinned(values: Sequence[T], most: int) -> list[T]:
    return [values[int(k)] for k in _chosen(len(values), most)]


def _known(value: float) -> float | None:
    return None if value != value else value


def _version() -> str:
    try:
        return version("cellpulse")
    except PackageNotFoundError:
        return "from a checkout"
