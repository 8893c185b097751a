"""`cellpulse bridge can`: CAN by a DBC file and a mapping of its signals.

A signal is the topic `<message>/<signal>` to the mapping's rules; multiplexed cells are the same,
because the DBC names each cell's signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.backoff import Backoff
from bridge.clock import SystemClock
from bridge.errors import FrameError, MappingError
from bridge.gateway import Gateway
from bridge.mapping import load
from bridge.quarantine import Quarantine
from bridge.run import publisher, session
from bridge.serve import serve
from bridge.settings import CanSettings, milliseconds
from bridge.translate import Timing, Translator

_log = logging.getLogger("cellpulse.bridge")
_SLICE_S = 0.2  # how long the thread waits in one go: closing a bus takes no longer
_MOST_FRAMES = 1_000  # of one go


async def run_can(settings: CanSettings) -> None:
    """Listen until cancelled; raises MappingError for files or a bus that cannot be used."""
    database = open_database(Path(settings.dbc))
    mapping = load(Path(settings.mapping))
    told = settings.told(f"CAN {settings.interface} {settings.channel}")
    outbox = publisher(settings, told)
    aside = Quarantine(outbox.quarantined)
    timing = Timing(
        settle_ms=told.interval_ms // 2,
        longest_ms=told.interval_ms,
        stale_ms=milliseconds("stale_s", settings.stale_s),
    )
    listener = CanListener(
        settings.interface,
        settings.channel,
        settings.bitrate,
        database,
        Translator(mapping, timing, told.asset),
        Gateway(outbox, told, session(), settings.choices(), aside),
        timing.stale_ms,
        aside,
        told.asset,
    )
    outbox.count(lambda: {"ignored": listener.translator.ignored})
    await serve(outbox, [listener.run], [told.asset], quarantine=aside)


def open_database(path: Path) -> Any:
    """The DBC file; raises MappingError where it cannot be read or cantools is missing."""
    try:
        import can  # noqa: F401 — the listener's, asked for before anything runs
        import cantools
    except ImportError as error:
        raise MappingError(
            f"CAN needs python-can and cantools: pip install 'cellpulse[bridge]' ({error})"
        ) from error
    try:
        return cantools.database.load_file(path)
    except Exception as error:  # its parsers have no one error
        raise MappingError(f"{path}: {error or type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class CanListener:
    """Listens on a bus, re-opening it with back-off; a silent bus is an asset off line."""

    interface: str
    channel: str
    bitrate: int | None
    database: Any
    translator: Translator
    gateway: Gateway
    silence_ms: int
    quarantine: Quarantine = field(default_factory=Quarantine)
    asset: str | None = None

    async def run(self) -> None:
        """Listen until cancelled; raises MappingError for a bus that can never be opened."""
        import can

        backoff = Backoff(0.5, 30.0)
        options: dict[str, Any] = {} if self.bitrate is None else {"bitrate": self.bitrate}
        while True:
            try:
                with can.Bus(interface=self.interface, channel=self.channel, **options) as bus:
                    backoff.reset()
                    _log.info("listening to CAN %s %s", self.interface, self.channel)
                    await self._listen(bus)
            except can.CanInterfaceNotImplementedError as error:
                raise MappingError(f"CAN {self.interface} {self.channel}: {error}") from error
            except (can.CanError, OSError) as error:
                self.gateway.offline(f"CAN {self.channel}: {error}")
            except Exception as error:  # a driver's own: the bus is of no use as it is
                self.quarantine.set_aside(error, f"CAN {self.channel}", asset=self.asset)
                self.gateway.offline(f"CAN {self.channel}: {error or type(error).__name__}")
            await asyncio.sleep(backoff.wait_s())

    async def _listen(self, bus: Any) -> None:
        clock = SystemClock()
        loop = asyncio.get_running_loop()
        heard_ms = clock.wall_ms()
        silent = False
        receiving: asyncio.Future[list[Any]] | None = None
        try:
            while True:
                # Not python-can's Notifier: where a bus fails, its thread ends and nobody hears.
                receiving = loop.run_in_executor(None, _receive, bus, self._patience_s(clock))
                frames, receiving = await asyncio.shield(receiving), None
                for message in frames:
                    heard_ms, silent = clock.wall_ms(), False
                    self.take(message.arbitration_id, bytes(message.data), heard_ms)
                if not frames and not silent and clock.wall_ms() - heard_ms >= self.silence_ms:
                    silent = True
                    self.gateway.offline(f"nothing on CAN {self.channel}")
                with self.quarantine.guard(f"CAN {self.channel}", asset=self.asset):
                    for told in self.translator.due(clock.wall_ms()):
                        if told.reading is not None:
                            self.gateway.reading(told.reading, told.timestamp_ms)
        finally:
            if receiving is not None:  # the bus is closed once the thread has left it
                await asyncio.wait({receiving})
                with contextlib.suppress(Exception):
                    receiving.result()

    def _patience_s(self, clock: SystemClock) -> float:
        wait_ms = self.translator.wait_ms(clock.wall_ms())
        return _SLICE_S if wait_ms is None else min(max(wait_ms, 1) / 1000, _SLICE_S)

    def take(self, identifier: int, data: bytes, now_ms: int) -> None:
        """One frame from the bus. Never raises: one that the DBC does not know is counted, one that
        cannot be decoded is set aside."""
        source = f"CAN 0x{identifier:x}"
        with self.quarantine.guard(source, data, self.asset):
            for reason in self.decode(identifier, data, now_ms):
                self.quarantine.set_aside(reason, source, data)

    def decode(self, identifier: int, data: bytes, now_ms: int) -> list[str]:
        """As `take`, unguarded: returns what of a frame is no usable value, in words.

        Raises FrameError for a frame that does not hold what the DBC says.
        """
        import cantools

        try:
            message = self.database.get_message_by_frame_id(identifier)
        except KeyError:
            self.translator.ignored += 1
            return []
        try:
            signals = message.decode(data, decode_choices=False)
        except (KeyError, ValueError, cantools.Error) as error:
            self.translator.ignored += 1
            raise FrameError(f"CAN: {message.name}: {error}") from error
        if not isinstance(signals, dict):
            raise FrameError(f"CAN: {message.name} is a container, which is not read")
        return [
            reason
            for name, value in signals.items()
            for reason in self.translator.receive_value(f"{message.name}/{name}", value, now_ms)
        ]


def _receive(bus: Any, patience_s: float) -> list[Any]:
    """Data frames as they come: waits for the first, takes along what is there; in a thread."""
    end_s = time.monotonic() + patience_s
    frames: list[Any] = []
    while len(frames) < _MOST_FRAMES:
        message = bus.recv(0.0 if frames else max(end_s - time.monotonic(), 0.0))
        if message is None:
            break
        if not (message.is_error_frame or message.is_remote_frame):
            frames.append(message)
        elif time.monotonic() >= end_s:
            break
    return frames
