"""A real mosquitto with the configuration that we ship, and a proxy that can cut the way to it.

Only what must differ on a test machine is replaced in `deploy/mosquitto/mosquitto.conf`: the port
(loopback), the folders, and the user that root is to keep. The ACL is the shipped one, with all
rights for the sender.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from monitor.errors import ConfigurationError
from monitor.mqtt.address import BrokerAddress

SHIPPED = Path(__file__).resolve().parent.parent / "deploy" / "mosquitto"
START_S = 10.0
USERS = ("monitor", "simulator")
PASSWORD = "only for this run"
# What is sent in a run stands for every device and every operator, and for those who send garbage.
# mosquitto 2.0.11 hangs up on a client of MQTT 3.1.1 that says what it may not, at every try.
SENDER_MAY_ALL = "\nuser simulator\ntopic readwrite bms/#\n"
BLOCK = 65_536


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Mosquitto:
    """The broker's process; `start` may be called again after `kill`."""

    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def address(self, user: str, port: int | None = None) -> BrokerAddress:
        """How one of `USERS` reaches it, through another port where a proxy stands before it."""
        return BrokerAddress("127.0.0.1", port or self.port, user=user, password=PASSWORD)

    def start(self) -> None:
        """Return once it listens; raises ConfigurationError where it cannot run."""
        binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        tool = shutil.which("mosquitto_passwd")
        if binary is None or tool is None:
            raise ConfigurationError(
                "mosquitto and mosquitto_passwd are not on PATH; Debian's mosquitto has both"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        passwords = self.folder / "passwords"
        if not passwords.exists():
            passwords.touch(0o600)
            for user in USERS:
                subprocess.run([tool, "-b", str(passwords), user, PASSWORD], check=True)
            rules = (SHIPPED / "acl").read_text(encoding="utf-8")
            (self.folder / "acl").write_text(rules + SENDER_MAY_ALL, encoding="utf-8")
        config = self.folder / "mosquitto.conf"
        config.write_text(self._config(), encoding="utf-8")
        self._process = subprocess.Popen(
            [binary, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_S
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 0.2),
            ):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ConfigurationError(f"mosquitto does not start with {config}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, as a power cut or the kernel would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self, frozen: bool) -> None:
        """Stop its process, or let it go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Its process id."""
        return 0 if self._process is None else self._process.pid

    def _config(self) -> str:
        ours = {
            "listener": f"{self.port} 127.0.0.1",
            "persistence_location": f"{self.folder}/",
            "password_file": str(self.folder / "passwords"),
            "acl_file": str(self.folder / "acl"),
        }
        lines = []
        for line in (SHIPPED / "mosquitto.conf").read_text(encoding="utf-8").splitlines():
            key = line.split(" ", 1)[0]
            lines.append(f"{key} {ours[key]}" if key in ours else line)
        if os.geteuid() == 0:
            lines.append("user root")  # it would give root up, and then not read the folder
        return "\n".join(lines) + "\n"


class Proxy:
    """Passes TCP connections on to the broker until it is told not to."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._refusing = True
        for writer in list(self._writers):
            writer.transport.abort()

    def silence(self) -> None:
        """Pass nothing on, and close nothing: a cable that was pulled."""
        self._open.clear()

    def mend(self) -> None:
        """As if nothing had been."""
        self._refusing = False
        self._open.set()

    async def close(self) -> None:
        """Stop listening and break every connection."""
        self.cut()
        self._open.set()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers -= both
            for one in both:
                one.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while block := await source.read(BLOCK):
                await self._open.wait()
                sink.write(block)
                await sink.drain()
