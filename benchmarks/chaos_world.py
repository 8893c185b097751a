"""The processes of `cellpulse chaos` and what can be done to them."""

from __future__ import annotations

import asyncio
import random
import resource
import signal
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.broker import Mosquitto, Proxy
from benchmarks.chaos_monitor import set_clock
from monitor.errors import StoreError
from monitor.kernels.jit import njit
from monitor.store.sqlite_history import SqliteHistory

ROOT = Path(__file__).resolve().parent.parent
START_S = 600.0  # with other work on the machine, which may be stopped for minutes as well
STOP_S = 300.0
CATCH_UP_S = 300.0
CHECKPOINT_S = "0.3"  # often, so that kills meet one being written


class MonitorProcess:
    """One monitor after the other on the same store; the first is not there until `start`."""

    def __init__(self, url: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.store = folder / "store.sqlite"
        self.clock = folder / "clock"
        self.log = folder / "monitor.log"
        self.starts_s: list[float] = []
        self.peak_bytes = 0
        self.ended: list[int] = []  # exit statuses that nobody asked for
        self._url = url
        self._settings = dict(settings)
        self._process: asyncio.subprocess.Process | None = None
        set_clock(self.clock, 0)

    async def spawn(self) -> None:
        """Start the process, without waiting for it."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.chaos_monitor",
                self._url, str(self.store), str(self.clock), cwd=ROOT,
                env={"CELLPULSE_CHECKPOINT_S": CHECKPOINT_S, "PATH": "/usr/bin:/bin",
                     "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
                     **self._settings},
                stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip

    async def start(self) -> None:
        """Start it and return once it is ready; one that ends instead is noted and tried again."""
        began = time.monotonic()
        while time.monotonic() - began < START_S:
            await self.spawn()
            if self._process is None or self._process.stdout is None:
                continue
            async with asyncio.timeout(START_S):
                if await self._process.stdout.readline():
                    self.starts_s.append(time.monotonic() - began)
                    return
            self.ended.append(await self._process.wait())
        raise TimeoutError(f"the monitor does not start; see {self.log}")

    async def kill(self) -> bool:
        """End it with SIGKILL; False where it had ended by itself."""
        process = self._process
        if process is None:
            return False
        self._note_memory()
        alive = process.returncode is None
        if alive:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        status = await process.wait()
        if not alive or status != -signal.SIGKILL:
            self.ended.append(status)
        return alive

    async def stop(self) -> int:
        """Ask it to end, as a supervisor does; its exit status."""
        process = self._process
        if process is None:
            return 0
        self._note_memory()
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(STOP_S):
            status = await process.wait()
        self._process = None
        return status

    def freeze(self, frozen: bool) -> None:
        """Stop it as a debugger or an overloaded host would, or let it go on."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def fill_disk(self, full: bool) -> None:
        """Let every write to a file fail, or work again; nothing else is touched."""
        if self._process is None or self._process.returncode is not None:
            return
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0 if full else hard, hard))

    def memory_bytes(self) -> int:
        """What it holds in memory now."""
        return self._status("VmRSS")

    def frames(self) -> int:
        """How many frames the store holds."""
        try:
            return SqliteHistory(self.store).frames()
        except StoreError:
            return 0

    async def stored(self, frames: int) -> bool:
        """Return once so many are in the store; False where no more came for a long time."""
        newest, since = -1, time.monotonic()
        while True:
            count = await asyncio.to_thread(self.frames)
            if count >= frames:
                return True
            if count > newest:
                newest, since = count, time.monotonic()
            if time.monotonic() - since > CATCH_UP_S:
                return False
            await asyncio.sleep(0.1)

    def log_end(self, lines: int = 40) -> str:
        """The last lines that the monitors wrote."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _note_memory(self) -> None:
        self.peak_bytes = max(self.peak_bytes, self._status("VmHWM"))

    def _status(self, key: str) -> int:
        if self._process is None:
            return 0
        with suppress(OSError):
            for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
                if line.startswith(f"{key}:"):
                    return int(line.split()[1]) * 1024
        return 0


class World:
    """A broker, the way to it, and a monitor at the end of that way."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are the monitor's, as environment variables."""
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self.broker = Mosquitto(folder / "broker")
        self.proxy = Proxy(self.broker.port)
        url = self.broker.address("monitor", self.proxy.port).url()
        self.monitor = MonitorProcess(url, folder, settings or {})

    async def __aenter__(self) -> World:
        await asyncio.to_thread(self.broker.start)
        await self.proxy.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.monitor.freeze(False)
        await self.monitor.kill()
        await self.proxy.close()
        self.broker.kill()


def damage_checkpoint(store: Path, dice: random.Random) -> bool:
    """Spoil the newest checkpoint, as a failing disk would; False where there is none."""
    found = [
        path
        for path in (store.with_name(f"{store.name}.checkpoint-{x}") for x in "ab")
        if path.exists()
    ]
    if not found:
        return False
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(newest.read_bytes())
    way = dice.choice(("cut", "flip", "empty", "garbage"))
    if way == "cut":
        data = data[: dice.randrange(len(data))]
    elif way == "flip":
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    else:
        data = bytearray() if way == "empty" else bytearray(dice.randbytes(len(data)))
    newest.write_bytes(data)
    return True


def damage_wal(store: Path, dice: random.Random) -> bool:
    """Write a transaction that was not finished behind the last commit of the write-ahead log."""
    wal = store.with_name(f"{store.name}-wal")
    if not wal.exists():
        return False
    data = wal.read_bytes()
    end = committed_end(data)
    if end is None:
        return False
    page_bytes = struct.unpack(">I", data[8:12])[0]
    frames = dice.randint(1, 3)
    tail = b"".join(
        # A frame's header as it would be, salts and all, but for its checksum.
        struct.pack(">II", dice.randint(1, 1_000), 0) + data[16:24] + dice.randbytes(8 + page_bytes)
        for _ in range(frames)
    )
    with wal.open("r+b") as file:
        file.seek(end)
        file.write(tail[: dice.randint(1, len(tail))])
    return True


def committed_end(wal: bytes) -> int | None:
    """Where the last commit of a write-ahead log ends, None where it is empty.

    After SQLite's file format, section 4 ("The Write-Ahead Log").
    """
    if len(wal) < 32:
        return None
    magic, _, page_bytes = struct.unpack(">III", wal[:12])
    order = ">" if magic & 1 else "<"
    salts = wal[16:24]
    sums = _checksum(wal[:24], (0, 0), order)
    if struct.pack(">II", *sums) != wal[24:32]:
        return None
    end, at = 32, 32
    while at + 24 + page_bytes <= len(wal):
        header, page = wal[at : at + 24], wal[at + 24 : at + 24 + page_bytes]
        if header[8:16] != salts:
            break
        sums = _checksum(page, _checksum(header[:8], sums, order), order)
        if struct.pack(">II", *sums) != header[16:24]:
            break
        at += 24 + page_bytes
        if header[4:8] != b"\0\0\0\0":  # the database's size stands in a commit's last frame
            end = at
    return end


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    if len(data) % 8:
        raise ValueError(f"{len(data)} bytes, not pairs of words of four")
    words = np.frombuffer(data, f"{order}u4").astype(np.int64)
    a, b = _sum_words(words, sums[0], sums[1])
    return int(a), int(b)


@njit
def _sum_words(words: NDArray[np.int64], a: int, b: int) -> tuple[int, int]:
    for k in range(0, len(words), 2):
        a = (a + words[k] + b) & 0xFFFFFFFF
        b = (b + words[k + 1] + a) & 0xFFFFFFFF
    return a, b
