"""The engine and the baseline on the same bytes: every output compared, every fifth sample.

A pack of four cells with one sensor and two single cells: rest, empty, rest, charge; then a cell
above its maximum voltage, a hot sensor, too much current; then a discharge, which ends the charge.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.baseline import Baseline
from benchmarks.stream import FleetStream, Instant, Message, encoded
from monitor.alarms.rules import DEFAULT_RULES
from monitor.contract import cell_name, decode_telemetry, sensor_name
from monitor.engine import Engine
from monitor.errors import CellpulseError
from monitor.inputs import ConfigIn, FrameIn
from monitor.kernels.columns import BIN_FIRST_V, Result
from monitor.results import Results

SECONDS = 1_800
EVERY = 5
STREAMS = (FleetStream(4, 4, seed=11, first_group=5), FleetStream(2, 1, seed=12, first_group=6))
PREFIX = ("pack", "cell")

# Tolerances are relative to the larger of 1 and the value.
STATE = 1e-9  # float64 on both sides
STORED = 2e-6  # float32 in the engine's rows
MODEL = 1e-4  # float32 model inputs, summed in another order


class OutputsDifferError(CellpulseError):
    """The baseline and the engine do not give the same."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One output: how many values both had, and the largest difference."""

    output: str
    compared: int
    largest: float
    tolerance: float

    def row(self) -> tuple[str, str, str, str]:
        """The line of the table: output, compared, largest difference, tolerance."""
        return self.output, f"{self.compared:,}", f"{self.largest:.1e}", f"{self.tolerance:.0e}"


def compare(engine: Engine, baseline: Baseline, table: int) -> list[Agreement]:
    """Run both from empty; raises OutputsDifferError with the first output that is not the same."""
    for prefix, stream in zip(PREFIX, STREAMS, strict=True):
        for name in stream.assets:
            engine.process([ConfigIn(f"{prefix}-{name}", stream.config, 0)])
            baseline.configure(f"{prefix}-{name}", stream.config, stream.sensors, table)
    differences = _Differences()
    changes = []
    cycles = []
    for second in range(SECONDS):
        for message in _messages(second):
            frame = decode_telemetry(message.payload)[0]
            results = engine.process(
                [FrameIn(message.asset, frame, message.arrival_ms, message.payload)]
            )
            baseline.frame(message.asset, message.payload)
            changes += _changes(results)
            cycles += [c.summary for c in results.cycles]
            if second % EVERY == 0 and second > 0:
                _compare_rows(engine, baseline, results, message.asset, differences)
    theirs = _by_alarm([_named(change, baseline) for change in baseline.changes])
    differences.equal("alarm transitions (asset, code, source, condition, time)", changes, theirs)
    differences.equal(
        "half-cycles (start, end)",
        [(c.start_ms, c.end_ms) for c in cycles],
        [c[2:] for c in baseline.cycles],
    )
    for cycle, (ah, wh, _, _) in zip(cycles, baseline.cycles, strict=True):
        differences.add("half-cycle charge, Ah", cycle.capacity_ah, ah, STATE)
        differences.add("half-cycle energy, Wh", cycle.energy_wh, wh, STATE)
    return differences.judged()


def _messages(second: int) -> Iterator[Message]:
    for prefix, stream in zip(PREFIX, STREAMS, strict=True):
        now = _disturbed(stream.instant(second), second)
        for message in encoded(stream.assets, second, now, second):
            yield replace(message, asset=f"{prefix}-{message.asset}")


def _disturbed(now: Instant, second: int) -> Instant:
    volts, celsius, current = now.volts.copy(), now.celsius.copy(), now.current_a
    if 1_300 <= second < 1_306:
        volts[0, -1] += 4.3 - volts[0, -1].round(3)
    if 1_100 <= second < 1_520:  # 0.15 C/s, then back at 3 C/s; a step would be a sensor's
        celsius[0, -1] += min(0.15 * (second - 1_100), 3.0 * (1_520 - second))
    if 1_600 <= second < 1_605:
        current += 2.0
    if 1_650 <= second < 1_655:
        current = 0.0
        volts -= 0.1
    if second >= 1_655:
        current = -current
        volts -= 0.2
    return Instant(volts, celsius, current)


def _compare_rows(
    engine: Engine, baseline: Baseline, results: Results, asset: str, differences: _Differences
) -> None:
    rows = results.rows[0]
    if rows is None:
        raise OutputsDifferError(f"the engine refused a frame of {asset}")
    first = engine.fleet.assets[asset].first_row
    for k, (row, cell) in enumerate(zip(rows, baseline.cells[asset], strict=True)):
        state = engine.fleet.cells[first + k]
        out = cell["out"]
        for column, tolerance in _STORED.items():
            differences.add(column.name.lower(), row[column], out[column.name.lower()], tolerance)
        for name, ours, theirs in (
            ("charge in, Ah", state.charge_in_ah, cell["in_ah"]),
            ("charge out, Ah", state.charge_out_ah, cell["out_ah"]),
            ("energy in, Wh", state.energy_in_wh, cell["in_wh"]),
            ("energy out, Wh", state.energy_out_wh, cell["out_wh"]),
            ("voltage mean", state.voltage_mean_v, cell["mean"]["v"].get()),
            ("voltage variance", state.voltage_var, cell["var"]["v"].get()),
            ("current mean", state.current_mean_a, cell["mean"]["i"].get()),
            ("current variance", state.current_var, cell["var"]["i"].get()),
            ("temperature mean", state.temperature_mean_c, cell["mean"]["c"].get()),
            ("temperature variance", state.temperature_var, cell["var"]["c"].get()),
            ("dV/dt", state.dv_dt_v_per_s, cell["from0"]["dv"].get()),
            ("running half-cycle, Ah", state.half_cycle.charge_ah, cell["q"]),
        ):
            if not (name.startswith("running") and cell["dir"] == 0):
                differences.add(name, ours, theirs, STATE)
        if cell["dir"]:
            side = state.histogram[0 if cell["dir"] > 0 else 1]
            worst = float(np.abs(side - np.array(cell["half"].hist)).max())
            differences.add(f"charge per 10 mV from {BIN_FIRST_V} V, Ah", worst, 0.0, STORED)


_STORED = {
    Result.SOC: STORED, Result.SOH: MODEL, Result.SOH_LOW: MODEL, Result.SOH_HIGH: MODEL,
    Result.SOH_STATE: 0.0, Result.RESISTANCE_OHM: STORED, Result.THERMAL_SCORE: MODEL,
    Result.EXCESS_HEAT_W: STORED, Result.PHASE: 0.0, Result.DT_DT_C_PER_S: STORED,
    Result.C_RATE: STORED,
}  # fmt: skip


class _Differences:
    def __init__(self) -> None:
        self._largest: dict[str, float] = {}
        self._tolerance: dict[str, float] = {}
        self._compared: dict[str, int] = {}

    def add(self, output: str, ours: float, theirs: float, tolerance: float) -> None:
        missing = math.isnan(ours) and math.isnan(theirs)
        difference = 0.0 if missing else abs(float(ours) - theirs) / max(1.0, abs(theirs))
        if not difference <= self._largest.setdefault(output, 0.0):  # NaN if one has no value
            self._largest[output] = difference
        self._tolerance[output] = tolerance
        self._compared[output] = self._compared.get(output, 0) + (not missing)

    def equal(self, output: str, ours: list[tuple], theirs: list[tuple]) -> None:  # type: ignore[type-arg]  # tuples of any kind
        if ours != theirs:
            raise OutputsDifferError(f"{output}: the engine {ours}, the baseline {theirs}")
        self._largest[output] = self._tolerance[output] = 0.0
        self._compared[output] = len(ours)

    def judged(self) -> list[Agreement]:
        for output, largest in self._largest.items():
            if not largest <= self._tolerance[output]:
                raise OutputsDifferError(
                    f"{output}: the engine and the baseline differ by {largest:.2e}, "
                    f"allowed are {self._tolerance[output]:.0e}"
                )
        return [
            Agreement(output, self._compared[output], largest, self._tolerance[output])
            for output, largest in self._largest.items()
        ]


def _changes(results: Results) -> list[tuple[str, str, str, bool, int]]:
    return [
        (e.alarm.asset, e.alarm.code, e.alarm.source, e.cause == "raise", e.alarm.timestamp_ms)
        for e in results.events
        if e.cause in ("raise", "clear")  # a change of severity has no counterpart over there
    ]


def _by_alarm(
    changes: list[tuple[str, str, str, bool, int]],
) -> list[tuple[str, str, str, bool, int]]:
    """Changes of single severities to those of alarms: on with the first, off with the last."""
    standing: Counter[tuple[str, str, str]] = Counter()
    kept = []
    for asset, code, source, on, t in changes:
        before = standing[asset, code, source]
        standing[asset, code, source] += 1 if on else -1
        if before == 0 or standing[asset, code, source] == 0:
            kept.append((asset, code, source, on, t))
    return kept


def _named(
    change: tuple[str, str, int, bool, int], baseline: Baseline
) -> tuple[str, str, str, bool, int]:
    asset, code, k, on, t = change
    scope = next(rule.scope for rule in DEFAULT_RULES if rule.code == code)
    names = {
        "pack": "pack",
        "cell": cell_name(k),
        "sensor": sensor_name(baseline.cells[asset][k]["sensor"]),
    }
    return asset, code, names[scope], on, t
