"""Raw frames with their times, as written by `--record`, and their replay.

JSON lines: a header `{"cellpulse_frames": 1, "protocol": "jbd", ...}`, then
`{"t": <ms since 1970>, "tx"|"rx": "<hex>"}` as bytes went by. A replay runs the same decoder over
the same bytes, with the recorded times.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from io import TextIOBase
from pathlib import Path
from typing import Literal

from bridge.clock import Clock
from bridge.conversation import Protocol
from bridge.errors import FrameError, LinkError, MappingError, NoAnswerError
from bridge.gateway import Sink
from bridge.protocols import Choices, protocol
from bridge.session import Counters, Patience, Session

VERSION = 1


class EndOfRecordingError(LinkError):
    """Every recorded byte has been read."""


@dataclass(frozen=True, slots=True)
class Event:
    """Bytes that went by at a time, in milliseconds since 1970."""

    t_ms: int
    direction: Literal["tx", "rx"]
    data: bytes


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording in memory."""

    protocol: str
    choices: Choices
    events: tuple[Event, ...]


class Recorder:
    """Appends to an open text file; one line a chunk, flushed, so that a crash loses none.

    Writing a few hundred bytes a second to a file does not hold the loop up.
    """

    def __init__(self, file: TextIOBase, choices: Choices) -> None:
        self._file = file
        self._choices = choices
        self._started = False

    def start(self, spoken: Protocol) -> Recorder:
        """Write the header, once; `tap` may then be called."""
        if not self._started:
            self._started = True
            header = {"cellpulse_frames": VERSION, "protocol": spoken.name, "baud": spoken.baud}
            self._line({**header, "choices": asdict(self._choices)})
        return self

    def tap(self, direction: Literal["tx", "rx"], data: bytes, t_ms: int) -> None:
        """Write what went by."""
        self._line({"t": t_ms, direction: data.hex()})

    def _line(self, entry: dict[str, object]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def read(path: Path) -> Recording:
    """A recording from a file; raises MappingError with the line that is wrong."""
    try:
        lines_of = path.open(encoding="utf-8")
    except OSError as error:
        raise MappingError(f"{path}: {error.strerror}") from error
    with lines_of as lines:
        try:
            header = json.loads(next(lines, ""))
            if header["cellpulse_frames"] != VERSION:
                raise ValueError("another version")
            name, choices = str(header["protocol"]), Choices(**header.get("choices", {}))
        except (ValueError, KeyError, TypeError) as error:
            raise MappingError(f"{path.name}: not a recording of frames: {error}") from error
        events = []
        for number, line in enumerate(lines, 2):
            try:
                entry = json.loads(line)
                # The bridge was started again and appended.
                if entry.get("protocol", name) != name:
                    raise ValueError(f"another protocol, {entry['protocol']}, in the same file")
                if "cellpulse_frames" not in entry:
                    events.append(_event(entry))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise MappingError(f"{path.name}, line {number}: {error}") from error
    return Recording(name, choices, tuple(events))


async def play(
    recording: Recording,
    sink: Sink,
    clock: Clock,
    speed: float | None,
    room: Callable[[], Awaitable[None]] | None = None,
) -> Counters:
    """Replay into a sink; `speed` 1 is real time, None is as fast as it goes.

    `room` is awaited after each reading, so that a fast replay does not outrun the broker. Returns
    what happened on the wire, as the bridge counted it then.
    """
    spoken = protocol(recording.protocol, recording.choices)
    wire = _Wire(recording.events, clock, speed)
    counters = Counters()
    session = Session(wire, spoken, wire, counters)
    patience = Patience(timeout_s=60.0)  # the recording's retries are in its bytes
    identified = False
    try:
        while True:
            try:
                if not identified:
                    sink.identified(await session.hold(spoken.identify(), patience))
                    identified = True
                reading = await session.hold(spoken.poll(), patience)
            except (NoAnswerError, FrameError) as error:
                counters.bad_frames += isinstance(error, FrameError)
                continue
            counters.polls += 1
            sink.reading(reading, session.answered_ms)
            if room is not None:
                await room()
    except EndOfRecordingError:
        return counters


def is_recording(path: Path) -> bool:
    """Whether a file is a recording of frames, by its first line."""
    try:
        with path.open("rb") as file:
            return file.readline(200).startswith(b'{"cellpulse_frames"')
    except OSError:
        return False


class _Wire:
    """The recorded port and its clock: a request jumps to where it was sent the next time."""

    def __init__(self, events: tuple[Event, ...], clock: Clock, speed: float | None) -> None:
        self._events = events
        self._clock = clock
        self._speed = speed
        self._at = 0
        self._now_ms = events[0].t_ms if events else 0

    def wall_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return self._now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        """Recorded time passes with the recorded bytes only."""

    async def write(self, data: bytes) -> None:
        for at in range(self._at, len(self._events)):
            event = self._events[at]
            if event.direction == "tx" and event.data == data:
                self._at = at + 1
                await self._pass_to(event.t_ms)
                return
        raise EndOfRecordingError("the recording has ended")

    async def read(self, timeout_s: float) -> bytes:
        if self._at < len(self._events) and self._events[self._at].direction == "rx":
            event = self._events[self._at]
            self._at += 1
            await self._pass_to(event.t_ms)
            return event.data
        return b""

    async def discard(self) -> None:
        """Nothing arrives but what was recorded as read."""

    async def close(self) -> None:
        """Nothing is open."""

    async def _pass_to(self, t_ms: int) -> None:
        if self._speed is not None and t_ms > self._now_ms:
            await self._clock.sleep((t_ms - self._now_ms) / 1000 / self._speed)
        self._now_ms = max(self._now_ms, t_ms)


def _event(entry: dict[str, object]) -> Event:
    direction: Literal["tx", "rx"] = "tx" if "tx" in entry else "rx"
    t_ms = entry["t"]
    if not isinstance(t_ms, int):
        raise ValueError("t: expected milliseconds as an integer")
    return Event(t_ms, direction, bytes.fromhex(str(entry[direction])))
