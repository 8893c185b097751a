"""The assets of which there is something new, and whose estimate is published next. Pure."""

from __future__ import annotations

from collections.abc import Callable, Set
from heapq import heappop, heappush

import msgspec

from monitor.charging.advice import AdviceModel, advise
from monitor.contract import Advice, Topics, encode
from monitor.engine import Engine

ESTIMATE_EVERY_S = 0.25
ESTIMATE_EXPIRY_S = 3_600
ADVICE_EVERY_S = 10.0


class EstimateQueue:
    """Every asset's estimate, once there is something new, at most every `ESTIMATE_EVERY_S`."""

    def __init__(
        self,
        engine: Engine,
        topics: Topics,
        publish: Callable[..., None],
        policy: AdviceModel | None,
    ) -> None:
        """`publish` is `delivery.Publisher.publish`; with a policy, charging advice goes along."""
        self._engine = engine
        self._topics = topics
        self._publish = publish
        self._policy = policy
        self._waiting: set[str] = set()  # assets
        self._due: list[tuple[float, str]] = []  # when, and whose turn; a heap
        self._published_s: dict[str, float] = {}
        self._advised: dict[str, tuple[float, Advice | None]] = {}
        self._failed: list[tuple[str, Exception]] = []

    def add(self, names: Set[str]) -> None:
        """There is something new of these assets."""
        for name in names - self._waiting:
            self._waiting.add(name)
            heappush(self._due, (self._published_s.get(name, -1e9) + ESTIMATE_EVERY_S, name))

    def publish_due(self, now_s: float, most: int | None) -> float | None:
        """Publish those whose turn has come, so many at the most, None for all.

        Returns in how many seconds the next one is due, None where nothing waits.
        """
        due = self._due
        while due and due[0][0] <= now_s and most != 0:
            _, name = heappop(due)
            if name in self._waiting:
                self.publish(name, now_s)
                most = None if most is None else most - 1
        return max(0.0, due[0][0] - now_s) if due else None

    def publish(self, name: str, now_s: float) -> None:
        """Publish an asset's estimate now, if a frame has come; see `take_failed`."""
        self._waiting.discard(name)
        self._published_s[name] = now_s
        try:
            estimate = self._engine.estimate(name)
            if estimate is None:
                return
            if self._policy is not None:
                advice = self._advice(self._policy, name, now_s)
                estimate = msgspec.structs.replace(estimate, advice=advice)
            payload = encode(estimate)
        except Exception as error:  # the others' are published all the same
            self._failed.append((name, error))
            return
        self._publish(
            self._topics.of(name, "estimate"), payload, qos=0, retain=True,
            expiry_s=ESTIMATE_EXPIRY_S,
        )  # fmt: skip

    def take_failed(self) -> list[tuple[str, Exception]]:
        """The assets whose estimate could not be made since this was last asked, each with why."""
        failed, self._failed = self._failed, []
        return failed

    def _advice(self, policy: AdviceModel, name: str, now_s: float) -> Advice | None:
        """Charging advice, thought over every few seconds: it changes slowly."""
        at_s, advice = self._advised.get(name, (-1e9, None))
        if now_s - at_s >= ADVICE_EVERY_S:
            state = self._engine.charge_state(name)
            advice = None if state is None else advise(policy, state)
            self._advised[name] = (now_s, advice)
        return advice
