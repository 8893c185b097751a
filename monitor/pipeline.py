"""One step of the monitor, synchronous: decode, compute, announce, commit, acknowledge.

    messages -> inputs -> engine -> alarms out at once -> journal commit -> acknowledge -> estimates

Everything it touches is passed in (publisher, journal, time), so a test runs it without a broker.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import msgspec

from monitor.admission import Verdict
from monitor.advice import AdviceModel, advise
from monitor.contract import (
    ASSET_PATTERN,
    GROUP_ASSET,
    VERSION,
    Advice,
    AlarmRecord,
    AssetConfig,
    Command,
    DeviceAlarm,
    Rejected,
    Topics,
    decode,
    decode_status,
    decode_telemetry,
    encode,
    is_asset_name,
)
from monitor.engine import Engine, Results
from monitor.errors import PayloadError
from monitor.inputs import (
    CommandIn,
    ConfigIn,
    DeviceAlarmIn,
    FrameIn,
    Input,
    StatusIn,
    Tick,
)
from monitor.mqtt import Message
from monitor.rules import Rule
from monitor.store.checkpoint import Checkpoint, newest_within, write
from monitor.store.journal import Journal

log = logging.getLogger(__name__)

ESTIMATE_EVERY_S = 0.25
ESTIMATE_EXPIRY_S = 3_600
ADVICE_EVERY_S = 10.0
REJECTED_PER_S = 10
LATENCIES = 10_000


class Publisher(Protocol):
    """Where messages go."""

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False,
        expiry_s: int | None = None,
    ) -> None: ...  # fmt: skip

    def acknowledge(self, messages: Sequence[Message]) -> None: ...


class Pipeline:
    """The monitor without its loop. Call it from one thread at a time."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        publisher: Publisher,
        topics: Topics,
        monitor_id: str,
        policy: AdviceModel | None = None,
    ) -> None:
        self.engine = engine
        self.messages = 0
        self.rejected = 0
        self.commits = 0
        self.batches: deque[int] = deque(maxlen=1_000)  # inputs a step
        self.latencies_ms: deque[float] = deque(maxlen=LATENCIES)  # from arrival to commit
        self._journal = journal
        self._publisher = publisher
        self._topics = topics
        self._id = monitor_id
        self._unwritten: tuple[Sequence[Input], Results, Sequence[Message]] | None = None
        self._dirty: set[str] = set()
        self._published: dict[str, float] = {}
        self._policy = policy
        self._advised: dict[str, tuple[float, Advice | None]] = {}
        self._rejected_window = (0.0, 0)

    def recover(self) -> int:
        """Bring the engine to where the journal ends; returns how many inputs were run again."""
        checkpoint = newest_within(self._journal.path, self._journal.last_id)
        after = 0
        if checkpoint is not None:
            for state in checkpoint.assets:
                self.engine.put_asset_state(state)
            if checkpoint.groups:
                self.engine.put_group_state(checkpoint.groups)
            after = checkpoint.input_id
        count = 0
        batch: list[Input] = []
        for item in self._journal.inputs_after(after):
            batch.append(item)
            count += 1
            if len(batch) == 2_000:
                self.engine.process(batch)
                batch = []
        self.engine.process(batch)
        return count

    def snapshot(self) -> Checkpoint | None:
        """The engine's state for a checkpoint; None while it is ahead of the journal.

        What the store has not taken yet must not be in a checkpoint: after a kill it comes again,
        and an engine that had seen it would drop it. Raises StoreError.
        """
        if self._unwritten is not None:
            return None
        states = [self.engine.asset_state(name) for name in self.engine.fleet.assets]
        return Checkpoint(self._journal.last_id, states, self.engine.group_state())

    def checkpoint(self) -> None:
        """Write the engine's state beside the journal; raises OSError."""
        state = self.snapshot()
        if state is not None:
            write(self._journal.path, state)

    def step(self, messages: Sequence[Message], now_ms: int) -> Results:
        """Take messages through to the commit and acknowledge them.

        Raises StoreError where the journal cannot be written. What was computed is kept then and
        nothing acknowledged: call `flush` until it works, before the next step.
        """
        inputs: list[Input] = []
        for message in messages:
            try:
                self._read(message, inputs)
            except PayloadError as error:
                self._refuse(message.topic, message.payload, str(error), now_ms)
        self.messages += len(messages)
        self.batches.append(len(inputs))
        results = self._take(inputs, messages)
        for item, verdict in zip(inputs, results.verdicts, strict=True):
            if verdict == Verdict.FUTURE and isinstance(item, FrameIn):
                ahead_s = (item.frame.timestamp_ms - item.arrival_ms) / 1000.0
                reason = (
                    f"timestamp_ms is {ahead_s:.0f} s ahead of its arrival; is the clock right?"
                )
                self._refuse(self._topics.of(item.asset, "telemetry"), item.payload, reason, now_ms)
        return results

    def set_rules(self, rules: Sequence[Rule], now_ms: int) -> None:
        """Take other alarm rules over; what that clears is announced and journalled."""
        self.flush()
        results = self.engine.set_rules(rules, now_ms)
        self._announce_all(results)
        self._unwritten = ([], results, [])
        self.flush()

    def tick(self, now_ms: int) -> Results:
        """What depends on the wall clock."""
        return self._take([Tick(now_ms)], [])

    def flush(self) -> None:
        """Commit what could not be committed yet; raises StoreError where it still cannot."""
        if self._unwritten is None:
            return
        inputs, results, messages = self._unwritten
        self._journal.commit(inputs, results)
        self._unwritten = None
        self.commits += 1
        self._publisher.acknowledge(messages)
        self.latencies_ms.extend(_ms_since(message) for message in messages)
        for item, reply in zip(inputs, results.replies, strict=True):
            if reply is not None and isinstance(item, CommandIn):
                self._publisher.publish(self._topics.of(item.asset, "reply"), encode(reply))
        for cycle in results.cycles:
            name = cycle.summary.asset
            self._publisher.publish(self._topics.of(name, "cycle"), encode(cycle.summary))
            self._publish_estimate(name, time.monotonic())
        self._dirty |= results.touched

    def publish_estimates(self, now_s: float, *, force: bool = False) -> None:
        """Publish what is new of each asset, at most every `ESTIMATE_EVERY_S`."""
        for name in list(self._dirty):
            if force or now_s - self._published.get(name, -1e9) >= ESTIMATE_EVERY_S:
                self._publish_estimate(name, now_s)

    def reconcile(self, retained: dict[str, bytes]) -> None:
        """Make the broker's retained alarm records right; only differences are sent."""
        wanted = {
            self._alarm_topic(record): encode(record) for record in self.engine.alarm_records()
        }
        for topic, payload in wanted.items():
            if retained.get(topic) != payload:
                self._publisher.publish(topic, payload, retain=True)
        for topic in retained.keys() - wanted.keys():
            self._publisher.publish(topic, b"", retain=True)

    def _take(self, inputs: Sequence[Input], messages: Sequence[Message]) -> Results:
        self.flush()
        results = self.engine.process(inputs)
        self._announce_all(results)
        self._unwritten = (inputs, results, messages)
        self.flush()
        return results

    def _announce_all(self, results: Results) -> None:
        for event in results.events:
            if event.group is None:
                self._announce(event.alarm)
            self._publisher.publish(self._topics.of(event.alarm.asset, "event"), encode(event))

        for key in results.changed:
            record = self.engine.alarm_record(key)
            asset, code, source = key
            payload = b"" if record is None else encode(record)
            topic = self._topics.of(asset, "alarm", code, source)
            self._publisher.publish(topic, payload, retain=True)

    def _announce(self, record: AlarmRecord) -> None:
        payload = b"" if record.state == "normal" else encode(record)
        self._publisher.publish(self._alarm_topic(record), payload, retain=True)

    def _alarm_topic(self, record: AlarmRecord) -> str:
        return self._topics.of(record.asset, "alarm", record.code, record.source)

    def _publish_estimate(self, name: str, now_s: float) -> None:
        estimate = self.engine.estimate(name)
        self._dirty.discard(name)
        if estimate is not None:
            if self._policy is not None:
                advice = self._advice(self._policy, name, now_s)
                estimate = msgspec.structs.replace(estimate, advice=advice)
            self._published[name] = now_s
            self._publisher.publish(
                self._topics.of(name, "estimate"), encode(estimate), qos=0, retain=True,
                expiry_s=ESTIMATE_EXPIRY_S,
            )  # fmt: skip

    def _advice(self, policy: AdviceModel, name: str, now_s: float) -> Advice | None:
        """Charging advice, thought over every few seconds: it changes slowly."""
        at_s, advice = self._advised.get(name, (-1e9, None))
        if now_s - at_s >= ADVICE_EVERY_S:
            state = self.engine.charge_state(name)
            advice = None if state is None else advise(policy, state)
            self._advised[name] = (now_s, advice)
        return advice

    def _read(self, message: Message, inputs: list[Input]) -> None:
        asset, rest = self._topics.split(message.topic)
        payload, arrival = message.payload, message.arrival_ms
        if asset == GROUP_ASSET and rest[:1] != ("command",):
            raise PayloadError("the contract has no such topic")
        if asset.startswith("_") and asset != GROUP_ASSET:
            if asset != "_gateway" or len(rest) != 2 or rest[1] != "status":
                raise PayloadError("the contract has no such topic")
            _check_name("gateway", rest[0])
            if payload:
                inputs.append(StatusIn(rest[0], True, decode_status(payload), arrival))
        elif rest == ("telemetry",):
            frames = decode_telemetry(payload)
            if len(frames) == 1 and payload[:1] == b"{":
                inputs.append(FrameIn(asset, frames[0], arrival, payload))
            else:
                inputs.extend(FrameIn(asset, f, arrival, encode(f)) for f in frames)
        elif rest == ("config",):
            if payload:
                inputs.append(ConfigIn(asset, decode(AssetConfig, payload), arrival))
        elif rest == ("status",):
            if payload:
                inputs.append(StatusIn(asset, False, decode_status(payload), arrival))
        elif rest == ("device_alarm",):
            inputs.append(DeviceAlarmIn(asset, decode(DeviceAlarm, payload), arrival))
        elif len(rest) == 2 and rest[0] == "command":
            if message.retain:
                raise PayloadError("a retained command is ignored")
            _check_name("user", rest[1])
            inputs.append(CommandIn(asset, rest[1], decode(Command, payload), arrival))
        else:
            raise PayloadError("the contract has no such topic")

    def _refuse(self, topic: str, payload: bytes, reason: str, now_ms: int) -> None:
        """Count a refused payload and say why, at most `REJECTED_PER_S` times a second."""
        self.rejected += 1
        second, count = self._rejected_window
        now = time.monotonic()
        if now - second >= 1.0:
            second, count = now, 0
        self._rejected_window = (second, count + 1)
        if count >= REJECTED_PER_S:
            return
        log.info("refused a payload on %s: %s", topic[:120], reason)
        refusal = Rejected(
            v=VERSION,
            timestamp_ms=now_ms,
            topic=topic[:200],
            reason=reason,
            payload_start=payload[:100].decode("utf-8", "replace"),
            count=self.rejected,
        )
        self._publisher.publish(self._topics.ours("monitor", self._id, "rejected"), encode(refusal))


def _check_name(kind: str, name: str) -> None:
    if not is_asset_name(name):
        raise PayloadError(f"{kind} name {name[:80]!r}: expected {ASSET_PATTERN}")


def _ms_since(message: Message) -> float:
    return max(0.0, time.time() * 1000.0 - message.arrival_ms)
