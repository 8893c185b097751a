"""A conversation held over a link: time-outs, retries, and a tap for recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from bridge.clock import Clock
from bridge.conversation import Ask, Conversation, FrameBuffer, Protocol
from bridge.errors import NoAnswerError
from bridge.link import Link

T = TypeVar("T")
Tap = Callable[[Literal["tx", "rx"], bytes, int], None]
"""Direction, bytes, and when they went by, in milliseconds since 1970."""


@dataclass(slots=True)
class Counters:
    """What happened on the wire since the bridge started."""

    requests: int = 0
    timeouts: int = 0
    dropped_bytes: int = 0
    bad_frames: int = 0
    polls: int = 0
    reopened: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the whole answer to a request, and how often to ask again."""

    timeout_s: float = 1.0
    retries: int = 2


class Session:
    """One open link, one protocol. `answered_ms` is when bytes last came, `heard` these bytes."""

    def __init__(
        self,
        link: Link,
        protocol: Protocol,
        clock: Clock,
        counters: Counters,
        tap: Tap | None = None,
    ) -> None:
        self._link = link
        self._clock = clock
        self._counters = counters
        self._tap = tap
        self._buffer = FrameBuffer(protocol.split)
        self.answered_ms = 0
        self.heard = b""

    async def hold(self, conversation: Conversation[T], patience: Patience) -> T:
        """Drive a conversation to its end.

        Raises NoAnswerError after the last retry, FrameError where an answer makes no sense, and
        LinkError where the port is gone.
        """
        try:
            ask = next(conversation)
            while True:
                ask = conversation.send(await self._answer(ask, patience))
        except StopIteration as end:
            result: T = end.value
            return result

    async def _answer(self, ask: Ask, patience: Patience) -> list[bytes]:
        for _ in range(1 if ask.optional else patience.retries + 1):
            frames = await self._attempt(ask, patience.timeout_s)
            if len(frames) >= ask.count:
                return frames
            self._counters.timeouts += 1
        if ask.optional:
            return []
        raise NoAnswerError(
            f"no answer to {ask.request.hex(' ')} in {patience.retries + 1} attempts of "
            f"{patience.timeout_s:g} s"
        )

    async def _attempt(self, ask: Ask, timeout_s: float) -> list[bytes]:
        # A late answer to the last request, or half of one, must not answer this one.
        await self._link.discard()
        self._buffer.clear()
        self._counters.requests += 1
        if self._tap is not None:
            self._tap("tx", ask.request, self._clock.wall_ms())
        await self._link.write(ask.request)
        end_s = self._clock.monotonic_s() + timeout_s
        answers: list[bytes] = []
        while len(answers) < ask.count and (left_s := end_s - self._clock.monotonic_s()) > 0:
            received = await self._link.read(left_s)
            if not received:
                break
            self.answered_ms = self._clock.wall_ms()
            self.heard = received
            if self._tap is not None:
                self._tap("rx", received, self.answered_ms)
            before = self._buffer.dropped_bytes
            answers += [frame for frame in self._buffer.feed(received) if ask.answers(frame)]
            self._counters.dropped_bytes += self._buffer.dropped_bytes - before
        return answers[: ask.count]
