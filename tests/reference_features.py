"""The features again, plainly: each from the whole prefix by a formula over arrays.

Nothing here is incremental. Filters are sums with explicit weights, counters are trapezoids,
phases are masks, half-cycles are cut out of the masks first and their figures taken from slices.
The answer is that of the prefix's last sample.

It is long because it says again, in another way, all that `monitor/kernels/update.py` computes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.columns import MARKS, Ended, Feature, Phase, Quality

Floats = NDArray[np.float64]
NOTHING = float("nan")


@dataclass(frozen=True)
class Settings:
    """What a cell's configuration and the thermal model's prior say."""

    nominal_ah: float = 2.0
    charge_v: float = 4.2
    discharge_v: float = 2.7
    max_gap_ms: float = 120_000.0
    heat_capacity: float = 60.0
    cooling: float = 0.05
    resistance: float = 0.1
    balance_mean: tuple[float, ...] = (0.15, 0.03, 0.045, -0.09, 0.5, 0.12, -0.03, 0.01)
    balance_spread: tuple[float, ...] = (0.08, 0.01, 0.06, 0.02, 0.15, 0.04, 0.06, 0.01)
    table: float = 0.0
    configured: float = 1.0


@dataclass(frozen=True)
class Stream:
    """Raw readings of one cell; NaN where one is missing."""

    t_ms: NDArray[np.int64]
    i: Floats
    v: Floats
    temp: Floats
    ambient: Floats

    def first(self, n: int) -> Stream:
        return Stream(self.t_ms[:n], self.i[:n], self.v[:n], self.temp[:n], self.ambient[:n])


@dataclass(frozen=True)
class HalfCycle:
    """A half-cycle by sample numbers: loaded first at `start`, closed when `closed` came in."""

    sign: int
    start: int
    closed: int | None
    gap: bool
    whole_from: bool


@dataclass
class Answer:
    """Everything about the prefix's last sample, and every half-cycle closed by then."""

    features: Floats
    quality: int
    soh: Floats | None
    thermal: Floats | None
    ended: list[Floats] = field(default_factory=list)
    histograms: list[Floats] = field(default_factory=list)


def _ew(values: Floats, shares: Floats, start: float | None = None) -> float:
    """x_0 (or `start`), then each value with its share: the weights written out."""
    if start is not None:
        values, shares = np.r_[start, values], np.r_[1.0, shares]
    rest = np.cumprod(np.r_[1.0, (1.0 - shares)[:0:-1]])[::-1]  # what later values leave
    weights = np.r_[1.0, shares[1:]] * rest
    return float(weights @ values)


class Reference:
    """One prefix of one cell's stream, taken apart."""

    def __init__(self, stream: Stream, settings: Settings) -> None:
        self.p, self.raw = settings, stream
        self.t = stream.t_ms.astype(np.float64)
        self.n = len(self.t)
        self.dt = np.r_[0.0, np.diff(self.t) / 1000.0]
        self.gap = np.r_[False, np.diff(self.t) > settings.max_gap_ms]
        self.bridged = ~self.gap
        self.bridged[:1] = False
        self.quality = np.zeros(self.n, np.int64)
        self._screen()
        self._phases()
        self._charge()
        self._half_cycles()

    # What is believed

    def _screen(self) -> None:
        raw, p, q = self.raw, self.p, self.quality
        q[:] |= 0 if p.configured else Quality.NO_CONFIG
        q[self.gap] |= Quality.AFTER_GAP
        self.i = raw.i.copy()
        q[np.isnan(raw.i)] |= Quality.CURRENT_MISSING
        impossible = np.abs(raw.i) > 50.0 * p.nominal_ah
        q[impossible] |= Quality.CURRENT_IMPOSSIBLE
        self.i[impossible] = np.nan
        self.v = self._signal(
            raw.v, 0.0, 5.0, 60.0, 0.2, Quality.VOLTAGE_MISSING, Quality.VOLTAGE_IMPOSSIBLE,
            Quality.VOLTAGE_FROZEN,
        )  # fmt: skip
        self.screened_v = self.v.copy()
        self.glitches = self._reject_jumps()
        self.stepped_up = np.full(self.n, np.nan)
        q[np.isnan(raw.temp)] |= Quality.TEMPERATURE_MISSING
        plausible = (raw.temp >= -60.0) & (raw.temp <= 1000.0)
        q[~np.isnan(raw.temp) & ~plausible] |= Quality.TEMPERATURE_IMPOSSIBLE
        self.temp = np.where(plausible, raw.temp, np.nan)
        good = np.flatnonzero(plausible)
        parted = np.flatnonzero(np.diff(self.t[good]) > p.max_gap_ms) + 1
        seen: list[float] = []  # the changes so far, impossible ones left out
        runs: list[int] = []  # how long each value stood, in samples
        for piece in np.split(good, parted):
            self._thermometer(piece, seen, runs)
        self.flicker = 0.0
        for change, before in zip(seen[1:], seen[:-1], strict=True):
            if change * before < 0:
                self.flicker += 0.02 * (abs(change) - self.flicker)
        spike = (q & Quality.TEMPERATURE_SPIKE) != 0
        self.glitches += spike & ~np.r_[False, spike[:-1]]

    def _reject_jumps(self) -> Floats:
        """Take out voltages that neither a change of current nor the next sample explains."""
        v, rejected = self.screened_v, np.zeros(self.n)
        good, suspect, run = -1, -1, 0.0
        for k in np.flatnonzero(~np.isnan(v)):
            explained = (
                good < 0
                or self.t[k] - self.t[good] > 30_000
                or abs(v[k] - v[good]) <= 0.5
                or not abs(self.i[k] - self.i[good]) < 0.1 * self.p.nominal_ah
            )
            step = 0.0 if explained else np.sign(v[k] - v[good])
            borne_out = step == run or (
                suspect >= 0
                and (
                    abs(v[k] - v[suspect]) <= 0.5
                    or np.sign(v[k] - v[suspect]) == np.sign(v[suspect] - v[good])
                )
            )
            if explained or borne_out:
                good, suspect, run = k, -1, step
            else:
                self.v[k], suspect, run = np.nan, k, 0.0
                self.quality[k] |= Quality.VOLTAGE_GLITCH
                rejected[k] = 1.0
        return rejected

    def _thermometer(self, at: NDArray[np.int64], seen: list[float], runs: list[int]) -> None:
        """Flags of a thermometer's readings between two gaps: frozen, spike, jump."""
        raw = self.raw.temp
        away, stepped, volts, climb, was_frozen, begun = 0.0, 0, np.nan, 0, False, 0
        for n in range(1, len(at)):
            k, before = at[n], at[n - 1]
            change = raw[k] - raw[before]
            flags = 0
            if change == 0.0:
                was_frozen |= self._is_frozen(at[begun : n + 1], seen, runs)
                flags |= Quality.TEMPERATURE_FROZEN if was_frozen else 0
            else:
                span = (self.t[k] - self.t[at[begun] if was_frozen else before]) / 1000.0
                most = 4.0 + 0.2 * span
                if abs(change) > most:
                    if away == 0.0:
                        stepped, volts = k, self.v[k - 1]
                    away, climb = away + change, climb + 1 if change > 0 else 0
                    away = 0.0 if abs(away) <= most or climb >= 3 else away
                else:
                    climb = 0
                    seen.append(change)
                if away > 0.0 and self.screened_v[k] < 0.75 * volts:
                    away, climb = 0.0, 3
                runs.append(n - 1 - begun)
                begun, was_frozen = n, False
            if away != 0.0:
                late = self.t[k] - self.t[stepped] >= 120_000
                flags |= Quality.TEMPERATURE_JUMP if late else Quality.TEMPERATURE_SPIKE
            if flags & Quality.TEMPERATURE_SPIKE and away > 0.0:
                self.stepped_up[k] = away
            if flags:
                self.temp[k] = np.nan
                self.quality[k] |= flags

    def _is_frozen(self, run: NDArray[np.int64], seen: list[float], runs: list[int]) -> bool:
        """Whether a value that stands over these readings stands too long."""
        if self.t[run[-1]] - self.t[run[0]] < 60_000:
            return False
        changes = np.array(seen)
        turned = changes[1:] * changes[:-1] < 0
        often = noise = longest = 0.0
        for turn, size in zip(turned, np.abs(changes[1:]), strict=True):
            often = often + 0.01 * (1 - often) if turn else 0.999 * often
            noise = noise + 0.02 * (size - noise) if turn else noise
        for length in runs:
            longest = max(0.99 * longest, length)
        step = np.abs(changes).min() if len(changes) else 0.0
        noisy = often > 0.4 and noise >= 3.0 * step
        if noisy and len(run) - 1 >= max(30.0, 3.0 * longest):
            return True
        expected = self._expected(run)
        return bool(abs(expected) >= (max(3.0, 10.0 * step) if len(changes) else 2.0))

    def _expected(self, run: NDArray[np.int64]) -> float:
        """How far the change of load since the value came should have moved it, K."""
        known = np.flatnonzero(~np.isnan(self.i[run]))
        if not len(known):
            return 0.0
        joule, cooling = self.p.balance_mean[:2]
        square = (self.i[run] / self.p.nominal_ah) ** 2
        heat = moved = 0.0
        for n in known[known > max(known[0], 0)]:
            dt = (self.t[run[n]] - self.t[run[n - 1]]) / 1000.0
            heat += (1 - np.exp(-dt / 60.0)) * (joule * (square[n] - square[known[0]]) - heat)
            moved += (heat - cooling * moved) / 20.0 * dt
        return moved

    def _signal(
        self, raw: Floats, low: float, high: float, frozen_s: float, c_rate: float,
        missing: int, impossible: int, frozen: int,
    ) -> Floats:  # fmt: skip
        self.quality[np.isnan(raw)] |= missing
        self.quality[~np.isnan(raw) & ~((raw >= low) & (raw <= high))] |= impossible
        good = np.flatnonzero((raw >= low) & (raw <= high))
        out = np.full(self.n, np.nan)
        out[good] = raw[good]
        fresh = np.r_[True, raw[good][1:] != raw[good][:-1]] | self.gap[good]
        for position, k in enumerate(good):
            since = np.flatnonzero(fresh[: position + 1])[-1]
            run = good[since : position + 1]
            known = self.i[run][~np.isnan(self.i[run])]
            moved = np.abs(known - known[0]).max() if len(known) else 0.0
            if (
                self.t[k] - self.t[run[0]] >= 1000 * frozen_s
                and moved >= c_rate * self.p.nominal_ah
            ):
                out[k] = np.nan
                self.quality[k] |= frozen
        return out

    # Charge

    def _phases(self) -> None:
        p, i, v = self.p, self.i, self.v
        rest = np.abs(i) < 0.01 * p.nominal_ah
        cv = (i > 0) & ~rest & (v >= p.charge_v - 0.01)
        self.phase = np.select(
            [np.isnan(i), rest, i < 0, cv],
            [Phase.UNKNOWN, Phase.REST, Phase.DISCHARGE, Phase.CV_CHARGE],
            Phase.CC_CHARGE,
        ).astype(np.int64)
        self.sign = np.select(
            [self.phase == Phase.DISCHARGE, (self.phase == Phase.CC_CHARGE) | cv], [-1, 1], 0
        )
        self.before = np.r_[Phase.UNKNOWN, self.phase[:-1]]
        self.sign_before = np.r_[0, self.sign[:-1]]
        self.full = cv & (i < 0.05 * p.nominal_ah)
        self.empty = (self.phase == Phase.DISCHARGE) & (v <= p.discharge_v)

    def _charge(self) -> None:
        i, v = self.i, self.v
        i0, v0 = np.r_[np.nan, i[:-1]], np.r_[np.nan, v[:-1]]
        self.unknown = self.bridged & (np.isnan(i) | np.isnan(i0))
        moved = self.bridged & ~self.unknown
        self.moved = moved
        self.dq = np.where(moved, (i + i0) / 2 * self.dt / 3600, 0.0)
        watts = np.where(moved & ~np.isnan(v) & ~np.isnan(v0), (v * i + v0 * i0) / 2, 0.0)
        self.dw = watts * self.dt / 3600
        self.i0, self.v0 = i0, v0
        # Charge drawn since full is known while nothing moved unseen.
        unseen = (self.gap & (self.sign_before != 0)) | self.unknown
        self.unseen_load = self.gap & (self.sign_before != 0)
        self.drawn = np.full(self.n, np.nan)
        for k in range(self.n):
            fulls = np.flatnonzero(self.full[:k])
            if len(fulls) and not unseen[fulls[-1] + 1 : k + 1].any():
                self.drawn[k] = -self.dq[fulls[-1] + 1 : k + 1].sum()

    def _soc(self) -> float:
        anchors = np.flatnonzero(self.full | self.empty)
        if not len(anchors):
            return NOTHING
        last = anchors[-1]
        measured = self.empty & (self.drawn > 0.1 * self.p.nominal_ah)
        found = self.drawn[: last + 1][measured[: last + 1]]
        capacity = found[-1] if len(found) else self.p.nominal_ah
        steps = [1.0 if self.full[last] else 0.0, *(self.dq[last + 1 :] / capacity)]
        return list(accumulate(steps, lambda soc, step: min(1.0, max(0.0, soc + step))))[-1]

    def _resistance(self) -> float:
        step = self.i - self.i0
        with np.errstate(all="ignore"):
            r = (self.v - self.v0) / step
            taken = (
                self.moved & (self.dt <= 20.0) & (np.abs(step) >= 0.25 * self.p.nominal_ah)
                & (r > 0) & (r < 5)
            )  # fmt: skip
        r = r[taken]
        return _ew(r, np.full(len(r), 0.3)) if len(r) else NOTHING

    # Filters in event time

    def _statistics(self, values: Floats) -> tuple[float, float]:
        good = np.flatnonzero(~np.isnan(values))
        if not len(good):
            return NOTHING, NOTHING
        shares = 1 - np.exp(-self.dt[good] / 60.0)
        mean = _ew(values[good], shares)
        return mean, _ew((values[good] - mean) ** 2, shares)

    def _slope(self, values: Floats) -> float:
        good = np.flatnonzero(~np.isnan(values))
        if not len(good):
            return NOTHING
        steps = np.r_[np.inf, np.diff(self.t[good])]
        start = good[np.flatnonzero(steps > self.p.max_gap_ms)[-1]]
        used = [k for k in good if k > start and not np.isnan(values[k - 1])]
        if not used:
            return NOTHING
        k = np.array(used)
        slopes = (values[k] - values[k - 1]) / self.dt[k]
        return _ew(slopes, 1 - np.exp(-self.dt[k] / 60.0), start=0.0)

    def _heating(self) -> tuple[float, float]:
        """The smaller of the last two slopes, each from a sample that is 0.9 s old or more.

        And the last one, at most four times the one before, above none only beyond the flicker.
        """
        good, _, broken = self._good_temperatures()
        if not len(good) or good[-1] != self.n - 1:
            return float(self.stepped_up[-1]), NOTHING
        run = good[np.flatnonzero(broken)[-1] :]
        marks, slopes = [run[0], run[0]], []
        for k in run[1:]:
            if self.t[k] - self.t[marks[-1]] >= 900.0:
                marks.append(k)
            span = self.t[k] - self.t[marks[-2]]
            if span >= 900.0:
                rise = self.temp[k] - self.temp[marks[-2]]
                slopes.append((k, rise, rise / span * 1000.0))
        if len(slopes) < 2 or slopes[-1][0] != run[-1]:
            return NOTHING, NOTHING
        (_, _, before), (_, rise, now) = slopes[-2:]
        rising = min(now, 4.0 * before)
        if rise < 6.0 * self.flicker:
            rising = min(rising, 0.0)
        return float(min(before, now)), float(rising)

    # Half-cycles

    def _half_cycles(self) -> None:
        rested = np.zeros(self.n)
        for k in range(1, self.n):
            if self.phase[k] == Phase.REST and self.phase[k - 1] == Phase.REST:
                rested[k] = rested[k - 1] + (self.dt[k] if self.bridged[k] else 0.0)
        self.cycles: list[HalfCycle] = []
        start: int | None = None
        gap = False
        for k in range(self.n):
            sign = 0 if start is None else int(self.sign[start])
            reached = start is not None and bool((self.full | self.empty)[start:k].any())
            if start is not None and (
                (self.gap[k] and (self.before[k] == Phase.REST or reached)) or rested[k] >= 600.0
            ):
                self._close(sign, start, k, gap)
                start, sign = None, 0
            elif self.gap[k]:
                gap = True
            if self.sign[k] not in (0, sign):
                if start is not None:
                    self._close(sign, start, k, gap)
                start, gap = k, False
            if self.unknown[k]:
                gap = True
        self.running = (
            None
            if start is None
            else HalfCycle(int(self.sign[start]), start, None, gap, self._from_end(start))
        )

    def _close(self, sign: int, start: int, k: int, gap: bool) -> None:
        self.cycles.append(HalfCycle(sign, start, k, gap, self._from_end(start)))

    def _from_end(self, start: int) -> bool:
        """Whether it began at the other end of the charge, with little moved since."""
        anchors = np.flatnonzero((self.full | self.empty)[:start])
        if not len(anchors):
            return False
        last = anchors[-1]
        if self.unseen_load[last + 1 : start + 1].any() or self.full[last] == (
            self.sign[start] > 0
        ):
            return False
        # What later half-cycles moved before this one began; the anchor's own does not count.
        began = [cycle.start for cycle in self.cycles if last < cycle.start < start]
        away = np.cumsum(np.abs(self.dq[last + 1 : start]))
        return not (began and (away[began[0] - last - 1 :] > 0.03 * self.p.nominal_ah).any())

    def _span(self, cycle: HalfCycle) -> NDArray[np.int64]:
        return np.arange(cycle.start, self.n if cycle.closed is None else cycle.closed)

    def _ah(self, cycle: HalfCycle) -> float:
        return float(np.maximum(self.dq[self._span(cycle)] * cycle.sign, 0.0).sum())

    def _wh(self, cycle: HalfCycle) -> float:
        k = self._span(cycle)
        with_it = self.dq[k] * cycle.sign > 0
        return float((self.dw[k] * cycle.sign)[with_it].sum())

    def _ends_ms(self, cycle: HalfCycle) -> tuple[float, float]:
        k = self._span(cycle)
        start = cycle.start - 1 if self.bridged[cycle.start] else cycle.start
        return self.t[start], self.t[k[self.sign[k] != 0][-1]]

    def _loaded(self, cycle: HalfCycle) -> NDArray[np.int64]:
        """Steps from load to load in constant current: what the histogram is made of."""
        k = self._span(cycle)
        with_it = self.moved[k] & (self.dq[k] * cycle.sign > 0)
        both = (self.sign[k] == cycle.sign) & (self.sign_before[k] == cycle.sign)
        return k[with_it & both & (self.before[k] != Phase.CV_CHARGE)]

    def _histogram(self, cycle: HalfCycle) -> Floats:
        """Each step's charge over the voltages it crossed: the overlap of two intervals."""
        edges = np.arange(161)  # bins of 10 mV from 2.7 V
        out = np.zeros(160)
        for k in self._loaded(cycle):
            ends = (np.sort([self.v0[k], self.v[k]]) - 2.7) / 0.01
            charge = abs(self.dq[k])
            if np.isnan(ends).any():
                continue
            if np.floor(ends[0]) == np.floor(ends[1]):
                inside = (edges[:-1] <= ends[0]) & (ends[0] < edges[1:])
                out[inside] += charge
                continue
            crossed = np.minimum(edges[1:], ends[1]) - np.maximum(edges[:-1], ends[0])
            out += charge * np.maximum(crossed, 0.0) / (ends[1] - ends[0])
        return out

    def _rest(self, cycle: HalfCycle) -> int | None:
        """The sample at rest whose voltage a half-cycle's drop is measured from."""
        rests = np.flatnonzero((self.phase == Phase.REST) & ~np.isnan(self.v))
        rests = rests[rests < cycle.start]
        if not len(rests) or self.t[cycle.start] - self.t[rests[-1]] > 1_200_000:
            return None
        rest = int(rests[-1])
        for other in self.cycles:
            reported = self._ah(other) >= 0.01 * self.p.nominal_ah
            between = other.closed is not None and rest < other.closed <= cycle.start
            if reported and between and self.t[rest] < self._ends_ms(other)[1] - 10_000:
                return None
        return rest

    def _r60(self, cycle: HalfCycle) -> float:
        rest = self._rest(cycle)
        if rest is None:
            return NOTHING
        k = self._span(cycle)
        k = k[(self.sign[k] != 0) & ~np.isnan(self.v[k])]
        k = k[self.t[k] - self._ends_ms(cycle)[0] >= 60_000]
        r = (self.v[k] - self.v[rest]) / self.i[k]
        r = r[(r > 0) & (r < 5)]
        return float(r[0]) if len(r) else NOTHING

    def _marks(self, cycle: HalfCycle) -> list[float]:
        """Drops below the rest before, at each mark of a discharge that began full."""
        k = self._span(cycle)
        rest = self._rest(cycle)
        if rest is None or not self.v[rest] >= self.p.charge_v - 0.05:
            return []
        drawn = np.cumsum(np.maximum(-self.dq[k], 0.0)) / self.p.nominal_ah
        steps = [n for n in self._loaded(cycle) if not np.isnan(self.v0[n] + self.v[n])]
        drops: list[float] = []
        for mark in MARKS:
            after = [n for n in steps if drawn[n - cycle.start] >= mark - 1e-9]
            if not after:
                break
            now = drawn[after[0] - cycle.start]
            before = now + self.dq[after[0]] / self.p.nominal_ah
            if mark < before - 1e-9:
                return []
            volts = np.interp(mark, [before, now], [self.v0[after[0]], self.v[after[0]]])
            drops.append(float(self.v[rest] - volts))
        return drops

    def _ended(self, cycle: HalfCycle, number: int) -> Floats:
        k = self._span(cycle)
        loaded = k[self.sign[k] != 0]
        volts = self.v[loaded][~np.isnan(self.v[loaded])]
        start, end = self._ends_ms(cycle)
        ah = self._ah(cycle)
        warm = [j for j in self._heat_steps() if j in k]
        area, time_s = self._warmth(np.array(warm, np.int64))
        hot = self.temp[k][~np.isnan(self.temp[k])]
        reached = bool((self.full | self.empty)[k].any())
        row = np.empty(len(Ended))
        row[Ended.KIND] = cycle.sign
        row[Ended.START_MS], row[Ended.END_MS] = start, end
        row[Ended.CHARGE_AH], row[Ended.ENERGY_WH] = ah, self._wh(cycle)
        row[Ended.VOLTAGE_START_V] = self.v[cycle.start]
        row[Ended.VOLTAGE_END_V] = volts[-1] if len(volts) else NOTHING
        hours = (end - start) / 3.6e6
        row[Ended.CURRENT_MEAN_A] = cycle.sign * ah / hours if hours > 0 else NOTHING
        row[Ended.TEMPERATURE_MEAN_C] = area / time_s if time_s > 0 else NOTHING
        row[Ended.TEMPERATURE_MAX_C] = hot.max() if len(hot) else NOTHING
        row[Ended.R60_OHM] = self._r60(cycle)
        row[Ended.COMPLETE] = not cycle.gap and cycle.whole_from and reached
        row[Ended.NUMBER] = number
        return row

    def _soh(self) -> Floats | None:
        cycle, last = self.running, self.n - 1
        if cycle is None or cycle.gap or self.p.table < 0 or np.isnan(self.v[last]):
            return None
        steps = self._loaded(cycle)
        time_s = self.dt[steps].sum()
        if self.sign[last] == 0 or time_s <= 0:
            return None
        p, k = self.p, self._span(cycle)
        histogram = self._histogram(cycle)
        held = (self.phase[k] == Phase.CV_CHARGE) & (self.before[k] == Phase.CV_CHARGE)
        seen = self.v[k[(self.sign[k] != 0) & ~held]]
        if np.isnan(seen).all():
            return None
        low, high = np.nanmin(seen), np.nanmax(seen)
        if cycle.sign > 0:
            bins = histogram[90:150]
            start, end = np.ceil((low - 3.6) / 0.01), np.floor((high - 3.6) / 0.01)
            start = 0.0 if cycle.whole_from else start
        else:
            bins = histogram[30:150].reshape(60, 2).sum(axis=1)
            start, end = np.ceil((low - 3.0) / 0.02), np.floor((high - 3.0) / 0.02)
        start, end = np.clip([start, end], 0, 60)
        mean_i = np.abs(self.i[steps] + self.i0[steps]) / 2
        mean = (mean_i @ self.dt[steps]) / time_s
        square = (mean_i**2 @ self.dt[steps]) / time_s
        r60 = self._r60(cycle)
        by_marks = 0
        drops = self._marks(cycle) if cycle.sign < 0 else []
        if len(drops) >= 2 and self._ah(cycle) < 0.35 * p.nominal_ah:
            by_marks, start, end = 1, 0.0, 2.0 * len(drops)
            steps_v = np.maximum(np.diff(np.r_[0.0, drops]), 0.001)
            bins = np.zeros(60)
            bins[: 2 * len(drops)] = np.c_[drops, np.log(steps_v)].ravel() * p.nominal_ah
        tail = [
            start, max(end, start), p.table + (cycle.sign < 0) + by_marks,
            -1.0 if np.isnan(r60) else r60, mean / p.nominal_ah,
            np.sqrt(max(0.0, square - mean**2)) / p.nominal_ah,
        ]  # fmt: skip
        return np.r_[bins / p.nominal_ah, tail] if end > start else None

    # Heat

    def _good_temperatures(self) -> tuple[NDArray[np.int64], Floats, NDArray[np.bool_]]:
        """Samples with a temperature, the step since the one before, and where that is too long."""
        good = np.flatnonzero(~np.isnan(self.temp))
        steps = np.r_[np.inf, np.diff(self.t[good])] if len(good) else np.empty(0)
        return good, steps / 1000.0, steps > self.p.max_gap_ms

    def _heat_steps(self) -> list[int]:
        good, _, broken = self._good_temperatures()
        known = ~np.isnan(self.i) & ~np.isnan(np.r_[np.nan, self.i[:-1]])
        return [int(k) for k, b in zip(good, broken, strict=True) if not b and known[k]]

    def _warmth(self, steps: NDArray[np.int64]) -> tuple[float, float]:
        good, dt, _ = self._good_temperatures()
        at = np.searchsorted(good, steps)
        mean = (self.temp[good[at]] + self.temp[good[at - 1]]) / 2
        return float(mean @ dt[at]), float(dt[at].sum())

    def _ambients(self) -> Floats:
        """The ambient as given, else the lowest temperature seen, believed to rise 2 °C an hour."""
        good, dt, broken = self._good_temperatures()
        given = self.raw.ambient[good]
        clock = np.cumsum(np.where(broken, 0.0, dt)) * 2.0 / 3600.0
        out = np.empty(len(good))
        for k in range(len(good)):
            if not np.isnan(given[k]):
                out[k] = given[k]
                continue
            told = np.flatnonzero(~np.isnan(given[:k]))
            since = told[-1] + 1 if len(told) else 0
            out[k] = (self.temp[good[since : k + 1]] + clock[k] - clock[since : k + 1]).min()
            if len(told):
                out[k] = min(out[k], given[told[-1]] + clock[k] - clock[told[-1]])
        return out

    def _evidence(self) -> Floats:
        """(n, 2) fast and slow evidence of the adaptive balance as it stands at each sample.

        The Kalman filter in its textbook form: x_t = x_(t-1) + w, y = H x + v, with matrices.
        """
        p = self.p
        good = np.flatnonzero(~np.isnan(self.temp) & ~np.isnan(self.i))
        out = np.full((self.n, 2), np.nan)
        if not len(good):
            return out
        t, dt = self.t[good], np.r_[0.0, np.diff(self.t[good]) / 1000.0]
        broken = np.r_[True, np.diff(t) > p.max_gap_ms]
        origin = t[np.maximum.accumulate(np.where(broken, np.arange(len(good)), 0))]
        key = np.cumsum(broken) * 1_000_000 + np.where(broken, 0, (t - origin - 1) // 30_000)
        both = np.c_[
            self.temp, self.raw.ambient, self.i / p.nominal_ah, self.v, (self.i / p.nominal_ah) ** 2
        ][good]
        mean = (both + np.r_[both[:1], both[:-1]]) / 2
        c = both[:, 2]
        mean[1:, 4] = (c[1:] ** 2 + c[1:] * c[:-1] + c[:-1] ** 2) / 3
        state, cov = np.array(p.balance_mean), np.diag(np.square(p.balance_spread))
        first_cov, lagged, evidence, fixture = cov.copy(), np.zeros(5), np.zeros(2), 0.0
        memory = np.array([150.0, 400.0])
        used = np.nan
        for k in range(1, len(good)):
            slot = np.flatnonzero((key[:k] == key[k - 1]) & ~broken[:k])
            if key[k] == key[k - 1] or not len(slot):
                continue
            time_s = dt[slot].sum()
            temp, ambient, rate, volts, square = dt[slot] @ mean[slot] / time_s
            if broken[slot[0] - 1]:
                unseen = dt[slot[0] - 1] if slot[0] > 1 else np.inf
                evidence = evidence * np.exp(-unseen / memory)
                lagged = np.zeros(5)
                fixture *= np.exp(-unseen / 3600.0)
            if not np.isnan(ambient):
                used = ambient
            else:
                used = temp if np.isnan(used) else min(temp, used + time_s / 1800.0)
            joule = square * np.exp(2000.0 / (temp + 273.15) - 2000.0 / 298.15)
            volts = np.nan_to_num(volts, nan=3.8)
            drawn, given = max(-rate, 0.0), max(rate, 0.0)
            heats = [
                joule,
                rate,
                drawn * np.clip(3.4 - volts, 0.0, 1.0),
                given * np.clip(5.0 * (volts - 4.0), -2.0, 1.0),
                drawn * np.clip((volts - 3.4) / 0.3, -1.0, 1.5),
            ]
            lagged = lagged + (1 - np.exp(-time_s / 45.0)) * (heats - lagged)
            fixture += (1 - np.exp(-time_s / 3600.0)) * (temp - used - fixture)
            h = np.array([lagged[0], used - temp, 1.0, *lagged[1:], fixture])
            warming = self.temp[good[slot[-1]]] - self.temp[good[slot[0] - 1]]
            over = 20.0 * warming / time_s - h @ state
            own, deep = lagged[0] * abs(state[0]), lagged[2] * abs(state[4])
            slack = np.array([0.5 * (own + deep), 0.1 * own])
            left = np.sign(over) * np.maximum(0.0, abs(over) - slack)
            left = np.clip(left, -0.4, [0.6, 0.15])
            share = 1 - np.exp(-time_s / memory)
            evidence = np.maximum(evidence + share * (left - evidence), 0.0)
            if evidence[1] < 0.08:
                walk = np.diag(cov) + np.diag(first_cov) * time_s / 172_800.0
                np.fill_diagonal(cov, np.minimum(walk, 4 * np.diag(first_cov)))
                gain = cov @ h / (h @ cov @ h + 0.09 * 30.0 / max(time_s, 1.0))
                state = state + gain * np.clip(over, -0.2, 0.2)
                cov = cov - np.outer(gain, h @ cov)
            out[good[k] :] = evidence
        return out

    def _heat(self) -> tuple[float, Floats | None]:
        """Excess heat, W, and the window of 16 slots of 30 s where it is full."""
        p, last = self.p, self.n - 1
        good, dt, _ = self._good_temperatures()
        if not len(good):
            return NOTHING, None
        steps = set(self._heat_steps())
        resets = [j for j, k in enumerate(good) if int(k) not in steps]
        first = resets[-1]
        at = np.arange(first + 1, len(good))
        if not len(at):
            return NOTHING, None
        k = good[at]
        ambient = self._ambients()
        joule = p.resistance * ((self.i[k] + self.i0[k]) / 2) ** 2
        mean = (self.temp[k] + self.temp[good[at - 1]]) / 2
        stored = p.heat_capacity * (self.temp[k] - self.temp[good[at - 1]]) / dt[at]
        balance = stored + p.cooling * (mean - ambient[at]) - joule
        fast = 1 - np.exp(-dt[at] / 60.0)
        n = np.arange(1, len(at) + 1)
        excess = np.array([_ew(balance[:m], fast[:m], start=0.0) for m in n])
        rise = self.temp[k] - ambient[at]
        evidence = self._evidence()
        table = np.c_[np.nan_to_num(evidence[k]), self.i[k] / p.nominal_ah, rise]
        slot = ((self.t[k] - self.t[good[first]]) // 30_000).astype(np.int64)
        now = good[-1] == last and not np.isnan(self.i[last])
        window = None
        if now and not np.isnan(evidence[last]).any():
            rows = []
            for number in range(slot[-1] - 15, slot[-1] + 1):
                own = np.flatnonzero(slot == number)
                rows.append(own[-1] if len(own) else np.flatnonzero(slot > number)[0])
            window = table[rows].ravel()
        return (excess[-1] if now else NOTHING), window

    def answer(self) -> Answer:
        p, last = self.p, self.n - 1
        x = np.full(len(Feature), np.nan)
        x[Feature.CHARGE_IN_AH] = self.dq[self.dq > 0].sum()
        x[Feature.CHARGE_OUT_AH] = -self.dq[self.dq < 0].sum()
        x[Feature.ENERGY_IN_WH] = self.dw[self.dw > 0].sum()
        x[Feature.ENERGY_OUT_WH] = -self.dw[self.dw < 0].sum()
        if p.configured:
            x[Feature.C_RATE] = self.i[last] / p.nominal_ah
            x[Feature.SOC] = self._soc()
        x[Feature.DV_DT_V_PER_S] = self._slope(self.v)
        x[Feature.DT_DT_C_PER_S] = self._slope(self.temp)
        x[Feature.VOLTAGE_MEAN_V], x[Feature.VOLTAGE_VAR] = self._statistics(self.v)
        x[Feature.CURRENT_MEAN_A], x[Feature.CURRENT_VAR] = self._statistics(self.i)
        x[Feature.TEMPERATURE_MEAN_C], x[Feature.TEMPERATURE_VAR] = self._statistics(self.temp)
        x[Feature.RISE_C] = self.temp[last] - self.raw.ambient[last]
        x[Feature.PHASE] = self.phase[last]
        x[Feature.RESISTANCE_OHM] = self._resistance()
        x[Feature.DIRECTION] = 0.0
        x[Feature.HEATING_C_PER_S], x[Feature.RISING_C_PER_S] = self._heating()
        x[Feature.GLITCHES] = self.glitches @ np.exp(-(self.t[last] - self.t) / 600_000.0)
        if self.running is not None:
            x[Feature.DIRECTION] = self.running.sign
            x[Feature.HALF_CYCLE_AH] = self._ah(self.running)
            start, end = self._ends_ms(self.running)
            x[Feature.HALF_CYCLE_S] = (end - start) / 1000.0
        x[Feature.EXCESS_HEAT_W], thermal = self._heat()
        x[Feature.VOLTAGE_V], x[Feature.CURRENT_A] = self.v[last], self.i[last]
        x[Feature.TEMPERATURE_C], x[Feature.AMBIENT_C] = self.temp[last], self.raw.ambient[last]
        quality = int(self.quality[last])
        if not np.isnan(self.temp[last]) and np.isnan(self.raw.ambient[last]):
            quality |= Quality.AMBIENT_ASSUMED
        reported = [c for c in self.cycles if self._ah(c) >= 0.01 * p.nominal_ah]
        rows = []
        for k, cycle in enumerate(reported):
            number = sum(other.sign == cycle.sign for other in reported[: k + 1])
            rows.append(self._ended(cycle, number))
        histograms = [self._histogram(cycle) for cycle in reported]
        return Answer(x, quality, self._soh(), thermal, rows, histograms)


def reference(stream: Stream, settings: Settings) -> Answer:
    """What the features must be at the stream's last sample."""
    return Reference(stream, settings).answer()
