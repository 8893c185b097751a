"""The report's plots: each takes the report and gives SVG with what it shows in words, or None."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from analysis.report.format import celsius, percent
from analysis.report.record import Report
from analysis.report.svg import BLUE, GREEN, ORANGE, PURPLE, RED, Plot, span
from analysis.report.words import word
from monitor.dashboard.texts import Language

WIDE = 660.0
DAY_MS = 86_400_000.0
FEW = 12
DRAWN = 220  # points of a course of temperature
PAST_SHOWN = 60
HISTORY_SHOWN = 150  # complete discharges before a forecast


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot and the words that stand for it."""

    svg: str
    alt: str


def fade(report: Report, language: Language) -> Picture | None:
    """SOH over complete discharges: measured, estimated with its interval, and the limit."""
    measured = [(p.discharge, 100 * p.measured) for p in report.fade if p.measured is not None]
    estimated = _estimated(report)
    if len(measured) + len(estimated) < 2:
        return None
    limit = 100 * report.health.end_of_life
    values = [y for _, y in measured] + [y for e in estimated for y in e[1:]]
    last = max(p.discharge for p in report.fade)
    plot = Plot(
        WIDE, 220, (0.0, max(1.0, last * 1.01)), span([*values, limit], least=2.0),
        word("x_discharges", language), word("y_soh", language),
    )  # fmt: skip
    if estimated:
        xs = [e[0] for e in estimated]
        lows, highs = [e[2] for e in estimated], [e[3] for e in estimated]
        if len(xs) > FEW:
            plot.band(xs, lows, highs, ORANGE, word("l_interval", language))
            plot.line(xs, [e[1] for e in estimated], RED, word("l_estimated", language), width=1.0)
        else:
            plot.errors(xs, lows, highs)
            label = f"{word('l_estimated', language)}, {word('l_interval', language)}"
            plot.dots(xs, [e[1] for e in estimated], RED, label, radius=2.6)
    if measured:
        xs = [float(x) for x, _ in measured]
        plot.dots(xs, [y for _, y in measured], BLUE, word("l_measured", language))
    plot.level(limit, word("l_eol", language, eol=percent(report.health.end_of_life, language, 0)))
    first = report.health.first_measured
    newest = report.health.measured
    alt = word(
        "fade_alt", language, n=report.use.discharges_complete,
        first=percent(None if first is None else first.soh, language),
        last=percent(None if newest is None else newest.soh, language),
    )  # fmt: skip
    return Picture(plot.svg(alt), alt)


def ica(report: Report, language: Language) -> Picture | None:
    """dQ/dV of the first complete charges and the newest."""
    curves = [
        (
            curve,
            [v for v in curve.voltage_v if v is not None],
            [q for q in curve.dqdv_ah_per_v if q is not None],
        )
        for curve in report.ica
    ]
    if not curves:
        return None
    # The bin at the charge voltage holds the whole CV phase; it would flatten everything else.
    top = report.about.limits.charge_voltage_v - 0.02
    curves = [(c, v[: (n := sum(x < top for x in v))], q[:n]) for c, v, q in curves]
    curves = [one for one in curves if len(one[1]) > 1]
    if not curves:
        return None
    volts = [v for _, vs, _ in curves for v in vs]
    tallest = [max(qs) for _, _, qs in curves]
    plot = Plot(
        WIDE, 230, (max(min(volts), top - 1.0), max(volts)), (0.0, 1.08 * max(tallest)),
        word("x_voltage", language), word("y_ica", language),
    )  # fmt: skip
    labelled = False
    for curve, vs, qs in curves:
        kept = [(v, q) for v, q in zip(vs, qs, strict=True) if v >= plot.x[0]]
        xs, ys = [v for v, _ in kept], _smooth([q for _, q in kept])
        if curve.age == "first":
            label = "" if labelled else word("l_first", language)
            plot.line(xs, ys, BLUE, label, dash="4 2", width=1.0)
            labelled = True
        else:
            plot.line(xs, ys, RED, word("l_newest", language, n=curve.number), width=1.8)
    alt = word(
        "ica_alt", language, first=sum(c.age == "first" for c, _, _ in curves),
        before=f"{tallest[0]:.2f}", now=f"{tallest[-1]:.2f}",
    )  # fmt: skip
    return Picture(plot.svg(alt), alt)


def forecast(report: Report, language: Language) -> Picture | None:
    """The newest measured SOH and its forecast with the interval."""
    found = report.forecast
    if found is None:
        return None
    measured = [
        (float(p.discharge), 100 * p.measured) for p in report.fade if p.measured is not None
    ]
    now = max(x for x, _ in measured)
    measured = [(x, y) for x, y in measured if x > now - HISTORY_SHOWN]
    limit = 100 * report.health.end_of_life
    xs = [now + step for step in found.ahead]
    soh, low, high = (
        [100 * value for value in values] for values in (found.soh, found.low, found.high)
    )
    if found.remaining == 0:  # past its end of life the long run says nothing more
        n = sum(step <= PAST_SHOWN for step in found.ahead)
        xs, soh, low, high = xs[:n], soh[:n], low[:n], high[:n]
    plot = Plot(
        WIDE, 230, (min(x for x, _ in measured), xs[-1]),
        span([*(y for _, y in measured), *low, *high, limit], least=2.0),
        word("x_discharges", language), word("y_soh", language),
    )  # fmt: skip
    plot.band(xs, low, high, ORANGE, word("l_interval", language))
    plot.line(xs, soh, RED, word("l_forecast", language))
    plot.dots(
        [x for x, _ in measured], [y for _, y in measured], BLUE, word("l_measured", language)
    )
    plot.level(limit, word("l_eol", language, eol=percent(report.health.end_of_life, language, 0)))
    alt = word("forecast_alt", language, n=round(xs[-1] - now))
    return Picture(plot.svg(alt), alt)


def resistance(report: Report, language: Language) -> Picture | None:
    """Resistance over complete discharges."""
    found = report.resistance
    if len({p.discharge for p in found.points}) < 2:
        return None
    xs = [float(p.discharge) for p in found.points]
    ys = [1_000 * p.resistance_ohm for p in found.points]
    plot = Plot(
        WIDE, 190, (min(xs), max(max(xs), min(xs) + 1.0)), span(ys, least=1.0),
        word("x_discharges", language), word("y_resistance", language),
    )  # fmt: skip
    plot.dots(xs, ys, GREEN)
    alt = word(
        "resistance_alt", language, first=f"{1_000 * (found.first_ohm or 0):.0f} mΩ",
        newest=f"{1_000 * (found.newest_ohm or 0):.0f} mΩ",
    )  # fmt: skip
    return Picture(plot.svg(alt), alt)


def temperature(report: Report, language: Language) -> Picture | None:
    """The highest temperature over time, with the stretches over the thermal threshold."""
    found = report.thermal
    points = [
        (p.timestamp_ms / DAY_MS, p.temperature_c)
        for p in found.course
        if p.temperature_c is not None
    ]
    if len(points) < 2:
        return None
    together = -(-len(points) // DRAWN)  # a stretch's hottest stands for it, so peaks survive
    points = [
        max(points[k : k + together], key=lambda point: point[1])
        for k in range(0, len(points), together)
    ]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    near = found.limit_c - max(ys) < 1.5 * (max(ys) - min(ys)) + 5.0
    plot = Plot(
        WIDE, 200, (xs[0], xs[-1]), span([*ys, found.limit_c] if near else ys, least=1.0),
        "UTC", word("y_temperature", language), x_ticks=_dates(xs[0], xs[-1]),
    )  # fmt: skip
    for k, segment in enumerate(found.segments):
        label = word("l_segment", language) if k == 0 else ""
        plot.stretch(segment.start_ms / DAY_MS, segment.end_ms / DAY_MS, PURPLE, label)
    apart = 4 * together * found.stretch_s * 1_000.0 / DAY_MS
    for k, run in enumerate(_runs(points, apart)):
        label = word("l_temperature", language) if k == 0 else ""
        plot.line([x for x, _ in run], [y for _, y in run], RED, label, width=1.0)
    limit = celsius(found.limit_c, 0)
    plot.level(found.limit_c, word("l_limit", language, limit=limit))
    alt = word("thermal_alt", language, t=celsius(max(ys)), limit=limit, n=len(found.segments))
    return Picture(plot.svg(alt), alt)


def bands(report: Report, language: Language) -> Picture | None:
    """Hours by temperature."""
    found = report.use.bands
    if not any(band.hours for band in found):
        return None
    names = []
    for band in found:
        if band.low_c is None:
            names.append(f"< {band.high_c:g}")
        elif band.high_c is None:
            names.append(f"≥ {band.low_c:g}")
        else:
            names.append(f"{band.low_c:g}–{band.high_c:g}")
    hours = [band.hours for band in found]
    plot = Plot(
        WIDE, 140, (-0.6, len(found) - 0.4), (0.0, 1.18 * max(hours)), "°C",
        "h", x_ticks=[(float(k), name) for k, name in enumerate(names)],
    )  # fmt: skip
    shown = [f"{h:.0f} h" if h >= 10 else f"{h:.2g} h" if h > 0 else "0" for h in hours]
    plot.bars(hours, shown, BLUE)
    alt = (
        word("bands_title", language)
        + ": "
        + ", ".join(f"{name} °C {value}" for name, value in zip(names, shown, strict=True))
    )
    return Picture(plot.svg(alt), alt)


def _estimated(report: Report) -> list[tuple[float, float, float, float]]:
    """Discharge, SOH, low and high in per cent, from the kind of half-cycle that has the most.

    Charges and discharges are answered with intervals of another width; one kind reads better.
    """
    found: dict[str, list[tuple[float, float, float, float]]] = {"charge": [], "discharge": []}
    for p in report.fade:
        if p.soh is not None and p.low is not None and p.high is not None:
            found[p.kind].append((float(p.discharge), 100 * p.soh, 100 * p.low, 100 * p.high))
    return max(found.values(), key=len)


def _runs(points: list[tuple[float, float]], apart: float) -> list[list[tuple[float, float]]]:
    """The points cut where two lie further apart than `apart`; a lone one is drawn as a dash."""
    runs: list[list[tuple[float, float]]] = []
    for x, y in points:
        if runs and x - runs[-1][-1][0] <= apart:
            runs[-1].append((x, y))
        else:
            runs.append([(x, y)])
    return [run if len(run) > 1 else [*run, (run[0][0] + apart / 8, run[0][1])] for run in runs]


def _smooth(values: list[float]) -> list[float]:
    """Over three bins with weights 1, 2, 1, as the page draws it."""
    padded = [values[0], *values, values[-1]]
    return [
        0.25 * a + 0.5 * b + 0.25 * c
        for a, b, c in zip(padded, padded[1:], padded[2:], strict=False)
    ]


def _dates(first_day: float, last_day: float) -> list[tuple[float, str]]:
    """Five ticks in time, as dates, or as times of day where the data are of less than 3 days."""
    form = "%Y-%m-%d" if last_day - first_day >= 3.0 else "%m-%d %H:%M"
    places = [first_day + (last_day - first_day) * (k + 0.5) / 5 for k in range(5)]
    return [(day, datetime.fromtimestamp(day * 86_400.0, UTC).strftime(form)) for day in places]
