"""The engine: a batch of inputs and the time in, results out; one synchronous, pure call.

    frames -> admission -> features -> SOH and thermal models -> limits -> alarms -> results

A micro-batch is whatever has arrived. Results do not depend on where a stream is cut into batches.
Nothing here reads a clock, a disk or the network. The module is long because it is the one place
where the parts meet; each of them stands in a module of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from monitor.alarms.book import AlarmBook, Key, record
from monitor.alarms.commands import device_notice, is_notice, notice_of, obey, shelves_end
from monitor.alarms.groups import group_events
from monitor.alarms.rules import (
    CLOCK_JUMP,
    DEFAULT_RULES,
    OFFLINE,
    SEQUENCE_GAP,
    STALE,
    TROUBLES,
    Notice,
    Rule,
)
from monitor.charging.advice import ChargeState
from monitor.contract import (
    MAX_CELLS,
    VERSION,
    AlarmRecord,
    AssetConfig,
    Estimate,
    Reply,
    as_list,
    cell_name,
    sensor_name,
)
from monitor.cycles import finish_inplace
from monitor.drift import NewTest, PageHinkley
from monitor.errors import CellpulseError
from monitor.estimates import charge_state_of, estimate_of
from monitor.fleet import DEFAULT_CAPACITY_AH, STATE_VERSION, Asset, Fleet
from monitor.inputs import (
    CommandIn,
    ConfigIn,
    DeviceAlarmIn,
    FrameIn,
    Input,
    StatusIn,
    Tick,
    Trouble,
)
from monitor.kernels.admission import (
    ARRIVAL,
    JUDGED,
    admit_inplace,
    is_ahead,
    session_id,
)
from monitor.kernels.columns import RESULTS, Feature, Quality, Records, Verdict
from monitor.kernels.frames import FRAME, Frames, Outputs
from monitor.kernels.limits import CHANGE, check_inplace, rule_rows
from monitor.kernels.results import Answers, settle_inplace
from monitor.kernels.risk import judge_inplace
from monitor.kernels.update import update_inplace
from monitor.models.onnx import SohModel, ThermalModel
from monitor.results import Handled, Results

CHUNK_SAMPLES = 1_024  # a chunk of frames is closed once it has so many samples
GAP_ALARM_ENDS_MS = 60_000
TROUBLE_ENDS_MS = 60_000
NEW_SEGMENT = int(Verdict.NEW_SEGMENT)  # an enumeration's member takes its time to be looked up
GLITCH = Quality.VOLTAGE_GLITCH | Quality.TEMPERATURE_SPIKE


@dataclass(slots=True)
class Counters:
    """What the engine has met since its start."""

    frames: int = 0
    samples: int = 0
    duplicates: int = 0
    late: int = 0
    future: int = 0
    missed: int = 0
    segments: int = 0
    glitches: int = 0


class _Versioned(Struct):
    version: int = 7  # which did not say so


class _Shared(Struct):
    """What the engine remembers beside the assets, as it travels."""

    version: int
    offline_names: list[str]
    offline_gateways: list[str]
    troubles: list[tuple[Key, int]]
    alarms: list[bytes]  # of `_group`, and of names that are no asset


class _Judged(NamedTuple):
    """What admission says of frames in a row, an entry each."""

    verdict: list[int]
    missed: list[int]
    began: list[int]

    @property
    def plain(self) -> bool:
        """All of them accepted, in sequence."""
        return not any(self.verdict) and not any(self.missed)

    def part(self, first: int, end: int) -> _Judged:
        return _Judged(self.verdict[first:end], self.missed[first:end], self.began[first:end])


class Engine:
    """The state of every asset and what is done with each input."""

    def __init__(
        self,
        soh: SohModel | None,
        thermal: ThermalModel | None,
        rules: Sequence[Rule] = DEFAULT_RULES,
        knee_test: NewTest = PageHinkley,
    ) -> None:
        self.fleet = Fleet(tuple(rules), soh, thermal, knee_test)
        self.book = AlarmBook.empty()
        self.counters = Counters()
        self._troubles: dict[Key, int] = {}  # those whose alarm stands, and their newest arrival
        self._soh = soh
        self._thermal = thermal
        size = CHUNK_SAMPLES + MAX_CELLS
        self._out = Outputs(size)
        self._watch(rules)
        self._no_soh = (np.empty(0, np.float32),) * 3 + (np.empty(0, np.int64),)
        self._no_score = np.empty(0, np.float32)

    def clear(self) -> None:
        """Forget every asset and alarm; models, rules and counters stay."""
        self.fleet = Fleet(self.fleet.rules, self._soh, self._thermal, self.fleet.knee_test)
        self.book = AlarmBook.empty()
        self._troubles = {}

    def continue_numbers(self, written: Mapping[Key, int]) -> None:
        """Number every alarm's transitions on from those that are written.

        A recovery that did not come to where the journal ends, for whatever reason, must not give a
        later transition the identity of one that is there.
        """
        self.book.continue_numbers(written)

    def process(self, inputs: Sequence[Input]) -> Results:
        """Take inputs in order; the results have a `Handled` for every one.

        A frame that is refused (`Verdict.DUPLICATE`, `FUTURE`) changes nothing but a counter. Where
        this raises, which no input within the contract should make it do, the state is not to be
        used any further: `clear` it, and take its inputs again.
        """
        results = Results()
        run: list[FrameIn] = []
        samples = 0
        for item in inputs:
            if type(item) is FrameIn:
                asset = self.fleet.assets.get(item.asset)
                if asset is None:
                    if is_ahead(item.frame.timestamp_ms, item.arrival_ms):
                        self._frames(run, results)
                        run = []
                        samples = 0
                        self.counters.future += 1
                        results.handled.append(Handled(item, int(Verdict.FUTURE)))
                        continue
                    asset = self._discover(item)
                    first = len(results.events)
                    self._presence(asset, item.arrival_ms, results)
                    self._group(results, first)
                run.append(item)
                samples += asset.config.cells
                if samples >= CHUNK_SAMPLES:
                    self._frames(run, results)
                    run = []
                    samples = 0
                continue
            self._frames(run, results)
            run = []
            samples = 0
            first = len(results.events)
            results.handled.append(Handled(item, reply=self._other(item, results)))
            self._group(results, first)
        self._frames(run, results)
        return results

    def estimate(self, name: str) -> Estimate | None:
        """The newest of everything about an asset; None where no frame has come."""
        asset = self.fleet.assets.get(name)
        return None if asset is None else estimate_of(self.fleet, asset)

    def charge_state(self, name: str) -> ChargeState | None:
        """What charging advice needs of an asset; None for one that is not known."""
        asset = self.fleet.assets.get(name)
        return None if asset is None else charge_state_of(self.fleet, asset)

    def alarm_records(self) -> list[AlarmRecord]:
        """Every alarm that is not normal."""
        return list(self.book.records())

    def alarm_record(self, key: Key) -> AlarmRecord | None:
        """One alarm as it is to be shown; None where it is normal or a group speaks for it."""
        alarm = self.book.alarms.get(key)
        if alarm is None or alarm.state == "normal" or alarm.group is not None:
            return None
        return record(alarm)

    def alarms_of(self, name: str) -> list[tuple[str, str]]:
        """Code and source of every alarm that an asset has ever shown."""
        alarms = self.book.of_asset.get(name, {}).values()
        return [(alarm.code, alarm.source) for alarm in alarms if alarm.published]

    def asset_state(self, name: str) -> bytes:
        """One asset's whole state, to be put back here or in another worker."""
        return self.fleet.take(self.fleet.assets[name], self.book.to_bytes(name))

    def put_asset_state(self, data: bytes) -> None:
        """Take an asset's state over; raises CellpulseError where it does not fit."""
        try:
            name = self.book.put_bytes(self.fleet.put(data))
        except (msgspec.DecodeError, ValueError, KeyError) as error:
            raise CellpulseError(f"engine state: {error}") from error
        self.book.gateways[name] = self.fleet.assets[name].config.gateway

    def shared_state(self) -> bytes:
        """What is known beside the assets, for a checkpoint: who is offline, alarms of several."""
        others = sorted(self.book.of_asset.keys() - self.fleet.assets.keys())
        return msgspec.msgpack.encode(
            _Shared(
                STATE_VERSION,
                sorted(self.fleet.offline_names),
                sorted(self.fleet.offline_gateways),
                list(self._troubles.items()),
                [self.book.to_bytes(name) for name in others],
            )
        )

    def put_shared_state(self, data: bytes) -> None:
        """Take back what `shared_state` gave; raises CellpulseError where it does not fit."""
        try:
            if msgspec.msgpack.decode(data, type=_Versioned).version == 7:
                self.book.put_bytes(data)  # the alarms of several assets, and no more
                return
            shared = msgspec.msgpack.decode(data, type=_Shared)
            for alarms in shared.alarms:
                self.book.put_bytes(alarms)
        except (msgspec.DecodeError, ValueError) as error:
            raise CellpulseError(f"engine state: {error}") from error
        self.fleet.offline_names = set(shared.offline_names)
        self.fleet.offline_gateways = set(shared.offline_gateways)
        self._troubles = dict(shared.troubles)

    def set_rules(self, rules: Sequence[Rule], now_ms: int) -> Results:
        """Take other rules over; conditions and delays of those that stay go on.

        Alarms of rules that are gone are cleared; the results hold their transitions.
        """
        results = Results()
        self._clear_ruleless(rules, now_ms, results)
        self.fleet.set_rules(tuple(rules))
        self._watch(rules)
        for asset in self.fleet.by_index:
            self._drop_orphans(asset, results)
        self._group(results, 0)
        return results

    def clear_ruleless(self, now_ms: int) -> Results:
        """Clear alarms that a checkpoint brought back though their rules are gone since."""
        results = Results()
        self._clear_ruleless(self.fleet.rules, now_ms, results)
        self._group(results, 0)
        return results

    def _clear_ruleless(self, rules: Sequence[Rule], now_ms: int, results: Results) -> None:
        known = {(rule.code, rule.severity) for rule in rules}
        for _, alarm in sorted(self.book.alarms.items()):
            if alarm.is_group or is_notice(alarm.code):
                continue
            for level in alarm.levels:
                if (alarm.code, level.severity) not in known:
                    gone = notice_of(alarm, level)
                    event = self.book.condition(
                        alarm.asset, gone, alarm.source, False, None, None, now_ms
                    )
                    if event is not None:
                        results.events.append(event)

    def _group(self, results: Results, first: int) -> None:
        """Group the transitions from `first` on, those of one frame or one other input."""
        if len(results.events) > first:
            results.events[first:] = group_events(
                self.book, results.events[first:], results.changed
            )

    def _watch(self, rules: Sequence[Rule]) -> None:
        self._rules = rule_rows(rules)
        self._suppressing = {code for rule in rules for code in rule.suppressed_by}
        self._changes = np.empty(self._out.size * len(rules), CHANGE)

    def _other(self, item: Input, results: Results) -> Reply | None:
        if isinstance(item, ConfigIn):
            self._configure(item, results)
        elif isinstance(item, StatusIn):
            self._status(item, results)
        elif isinstance(item, Tick):
            self._tick(item.now_ms, results)
        elif isinstance(item, DeviceAlarmIn):
            if item.asset not in self.fleet.assets:
                self.fleet.add(item.asset, _unknown_asset(1), configured=False)
            notice = device_notice(item.alarm)
            self._notice(
                results, item.asset, notice, item.alarm.active, None, None,
                item.alarm.timestamp_ms, item.alarm.source,
            )  # fmt: skip
        elif isinstance(item, Trouble):
            self._trouble(item, results)
        elif isinstance(item, CommandIn):
            return self._command(item, results)
        return None

    def _trouble(self, item: Trouble, results: Results) -> None:
        notice = TROUBLES[item.code]
        self._troubles[item.asset, item.code, item.source] = item.arrival_ms
        self._notice(results, item.asset, notice, True, None, None, item.arrival_ms, item.source)
        results.touched.add(item.asset)

    def _configure(self, item: ConfigIn, results: Results) -> None:
        asset = self.fleet.assets.get(item.asset)
        results.touched.add(item.asset)
        if asset is None:
            asset = self.fleet.add(item.asset, item.config, configured=True)
        else:
            self.fleet.configure(asset, item.config)
            self._drop_orphans(asset, results)
        self.book.gateways[item.asset] = item.config.gateway
        self._presence(asset, item.arrival_ms, results)

    def _wire(self, asset: Asset, sensors: int, results: Results) -> None:
        """Frames come with another number of temperatures from here on."""
        rewired = asset.sensors != 0
        self.fleet.see_sensors(asset, sensors)
        if rewired:
            first = len(results.events)
            self._drop_orphans(asset, results)
            self._group(results, first)

    def _drop_orphans(self, asset: Asset, results: Results) -> None:
        """Clear alarms whose limit, cell or sensor is gone: nothing is left to hold them."""
        rows = self.fleet.slice(asset)
        # Frames may come with another wiring each, and an asset may have thousands of alarms.
        codes = {rule.code for rule in self.fleet.rules}
        held = [
            alarm
            for alarm in self.book.of_asset.get(asset.name, {}).values()
            if alarm.levels and alarm.code in codes and not alarm.is_group
        ]
        held.sort(key=lambda alarm: alarm.key)
        for column, rule in enumerate(self.fleet.rules):
            watched = ~np.isnan(self.fleet.limits[rows, column])
            self.fleet.active[rows, column] &= watched
            holding = {
                self._source(asset, rows.start + int(cell), rule)
                for cell in np.flatnonzero(self.fleet.active[rows, column])
            }
            for alarm in held:
                levels = [level.severity for level in alarm.levels]
                orphan = rule.severity in levels and alarm.source not in holding
                if alarm.code == rule.code and orphan:
                    event = self.book.condition(
                        asset.name, rule, alarm.source, False, None, None, alarm.timestamp_ms
                    )
                    if event is not None:
                        results.events.append(event)

    def _source(self, asset: Asset, row: int, rule: Rule) -> str:
        if rule.scope == "sensor":
            return sensor_name(int(self.fleet.cells["config"]["sensor"][row]))
        return "pack" if rule.scope == "pack" else cell_name(row - asset.first_row)

    def _frames(self, run: list[FrameIn], results: Results) -> None:
        """Judge a run of frames, then compute those that are taken."""
        if not run:
            return
        fleet = self.fleet
        assets = [fleet.assets[item.asset] for item in run]
        arrivals = np.array(
            [
                (
                    asset.index, session_id(item.frame.session),
                    -1 if item.frame.seq is None else item.frame.seq,
                    item.frame.timestamp_ms, item.arrival_ms, asset.config.provenance.replay,
                )
                for item, asset in zip(run, assets, strict=True)
            ],
            ARRIVAL,
        )  # fmt: skip
        found = np.empty(len(run), JUDGED)
        admit_inplace(fleet.admission, arrivals, found)
        verdict = found["verdict"]
        judged = _Judged(verdict.tolist(), found["missed"].tolist(), found["began"].tolist())
        if judged.plain:
            fleet.last_arrival_ms[arrivals["asset"]] = arrivals["arrival_ms"]
        else:
            # Only what the journal keeps may count, else a recovery would see another past.
            kept = arrivals[(verdict != Verdict.DUPLICATE) & (verdict != Verdict.FUTURE)]
            fleet.last_arrival_ms[kept["asset"]] = kept["arrival_ms"]
            self._count(verdict, found["missed"])
        first = 0
        for k, asset in enumerate(assets):
            if judged.verdict[k] > NEW_SEGMENT:
                continue
            temperature = run[k].frame.temperature_c
            if temperature is None:
                continue
            sensors = len(temperature) if type(temperature) is list else 1
            if sensors not in (asset.sensors, 0):
                # Frames before this one were wired otherwise: they are computed first.
                if k > first and asset.sensors:
                    self._wired(run[first:k], assets[first:k], judged.part(first, k), results)
                    first = k
                self._wire(asset, sensors, results)
        if first:
            run, assets, judged = run[first:], assets[first:], judged.part(first, len(run))
        self._wired(run, assets, judged, results)

    def _wired(
        self, run: list[FrameIn], assets: list[Asset], of: _Judged, results: Results
    ) -> None:
        """Frames in a row, judged, with every asset's cells wired to its sensors as they need."""
        n = len(run)
        judged, skipped = of.verdict, of.missed
        rows: list[tuple[object, ...]] = []  # of FRAME
        volts: list[float | None] = []
        temperatures: list[float | None] = []
        for item, asset, verdict in zip(run, assets, judged, strict=True):
            frame = item.frame
            first_v, first_t = len(volts), len(temperatures)
            temperature = frame.temperature_c
            if type(temperature) is list:
                temperatures.extend(temperature)
            elif temperature is not None:
                temperatures.append(temperature)  # type: ignore[arg-type]
            voltage = frame.voltage_v
            if type(voltage) is list:
                volts.extend(voltage)
            elif voltage is not None:
                volts.append(voltage)  # type: ignore[arg-type]
            rows.append(
                (
                    asset.first_row, asset.config.cells, frame.timestamp_ms, frame.current_a,
                    frame.ambient_c, first_v, len(volts) - first_v, first_t,
                    len(temperatures) - first_t, verdict == NEW_SEGMENT,
                )
            )  # fmt: skip
        frames = Frames(
            np.array(rows, FRAME), np.array(volts, np.float64), np.array(temperatures, np.float64)
        )
        first_event = len(results.events)
        came_with: list[int] = []  # the frame of every event of this run
        taken: Sequence[int] = range(n)
        if not of.plain:
            taken = [k for k in range(n) if judged[k] <= NEW_SEGMENT]
            for k in range(n):
                # A replay that goes back on purpose says so by a new session: no clock is wrong.
                jumped = judged[k] == NEW_SEGMENT and not (
                    of.began[k] and assets[k].config.provenance.replay
                )
                if skipped[k] > 0 or jumped:
                    before = len(results.events)
                    self._data_notices(
                        assets[k], run[k].frame.timestamp_ms, run[k].arrival_ms, jumped,
                        skipped[k], results,
                    )  # fmt: skip
                    self._group(results, before)
                    came_with += [k] * (len(results.events) - first_event - len(came_with))
        everything = len(taken) == n
        if not everything:
            frames = replace(frames, rows=frames.rows[list(taken)])
        taken_assets = assets if everything else [assets[k] for k in taken]
        found, changed = self._samples(frames, taken_assets, results)
        came_with += [taken[k] for k in changed]
        if len(came_with) > 1:
            order = np.argsort(came_with, kind="stable").tolist()
            events = results.events[first_event:]
            results.events[first_event:] = [events[k] for k in order]
        if everything:
            results.handled.extend(map(Handled, run, judged, found))
        else:
            row_of = dict(zip(taken, found, strict=True))
            results.handled.extend(map(Handled, run, judged, map(row_of.get, range(n))))

    def _samples(
        self, frames: Frames, assets: list[Asset], results: Results
    ) -> tuple[list[NDArray[np.float32]], list[int]]:
        """Run accepted frames through features, models and limits.

        Returns one result matrix a frame, and the frames that its alarm transitions came with.
        """
        if not assets:
            return [], []
        fleet, out = self.fleet, self._out
        n, ended = update_inplace(fleet.cells, frames, out)
        usable = out.soh_usable[:n]
        soh = self._no_soh
        if self._soh is not None and (asked := int(np.count_nonzero(usable))):
            x = out.soh_inputs[:n]
            soh = self._soh.run(x if asked == n else x[usable])
        elif self._soh is None:
            usable[:] = False
        score = self._no_score
        scored = out.thermal_usable[:n]
        if self._thermal is None:
            scored[:] = False
        elif scores := int(np.count_nonzero(scored)):
            windows = out.thermal_inputs[:n]
            score = self._thermal.run(windows if scores == n else windows[scored])
        result = np.empty((n, RESULTS), np.float32)
        answers = Answers(*soh, score)
        settle_inplace(fleet.cells, fleet.value, fleet.value_ms, out, answers, result, n)
        judge_inplace(fleet.cells, fleet.value, fleet.value_ms, out, result, n)
        # Before the limits: what a half-cycle's end tells of the fade is judged at its end.
        for k in range(ended):
            asset = assets[int(out.frame[out.ended_sample[k]])]
            results.cycles.append(finish_inplace(fleet, asset, out, k, result))
        changes = check_inplace(
            fleet.active, fleet.since, fleet.limits, self._rules, out, self._changes, n
        )
        changed = self._alarm_changes(changes, assets, results) if changes else []
        self.counters.frames += len(assets)
        self.counters.samples += n
        self.counters.glitches += int(np.count_nonzero(out.quality[:n] & GLITCH))
        results.samples += n
        results.touched.update([asset.name for asset in assets])
        if n == len(assets):
            return list(result[:, None, :]), changed
        ends = np.cumsum(frames.rows["cells"]).tolist()
        return [result[a:b] for a, b in zip([0, *ends], ends, strict=False)], changed

    def _alarm_changes(self, changes: int, assets: list[Asset], results: Results) -> list[int]:
        came_with: list[int] = []
        out, fleet = self._out, self.fleet
        found: Records = self._changes[:changes]
        samples: list[int] = found["sample"].tolist()
        rules: list[int] = found["rule"].tolist()
        conditions: list[bool] = found["active"].tolist()
        first = len(results.events)
        running = int(out.frame[samples[0]])
        for sample, column, active in zip(samples, rules, conditions, strict=True):
            if int(out.frame[sample]) != running:
                self._group(results, first)
                came_with += [running] * (len(results.events) - first)
                first, running = len(results.events), int(out.frame[sample])
            rule = fleet.rules[column]
            asset = assets[int(out.frame[sample])]
            row = int(out.row[sample])
            source = self._source(asset, row, rule)
            q = int(rule.quantity)
            features = len(Feature)
            value = out.features[sample, q] if q < features else out.extras[sample, q - features]
            event = self.book.condition(
                asset.name, rule, source, active, float(value), float(fleet.limits[row, column]),
                int(out.timestamp_ms[sample]),
            )  # fmt: skip
            events = [] if event is None else [event]
            if rule.code in self._suppressing:
                alarm = self.book.alarms.get((asset.name, rule.code, source))
                if alarm is not None:
                    events += self.book.follow(alarm, int(out.timestamp_ms[sample]))
            results.events += events
        self._group(results, first)
        came_with += [running] * (len(results.events) - first)
        return came_with

    def _discover(self, item: FrameIn) -> Asset:
        """An asset that sent a frame before any config: conservative limits, flagged."""
        cells = max(1, len(as_list(item.frame.voltage_v)))
        return self.fleet.add(item.asset, _unknown_asset(cells), configured=False)

    def _count(self, verdict: NDArray[np.int64], missed: NDArray[np.int64]) -> None:
        counts = np.bincount(verdict, minlength=len(Verdict))
        self.counters.duplicates += int(counts[Verdict.DUPLICATE])
        self.counters.late += int(counts[Verdict.LATE])
        self.counters.future += int(counts[Verdict.FUTURE])
        self.counters.segments += int(counts[Verdict.NEW_SEGMENT])
        self.counters.missed += int(missed.sum())

    def _data_notices(
        self, asset: Asset, t: int, arrival: int, jumped: bool, missed: int, results: Results
    ) -> None:
        if missed > 0:
            asset.missing_since_ms = arrival
            self._notice(results, asset.name, SEQUENCE_GAP, True, float(missed), 0.0, t)
        if jumped:
            self._notice(results, asset.name, CLOCK_JUMP, True, None, None, t)
            self._notice(results, asset.name, CLOCK_JUMP, False, None, None, t)

    def _status(self, item: StatusIn, results: Results) -> None:
        """A status may come before the config or frame that makes its asset known."""
        said = self.fleet.offline_gateways if item.gateway else self.fleet.offline_names
        (said.discard if item.online else said.add)(item.name)
        for asset in self.fleet.by_index:
            if item.name == (asset.config.gateway if item.gateway else asset.name):
                self._presence(asset, item.arrival_ms, results)
                results.touched.add(asset.name)

    def _presence(self, asset: Asset, arrival_ms: int, results: Results) -> None:
        """An asset is offline when its own status or its gateway's says so."""
        gateways = self.fleet.offline_gateways
        offline = asset.name in self.fleet.offline_names or asset.config.gateway in gateways
        self._notice(results, asset.name, OFFLINE, offline, None, None, arrival_ms)

    def _tick(self, now_ms: int, results: Results) -> None:
        fleet = self.fleet
        count = len(fleet.by_index)
        age = now_ms - fleet.last_arrival_ms[:count]
        stale = (age > fleet.stale_after_ms[:count]) & (fleet.last_arrival_ms[:count] >= 0)
        for asset, is_stale in zip(fleet.by_index, stale.tolist(), strict=True):
            alarm = self.book.alarms.get((asset.name, STALE.code, "pack"))
            if is_stale != (alarm is not None and alarm.active):
                limit = float(fleet.stale_after_ms[asset.index]) / 1000.0
                seconds = float(age[asset.index]) / 1000.0
                self._notice(results, asset.name, STALE, is_stale, seconds, limit, now_ms)
                results.touched.add(asset.name)  # a shelved alarm changes without an event
            if 0 <= asset.missing_since_ms <= now_ms - GAP_ALARM_ENDS_MS:
                asset.missing_since_ms = -1
                self._notice(results, asset.name, SEQUENCE_GAP, False, 0.0, 0.0, now_ms)
                results.touched.add(asset.name)
        over = [key for key, ms in self._troubles.items() if ms <= now_ms - TROUBLE_ENDS_MS]
        for asset_name, code, source in over:
            del self._troubles[asset_name, code, source]
            self._notice(results, asset_name, TROUBLES[code], False, None, None, now_ms, source)
            results.touched.add(asset_name)
        ended = shelves_end(self.book, now_ms)
        results.events += ended
        results.touched.update(event.alarm.asset for event in ended)

    def _notice(
        self, results: Results, asset: str, notice: Notice, active: bool,
        value: float | None, limit: float | None, timestamp_ms: int, source: str = "pack",
    ) -> None:  # fmt: skip
        event = self.book.condition(asset, notice, source, active, value, limit, timestamp_ms)
        if event is not None:
            results.events.append(event)
            results.touched.add(asset)

    def _command(self, item: CommandIn, results: Results) -> Reply:
        asset = self.fleet.assets.get(item.asset)
        places = None if asset is None else (asset.cells, asset.sensors)
        reply, events = obey(self.book, self.fleet.rules, item, places)
        results.events += events
        results.touched.update(event.alarm.asset for event in events)
        return reply


def _unknown_asset(cells: int) -> AssetConfig:
    """What is assumed of an asset that has not said anything of itself."""
    return AssetConfig(v=VERSION, nominal_capacity_ah=DEFAULT_CAPACITY_AH, cells=cells)
