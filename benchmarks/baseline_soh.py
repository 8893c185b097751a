"""The SOH model's input the obvious way: lists and dictionaries, one object a cell.

The part of the baseline that `monitor.kernels.half_cycle` calls histogram and marks,
for regular samples without gaps.
"""

from math import ceil, floor, log, sqrt

from monitor.kernels import half_cycle, soh_inputs
from monitor.kernels.columns import BINS, MARKS, SOH_BINS


class HalfCycle:
    """What the running charge or discharge has shown of a cell."""

    def __init__(self, ah: float, charge_v: float, table: int) -> None:
        self.ah, self.charge_v, self.table = ah, charge_v, table
        self.end_of, self.since_end_ah = 0, 0.0  # +1 full, -1 empty, 0 between
        self.direction = 0

    def begin(self, direction: int, v: float, v_rest: float) -> None:
        """A charge (+1) or a discharge (-1) begins."""
        self.direction, self.low, self.high = direction, v, v
        self.drawn = self.i_s = self.ii_s = self.load_s = 0.0
        self.hist, self.v_rest, self.r60, self.reached = [0.0] * BINS, v_rest, -1.0, False
        self.from_end = self.end_of == -direction
        full = direction < 0 and v_rest >= self.charge_v - half_cycle.FULL_REST_V
        self.drops: list[float] | None = [] if full else None

    def move(self, v0: float, v: float, mean_i: float, dt: float, cc: bool) -> None:
        """One step's charge; `cc`: under load at both ends of it, and not at constant voltage."""
        dq = abs(mean_i) * dt / 3600
        self.since_end_ah += dq
        if mean_i * self.direction <= 0:
            return
        self.drawn += dq
        if not cc:
            return
        self.i_s, self.ii_s = self.i_s + abs(mean_i) * dt, self.ii_s + mean_i**2 * dt
        self.load_s += dt
        low, high = (min(v, v0) - 2.7) / 0.01, (max(v, v0) - 2.7) / 0.01
        for b in range(max(floor(low), 0), min(floor(high), BINS - 1) + 1):
            part = (min(high, b + 1) - max(low, b)) / (high - low) if high > low else 1
            self.hist[b] += dq * part
        now, before = self.drawn / self.ah, (self.drawn - dq) / self.ah
        for mark in MARKS[len(self.drops or ()) :] if self.drops is not None else ():
            if mark > now + half_cycle.MARK_SLACK or self.drops is None:
                break
            if mark < before - half_cycle.MARK_SLACK:
                self.drops = None
            else:
                share = min(1.0, max(0.0, (mark - before) / (now - before)))
                self.drops.append(self.v_rest - (v0 + share * (v - v0)))

    def see(self, v: float, i: float, seconds: float) -> None:
        """A sample under load, so long after the beginning."""
        self.low, self.high = min(self.low, v), max(self.high, v)
        if self.r60 < 0 and seconds >= half_cycle.R60_S and 0 < (r := (v - self.v_rest) / i) < 5:
            self.r60 = r

    def anchor(self, full: bool, empty: bool) -> None:
        """Whether the cell is full or empty now."""
        if full or empty:
            self.end_of, self.since_end_ah, self.reached = 1 if full else -1, 0.0, True
        elif self.since_end_ah > 0.03 * self.ah and not self.reached:
            self.end_of = 0

    def row(self) -> list[float] | None:
        """The model's input; None where no bin was crossed whole and no mark passed."""
        charge, ah = self.direction > 0, self.ah
        first, width = (3.6, 0.01) if charge else (3.0, 0.02)
        table = self.table + (not charge)
        start = ceil((self.low - first) / width) if not (charge and self.from_end) else 0
        end = floor((self.high - first) / width)
        if charge:
            bins = [q / ah for q in self.hist[90:150]]
        else:
            bins = [(self.hist[b] + self.hist[b + 1]) / ah for b in range(30, 150, 2)]
        drops = self.drops or []
        if len(drops) >= soh_inputs.FEWEST_MARKS and self.drawn < soh_inputs.MARKS_END * ah:
            steps = [x - y for x, y in zip(drops, [0.0, *drops], strict=False)]
            told = zip(drops, (log(max(x, soh_inputs.SMALLEST_STEP_V)) for x in steps), strict=True)
            bins = [x for pair in told for x in pair]
            table, start, end = table + 1, 0, len(bins)
            bins += [0.0] * (SOH_BINS - len(bins))
        start, end = (min(max(x, 0), SOH_BINS) for x in (start, end))
        if end <= start or not self.load_s:
            return None
        mean = self.i_s / self.load_s
        spread = sqrt(max(0.0, self.ii_s / self.load_s - mean**2))
        return [*bins, start, end, table, self.r60, mean / ah,
                spread / ah]  # fmt: skip
