"""Raw frames with their times, as written by `--record`, and their replay.

JSON lines: a header `{"cellpulse_frames": 1, "protocol": "jbd", ...}`, then
`{"t": <ms since 1970>, "tx"|"rx": "<hex>"}` as bytes went by. A replay runs the same decoder over
the same bytes, with the recorded times.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from io import TextIOBase
from pathlib import Path
from typing import Literal

import msgspec

from bridge.clock import Clock
from bridge.conversation import Protocol
from bridge.errors import LinkError, MappingError, NoAnswerError
from bridge.gateway import Sink
from bridge.protocols import Choices, protocol
from bridge.quarantine import Quarantine
from bridge.session import Counters, Patience, Session
from monitor.contract import MAX_TIMESTAMP_MS

_log = logging.getLogger("cellpulse.bridge")
VERSION = 1
_MAX_LINE = 64 * 1024  # characters; ours are far shorter


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

    A file that takes no more (a full disk) ends the recording, not the bridge. Writing a few
    hundred bytes a second to a file does not hold the loop up.
    """

    def __init__(self, file: TextIOBase, choices: Choices) -> None:
        self._file = file
        self._choices = choices
        self._started = False
        self._ended = False

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
        if self._ended:
            return
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            self._ended = True
            _log.warning("the recording of frames ends here: %s", error)


def read(path: Path) -> Recording:
    """A recording from a file; raises MappingError with the line that is wrong."""
    try:
        lines_of = path.open(encoding="utf-8")
    except OSError as error:
        raise MappingError(f"{path}: {error.strerror}") from error
    with lines_of as lines:
        try:
            header = json.loads(_line(lines))
            if header["cellpulse_frames"] != VERSION:
                raise ValueError("another version")
            name = str(header["protocol"])[:40]
            Choices(**header.get("choices", {}))  # which names what it does not know
            choices = msgspec.convert(header.get("choices", {}), Choices)
            protocol(name, choices)
        except (ValueError, KeyError, TypeError, RecursionError, MappingError) as error:
            raise MappingError(f"{path.name}: not a recording of frames: {error}") from error
        events = []
        number = 1
        while True:
            number += 1
            try:
                line = _line(lines)
                if not line:
                    break
                entry = json.loads(line)
                # The bridge was started again and appended.
                if entry.get("protocol", name) != name:
                    raise ValueError(f"another protocol, {entry['protocol']}, in the same file")
                if "cellpulse_frames" not in entry:
                    events.append(_event(entry))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise MappingError(f"{path.name}, line {number}: {error}") from error
    return Recording(name, choices, tuple(events))


async def play(
    recording: Recording,
    sink: Sink,
    clock: Clock,
    speed: float | None,
    room: Callable[[], Awaitable[None]] | None = None,
    quarantine: Quarantine | None = None,
    asset: str | None = None,
) -> Counters:
    """Replay into a sink; `speed` 1 is real time, None is as fast as it goes.

    `room` is awaited after each reading, so that a fast replay does not outrun the broker. Answers
    that cannot be used go to the `quarantine`, as those of `asset`. Returns what happened on the
    wire, as the bridge counted it then.
    """
    spoken = protocol(recording.protocol, recording.choices)
    wire = _Wire(recording.events, clock, speed)
    counters = Counters()
    session = Session(wire, spoken, wire, counters)
    patience = Patience(timeout_s=60.0)  # the recording's retries are in its bytes
    identified = False
    aside = quarantine or Quarantine()
    try:
        while True:
            before = wire.place
            try:
                if not identified:
                    sink.identified(await session.hold(spoken.identify(), patience))
                    identified = True
                reading = await session.hold(spoken.poll(), patience)
                sink.reading(reading, session.answered_ms)
            except LinkError:
                raise
            except NoAnswerError:
                continue
            except Exception as error:
                if wire.place == before:  # nothing was read: it would be so for ever
                    raise
                counters.bad_frames += 1
                aside.set_aside(error, spoken.name, session.heard, asset)
                continue
            counters.polls += 1
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

    @property
    def place(self) -> int:
        return self._at

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


def _line(lines: TextIOBase) -> str:
    line = lines.readline(_MAX_LINE)
    if len(line) == _MAX_LINE:
        raise ValueError(f"a line of {_MAX_LINE} characters or more")
    return line


def _event(entry: dict[str, object]) -> Event:
    direction: Literal["tx", "rx"] = "tx" if "tx" in entry else "rx"
    t_ms = entry["t"]
    if type(t_ms) is not int or not 0 <= t_ms <= MAX_TIMESTAMP_MS:
        raise ValueError(f"t: expected milliseconds as an integer from 0 to {MAX_TIMESTAMP_MS}")
    return Event(t_ms, direction, bytes.fromhex(str(entry[direction])))
