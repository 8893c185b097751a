"""What the hub keeps of one asset, and what of it a client is told; pure."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from monitor.contract import (
    AlarmRecord,
    AssetConfig,
    CycleSummary,
    Estimate,
    Frame,
    Truth,
    as_list,
)
from monitor.dashboard.live.rows import Row, at, cell_values, sensor_maps
from monitor.store.thinning import mark_gaps, thin_rows

RING_SAMPLES = 900
FRAME_SAMPLES = 300  # the most samples of a trace in one frame
TRAIL_SAMPLES = 90
MAX_CYCLES = 50
MAX_TRUTHS = 600


@dataclass(slots=True)
class Sample:
    """A reading and the version that it came in."""

    version: int
    frame: Frame


@dataclass(slots=True)
class Estimated:
    """An estimate and the version that it came in."""

    version: int
    estimate: Estimate


@dataclass(slots=True)
class AssetState:
    """The newest of an asset, and short rings of what came before."""

    name: str
    config: AssetConfig | None = None
    config_version: int = 0
    newest: Frame | None = None
    estimate: Estimate | None = None
    truth: Truth | None = None
    arrival_ms: int | None = None
    online: bool = True
    stale: bool = True
    late: int = 0  # late frames in a row
    runs: int = 0  # how often its time began anew
    version: int = 0
    alarms: dict[tuple[str, str], AlarmRecord] = field(default_factory=dict)
    groups: dict[tuple[str, str], AlarmRecord] = field(default_factory=dict)  # of several assets
    samples: deque[Sample] = field(default_factory=deque)
    estimates: deque[Estimated] = field(default_factory=deque)
    cycles: deque[tuple[int, CycleSummary]] = field(
        default_factory=lambda: deque(maxlen=MAX_CYCLES)
    )
    truths: deque[tuple[int, Truth]] = field(default_factory=lambda: deque(maxlen=MAX_TRUTHS))
    row: Row | None = None
    failing: bool = False  # its newest row could not be made

    def all_alarms(self) -> list[AlarmRecord]:
        """The asset's own alarms and those of several assets that are about it too."""
        return [*self.alarms.values(), *self.groups.values()]


def samples_since(state: AssetState, cell: int, since: int, until: int) -> list[list[float | None]]:
    """Columns: event time, V, A, degrees Celsius, ambient; thinned so that extremes survive.

    A row with its time alone stands where nothing was heard for long.
    """
    rows: list[tuple[float | None, ...]] = []
    maps = sensor_maps(state.config)
    for sample in reversed(state.samples):
        if sample.version > until:
            continue  # of the version that is still open; the next frame brings it
        if sample.version <= since:
            break
        frame = sample.frame
        voltage, temperature = cell_values(state.config, frame, cell, maps)
        rows.append((frame.timestamp_ms, voltage, frame.current_a, temperature, frame.ambient_c))
    rows.reverse()
    limit = RING_SAMPLES if since == 0 else FRAME_SAMPLES
    kept = thin_rows(mark_gaps(rows, limit // 6), limit, columns=(1, 2, 3))
    return [list(column) for column in zip(*kept, strict=True)]


def trail(state: AssetState) -> list[float]:
    """The newest voltages of the asset, V a cell, oldest first: what its tile draws."""
    found = []
    for sample in itertools.islice(reversed(state.samples), TRAIL_SAMPLES):
        known = [value for value in as_list(sample.frame.voltage_v) if value is not None]
        if known:
            found.append(round(sum(known) / len(known), 4))
    return found[::-1]


def estimates_since(
    state: AssetState, cell: int, since: int, until: int
) -> list[list[float | None]]:
    """Columns: event time, thermal score, excess heat W, SOC, SOH, low, high, resistance ohm."""
    rows: list[tuple[float | None, ...]] = []
    for entry in reversed(state.estimates):
        if entry.version > until:
            continue
        if entry.version <= since:
            break
        now = cell_now(entry.estimate, cell)
        rows.append(
            (
                entry.estimate.timestamp_ms,
                now["score"],
                now["heat"],
                now["soc"],
                now["soh"],
                now["lo"],
                now["hi"],
                now["r"],
            )
        )
    rows.reverse()
    limit = RING_SAMPLES if since == 0 else FRAME_SAMPLES
    kept = thin_rows(mark_gaps(rows, limit // 6), limit, columns=(1,))
    return [list(column) for column in zip(*kept, strict=True)]


def cell_now(estimate: Estimate, cell: int) -> dict[str, Any]:
    """What is estimated of one cell now."""
    soh = estimate.soh
    return {
        "score": at(estimate.thermal_score.value, cell),
        "heat": at(estimate.excess_heat_w.value, cell),
        "soc": at(estimate.soc.value, cell),
        "soh": at(soh.value, cell),
        "lo": at(soh.low, cell),
        "hi": at(soh.high, cell),
        "st": soh.state[cell] if cell < len(soh.state) else None,
        "r": at(estimate.resistance_ohm.value, cell),
        "phase": estimate.phase[cell] if cell < len(estimate.phase) else None,
        "quality": estimate.quality[cell] if cell < len(estimate.quality) else [],
        "ts": estimate.timestamp_ms,
    }


def pack_now(state: AssetState, frame: Frame) -> dict[str, Any]:
    """Every cell of a pack, for its heat map."""
    voltages = as_list(frame.voltage_v)
    maps = sensor_maps(state.config)
    pack: dict[str, Any] = {
        "v": voltages,
        "t": [cell_values(state.config, frame, cell, maps)[1] for cell in range(len(voltages))],
    }
    if state.estimate is not None:
        pack["soc"] = state.estimate.soc.value
        pack["soh"] = state.estimate.soh.value
        pack["score"] = state.estimate.thermal_score.value
    return pack
