"""One step of the monitor, synchronous: decode, compute, announce, commit, acknowledge.

    messages -> inputs -> engine -> alarms out at once -> journal commit -> acknowledge -> estimates

Everything it touches is passed in (publisher, journal, time), so a test runs it without a broker.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
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
    Reply,
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
from monitor.operators import EVERYBODY, Operators
from monitor.rules import Rule
from monitor.store.checkpoint import Checkpoint, newest_within, write
from monitor.store.journal import Journal

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 0.01  # the least time from one commit to the next on a busy stream
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
        operators: Operators = EVERYBODY,
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
        self._unwritten: tuple[list[Input], Results, list[Message]] | None = None
        self._committed_s = -1e9
        self._dirty: set[str] = set()  # assets with something to tell
        self._due: list[tuple[float, str]] = []  # when, and whose turn; a heap
        self._published: dict[str, float] = {}
        self._policy = policy
        self._operators = operators
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

    def snapshot(self) -> Checkpoint:
        """The engine's state for a checkpoint.

        What the store has not taken yet must not be in a checkpoint: after a kill it comes again,
        and an engine that had seen it would drop it. Raises StoreError where it cannot take it.
        """
        self.flush()
        states = [self.engine.asset_state(name) for name in self.engine.fleet.assets]
        return Checkpoint(self._journal.last_id, states, self.engine.group_state())

    def checkpoint(self) -> None:
        """Write the engine's state beside the journal; raises StoreError, OSError."""
        write(self._journal.path, self.snapshot())

    def step(self, messages: Sequence[Message], now_ms: int) -> Results:
        """Take messages through to the commit and acknowledge them.

        Raises StoreError where the journal cannot be written. What was computed is kept then and
        nothing acknowledged: call `flush` until it works, before the next step.
        """
        self.flush()
        results = self.take(messages, now_ms)
        self.flush()
        return results

    def commit_in_s(self, now_s: float) -> float | None:
        """How long what was taken may wait for others to share its commit; None where none does.

        A commit costs about as much for one message as for twenty. On a quiet stream the last one
        is long past, and nothing waits.
        """
        if self._unwritten is None:
            return None
        return max(0.0, self._committed_s + COMMIT_EVERY_S - now_s)

    def take(self, messages: Sequence[Message], now_ms: int) -> Results:
        """Compute what came and announce its alarms; `flush` commits and acknowledges it."""
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
        self._keep([], results, [])
        self.flush()

    def tick(self, now_ms: int) -> Results:
        """What depends on the wall clock; a tick that changes nothing leaves nothing behind."""
        self.flush()
        tick = Tick(now_ms)
        results = self.engine.process([tick])
        if results.touched:
            self._announce_all(results)
            self._keep([tick], results, [])
            self.flush()
        return results

    def flush(self) -> None:
        """Commit and acknowledge what was taken; raises StoreError, and keeps it, where it cannot.

        In the order of journal, broker, estimates: what is acknowledged is stored.
        """
        if self._unwritten is None:
            return
        inputs, results, messages = self._unwritten
        self._journal.commit(inputs, results)
        self._unwritten = None
        self._committed_s = time.monotonic()
        self.commits += 1
        self._publisher.acknowledge(messages)
        now_ms = time.time() * 1000.0
        self.latencies_ms.extend([max(0.0, now_ms - message.arrival_ms) for message in messages])
        for item, reply in zip(inputs, results.replies, strict=True):
            if reply is not None and isinstance(item, CommandIn):
                self._publisher.publish(self._topics.of(item.asset, "reply"), encode(reply))
        for cycle in results.cycles:
            name = cycle.summary.asset
            self._publisher.publish(self._topics.of(name, "cycle"), encode(cycle.summary))
            self._publish_estimate(name, time.monotonic())
        for name in results.touched - self._dirty:
            self._dirty.add(name)
            heappush(self._due, (self._published.get(name, -1e9) + ESTIMATE_EVERY_S, name))

    def publish_estimates(self, now_s: float, *, most: int | None = None) -> float | None:
        """Publish what is new of each asset, at most every `ESTIMATE_EVERY_S`.

        With `most`, so many of them at once at the most. Returns in how many seconds the next one
        is due, None where nothing is to be told.
        """
        due = self._due
        while due and due[0][0] <= now_s and most != 0:
            _, name = heappop(due)
            if name in self._dirty:
                self._publish_estimate(name, now_s)
                most = None if most is None else most - 1
        return max(0.0, due[0][0] - now_s) if due else None

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
        results = self.engine.process(inputs)
        self._announce_all(results)
        self._keep(inputs, results, messages)
        return results

    def _keep(self, inputs: Sequence[Input], results: Results, messages: Sequence[Message]) -> None:
        """Have it committed with whatever waits already."""
        if self._unwritten is None:
            self._unwritten = ([], Results(), [])
        taken, came, told = self._unwritten
        taken += inputs
        came.add(results)
        told += messages

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
            command = decode(Command, payload)
            self._check_operator(asset, rest[1], command)
            inputs.append(CommandIn(asset, rest[1], command, arrival))
        else:
            raise PayloadError("the contract has no such topic")

    def _check_operator(self, asset: str, user: str, command: Command) -> None:
        """Answer who may not command, and raise PayloadError: nothing is journalled or changed."""
        assets, gateways = self.engine.fleet.assets, self.engine.book.gateways
        reason = self._operators.refusal(
            asset, user, lambda name: name in assets or name in gateways.values()
        )
        if reason is not None:
            reply = Reply(VERSION, command.id, "refused", reason, user)
            self._publisher.publish(self._topics.of(asset, "reply"), encode(reply))
            raise PayloadError(reason)

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
