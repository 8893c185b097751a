"""`cellpulse bridge modbus`: Modbus TCP or RTU by a register map."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bridge.backoff import Backoff
from bridge.clock import Clock, SystemClock
from bridge.errors import FrameError, LinkError, MappingError
from bridge.gateway import Gateway, Sink
from bridge.modbus_map import RegisterMap, load
from bridge.poller import Rhythm
from bridge.quarantine import Quarantine
from bridge.reading import Identity
from bridge.run import counted, publisher, session
from bridge.serve import serve
from bridge.session import Counters
from bridge.settings import ModbusSettings

_log = logging.getLogger("cellpulse.bridge")


async def run_modbus(settings: ModbusSettings) -> None:
    """Poll until cancelled; raises MappingError for a map or address that cannot be used."""
    registers = load(Path(settings.map))
    told = settings.told(f"Modbus {settings.port}")
    outbox = publisher(settings, told)
    aside = Quarantine(outbox.quarantined)
    reader = ModbusReader(
        client_of(settings.port, settings.baud, settings.parity),
        registers,
        Gateway(outbox, told, session(), settings.choices(), aside),
        SystemClock(),
        Rhythm(interval_s=settings.interval_s),
        quarantine=aside,
        asset=told.asset,
    )
    outbox.count(counted(reader.counters))
    await serve(outbox, [reader.run], [told.asset], quarantine=aside)


def client_of(port: str, baud: int, parity: str) -> Callable[[], Any]:
    """A maker of pymodbus clients for `tcp://host[:port]`, `rtu+tcp://host:port` or a serial port.

    Raises MappingError for an address that is none of these, or a missing pymodbus.
    """
    try:
        from pymodbus import FramerType
        from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
    except ImportError as error:
        raise MappingError(
            f"Modbus needs pymodbus: pip install 'cellpulse[bridge]' ({error})"
        ) from error
    common: dict[str, Any] = {"timeout": 1.0, "retries": 2, "reconnect_delay": 0}
    if "://" not in port:
        return lambda: AsyncModbusSerialClient(port, baudrate=baud, parity=parity, **common)
    try:
        parts = urlsplit(port)
        number = parts.port or 502
        (parts.hostname or "").encode("idna")
    except ValueError:
        parts, number = urlsplit(""), 0
    if parts.scheme not in ("tcp", "rtu+tcp") or not parts.hostname:
        raise MappingError(
            f"port {port!r}: expected tcp://host[:port], rtu+tcp://host:port or a serial port"
        )
    framer = FramerType.SOCKET if parts.scheme == "tcp" else FramerType.RTU
    host = parts.hostname
    return lambda: AsyncModbusTcpClient(host, port=number, framer=framer, **common)


@dataclass(frozen=True, slots=True)
class ModbusReader:
    """Reads a device's registers once an interval, reconnecting with back-off."""

    make_client: Callable[[], Any]
    registers: RegisterMap
    sink: Sink
    clock: Clock
    rhythm: Rhythm = field(default_factory=Rhythm)
    counters: Counters = field(default_factory=Counters)
    quarantine: Quarantine = field(default_factory=Quarantine)
    asset: str | None = None

    async def run(self) -> None:
        """Read until cancelled."""
        from pymodbus.exceptions import ModbusException

        backoff = Backoff(self.rhythm.first_backoff_s, self.rhythm.most_backoff_s)
        self.sink.identified(Identity(alarm_names=self.registers.alarm_names))
        while True:
            client = self.make_client()
            try:
                if not await client.connect():
                    raise LinkError("cannot connect")
                await self._poll(client, backoff)
            except (LinkError, ModbusException, OSError) as error:
                self.sink.offline(str(error) or type(error).__name__)
            except Exception as error:
                # What pymodbus lets through of a broken answer: the connection is of no use.
                self.quarantine.set_aside(error, "Modbus", asset=self.asset)
                self.sink.offline(str(error) or type(error).__name__)
            finally:
                client.close()
            self.counters.reopened += 1
            await self.clock.sleep(backoff.wait_s())

    async def _poll(self, client: Any, backoff: Backoff) -> None:
        next_s = self.clock.monotonic_s()
        while True:
            try:
                found = await self._read(client)
            except FrameError as error:
                self.counters.bad_frames += 1
                raise LinkError(str(error)) from error
            backoff.reset()
            with self.quarantine.guard("Modbus", _start(found), self.asset):
                self.sink.reading(self.registers.reading(found), self.clock.wall_ms())
                self.counters.polls += 1
            next_s = max(next_s + self.rhythm.interval_s, self.clock.monotonic_s())
            await self.clock.sleep(next_s - self.clock.monotonic_s())

    async def _read(self, client: Any) -> dict[int, int]:
        table = self.registers.table
        ask: Callable[..., Awaitable[Any]] = (
            client.read_holding_registers if table == "holding" else client.read_input_registers
        )
        found: dict[int, int] = {}
        for address, count in self.registers.blocks():
            self.counters.requests += 1
            answer = await ask(address, count=count, device_id=self.registers.device)
            if answer.isError():
                raise LinkError(f"registers {address} to {address + count - 1}: {answer}")
            if len(answer.registers) != count:
                raise FrameError(f"Modbus: {len(answer.registers)} registers, {count} asked for")
            found.update(enumerate(answer.registers, address))
        return found


def _start(registers: dict[int, int]) -> bytes:
    """The first registers as they stood on the wire."""
    return b"".join((word & 0xFFFF).to_bytes(2, "big") for word in list(registers.values())[:32])
