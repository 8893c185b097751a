"""When a recorded battery was hot, how hot, and why: the stretches behind its risk lamp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.messages import AnalysisMessage
from monitor.contract import AssetConfig, Frame, as_list
from monitor.dashboard.analysis import Segment
from monitor.dashboard.live.rows import RiskName
from monitor.kernels.columns import Quality, Result
from monitor.risk import Cause, Risk, ThermalSigns, assess, fault_of

JOIN_MS = 600_000  # two stretches closer than this are one
MOST_SEGMENTS = 500
_NAMES: dict[Risk, RiskName] = {
    Risk.NORMAL: "ok", Risk.WATCH: "watch", Risk.WARNING: "warning", Risk.DANGER: "danger",
}  # fmt: skip
_CAUSES = {
    Cause.TEMPERATURE: AnalysisMessage("cause.temperature"),
    Cause.SLOPE: AnalysisMessage("cause.slope"),
    Cause.UNEXPLAINED_HEAT: AnalysisMessage("cause.unexplained_heat"),
    Cause.SENSOR: AnalysisMessage("cause.sensor"),
}


class Heat:
    """What the engine judged of every sample, as stretches of one level of risk or more."""

    def __init__(self, config: AssetConfig) -> None:
        self._limit_c = config.limits.temperature_max_c
        self._stretches: dict[Risk, list[Segment]] = {Risk.WATCH: [], Risk.WARNING: []}
        self._blind = False
        self.worst = Risk.NORMAL

    def take(self, frames: Sequence[Frame], rows: Sequence[Any]) -> list[int]:
        """A batch of frames with their result rows; which of the frames are in a stretch."""
        judged = [k for k, row in enumerate(rows) if row is not None]
        if not judged:
            return []
        table = np.stack([rows[k] for k in judged])  # sample, cell, quantity
        risk = np.nan_to_num(table[:, :, Result.RISK])
        levels = risk.max(axis=1)
        self.worst = max(self.worst, Risk(int(levels.max())))
        found = []
        for place in np.flatnonzero(levels >= Risk.WATCH).tolist():
            k = judged[place]
            row = table[place, int(risk[place].argmax())]
            level = Risk(int(levels[place]))
            if level is Risk.WATCH and int(row[Result.RISK_CAUSE]) == Cause.SENSOR:
                self._blind = True  # no sensor: a reason for the lamp, but not a time to look at
                continue
            found.append(k)
            self._add(Risk.WATCH, level, frames[k], row)
            if level >= Risk.WARNING:
                self._add(Risk.WARNING, level, frames[k], row)
        return found

    @property
    def risk(self) -> RiskName:
        """The worst level of all samples."""
        return _NAMES[self.worst]

    def segments(self) -> list[Segment]:
        """The stretches at the lamp's level, or at warning and over; of very many the gravest."""
        chosen = self._stretches[Risk.WARNING if self.worst >= Risk.WARNING else Risk.WATCH]
        if len(chosen) > MOST_SEGMENTS:
            gravest = sorted(chosen, key=_gravity, reverse=True)[:MOST_SEGMENTS]
            return sorted(gravest, key=lambda one: one.start_ms)
        return list(chosen)

    def reason(self) -> tuple[str, str] | None:
        """Why the lamp is not at normal, in English and Chinese."""
        segments = self.segments()
        if segments:
            gravest = max(segments, key=_gravity)
            return gravest.why, gravest.why_zh
        if self._blind:
            signs = ThermalSigns(None, self._limit_c)
            told = assess(signs)
            return told.reasons[0], told.reasons_zh[0]
        return None

    def _add(self, kind: Risk, level: Risk, frame: Frame, row: Any) -> None:
        stretches = self._stretches[kind]
        score = float(row[Result.THERMAL_SCORE])
        warm = [value for value in as_list(frame.temperature_c) if value is not None]
        new = Segment(
            start_ms=frame.timestamp_ms,
            end_ms=frame.timestamp_ms,
            peak_score=None if np.isnan(score) else round(score, 4),
            peak_temperature_c=max(warm, default=None),
            risk=_NAMES[level],
        )
        last = stretches[-1] if stretches else None
        if last is None or frame.timestamp_ms - last.end_ms > JOIN_MS:
            stretches.append(self._told(new, row))
            return
        graver = _gravity(new) > _gravity(last)
        head = self._told(new, row) if graver else last
        stretches[-1] = Segment(
            start_ms=last.start_ms,
            end_ms=frame.timestamp_ms,
            peak_score=_larger(last.peak_score, new.peak_score),
            peak_temperature_c=_larger(last.peak_temperature_c, new.peak_temperature_c),
            risk=head.risk,
            why=head.why,
            why_zh=head.why_zh,
        )

    def _told(self, segment: Segment, row: Any) -> Segment:
        """The segment with the reason that its gravest sample gives."""
        heat_w, slope = float(row[Result.EXCESS_HEAT_W]), float(row[Result.DT_DT_C_PER_S])
        quality = row[Result.QUALITY]
        signs = ThermalSigns(
            temperature_c=segment.peak_temperature_c,
            temperature_max_c=self._limit_c,
            slope_c_per_s=None if np.isnan(slope) else slope,
            score=segment.peak_score,
            excess_heat_w=None if np.isnan(heat_w) else heat_w,
            sensor_fault=None if np.isnan(quality) else fault_of(int(quality)),
            ambient_measured=np.isnan(quality) or not int(quality) & Quality.AMBIENT_ASSUMED,
        )
        told = assess(signs)
        cause = _CAUSES.get(Cause(int(row[Result.RISK_CAUSE])))
        why, why_zh = ("", "") if cause is None else (str(cause), cause.sentence("zh"))
        if told.reasons and _NAMES[told.risk] == segment.risk:
            why, why_zh = told.reasons[0], told.reasons_zh[0]
        return Segment(
            segment.start_ms, segment.end_ms, segment.peak_score, segment.peak_temperature_c,
            segment.risk, why, why_zh,
        )  # fmt: skip


def _gravity(segment: Segment) -> tuple[int, float, float]:
    order = list(_NAMES.values()).index(segment.risk)
    return order, segment.peak_score or 0.0, segment.peak_temperature_c or 0.0


def _larger(a: float | None, b: float | None) -> float | None:
    return max((value for value in (a, b) if value is not None), default=None)
