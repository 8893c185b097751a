"""One step of the monitor, synchronous: decode, compute, announce, commit, acknowledge.

    messages -> inputs -> engine -> alarms out at once -> journal commit -> acknowledge -> estimates

Everything it touches is passed in (publisher, journal, time), so a test runs it without a broker.

No message ends it. What the contract refuses is counted and answered. What raises all the same,
where it is computed or written, is set aside: the engine goes back to the last commit, every input
since then is taken again with a commit of its own, and the one that raises is kept in the journal
as `Trouble` with its reason, which is an alarm.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from monitor.alarms.book import Key
from monitor.alarms.operators import EVERYBODY, Operators
from monitor.alarms.rules import ESTIMATE_FAILED, INPUT_QUARANTINED, Rule
from monitor.announcements import announcements, as_it_stands, differences
from monitor.charging.advice import AdviceModel
from monitor.contract import VERSION, Reply, Topics, encode
from monitor.delivery import InputLog, Publisher
from monitor.engine import Engine
from monitor.errors import PayloadError, StoreError, reason_of
from monitor.estimate_queue import EstimateQueue
from monitor.inputs import CommandIn, FrameIn, Input, Tick, Trouble
from monitor.kernels.columns import Verdict
from monitor.mqtt.link import Message
from monitor.outgoing import PAYLOAD_START, Outgoing
from monitor.quarantine import Kept, of_input, of_message, of_stored
from monitor.received import inputs_of
from monitor.recovery import recover
from monitor.results import Handled, Results
from monitor.store.checkpoint import Checkpoint, write

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 0.01  # the least time from one commit to the next on a busy stream
LATENCIES = 10_000
TROUBLE_EVERY_MS = 30_000  # the same trouble is told again: its alarm ends a minute after it


class Pipeline:
    """The monitor without its loop. Call it from one thread at a time."""

    def __init__(
        self,
        engine: Engine,
        journal: InputLog,
        publisher: Publisher,
        topics: Topics,
        monitor_id: str,
        policy: AdviceModel | None = None,
        operators: Operators = EVERYBODY,
    ) -> None:
        self.engine = engine
        self.messages = 0
        self.rejected = 0
        self.quarantined = 0
        self.commits = 0
        self.batches: deque[int] = deque(maxlen=1_000)  # inputs a step
        self.latencies_ms: deque[float] = deque(maxlen=LATENCIES)  # from arrival to commit
        self._journal = journal
        self._publisher = publisher
        self._topics = topics
        self._out = Outgoing(publisher, topics, monitor_id)
        self._estimates = EstimateQueue(engine, topics, self._out.publish, policy)
        self._unwritten: tuple[Results, list[Message]] | None = None
        self._again: deque[Input] = deque()  # to be taken one by one; the engine is to be restored
        self._again_messages: list[Message] = []  # to be acknowledged after them
        self._told_ms: dict[tuple[str, str, str], int] = {}  # troubles, and when they were told
        self._committed_s = -1e9
        self._operators = operators
        self._astray = False  # whether the engine is not where journal and `_unwritten` end
        self._said: set[Key] = set()  # alarms published of inputs that are taken again

    def recover(self) -> int:
        """Bring the engine to where the journal ends; returns how many inputs were run again.

        Raises StoreError.
        """
        return self._go_back()

    def _go_back(self) -> int:
        count, left_out = recover(self.engine, self._journal)
        self._astray = False
        now_ms = time.time_ns() // 1_000_000
        # Rules that were taken out are in no input; what stood by them is back with the checkpoint.
        orphans = self.engine.clear_ruleless(now_ms)
        if orphans.events:
            self._announce_all(orphans)
            self._keep(orphans, [])
        self._again.extend(self._note(of_stored(one, self._topics, now_ms)) for one in left_out)
        return count

    def snapshot(self) -> Checkpoint:
        """The engine's state for a checkpoint.

        What the store has not taken yet must not be in a checkpoint: after a kill it comes again,
        and an engine that had seen it would drop it. Raises StoreError where it cannot take it.
        """
        self.flush()
        states = [self.engine.asset_state(name) for name in self.engine.fleet.assets]
        return Checkpoint(self._journal.last_id, states, self.engine.shared_state())

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
        """Compute what came and announce its alarms; `flush` commits and acknowledges it.

        Raises StoreError only where an input was set aside and the store cannot take that now;
        call `flush` until it works then.
        """
        inputs: list[Input] = []
        for message in messages:
            try:
                inputs += self._read(message)
            except PayloadError as error:
                self._refuse(message.topic, message.payload, str(error), now_ms)
            except Exception as error:
                self._out.unexpected(f"a message on {message.topic:.120} raises", error)
                arrival_ms = message.arrival_ms
                kept = of_message(message.topic, message.payload, arrival_ms, error, self._topics)
                inputs.append(self._note(kept))
        self.messages += len(messages)
        self.batches.append(len(inputs))
        return self._take(inputs, messages)

    def set_rules(self, rules: Sequence[Rule], now_ms: int) -> None:
        """Take other alarm rules over; what that clears is announced and journalled."""
        self.flush()
        try:
            results = self.engine.set_rules(rules, now_ms)
            self._announce_all(results)
        except Exception:
            self._astray = True
            self.flush()
            raise
        self._keep(results, [])
        self.flush()

    def tick(self, now_ms: int) -> Results:
        """What depends on the wall clock; a tick that changes nothing leaves nothing behind.

        Where it raises, which no asset's state should make it do, the engine is as before the tick.
        """
        self.flush()
        tick = Tick(now_ms)
        try:
            results = self.engine.process([tick])
            self._announce_all(results)
        except Exception:
            self._astray = True
            self.flush()
            raise
        if results.touched:
            self._keep(results, [])
            self.flush()
        return results

    def flush(self) -> None:
        """Commit and acknowledge what was taken; raises StoreError, and keeps it, where it cannot.

        In the order of journal, broker, estimates: what is acknowledged is stored.
        """
        if self._is_behind:
            self._singly()
        if self._unwritten is None:
            return
        results, messages = self._unwritten
        try:
            self._journal.commit(results)
        except StoreError:
            raise
        except Exception as error:
            self._begin_again([], [], error)
            self._singly()
            return
        self._unwritten = None
        self._committed(results, messages)

    def _committed(self, results: Results, messages: Sequence[Message]) -> None:
        """Acknowledge what is stored, and tell what waited for that."""
        self._committed_s = time.monotonic()
        self.commits += 1
        self._publisher.acknowledge(messages)
        now_ms = time.time() * 1000.0
        self.latencies_ms.extend([max(0.0, now_ms - message.arrival_ms) for message in messages])
        for one in results.handled:
            if one.reply is not None and isinstance(one.input, CommandIn):
                self._out.publish(self._topics.of(one.input.asset, "reply"), encode(one.reply))
        for cycle in results.cycles:
            topic = self._topics.of(cycle.summary.asset, "cycle")
            self._out.publish(topic, encode(cycle.summary))
        for name in dict.fromkeys(cycle.summary.asset for cycle in results.cycles):
            self._estimates.publish(name, time.monotonic())
        self._estimates.add(results.touched)

    def publish_estimates(self, now_s: float, *, most: int | None = None) -> float | None:
        """Publish what is new of each asset, at most every quarter of a second.

        With `most`, so many of them at once at the most. Returns in how many seconds the next one
        is due, None where nothing is to be told.
        """
        for name, error in self._estimates.take_failed():
            at_ms = time.time_ns() // 1_000_000
            self.trouble(name, ESTIMATE_FAILED.code, "pack", reason_of(error), at_ms)
        return self._estimates.publish_due(now_s, most)

    def reconcile(self, retained: dict[str, bytes]) -> None:
        """Make the broker's retained alarm records right; only differences are sent."""
        self._out.announce(differences(retained, self.engine.book, self._topics))

    def trouble(self, asset: str, code: str, source: str, reason: str, now_ms: int) -> None:
        """Raise the alarm of a code of `rules.TROUBLES`, or have it go on."""
        key = (asset, code, source)
        told_ms = self._told_ms.get(key, -TROUBLE_EVERY_MS)
        if now_ms - told_ms < TROUBLE_EVERY_MS or self._is_behind:
            return
        if len(self._told_ms) > LATENCIES:
            self._told_ms.clear()
        self._told_ms[key] = now_ms
        log.error("%s of %s %s: %s", code, asset, source, reason)
        detail = msgspec.json.encode({"reason": reason}).decode()
        self._take([Trouble(asset, code, source, now_ms, detail)], [])

    @property
    def _is_behind(self) -> bool:
        """Whether what came before is not done yet, or the engine is not where it should be."""
        return bool(self._again or self._again_messages or self._astray)

    def _take(self, inputs: Sequence[Input], messages: Sequence[Message]) -> Results:
        if self._is_behind:
            self._again.extend(inputs)
            self._again_messages += messages
            return self._singly()
        try:
            results = self.engine.process(inputs)
            self._announce_all(results)
        except Exception as error:
            self._begin_again(inputs, messages, error)
            return self._singly()
        self._keep(results, messages)
        self._refuse_ahead(results.handled)
        return results

    def _begin_again(
        self, inputs: Sequence[Input], messages: Sequence[Message], error: Exception
    ) -> None:
        """Have all that is not committed taken again one by one, from the last commit on."""
        self._out.unexpected("an input raises, looking for it", error)
        came, told = self._unwritten or (Results(), [])
        self._said |= {
            (event.alarm.asset, event.alarm.code, event.alarm.source) for event in came.events
        }
        self._unwritten = None
        self._again.extend([*(one.input for one in came.handled), *inputs])
        self._again_messages += [*told, *messages]
        self._astray = True

    def _singly(self) -> Results:
        """Take what waits input by input, each with a commit of its own; set aside what raises.

        Here alarms leave after the commit: what raises in it must not have been said. Raises
        StoreError; what is not committed waits on.
        """
        together = Results()
        while self._again or self._astray:
            if self._astray:
                counters = replace(self.engine.counters)
                self._go_back()
                self.engine.counters = counters
                continue
            item = self._again[0]
            self._astray = True  # until it is committed
            try:
                results = self.engine.process([item])
                said = announcements(results, self.engine.book, self._topics)
                self._journal.commit(results)
            except StoreError:
                raise
            except Exception as error:
                self._out.unexpected("set aside", error)
                self._again.popleft()
                kept = of_input(item, error, self._topics)
                if kept is not None:
                    self._again.appendleft(self._note(kept))
                continue
            self._astray = False
            self._again.popleft()
            self._out.announce(said)
            self._committed(results, [])
            self._refuse_ahead(results.handled)
            together.add(results)
        # Of an input that was set aside since, say.
        book, topics = self.engine.book, self._topics
        self._out.announce([as_it_stands(key, book, topics) for key in sorted(self._said)])
        self._said.clear()
        messages, self._again_messages = self._again_messages, []
        self._committed(Results(), messages)
        return together

    def _note(self, kept: Kept) -> Trouble:
        """Count a message that is set aside and answer it; what takes its place in the stream."""
        self.quarantined += 1
        message, at_ms = kept.message, kept.arrival_ms
        start = message.payload[:PAYLOAD_START].encode("utf-8", "backslashreplace")
        count = self.rejected + self.quarantined
        self._out.answer(message.topic, start, f"set aside: {message.reason}", at_ms, count)
        detail = msgspec.json.encode(message).decode()
        return Trouble(kept.asset, INPUT_QUARANTINED.code, "pack", at_ms, detail)

    def _refuse_ahead(self, handled: Sequence[Handled]) -> None:
        for one in handled:
            item = one.input
            if one.verdict == Verdict.FUTURE and isinstance(item, FrameIn):
                ahead_s = (item.frame.timestamp_ms - item.arrival_ms) / 1000.0
                reason = (
                    f"timestamp_ms is {ahead_s:.0f} s ahead of its arrival; is the clock right?"
                )
                topic = self._topics.of(item.asset, "telemetry")
                self._refuse(topic, item.payload, reason, item.arrival_ms)

    def _keep(self, results: Results, messages: Sequence[Message]) -> None:
        """Have it committed with whatever waits already."""
        if self._unwritten is None:
            self._unwritten = (Results(), [])
        came, told = self._unwritten
        came.add(results)
        told += messages

    def _announce_all(self, results: Results) -> None:
        """Publish the alarms of some inputs; all of them, or where one cannot be written, none."""
        self._out.announce(announcements(results, self.engine.book, self._topics))

    def _read(self, message: Message) -> list[Input]:
        inputs = inputs_of(
            self._topics, message.topic, message.payload, message.arrival_ms,
            retained=message.retain,
        )  # fmt: skip
        if inputs and isinstance(inputs[0], CommandIn):
            self._check_operator(inputs[0])
        return inputs

    def _check_operator(self, item: CommandIn) -> None:
        """Answer who may not command, and raise PayloadError: nothing is journalled or changed."""
        assets, gateways = self.engine.fleet.assets, self.engine.book.gateways
        reason = self._operators.refusal(
            item.asset, item.user, lambda name: name in assets or name in gateways.values()
        )
        if reason is not None:
            reply = Reply(VERSION, item.command.id, "refused", reason, item.user)
            self._out.publish(self._topics.of(item.asset, "reply"), encode(reply))
            raise PayloadError(reason)

    def _refuse(self, topic: str, payload: bytes, reason: str, now_ms: int) -> None:
        """Count a refused payload and say why."""
        self.rejected += 1
        self._out.answer(topic, payload, reason, now_ms, self.rejected + self.quarantined)
