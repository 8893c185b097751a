"""The engine: a batch of inputs and the time in, results out; one synchronous, pure call.

    frames -> admission -> features -> SOH and thermal models -> limits -> alarms -> results

A micro-batch is whatever has arrived. Results do not depend on where a stream is cut into batches.
Nothing here reads a clock, a disk or the network. The module is long because it is the one place
where the parts meet; each of them stands in a module of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.alarms.book import AlarmBook, Key
from monitor.alarms.changes import (
    Change,
    Together,
    clock_set_back,
    device_alarm,
    frames_complete,
    frames_missing,
    presence,
    source_of,
    staleness,
)
from monitor.alarms.handover import Alarms, Outcome
from monitor.alarms.rules import DEFAULT_RULES, STALE, Rule
from monitor.charging.advice import ChargeState
from monitor.contract import MAX_CELLS, VERSION, AlarmRecord, AssetConfig, Estimate, Reply, as_list
from monitor.cycles import finish_inplace
from monitor.drift import NewTest, PageHinkley
from monitor.errors import CellpulseError
from monitor.estimates import charge_state_of, estimate_of
from monitor.fleet import DEFAULT_CAPACITY_AH, Asset, Fleet
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
from monitor.kernels.admission import is_ahead
from monitor.kernels.columns import FEATURES, RESULTS, Quality, Verdict
from monitor.kernels.frames import Outputs
from monitor.kernels.limits import CHANGE, check_inplace, rule_rows
from monitor.kernels.results import Answers, write_results_inplace
from monitor.kernels.risk import assess_inplace
from monitor.kernels.update import update_inplace
from monitor.models.onnx import SohModel, ThermalModel
from monitor.results import Handled, Results
from monitor.runs import NEW_SEGMENT, Run, admit_run_inplace
from monitor.shared_state import put_shared_bytes, shared_bytes

CHUNK_SAMPLES = 1_024  # a chunk of frames is closed once it has so many samples
GAP_ALARM_ENDS_MS = 60_000
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
        self.alarms = Alarms(rules)
        self.counters = Counters()
        self._batch: list[Together] = []  # changes that are to be handed over
        self._soh = soh
        self._thermal = thermal
        size = CHUNK_SAMPLES + MAX_CELLS
        self._out = Outputs(size)
        self._watch(rules)
        self._no_soh = (np.empty(0, np.float32),) * 3 + (np.empty(0, np.int64),)
        self._no_score = np.empty(0, np.float32)

    @property
    def book(self) -> AlarmBook:
        """Every alarm with its memory."""
        return self.alarms.book

    def clear(self) -> None:
        """Forget every asset and alarm; models, rules and counters stay."""
        self.fleet = Fleet(self.fleet.rules, self._soh, self._thermal, self.fleet.knee_test)
        self.alarms = Alarms(self.fleet.rules)
        self._batch = []

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
                    asset = self._discover(item, len(results.handled) + len(run))
                run.append(item)
                samples += asset.config.cells
                if samples < CHUNK_SAMPLES:
                    continue
            self._frames(run, results)
            run = []
            samples = 0
            if type(item) is not FrameIn:
                results.handled.append(Handled(item, reply=self._other(item, results)))
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
        return self.book.record_of(key)

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
        return shared_bytes(self.fleet, self.alarms)

    def put_shared_state(self, data: bytes) -> None:
        """Take back what `shared_state` gave; raises CellpulseError where it does not fit."""
        put_shared_bytes(data, self.fleet, self.alarms)

    def set_rules(self, rules: Sequence[Rule], now_ms: int) -> Results:
        """Take other rules over; conditions and delays of those that stay go on.

        Alarms of rules that are gone are cleared; the results hold their transitions.
        """
        changes = self.alarms.ruleless(rules, now_ms)
        self.alarms.set_rules(rules)
        self.fleet.set_rules(tuple(rules))
        self._watch(rules)
        for asset in self.fleet.by_index:
            changes += self._orphans(asset)
        outcome = self.alarms.hand_over([Together(0, changes)])
        return Results(events=outcome.events, changed=outcome.changed)

    def clear_ruleless(self, now_ms: int) -> Results:
        """Clear alarms that a checkpoint brought back though their rules are gone since."""
        changes = self.alarms.ruleless(self.fleet.rules, now_ms)
        outcome = self.alarms.hand_over([Together(0, changes)])
        return Results(events=outcome.events, changed=outcome.changed)

    def _watch(self, rules: Sequence[Rule]) -> None:
        self._rules = rule_rows(rules)
        self._changes = np.empty(self._out.size * len(rules), CHANGE)

    def _other(self, item: Input, results: Results) -> Reply | None:
        """Take an input that is no frame."""
        reply = None
        if isinstance(item, CommandIn):
            asset = self.fleet.assets.get(item.asset)
            places = None if asset is None else (asset.cells, asset.sensors)
            reply, outcome = self.alarms.command(item, places)
        elif isinstance(item, Tick):
            outcome = self.alarms.tick(item.now_ms, self._tick(item.now_ms))
        else:
            changes: list[Change] = []
            if isinstance(item, ConfigIn):
                changes = self._configure(item, results)
            elif isinstance(item, StatusIn):
                changes = self._status(item, results)
            elif isinstance(item, DeviceAlarmIn):
                if item.asset not in self.fleet.assets:
                    self.fleet.add(item.asset, _unknown_asset(1), configured=False)
                changes = [device_alarm(item)]
            elif isinstance(item, Trouble):
                changes = [self.alarms.trouble(item)]
                results.touched.add(item.asset)
            outcome = self.alarms.hand_over([Together(0, changes)])
        _tell(results, outcome)
        return reply

    def _configure(self, item: ConfigIn, results: Results) -> list[Change]:
        asset = self.fleet.assets.get(item.asset)
        results.touched.add(item.asset)
        changes = []
        if asset is None:
            asset = self.fleet.add(item.asset, item.config, configured=True)
        else:
            self.fleet.configure(asset, item.config)
            changes = self._orphans(asset)
        self.book.gateways[item.asset] = item.config.gateway
        return [*changes, self._presence(asset, item.arrival_ms)]

    def _status(self, item: StatusIn, results: Results) -> list[Change]:
        """A status may come before the config or frame that makes its asset known."""
        said = self.fleet.offline_gateways if item.gateway else self.fleet.offline_names
        (said.discard if item.online else said.add)(item.name)
        concerned = [
            asset
            for asset in self.fleet.by_index
            if item.name == (asset.config.gateway if item.gateway else asset.name)
        ]
        results.touched.update(asset.name for asset in concerned)
        return [self._presence(asset, item.arrival_ms) for asset in concerned]

    def _presence(self, asset: Asset, arrival_ms: int) -> Change:
        """An asset is offline when its own status or its gateway's says so."""
        gateways = self.fleet.offline_gateways
        offline = asset.name in self.fleet.offline_names or asset.config.gateway in gateways
        return presence(asset.name, offline, arrival_ms)

    def _tick(self, now_ms: int) -> list[Change]:
        """What is stale from now on or no longer, and the gaps that are over."""
        fleet = self.fleet
        count = len(fleet.by_index)
        age = now_ms - fleet.last_arrival_ms[:count]
        stale = (age > fleet.stale_after_ms[:count]) & (fleet.last_arrival_ms[:count] >= 0)
        changes = []
        for asset, is_stale in zip(fleet.by_index, stale.tolist(), strict=True):
            if is_stale != self.alarms.holds(asset.name, STALE.code):
                age_s = float(age[asset.index]) / 1000.0
                limit_s = float(fleet.stale_after_ms[asset.index]) / 1000.0
                changes.append(staleness(asset.name, is_stale, age_s, limit_s, now_ms))
            if 0 <= asset.missing_since_ms <= now_ms - GAP_ALARM_ENDS_MS:
                asset.missing_since_ms = -1
                changes.append(frames_complete(asset.name, now_ms))
        return changes

    def _orphans(self, asset: Asset) -> list[Change]:
        """The ends of alarms whose limit, cell or sensor is gone."""
        rows = self.fleet.slice(asset)
        active, sensors = self.fleet.active[rows], self.fleet.cells["config"]["sensor"][rows]
        active &= ~np.isnan(self.fleet.limits[rows])
        rules = self.fleet.rules
        holding = {
            (rules[k].code, rules[k].severity, source_of(rules[k].scope, cell, int(sensors[cell])))
            for cell, k in np.argwhere(active).tolist()
        }
        return self.alarms.orphans(asset.name, holding)

    def _frames(self, items: list[FrameIn], results: Results) -> None:
        """Judge frames in a row, then compute those that are taken."""
        if not items:
            return
        run = admit_run_inplace(self.fleet, items)
        if not run.plain:
            self._count(run)
        first = 0
        for k, (item, asset) in enumerate(zip(items, run.assets, strict=True)):
            temperature = item.frame.temperature_c
            sensors = len(temperature) if type(temperature) is list else temperature is not None
            if sensors == asset.sensors or not sensors or run.verdicts[k] > NEW_SEGMENT:
                continue
            # Frames before this one were wired otherwise: they are computed first.
            if k > first and asset.sensors:
                self._wired(run.part(first, k), results)
                first = k
            self._wire(asset, int(sensors), len(results.handled) + k - first)
        self._wired(run.part(first, len(run)), results)

    def _wire(self, asset: Asset, sensors: int, place: int) -> None:
        """Frames come with another number of temperatures from here on."""
        rewired = asset.sensors != 0
        self.fleet.see_sensors(asset, sensors)
        if rewired:
            self._batch.append(Together(place, self._orphans(asset)))

    def _wired(self, run: Run, results: Results) -> None:
        """Compute a run for which every asset's cells are wired to its sensors as they need."""
        place = len(results.handled)
        rows: Iterable[NDArray[np.float32] | None]
        if run.plain:
            rows = self._samples(run, range(place, place + len(run)), results)
        else:
            self._notice_gaps(run, place)
            taken = run.taken()
            found = self._samples(run.only(taken), [place + k for k in taken], results)
            rows = map(dict(zip(taken, found, strict=True)).get, range(len(run)))
        results.handled.extend(map(Handled, run.items, run.verdicts, rows))
        if self._batch:
            batch, self._batch = self._batch, []
            _tell(results, self.alarms.hand_over(batch))

    def _notice_gaps(self, run: Run, place: int) -> None:
        """Alarms of frames that are missing and of clocks that were set back."""
        for k, (item, asset) in enumerate(zip(run.items, run.assets, strict=True)):
            changes = []
            if run.missed[k] > 0:
                asset.missing_since_ms = item.arrival_ms
                changes.append(frames_missing(asset.name, run.missed[k], item.frame.timestamp_ms))
            if run.clock_set_back(k):
                changes += clock_set_back(asset.name, item.frame.timestamp_ms)
            if changes:
                self._batch.append(Together(place + k, changes))

    def _samples(
        self, run: Run, places: Sequence[int], results: Results
    ) -> list[NDArray[np.float32]]:
        """Run accepted frames through features, models and limits; a result matrix for each.

        `places` are theirs in the batch.
        """
        if not len(run):
            return []
        fleet, out = self.fleet, self._out
        frames = run.frames()
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
        write_results_inplace(fleet.cells, fleet.value, fleet.value_ms, out, answers, result, n)
        assess_inplace(fleet.cells, fleet.value, fleet.value_ms, out, result, n)
        # Before the limits: what a half-cycle's end tells of the fade is judged at its end.
        for k in range(ended):
            asset = run.assets[int(out.frame[out.ended_sample[k]])]
            results.cycles.append(finish_inplace(fleet, asset, out, k, result))
        changes = check_inplace(
            fleet.active, fleet.since, fleet.limits, self._rules, out, self._changes, n
        )
        if changes:
            self._conditions(changes, run, places)
        self.counters.frames += len(run)
        self.counters.samples += n
        self.counters.glitches += int(np.count_nonzero(out.quality[:n] & GLITCH))
        results.samples += n
        results.touched.update([item.asset for item in run.items])
        if n == len(run):
            return list(result[:, None, :])
        ends = np.cumsum(frames.rows["cells"]).tolist()
        return [result[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    def _conditions(self, changes: int, run: Run, places: Sequence[int]) -> None:
        """Have the conditions that the limits saw change handed over, those of a frame together."""
        out, fleet = self._out, self.fleet
        samples, columns = self._changes["sample"][:changes], self._changes["rule"][:changes]
        rows = out.row[samples]
        sensors = fleet.cells["config"]["sensor"][rows]
        before = -1
        for sample, column, active, frame, row, sensor, limit, ms in zip(
            samples.tolist(), columns.tolist(), self._changes["active"][:changes].tolist(),
            out.frame[samples].tolist(), rows.tolist(), sensors.tolist(),
            fleet.limits[rows, columns].tolist(), out.timestamp_ms[samples].tolist(), strict=True,
        ):  # fmt: skip
            rule, asset = fleet.rules[column], run.assets[frame]
            if frame != before:
                self._batch.append(Together(places[frame], []))
                before = frame
            source = source_of(rule.scope, row - asset.first_row, sensor)
            q = int(rule.quantity)
            value = out.features[sample, q] if q < FEATURES else out.extras[sample, q - FEATURES]
            self._batch[-1].changes.append(
                Change(asset.name, rule, source, active, float(value), limit, ms, True)
            )

    def _discover(self, item: FrameIn, place: int) -> Asset:
        """An asset that sent a frame before any config: conservative limits, flagged."""
        cells = max(1, len(as_list(item.frame.voltage_v)))
        asset = self.fleet.add(item.asset, _unknown_asset(cells), configured=False)
        self._batch.append(Together(place, [self._presence(asset, item.arrival_ms)]))
        return asset

    def _count(self, run: Run) -> None:
        """Count what is not plain."""
        self.counters.duplicates += run.verdicts.count(Verdict.DUPLICATE)
        self.counters.late += run.verdicts.count(Verdict.LATE)
        self.counters.future += run.verdicts.count(Verdict.FUTURE)
        self.counters.segments += run.verdicts.count(Verdict.NEW_SEGMENT)
        self.counters.missed += sum(run.missed)


def _tell(results: Results, outcome: Outcome) -> None:
    results.events += outcome.events
    results.changed |= outcome.changed
    results.touched |= outcome.assets


def _unknown_asset(cells: int) -> AssetConfig:
    """What is assumed of an asset that has not said anything of itself."""
    return AssetConfig(v=VERSION, nominal_capacity_ah=DEFAULT_CAPACITY_AH, cells=cells)
