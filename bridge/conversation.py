"""How a decoder talks to a board without doing I/O.

A protocol writes its conversation as a generator: it yields an `Ask` and is sent the frames that
answered. Whoever drives it (the poller, a recording, a test) owns the wire and the clock. Frames
are cut out of the byte stream by the protocol's `split`, which has checked their checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from bridge.errors import FrameError
from bridge.reading import Identity, Reading

T = TypeVar("T")

Split = Callable[[bytes], tuple[bytes | None, int]]
"""Received bytes -> (first intact frame or None, how many bytes to drop from the front).

(None, 0) asks for more bytes; (None, n) says that the first n bytes begin no frame.
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: the bytes to write, and which frames answer it.

    `count` frames are awaited. An `optional` ask yields no frames instead of failing when the
    board stays silent: not every firmware knows every request.
    """

    request: bytes
    answers: Callable[[bytes], bool]
    count: int = 1
    optional: bool = False


Conversation = Generator[Ask, list[bytes], T]


@dataclass(frozen=True, slots=True)
class Protocol:
    """A board's protocol, ready to be spoken."""

    name: str
    baud: int
    split: Split
    poll: Callable[[], Conversation[Reading]]
    identify: Callable[[], Conversation[Identity]]


class FrameBuffer:
    """Bytes as they arrive in, intact frames out; what is no frame is dropped and counted.

    Bounded: a stream without a single frame never holds more than `limit` bytes.
    """

    def __init__(self, split: Split, limit: int = 4_096) -> None:
        self._split = split
        self._limit = limit
        self._held = b""
        self.dropped_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes; return the frames that are complete now, in order."""
        self._held += data
        frames = []
        while self._held:
            frame, used = self._split(self._held)
            if frame is not None:
                self.dropped_bytes += used - len(frame)
                frames.append(frame)
            elif used:
                self.dropped_bytes += used
            else:
                break
            self._held = self._held[used:]
        if len(self._held) > self._limit:
            self.dropped_bytes += len(self._held)
            self._held = b""
        return frames

    def clear(self) -> None:
        """Forget a half-received frame."""
        self._held = b""


def finish(conversation: Conversation[T], answer: Callable[[Ask], list[bytes]]) -> T:
    """Drive a conversation to its end with a function that answers; for recordings and tests.

    Raises FrameError where the conversation does.
    """
    try:
        ask = next(conversation)
        while True:
            ask = conversation.send(answer(ask))
    except StopIteration as end:
        result: T = end.value
        return result


def need(frame: bytes, length: int, what: str) -> None:
    """Raise FrameError where a frame is shorter than its own contents claim."""
    if len(frame) < length:
        raise FrameError(f"{what}: {len(frame)} bytes, at least {length} expected")
