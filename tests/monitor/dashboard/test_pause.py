"""The whole demo is stopped like the programs of a laptop that sleeps, and goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from monitor.contract import SimulatorCommand, encode
from monitor.mqtt.client import Client
from tests.conftest import ROOT
from tests.dashboard_world import background

pytestmark = pytest.mark.alone

PAUSE_S = 12.0  # longer than any of our clients waits for an answer


@dataclass
class Demo:
    """The process, what it prints, and where it listens."""

    process: asyncio.subprocess.Process
    page: int
    mqtt: int
    acknowledged: int = 0
    said: list[str] = field(default_factory=list)

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            words = line.decode()
            if words.strip().isdigit():
                self.acknowledged = int(words)
            else:
                self.said.append(words)

    async def rows_from(self, since_ms: float) -> set[str]:
        """Every asset of which the page is sent a reading that arrived since; as a browser does."""
        own = f"127.0.0.1:{self.page}"
        fresh: set[str] = set()
        async with connect(f"ws://{own}/live", origin=f"http://{own}") as socket:  # type: ignore[arg-type]  # Origin is a NewType of str
            await socket.send('{"look": "fleet"}')
            while len(fresh) < 96:
                frame = json.loads(await socket.recv())
                await socket.send('{"got": 1}')
                rows = frame.get("rows", [])
                fresh |= {row["id"] for row in rows if (row.get("at") or 0) > since_ms}
        return fresh


@pytest.fixture
async def demo(free_port: int, tmp_path: Path) -> AsyncIterator[Demo]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.many_assets", str(free_port), cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)}, start_new_session=True,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said = (await process.stdout.readline()).decode()
    found = re.search(r"MQTT on mqtt://127.0.0.1:(\d+)", said)
    assert found, said + (await process.stdout.read()).decode()
    demo = Demo(process, free_port, int(found[1]))
    async with background(demo.read()):
        yield demo
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        async with asyncio.timeout(30):
            await process.wait()


def journalled(folder: Path) -> tuple[dict[str, list[int]], set[str]]:
    """The sequence numbers of every asset, and the ids of the alarm transitions."""
    (store,) = folder.glob("cellpulse-*/store.sqlite")
    with contextlib.closing(sqlite3.connect(store)) as database:
        numbers: dict[str, list[int]] = {}
        for name, seq in database.execute(
            "SELECT name, json_extract(payload, '$.seq') FROM input JOIN asset ON "
            "asset.id = asset_id WHERE kind = 0"
        ):
            numbers.setdefault(name, []).append(seq)
        return numbers, {one for (one,) in database.execute("SELECT event_id FROM event")}


@pytest.mark.timeout(120)
async def test_it_goes_on_after_a_sleep_and_has_everything(demo: Demo, tmp_path: Path) -> None:
    heard: set[str] = set()

    async def listen(client: Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            heard.add(json.loads(message.payload)["event_id"])

    async with Client("127.0.0.1", demo.mqtt) as client:
        await client.subscribe("bms/+/event", 1)
        async with background(listen(client)):
            async with asyncio.timeout(40):
                await demo.rows_from(time.time() * 1000)
            os.killpg(demo.process.pid, signal.SIGSTOP)
            await asyncio.sleep(PAUSE_S)
            os.killpg(demo.process.pid, signal.SIGCONT)
            before = demo.acknowledged
            async with asyncio.timeout(20):  # a bound; it takes about one
                await demo.rows_from(time.time() * 1000)
            assert demo.acknowledged > before
            assert demo.process.returncode is None, demo.said

            command = encode(SimulatorCommand(v=1, action="pause"))
            await client.publish("bms/_simulator/simulator/command", command, 1)
            acknowledged = -1
            while acknowledged != demo.acknowledged:
                acknowledged = demo.acknowledged
                await asyncio.sleep(0.5)
            deadline = time.monotonic() + 20
            while True:
                numbers, transitions = await asyncio.to_thread(journalled, tmp_path)
                kept = sum(len(set(some)) for some in numbers.values())
                if (kept >= acknowledged and heard >= transitions) or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.2)
    assert len(numbers) == 96
    assert kept >= acknowledged
    for some in numbers.values():
        assert sorted(some) == list(range(len(some)))  # nothing is missing, nothing is there twice
    assert transitions
    assert heard >= transitions
