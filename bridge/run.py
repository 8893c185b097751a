"""The wiring of each bridge: a reader, a gateway, a publisher."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bridge.clock import SystemClock
from bridge.device import AssetOptions
from bridge.errors import MappingError
from bridge.gateway import Gateway
from bridge.link import serial_opener
from bridge.poller import Poller, Rhythm
from bridge.publisher import Publisher
from bridge.quarantine import Quarantine
from bridge.recording import Recorder, play, read
from bridge.serve import serve
from bridge.session import Counters
from bridge.settings import Common, SerialSettings

_AHEAD = 1_000  # messages that a fast replay may be ahead of the broker


async def run_serial(settings: SerialSettings) -> None:
    """Poll a board until cancelled."""
    clock = SystemClock()
    choices = settings.choices()
    told = settings.told(f"board on {settings.port}")
    outbox = publisher(settings, told)
    aside = Quarantine(outbox.quarantined)
    with contextlib.ExitStack() as stack:
        recorder: Recorder | None = None
        if settings.record is not None:
            try:
                # Opened once, before anything runs.
                file = stack.enter_context(open(settings.record, "a", encoding="utf-8"))  # noqa: ASYNC230
            except OSError as error:
                raise MappingError(f"--record {settings.record}: {error.strerror}") from error
            recorder = Recorder(file, choices)
        poller = Poller(
            serial_opener(settings.port),
            settings.protocol,
            Gateway(outbox, told, session(), choices, aside),
            clock,
            choices=choices,
            rhythm=Rhythm(interval_s=settings.interval_s),
            baud=settings.baud,
            tap=None if recorder is None else lambda spoken: recorder.start(spoken).tap,
            quarantine=aside,
            asset=told.asset,
        )
        outbox.count(counted(poller.counters))
        await serve(outbox, [poller.run], [told.asset], quarantine=aside)


async def run_replay(settings: Common, path: Path, speed: float | None) -> None:
    """Replay recorded frames to their end, or until cancelled."""
    recording = read(path)
    told = settings.told(f"{recording.protocol} frames from {path.name}", True, speed)
    outbox = publisher(settings, told)
    aside = Quarantine(outbox.quarantined)
    sink = Gateway(outbox, told, session(), recording.choices, aside)

    async def reader() -> None:
        room = partial(outbox.until_at_most, _AHEAD)
        clock = SystemClock()
        outbox.count(counted(await play(recording, sink, clock, speed, room, aside, told.asset)))
        await outbox.until_at_most(0)

    await serve(outbox, [reader], [told.asset], quarantine=aside)


def publisher(settings: Common, told: AssetOptions) -> Publisher:
    """The publisher for one asset's gateway."""
    return Publisher(
        settings.address(), settings.topics(), told.gateway, wall_ms=SystemClock().wall_ms
    )


def session() -> str:
    """A name for this run of the bridge."""
    return secrets.token_hex(4)


def counted(counters: Counters) -> Callable[[], dict[str, int]]:
    """The counters as the gateway's metrics want them."""
    return lambda: asdict(counters)
