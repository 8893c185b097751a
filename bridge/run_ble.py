"""`cellpulse bridge ble`: a board over Bluetooth LE."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from bridge.backoff import Backoff
from bridge.ble import identity_of, reading_of
from bridge.clock import Clock, SystemClock
from bridge.errors import LinkError, MappingError
from bridge.gateway import Gateway, Sink
from bridge.poller import Rhythm
from bridge.quarantine import Quarantine
from bridge.run import counted, publisher, session
from bridge.serve import serve
from bridge.session import Counters
from bridge.settings import BleSettings

_log = logging.getLogger("cellpulse.bridge")
_SCAN_S = 10.0

Finder = Callable[[], Awaitable[AbstractAsyncContextManager[Any]]]
"""Finds the board and gives aiobmsble's object for it; raises LinkError where it is not there."""


async def run_ble(settings: BleSettings) -> None:
    """Poll until cancelled; raises MappingError where aiobmsble is not installed."""
    told = settings.told(f"Bluetooth {settings.address_or_name}")
    outbox = publisher(settings, told)
    aside = Quarantine(outbox.quarantined)
    reader = BleReader(
        finder(settings.address_or_name),
        Gateway(outbox, told, session(), settings.choices(), aside),
        SystemClock(),
        Rhythm(interval_s=settings.interval_s),
        quarantine=aside,
        asset=told.asset,
    )
    outbox.count(counted(reader.counters))
    await serve(outbox, [reader.run], [told.asset], quarantine=aside)


def finder(wanted: str) -> Finder:
    """Finds a board by address or advertised name, and its kind by its advertisement."""
    try:
        bleak, utils = import_module("bleak"), import_module("aiobmsble.utils")
    except ImportError as error:
        raise MappingError(
            "Bluetooth needs aiobmsble and Python 3.12 or later: pip install 'cellpulse[ble]' "
            f"({error})"
        ) from error

    async def find() -> AbstractAsyncContextManager[Any]:
        try:
            seen = await bleak.BleakScanner.discover(timeout=_SCAN_S, return_adv=True)
        except bleak.exc.BleakError as error:
            raise LinkError(f"Bluetooth: {error}") from error
        for device, advertised in seen.values():
            if wanted.lower() in (device.address.lower(), (device.name or "").lower()):
                kind = await utils.bms_identify(advertised, device.address)
                if kind is None:
                    raise LinkError(f"{wanted}: aiobmsble does not know this board")
                board: AbstractAsyncContextManager[Any] = kind(ble_device=device)
                return board
        raise LinkError(f"{wanted}: not in range, or connected to a phone")

    return find


@dataclass(frozen=True, slots=True)
class BleReader:
    """Reads a board once an interval, finding it again with back-off."""

    find: Finder
    sink: Sink
    clock: Clock
    rhythm: Rhythm = field(default_factory=Rhythm)
    counters: Counters = field(default_factory=Counters)
    quarantine: Quarantine = field(default_factory=Quarantine)
    asset: str | None = None

    async def run(self) -> None:
        """Read until cancelled."""
        backoff = Backoff(self.rhythm.first_backoff_s, self.rhythm.most_backoff_s)
        while True:
            try:
                async with await self.find() as board:
                    info = await board.device_info()
                    with self._guarded("device information", info):
                        self.sink.identified(identity_of(info))
                    await self._poll(board, backoff)
            # bleak, D-Bus and aiobmsble raise BleakError, TimeoutError, EOFError, ValueError and
            # more for a board that walked away: whatever it is, look for it again.
            except Exception as error:
                self.sink.offline(str(error) or type(error).__name__)
            self.counters.reopened += 1
            await self.clock.sleep(backoff.wait_s())

    async def _poll(self, board: Any, backoff: Backoff) -> None:
        next_s = self.clock.monotonic_s()
        while True:
            self.counters.requests += 1
            # `raw`: only what the board said, nothing that aiobmsble works out from it.
            sample = await board.async_update(raw=True)
            backoff.reset()
            with self._guarded("sample", sample):
                self.sink.reading(reading_of(sample), self.clock.wall_ms())
                self.counters.polls += 1
            next_s = max(next_s + self.rhythm.interval_s, self.clock.monotonic_s())
            await self.clock.sleep(next_s - self.clock.monotonic_s())

    def _guarded(self, what: str, said: object) -> AbstractContextManager[None]:
        return self.quarantine.guard(
            f"Bluetooth, {what}", repr(said)[:100].encode(errors="replace"), self.asset
        )
