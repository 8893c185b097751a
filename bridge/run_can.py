"""`cellpulse bridge can`: CAN by a DBC file and a mapping of its signals.

A signal is the topic `<message>/<signal>` to the mapping's rules; multiplexed cells are the same,
because the DBC names each cell's signal.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.backoff import Backoff
from bridge.clock import SystemClock
from bridge.errors import MappingError
from bridge.gateway import Gateway
from bridge.mapping import load
from bridge.run import publisher, session
from bridge.serve import serve
from bridge.settings import CanSettings
from bridge.translate import Timing, Translator

_log = logging.getLogger("cellpulse.bridge")


async def run_can(settings: CanSettings) -> None:
    """Listen until cancelled; raises MappingError for files or a bus that cannot be used."""
    database = open_database(Path(settings.dbc))
    mapping = load(Path(settings.mapping))
    told = settings.told(f"CAN {settings.interface} {settings.channel}")
    outbox = publisher(settings, told)
    timing = Timing(
        settle_ms=round(settings.interval_s * 500),
        longest_ms=round(settings.interval_s * 1000),
        stale_ms=round(settings.stale_s * 1000),
    )
    listener = CanListener(
        settings.interface,
        settings.channel,
        settings.bitrate,
        database,
        Translator(mapping, timing, told.asset),
        Gateway(outbox, told, session(), settings.choices()),
        round(settings.stale_s * 1000),
    )
    outbox.count(lambda: {"ignored": listener.translator.ignored})
    await serve(outbox, [listener.run], [told.asset])


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
    except (OSError, ValueError, cantools.Error) as error:
        raise MappingError(f"{path}: {error}") from error


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

    async def run(self) -> None:
        """Listen until cancelled."""
        import can

        backoff = Backoff(0.5, 30.0)
        options: dict[str, Any] = {} if self.bitrate is None else {"bitrate": self.bitrate}
        while True:
            try:
                with can.Bus(interface=self.interface, channel=self.channel, **options) as bus:
                    backoff.reset()
                    _log.info("listening to CAN %s %s", self.interface, self.channel)
                    await self._listen(bus)
            except (can.CanError, OSError) as error:
                self.gateway.offline(f"CAN {self.channel}: {error}")
            await asyncio.sleep(backoff.wait_s())

    async def _listen(self, bus: Any) -> None:
        import can

        clock = SystemClock()
        reader = can.AsyncBufferedReader()
        notifier = can.Notifier(bus, [reader], loop=asyncio.get_running_loop())
        heard_ms = clock.wall_ms()
        silent = False
        try:
            while True:
                now_ms = clock.wall_ms()
                wait_ms = self.translator.wait_ms(now_ms)
                limit_ms = heard_ms + self.silence_ms - now_ms
                patience_ms = min(wait_ms if wait_ms is not None else limit_ms, 60_000)
                message = None
                try:
                    async with asyncio.timeout(max(patience_ms, 1) / 1000):
                        message = await reader.get_message()
                except TimeoutError:
                    pass
                if message is not None:
                    heard_ms, silent = clock.wall_ms(), False
                    self.take(message.arbitration_id, bytes(message.data), heard_ms)
                elif not silent and clock.wall_ms() - heard_ms >= self.silence_ms:
                    silent = True
                    self.gateway.offline(f"nothing on CAN {self.channel}")
                for told in self.translator.due(clock.wall_ms()):
                    if told.reading is not None:
                        self.gateway.reading(told.reading, told.timestamp_ms)
        finally:
            notifier.stop()

    def take(self, identifier: int, data: bytes, now_ms: int) -> None:
        """One frame from the bus; what the DBC does not know, or cannot decode, is counted."""
        import cantools

        try:
            message = self.database.get_message_by_frame_id(identifier)
            signals = message.decode(data, decode_choices=False)
        except (KeyError, ValueError, cantools.Error):
            self.translator.ignored += 1
            return
        for name, value in signals.items():
            self.translator.receive_value(f"{message.name}/{name}", value, now_ms)
