"""Where a capacity-fade curve bends: the knee, by two methods, and an honest "none".

Both methods always return some point if they are let. Here each may say that there is no knee, and
`find_knee` says when the two disagree. A knee found in an unfinished record is provisional: on a
CALCE cell the Bacon-Watts knee moves from cycle 648 to 383 when the record is cut at 60 % SOH, so
`KneeReport` also tells where it was when the last fifth of the record is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recordings.types import Floats

MIN_POINTS = 20
STEEPER = 2.0  # the slope behind a Bacon-Watts knee is at least this many times the one before
BIC_GAIN = 10.0  # Raftery (1995): a difference of 10 is very strong evidence for the bent line
LEFT_OVER = 0.5  # and the bent line leaves at most half of the straight line's squared error
LEAST_FADE = 0.05  # a record that lost less than 5 % of its first capacity has no knee to find
SCATTER = 0.15  # robust scatter around the smoothed curve, as a share of its range
LARGEST_RISE = 0.15  # of the median: capacity that comes back by more was measured otherwise
SMALLEST_BULGE = 0.1  # a Kneedle knee stands out this far from the chord, in normalised units
AGREE_SHARE = 0.1  # two knees agree within this share of the record's length
EDGE_SHARE = 0.05  # a bend in the first or last twentieth of the record is its edge, no knee


@dataclass(frozen=True, slots=True)
class KneeReport:
    """The knee of one fade curve; cycles are None where a method finds none."""

    points: int
    bacon_watts: float | None
    kneedle: float | None
    slope_before: float | None  # capacity per cycle of the two lines, in the input's unit
    slope_after: float | None
    earlier_bacon_watts: float | None  # from the first 80 % of the record
    verdict: str


def find_knee(cycle: Floats, capacity: Floats) -> KneeReport:
    """The knee of capacity over cycle (both one-dimensional, missing capacities NaN).

    Capacity may be in any unit; regeneration peaks are smoothed away first (running median of 5).
    """
    good = np.isfinite(cycle) & np.isfinite(capacity)
    x, y = cycle[good].astype(float), capacity[good].astype(float)
    if len(x) < MIN_POINTS:
        text = f"too few capacities ({len(x)})"
        return KneeReport(len(x), None, None, None, None, None, text)
    y = running_median(y, 5)
    refusal = _unfit(y)
    if refusal is not None:
        return KneeReport(len(x), None, None, None, None, None, refusal)
    fit = bacon_watts(x, y)
    bend = kneedle(x, y)
    early = x <= x[0] + 0.8 * (x[-1] - x[0])
    earlier = bacon_watts(x[early], y[early]) if early.sum() >= MIN_POINTS else None
    return KneeReport(
        points=len(x),
        bacon_watts=None if fit is None else fit.knee,
        kneedle=bend,
        slope_before=None if fit is None else fit.slope_before,
        slope_after=None if fit is None else fit.slope_after,
        earlier_bacon_watts=None if earlier is None else earlier.knee,
        verdict=_verdict(None if fit is None else fit.knee, bend, x[-1] - x[0]),
    )


def _unfit(y: Floats) -> str | None:
    """Why no knee should be looked for in this curve, or None."""
    if float((y - np.minimum.accumulate(y)).max()) > LARGEST_RISE * float(np.median(y)):
        return "discharges are not alike: capacity comes back by more than 15 %"
    first, last = float(np.median(y[:5])), float(np.median(y[-5:]))
    if first - last < LEAST_FADE * first:
        return "no knee: ends less than 5 % below its start"
    rest = y - _running_mean(y, _smooth_width(len(y)))
    scatter = 1.4826 * float(np.median(np.abs(rest)))
    if scatter > SCATTER * (first - last):
        return "too scattered: discharges are not alike"
    return None


def _verdict(first: float | None, second: float | None, length: float) -> str:
    if first is None and second is None:
        return "no knee"
    if first is None:
        return "disagree: Kneedle only"
    if second is None:
        return "disagree: Bacon-Watts only"
    apart = abs(first - second)
    if apart <= AGREE_SHARE * length:
        return "agree"
    return f"disagree by {apart:.0f} cycles"


@dataclass(frozen=True, slots=True)
class BentLine:
    """Two lines that meet at `knee`."""

    knee: float
    slope_before: float
    slope_after: float


def bacon_watts(x: Floats, y: Floats) -> BentLine | None:
    """The bent line that fits best, or None where a straight one does or it bends the other way.

    Bacon and Watts (1971), Biometrika 58, 525-534: y = a0 + a1 (x - x1) + a2 (x - x1) tanh((x -
    x1) / g), as Fermin-Cueto et al. (2020), Energy and AI 1, 100006 use it for fade: with g going
    to 0 the transition is sharp, and for each x1 the fit is linear least squares, so x1 is searched
    over the record instead of descended to from a guess.
    """
    margin = EDGE_SHARE * (x[-1] - x[0])
    candidates = np.linspace(x[0] + margin, x[-1] - margin, 401)
    best_sse, best_x1, best_a = np.inf, float(x[0]), np.zeros(3)
    for x1 in candidates:
        u = x - x1
        design = np.column_stack([np.ones_like(u), u, np.abs(u)])
        a, *_ = np.linalg.lstsq(design, y, rcond=None)
        sse = float(((y - design @ a) ** 2).sum())
        if sse < best_sse:
            best_sse, best_x1, best_a = sse, float(x1), a
    line = np.polyval(np.polyfit(x, y, 1), x)
    line_sse = float(((y - line) ** 2).sum())
    n = len(x)
    floor = 1e-12 * float(np.ptp(y) ** 2) * n + 1e-300
    gain = n * np.log((line_sse + floor) / (best_sse + floor)) - 2 * np.log(n)
    before, after = float(best_a[1] - best_a[2]), float(best_a[1] + best_a[2])
    bends_down = after < 0 and after < before and after < STEEPER * min(before, 0.0)
    if gain < BIC_GAIN or best_sse > LEFT_OVER * line_sse or not bends_down:
        return None
    at_edge = not (candidates[0] < best_x1 < candidates[-1])
    return None if at_edge else BentLine(best_x1, before, after)


def kneedle(x: Floats, y: Floats) -> float | None:
    """Where a falling, concave curve stands farthest above its chord, or None.

    Satopaa et al. (2011), "Finding a Kneedle in a Haystack", ICDCSW: smooth, normalise to the unit
    square, take the greatest difference to the diagonal. Their sensitivity S = 1 accepts any
    local maximum, which on noisy fade data is the last points; here it is the global one, and it
    has a least height.
    """
    smooth = _running_mean(y, _smooth_width(len(y)))
    span = float(smooth[0] - smooth[-1])
    if span <= 0:
        return None
    u = (x - x[0]) / (x[-1] - x[0])
    v = (smooth - smooth[-1]) / span
    difference = v - (1 - u)
    at = int(np.argmax(difference))
    inside = EDGE_SHARE < u[at] < 1 - EDGE_SHARE
    return float(x[at]) if inside and difference[at] >= SMALLEST_BULGE else None


def _smooth_width(n: int) -> int:
    return max(5, n // 15 * 2 + 1)


def running_median(y: Floats, width: int) -> Floats:
    """Median over `width` (odd) points, narrower at the ends."""
    half = width // 2
    return np.array([np.median(y[max(0, i - half) : i + half + 1]) for i in range(len(y))])


def _running_mean(y: Floats, width: int) -> Floats:
    half = width // 2
    out = np.empty(len(y))
    for i in range(len(y)):
        reach = min(half, i, len(y) - 1 - i)  # symmetric, so that a straight line stays itself
        out[i] = y[i - reach : i + reach + 1].mean()
    return out
