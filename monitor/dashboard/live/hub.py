"""The newest state of every asset, and the shared frames that every browser is sent; pure.

Messages go in as they come, `tick` closes a version, and `frame` answers what has changed since
the version that a client has. A client that was skipped simply asks from an older version, so
nothing is ever kept for anyone. Frames are encoded once for all clients that look at the same
thing from the same version. Time is an argument, milliseconds UTC.

The module is long because what a browser may look at, and what it is then sent, stand together.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import Any, Literal, NamedTuple

import msgspec

from monitor.contract import (
    AlarmRecord,
    AssetConfig,
    CycleSummary,
    Estimate,
    Event,
    Frame,
    MonitorMetrics,
    SimulatorState,
    Truth,
)
from monitor.dashboard.live.asset_state import (
    RING_SAMPLES,
    AssetState,
    Estimated,
    Sample,
    cell_now,
    estimates_since,
    pack_now,
    samples_since,
    trail,
)
from monitor.dashboard.live.rows import Row, is_active, make_row
from monitor.dashboard.refusals import refusal
from monitor.gaps import OLD_FRAMES, gap_ms

log = logging.getLogger(__name__)

RING_VALUES = 1_500_000  # cell values kept in all rings together
LATE_FRAMES = 20  # late frames in a row that mean the clock itself went back
STALE_CHECK_MS = 500
SETTLE_MS = 5_000  # within which a monitor tells its alarms to a broker that forgot them
TRAILS = 128  # assets at most whose newest voltages a fleet page gets when it opens
MAX_ALARMS = 1_000
MAX_EVENTS = 200

Kind = Literal["fleet", "asset", "alarms", "none"]


class View(NamedTuple):
    """What a browser looks at; `cell` counts from 0."""

    kind: Kind
    asset: str = ""
    cell: int = 0


class Hub:
    """Collects contract messages and makes the frames of the live page."""

    def __init__(self) -> None:
        self.version = 1
        self.failed = 0  # rows that could not be made
        self._assets: dict[str, AssetState] = {}
        self._changed: dict[str, None] = {}  # names, the last changed last
        self._pending = False
        self._alarms_version = 0
        self._events: deque[tuple[int, Event]] = deque(maxlen=MAX_EVENTS)
        self._gateways: dict[str, bool] = {}
        self._simulators: dict[str, tuple[int, SimulatorState | None]] = {}
        self._groups: dict[tuple[str, str], AlarmRecord] = {}
        self._monitors: dict[str, bool] = {}
        self._metrics: MonitorMetrics | None = None
        self._feed_connected = False
        self._feed_since_ms = 0
        self._ring = RING_SAMPLES
        self._cells = 0
        self._memo: dict[tuple[View, int], bytes] = {}
        self._head: dict[str, Any] = {}
        self._now_ms = 0
        self._checked_ms = 0
        self._forgotten_version = 0
        self._unconfirmed: set[tuple[str, ...]] = (
            set()
        )  # monitors, alarms and groups not told again
        self._settled_ms: float = 0  # by when they are, where they still stand

    # What comes in

    def on_frame(self, asset: str, frame: Frame, arrival_ms: int) -> None:
        """One reading. A late one shows that the asset lives, but is left to the store."""
        state = self._touch(asset)
        state.arrival_ms = arrival_ms
        newest = state.newest
        if newest is not None and frame.timestamp_ms <= newest.timestamp_ms:
            state.late += frame.timestamp_ms < newest.timestamp_ms
            if frame.session == newest.session and state.late < LATE_FRAMES:
                return
            # The device restarted, its clock went back, or a replay began anew.
            state.samples.clear()
            state.estimates.clear()
            state.runs += 1
        state.late = 0
        state.newest = frame
        state.samples.append(Sample(self.version + 1, frame))
        while len(state.samples) > self._ring:
            state.samples.popleft()

    def on_config(self, asset: str, config: AssetConfig | None) -> None:
        """What the device says of itself; None (an emptied topic) forgets the asset."""
        if config is None:
            self._forget(asset)
            return
        state = self._touch(asset)
        self._cells += config.cells - (state.config.cells if state.config is not None else 1)
        state.config = config
        state.config_version = self.version + 1
        self._size_rings()

    def on_status(self, asset: str, online: bool) -> None:
        """The device's own status."""
        self._touch(asset).online = online

    def on_gateway_status(self, gateway: str, online: bool) -> None:
        """A gateway's status holds for every asset that names it in its config."""
        self._gateways[gateway] = online
        if not online and gateway in self._simulators:
            self._simulators[gateway] = (self.version + 1, None)
        for state in self._assets.values():
            if state.config is not None and state.config.gateway == gateway:
                self._touch(state.name)

    def on_estimate(self, asset: str, estimate: Estimate) -> None:
        """What the monitor makes of the asset now."""
        state = self._touch(asset)
        state.estimate = estimate
        state.estimates.append(Estimated(self.version + 1, estimate))
        while len(state.estimates) > self._ring:
            state.estimates.popleft()

    def on_alarm(self, asset: str, code: str, source: str, alarm: AlarmRecord | None) -> None:
        """An alarm's full record, or None when it is back to normal."""
        self._unconfirmed.discard((asset, code, source))
        state = self._touch(asset)
        if alarm is None or alarm.state == "normal":
            state.alarms.pop((code, source), None)
        else:
            state.alarms[code, source] = alarm
        self._alarms_version = self.version + 1

    def on_group(self, code: str, source: str, alarm: AlarmRecord | None) -> None:
        """An alarm that speaks for several assets; each of them shows it."""
        self._unconfirmed.discard((code, source))
        before = self._groups.pop((code, source), None)
        for name in _assets_of(before):
            if name in self._assets:
                self._touch(name).groups.pop((code, source), None)
        if alarm is not None and alarm.state != "normal":
            self._groups[code, source] = alarm
            for name in _assets_of(alarm):
                if name in self._assets:
                    self._touch(name).groups[code, source] = alarm
        self._alarms_version = self.version + 1
        self._pending = True

    def on_event(self, asset: str, event: Event) -> None:
        """One alarm transition, for the journal on the page; a group speaks for its members'."""
        if event.group is not None:
            return
        self._events.append((self.version + 1, event))
        self._pending = True

    def on_cycle(self, asset: str, cycle: CycleSummary) -> None:
        """One finished charge or discharge."""
        self._touch(asset).cycles.append((self.version + 1, cycle))

    def on_truth(self, asset: str, truth: Truth) -> None:
        """The recording's own labels, shown beside the estimate during a replay."""
        state = self._touch(asset)
        state.truth = truth
        before = state.truths[-1][1] if state.truths else None
        if before is None or (before.soh, before.cycle) != (truth.soh, truth.cycle):
            state.truths.append((self.version + 1, truth))

    def on_simulator(self, name: str, simulator: SimulatorState | None) -> None:
        """What a replay offers and does, or None when it has ended; its assets' pages show it."""
        self._simulators[name] = (self.version + 1, simulator)
        self._pending = True

    def on_monitor_status(self, monitor: str, online: bool) -> None:
        """Whether a monitor runs; without one, estimates and alarms do not move."""
        self._unconfirmed.discard((monitor,))
        if online and not any(self._monitors.values()):
            self._settled_ms = self._now_ms + SETTLE_MS
        self._monitors[monitor] = online
        self._pending = True

    def on_metrics(self, metrics: MonitorMetrics) -> None:
        """The monitor's own counters."""
        self._metrics = metrics
        self._pending = True

    def on_feed(self, connected: bool, now_ms: int) -> None:
        """Whether this server hears the broker, and since when."""
        if connected != self._feed_connected or not self._feed_since_ms:
            self._feed_since_ms = now_ms
        self._feed_connected = connected
        self._pending = True

    def doubt(self, now_ms: int) -> None:
        """The broker is there again and tells what it retains; an end may have been missed."""
        self._unconfirmed = {(name,) for name, online in self._monitors.items() if online}
        self._unconfirmed |= set(self._groups)
        for state in self._assets.values():
            self._unconfirmed |= {(state.name, code, source) for code, source in state.alarms}
        self._settled_ms = now_ms + SETTLE_MS

    def _drop_doubtful(self) -> None:
        """End what nobody has told again: monitors, and alarms where a monitor would have."""
        unconfirmed, self._unconfirmed = self._unconfirmed, set()
        for names in unconfirmed:
            if len(names) == 1:
                self.on_monitor_status(names[0], False)
        if not any(self._monitors.values()):
            # Nobody knows; the page says that no monitor runs. The next one that does will tell.
            self._unconfirmed = {names for names in unconfirmed if len(names) > 1}
            self._settled_ms = math.inf
            return
        for names in unconfirmed:
            if len(names) == 2:
                self.on_group(names[0], names[1], None)
            elif len(names) == 3 and names[0] in self._assets:
                self.on_alarm(names[0], names[1], names[2], None)

    # What goes out

    def tick(self, now_ms: int) -> bool:
        """Close a version if anything changed, marking what has grown stale; True if it did."""
        self._memo.clear()
        if abs(now_ms - self._checked_ms) >= STALE_CHECK_MS:
            self._checked_ms = now_ms
            self._check_staleness(now_ms)
        self._now_ms = now_ms
        if self._unconfirmed and now_ms >= self._settled_ms:
            self._drop_doubtful()
        if not self._pending:
            return False
        self._pending = False
        self.version += 1
        self._head = self._make_head()
        return True

    def frame(self, view: View, since: int) -> bytes:
        """The encoded frame that brings a client from version `since` (0: nothing) to now.

        All clients that ask the same within one tick share the bytes.
        """
        found = self._memo.get((view, since))
        if found is None:
            found = msgspec.json.encode(self._make_frame(view, since))
            self._memo[view, since] = found
        return found

    def interval_ms(self, view: View) -> int:
        """How far apart frames of this view are at least: 10 a second, fewer for large fleets."""
        if view.kind != "fleet":
            return 100
        count = len(self._assets)
        if count <= 128:
            return 100
        return 500 if count <= 1_000 else 1_000

    def asset_names(self) -> list[str]:
        """Every asset heard of."""
        return sorted(self._assets)

    def config_of(self, asset: str) -> AssetConfig | None:
        """The asset's newest config, if it has published one."""
        state = self._assets.get(asset)
        return state.config if state is not None else None

    def newest_ms(self, asset: str) -> int | None:
        """Event time of the newest frame of the asset."""
        state = self._assets.get(asset)
        return state.newest.timestamp_ms if state is not None and state.newest is not None else None

    def alarms(self) -> list[AlarmRecord]:
        """Every alarm that is not normal, the worst and newest first."""
        records = [record for state in self._assets.values() for record in state.alarms.values()]
        records += self._groups.values()
        records.sort(key=lambda record: (-record.severity, -record.since_ms, record.asset))
        return records

    def _touch(self, asset: str) -> AssetState:
        state = self._assets.get(asset)
        if state is None:
            state = self._assets[asset] = AssetState(asset)
            state.groups = {k: g for k, g in self._groups.items() if asset in _assets_of(g)}
            self._cells += 1
            self._size_rings()
        state.version = self.version + 1
        state.row = None
        self._changed.pop(asset, None)
        self._changed[asset] = None
        self._pending = True
        return state

    def _forget(self, asset: str) -> None:
        state = self._assets.pop(asset, None)
        if state is not None:
            self._cells -= state.config.cells if state.config is not None else 1
            self._changed.pop(asset, None)
            self._alarms_version = self.version + 1
            self._pending = True
            # A client learns of it by a full frame: no delta can say that a row is gone.
            self._forgotten_version = self.version + 1

    def _size_rings(self) -> None:
        self._ring = max(16, min(RING_SAMPLES, RING_VALUES // max(1, self._cells)))

    def _row(self, state: AssetState) -> Row:
        if state.row is None:
            row = self._made_row(state)
            row.at = state.arrival_ms
            row.stale = state.stale
            row.off = not self._is_online(state)
            state.row = row
        return state.row

    def _made_row(self, state: AssetState) -> Row:
        """The row, or one that says nothing: no asset is in the way of the others."""
        try:
            row = make_row(
                state.name, state.config, state.newest, state.estimate, state.all_alarms()
            )
        except Exception:
            self.failed += 1
            if not state.failing:
                log.exception("the row of %s cannot be made; it is shown as unknown", state.name)
            state.failing = True
            return Row(id=state.name, limit=gap_ms(state.config, OLD_FRAMES))
        state.failing = False
        return row

    def _is_online(self, state: AssetState) -> bool:
        gateway = state.config.gateway if state.config is not None else None
        return state.online and (gateway is None or self._gateways.get(gateway, True))

    def _check_staleness(self, now_ms: int) -> None:
        for state in self._assets.values():
            stale = (
                not self._feed_connected
                or state.arrival_ms is None
                or now_ms - state.arrival_ms > gap_ms(state.config, OLD_FRAMES)
            )
            if stale != state.stale:
                state.stale = stale
                self._touch(state.name)

    def _make_head(self) -> dict[str, Any]:
        rows = [self._row(state) for state in self._assets.values()]
        alarms, unack = sum(row.alarms for row in rows), sum(row.unack for row in rows)
        for key, record in self._groups.items():  # each of its assets counts it: it is one
            shown = sum(key in state.groups for state in self._assets.values())
            if is_active(record):
                alarms += 1 - shown
                unack += (record.state != "acknowledged") * (1 - shown)
        return {
            "assets": len(rows),
            "stale": sum(row.stale for row in rows),
            "alarms": alarms,
            "unack": unack,
            "worst": max((row.sev for row in rows), default=0),
            "feed": self._feed_connected,
            "feed_since": self._feed_since_ms,
            "monitor": any(self._monitors.values()) if self._monitors else None,
            "rate": self._metrics.frames_per_s if self._metrics is not None else None,
        }

    def _make_frame(self, view: View, since: int) -> dict[str, Any]:
        if since < self._forgotten_version:
            since = 0
        body: dict[str, Any] = {
            "k": view.kind,
            "to": self.version,
            "now": self._now_ms,
            "full": since == 0,
            "head": self._head,
        }
        if view.kind == "fleet":
            body["rows"] = self._rows_since(since)
            if since == 0 and len(self._assets) <= TRAILS:
                body["trails"] = {name: trail(state) for name, state in self._assets.items()}
        elif view.kind == "alarms":
            if self._alarms_version > since or since == 0:
                body["alarms"] = self.alarms()[:MAX_ALARMS]
            body["events"] = [
                event for version, event in self._events if since < version <= self.version
            ]
        elif view.kind == "asset":
            body.update(self._asset_since(view, since))
        return body

    def _rows_since(self, since: int) -> list[Row]:
        rows = []
        for name in reversed(self._changed):
            state = self._assets[name]
            if state.version <= since:
                break
            rows.append(self._row(state))
        return rows

    def _asset_since(self, view: View, since: int) -> dict[str, Any]:
        state = self._assets.get(view.asset)
        body: dict[str, Any] = {"asset": view.asset, "cell": view.cell}
        if state is None:
            body["missing"] = True
            return body
        body["row"] = self._row(state)
        body["run"] = state.runs
        body["s"] = samples_since(state, view.cell, since, self.version)
        body["e"] = estimates_since(state, view.cell, since, self.version)
        body["c"] = [
            cycle
            for version, cycle in state.cycles
            if since < version <= self.version and cycle.cell == f"c{view.cell + 1:03d}"
        ]
        if state.config_version > since or since == 0:
            body["config"] = state.config
        if self._alarms_version > since or since == 0:
            records = sorted(
                state.all_alarms(), key=lambda record: (-record.severity, -record.since_ms)
            )
            body["alarms"] = records[:MAX_ALARMS]
        gateway = state.config.gateway if state.config is not None else None
        version, simulator = self._simulators.get(gateway or "", (0, None))
        if version > since or since == 0:
            body["simulator"] = simulator
            if simulator is not None and simulator.refused is not None:
                body["refused_zh"] = refusal(simulator.refused, "zh")
        if state.estimate is not None:
            body["now_cell"] = cell_now(state.estimate, view.cell)
        if state.truth is not None:
            body["truth"] = state.truth
            body["truths"] = [
                [truth.timestamp_ms, truth.soh]
                for version, truth in state.truths
                if since < version <= self.version and truth.soh is not None
            ]
        row = self._row(state)
        if row.cells > 1 and state.newest is not None:
            body["pack"] = pack_now(state, state.newest)
        return body


def _assets_of(group: AlarmRecord | None) -> list[str]:
    """The assets that a group's places are in, each once."""
    places = (group.places or []) if group is not None else []
    return list(dict.fromkeys(place.partition("/")[0] for place in places))
