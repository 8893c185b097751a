"""Hostile messages through the page's feed into a hub, and the frames that browsers get of it.

python -c "from tests.fuzz.page import run; print(run(60, 1))"
"""

from __future__ import annotations

import json
import random
import time
from typing import Any, get_args

import msgspec

from monitor.contract import (
    MAX_CELLS,
    Advice,
    AlarmRecord,
    AlarmState,
    Estimate,
    Event,
    FadeReading,
    InferenceTimes,
    MonitorMetrics,
    Reply,
    RiskLevel,
    RiskReading,
    SimulatorState,
    SohState,
    Truth,
    encode,
)
from monitor.dashboard.live.feed import Feed
from monitor.dashboard.live.hub import Hub, View
from monitor.errors import PayloadError
from monitor.mqtt.address import BrokerAddress
from tests.dashboard_world import (
    START_MS,
    make_alarm,
    make_config,
    make_cycle,
    make_estimate,
    make_frame,
)

ASSETS = ("a", "b", "c", "pack")
ALARM_STATES = get_args(AlarmState)
RISK_LEVELS = (None, *get_args(RiskLevel))
SOH_STATES = get_args(SohState)
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 5, 255, 4_096, 4_097, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64,
    -(2**63), 10**18, 10**400, 0.5, -0.5, 1e-300, 1e300, -1e308,
    253_402_300_799_999, 253_402_300_800_000,
)  # fmt: skip
RAW = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5_000, b'"\\ud800"', b'"\xff"', b"[[[[")
LONG_FRAME = 20_000  # bytes; a longer one is not searched for numbers that no browser can count
WORDS = ("", "x", "\x00", "a/b", "<script>", "\u202e", "c001", "group", "长" * 400, "x" * 70)


class _Case:
    """One random source of messages; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.step = 0

    def message(self) -> tuple[str, bytes]:
        """A topic and a payload: well-formed, hurt in its values, or hurt in its bytes."""
        rng = self.rng
        self.step += 1
        topic, message = self._well_formed()
        payload = message if isinstance(message, bytes) else encode(message)
        for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
            payload = self._hurt(payload)
        if rng.random() < 0.03:
            topic = self._other_topic(topic)
        return topic, payload

    def _well_formed(self) -> tuple[str, Any]:
        rng = self.rng
        asset = rng.choice(ASSETS)
        cells = rng.choice((0, 1, 1, 2, 3, 16, 300)) if rng.random() < 0.99 else MAX_CELLS + 1
        at_ms = START_MS + rng.randrange(-50, 50) * 1_000 + self.step
        kind = rng.randrange(16)
        if kind == 0:
            gateway = rng.choice((None, "g", "world"))
            config = make_config(max(1, min(cells, MAX_CELLS)))
            return f"bms/{asset}/config", msgspec.structs.replace(config, gateway=gateway)
        if kind == 1:
            return f"bms/{asset}/status", rng.choice((b"online", b"offline", b"", b"maybe"))
        if kind in (2, 3):
            frame = make_frame(self.step, at_ms, max(1, min(cells, 400)))
            return f"bms/{asset}/telemetry", rng.choice((frame, [frame, frame]))
        if kind in (4, 5, 6):
            estimate = make_estimate(self.step, at_ms, cells, soh=rng.choice((0.9, None)))
            return f"bms/{asset}/estimate", self._with_more(estimate)
        if kind == 7:
            return f"bms/{asset}/cycle", make_cycle(asset, rng.randrange(100))
        if kind in (8, 9, 10):
            return self._alarm(asset)
        if kind == 11:
            return f"bms/{asset}/truth", Truth(v=1, timestamp_ms=at_ms, soh=0.9, cycle=3)
        if kind == 12:
            return f"bms/{asset}/reply", Reply(v=1, id="x", result="done")
        if kind == 13:
            state = SimulatorState(v=1, recordings=["a"], playing=["a"], speed=60.0)
            return "bms/_simulator/world/state", rng.choice((state, b""))
        if kind == 14:
            ours = rng.choice(("_monitor/m", "_gateway/g", "_gateway/world"))
            return f"bms/{ours}/status", rng.choice((b"online", b"offline", b""))
        return "bms/_monitor/m/metrics", self._metrics(at_ms)

    def _with_more(self, estimate: Estimate) -> Estimate:
        cells, rng = len(estimate.phase), self.rng
        times: list[int | None] = [estimate.timestamp_ms] * cells
        words = ["hot"] * cells
        levels = [rng.choice(RISK_LEVELS) for _ in range(cells)]
        advice = Advice(2.0, 1.0, 3.0, 30.0, 1e-5, "why", "因", "normal")
        return msgspec.structs.replace(
            estimate,
            risk=rng.choice((None, RiskReading(times, levels, words, words))),
            fade=rng.choice((None, FadeReading(times, [0.0] * cells, [1.0] * cells, times))),
            advice=rng.choice((None, advice)),
        )

    def _alarm(self, asset: str) -> tuple[str, Any]:
        rng = self.rng
        code = rng.choice(("thermal_anomaly", "over_temperature", "x"))
        places = [f"{name}/c001" for name in ASSETS] if rng.random() < 0.3 else None
        record: AlarmRecord = msgspec.structs.replace(
            make_alarm(asset, code, rng.randrange(1, 6)), state=rng.choice(ALARM_STATES),
            places=places, members=len(places or ()),
        )  # fmt: skip
        if rng.random() < 0.3:
            event = Event(v=1, event_id="e", previous="normal", cause="raise", alarm=record)
            return f"bms/{rng.choice((asset, '_group'))}/event", event
        where = rng.choice((asset, asset, "_group"))
        return f"bms/{where}/alarm/{code}/{rng.choice(WORDS[:7])}", rng.choice(
            (record, record, b"")
        )

    def _metrics(self, at_ms: int) -> MonitorMetrics:
        whole: dict[str, Any] = dict.fromkeys(MonitorMetrics.__struct_fields__, 1)
        times = InferenceTimes(1, 1, 0.1, 1.0, 1.0)
        more: dict[str, Any] = {
            "v": 1,
            "timestamp_ms": at_ms,
            "inference": {"soh": times},
            "failing": ["webhook"],
        }
        return MonitorMetrics(**{**whole, **more})

    def _hurt(self, payload: bytes) -> bytes:
        rng = self.rng
        if not payload:
            return rng.choice((b"", b"{}", b"[]", b"null", b"0"))
        if rng.random() < 0.2:
            return self._hurt_bytes(payload)
        try:
            tree = json.loads(payload)
        except ValueError:
            return self._hurt_bytes(payload)
        tree = self._hurt_tree(tree)
        try:
            return json.dumps(tree).encode()
        except ValueError:  # a number of more digits than Python writes
            return payload

    def _hurt_bytes(self, payload: bytes) -> bytes:
        rng = self.rng
        at = rng.randrange(len(payload) + 1)
        upto = min(len(payload), at + rng.randrange(8))
        return payload[:at] + rng.choice((b"", rng.randbytes(3), *RAW)) + payload[upto:]

    def _hurt_tree(self, tree: Any) -> Any:
        """The same with one value changed, somewhere."""
        rng = self.rng
        if isinstance(tree, dict) and tree and rng.random() < 0.9:
            key = rng.choice(list(tree))
            if rng.random() < 0.05:
                return {k: v for k, v in tree.items() if k != key}
            return {**tree, key: self._hurt_tree(tree[key])}
        if isinstance(tree, list):
            return self._hurt_list(tree)
        others = (True, [], {}, [None], *SOH_STATES)
        return rng.choice(rng.choice(((None,), NUMBERS, WORDS, others)))

    def _hurt_list(self, tree: list[Any]) -> list[Any]:
        rng = self.rng
        choice = rng.randrange(6)
        if choice == 0:
            return tree[: rng.randrange(len(tree) + 1)]
        if choice == 1:
            return tree + tree[-1:] if tree else [rng.choice(NUMBERS)]
        if choice == 2:
            return []
        if choice == 3 and rng.random() < 0.05:
            return [rng.choice((0, 1.5, None))] * rng.choice((5_000, 100_000, 1_000_000))
        if not tree:
            return [self._hurt_tree(None)]
        at = rng.randrange(len(tree))
        return [*tree[:at], self._hurt_tree(tree[at]), *tree[at + 1 :]]

    def _other_topic(self, topic: str) -> str:
        rng = self.rng
        levels = topic.split("/")
        levels[rng.randrange(len(levels))] = rng.choice(("", "_", "_x", "..", "é", *WORDS))
        return "/".join(levels[: rng.randrange(1, len(levels) + 1)] + rng.choice(([], ["x"])))


def run(seconds: float, seed: int) -> str:
    """Fuzz for so many seconds of CPU; a line of counts. Raises AssertionError naming the case."""
    until_s = time.process_time() + seconds
    case = _Case(seed)
    taken = refused = frames = 0
    hub = Hub()
    feed = Feed(hub, BrokerAddress.parse("mqtt://127.0.0.1:1"), clock_ms=lambda: START_MS)
    hub.on_feed(True, START_MS)
    since = dict.fromkeys(_views(), 0)
    while time.process_time() < until_s:
        topic, payload = case.message()
        shown = f"seed {seed}, case {case.step}, {topic[:80]!r}: {payload[:300]!r}"
        try:
            feed.handle(topic, payload, START_MS + case.step, shed=False)
            taken += 1
        except PayloadError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"handle raised, {shown}") from error
        if case.step % 7:
            continue
        try:
            hub.tick(START_MS + 50 * case.step)
            if case.step % 1_001 == 0:
                hub.on_feed(False, START_MS)
                hub.doubt(START_MS)
                hub.on_feed(True, START_MS)
            for view in case.rng.sample(list(since), 3):
                frame = hub.frame(view, since[view])
                told = msgspec.json.decode(frame)
                assert told["to"] == hub.version
                assert len(frame) > LONG_FRAME or largest(told) <= 2**53
                since[view] = case.rng.choice((0, hub.version))
                frames += 1
        except Exception as error:
            raise AssertionError(f"a frame could not be made, {shown}") from error
        assert hub.failed == 0, f"a row could not be made, {shown}"
    return f"page: {taken} messages taken, {refused} refused, {frames} frames made, seed {seed}"


def largest(tree: Any) -> int:
    """The largest integer in decoded JSON, by its size."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list):
        return max(map(largest, tree), default=0)
    return abs(tree) if isinstance(tree, int) else 0


def _views() -> list[View]:
    cells = (0, 1, 299, MAX_CELLS)
    assets = [View("asset", name, cell) for name in (*ASSETS, "nobody") for cell in cells]
    return [View("fleet"), View("alarms"), View("none"), *assets]
