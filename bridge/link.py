"""The wire: bytes out, bytes in, over a local port, a TCP serial server or RFC 2217.

pyserial in a thread, not pyserial-asyncio-fast: that one watches a file descriptor, which
`rfc2217://` (its own reader thread) and Windows ports do not have, while `serial_for_url` and one
thread treat every kind of port alike, and at a few reads a second a thread costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from bridge.errors import LinkError, MappingError

T = TypeVar("T")
_MOST_BYTES = 8_192  # of one read: a line that never falls silent is read in pieces
_SLICE_S = 0.1  # how long the thread waits in one go: closing a port takes no longer


class Link(Protocol):
    """An open connection to a board. Every method raises LinkError when it is gone."""

    async def write(self, data: bytes) -> None:
        """Send all bytes."""
        ...

    async def read(self, timeout_s: float) -> bytes:
        """What has arrived, at least one byte; b"" when nothing came for `timeout_s`."""
        ...

    async def discard(self) -> None:
        """Throw away what has arrived and was not read."""
        ...

    async def close(self) -> None:
        """Close; never raises."""
        ...


Opener = Callable[[int], Awaitable[Link]]
"""Opens a link at a baud rate; raises LinkError."""


def serial_opener(port: str) -> Opener:
    """An opener for `/dev/ttyUSB0`, `COM3`, `socket://host:port` or `rfc2217://host:port`."""
    return lambda baud: SerialLink.open(port, baud)


class SerialLink:
    """A pyserial port, driven from one thread of its own."""

    def __init__(self, port: Any, executor: ThreadPoolExecutor, name: str) -> None:
        self._port = port
        self._executor = executor
        self._name = name

    @classmethod
    async def open(cls, port: str, baud: int) -> SerialLink:
        """Open `port` with 8 data bits, no parity, 1 stop bit.

        Raises LinkError where it cannot be opened now, MappingError where it never can.
        """
        executor = ThreadPoolExecutor(1, thread_name_prefix="serial")
        try:
            opened = await _in_thread(executor, port, lambda: _open(port, baud))
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(opened, executor, port)

    async def write(self, data: bytes) -> None:
        """See Link."""
        await _in_thread(self._executor, self._name, lambda: self._write(data))

    async def read(self, timeout_s: float) -> bytes:
        """See Link."""
        return await _in_thread(self._executor, self._name, lambda: self._read(timeout_s))

    async def discard(self) -> None:
        """See Link."""
        await _in_thread(self._executor, self._name, self._port.reset_input_buffer)

    async def close(self) -> None:
        """See Link."""
        with contextlib.suppress(LinkError):
            await _in_thread(self._executor, self._name, self._port.close)
        self._executor.shutdown(wait=False)

    def _write(self, data: bytes) -> None:
        self._port.write(data)
        self._port.flush()

    def _read(self, timeout_s: float) -> bytes:
        end = time.monotonic() + timeout_s
        while True:
            received: bytes = self._port.read(1)
            if received:
                break
            if time.monotonic() >= end:
                return b""
        # in_waiting is a count on a local port, but only 0 or 1 on a socket: ask until none.
        while len(received) < _MOST_BYTES and (waiting := self._port.in_waiting):
            received += self._port.read(min(waiting, _MOST_BYTES))
        return received


def _open(port: str, baud: int) -> Any:
    try:
        import serial
    except ImportError as error:
        raise MappingError(
            f"a serial port needs pyserial: pip install 'cellpulse[bridge]' ({error})"
        ) from error
    options: dict[str, Any] = {"baudrate": baud, "timeout": _SLICE_S}
    if "://" not in port:
        # Two readers on one port would each get half of every answer. A write time-out is for an
        # adapter that hangs; RFC 2217 has none.
        options |= {"exclusive": True, "write_timeout": 1.0}
    try:
        return serial.serial_for_url(port, **options)
    except ValueError as error:
        raise MappingError(
            f"port {port!r}: {error}; expected /dev/ttyUSB0, COM3, socket://host:port or "
            "rfc2217://host:port"
        ) from error


async def _in_thread(executor: ThreadPoolExecutor, name: str, call: Callable[[], T]) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, call)
    except MappingError:
        raise
    # pyserial lets termios.error (no OSError), and TypeError from a port that another thread's
    # error has just closed, through: whatever it raises, the port is of no more use.
    except Exception as error:
        raise LinkError(f"{name}: {error or type(error).__name__}") from error
