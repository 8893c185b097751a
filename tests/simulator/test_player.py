"""What a listening replay obeys: another recording, a jump back, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiomqtt
import pytest

from cellpulse.wiring import Show
from monitor.contract import SimulatorCommand, SimulatorState, Topics, decode, encode
from monitor.contract import decode_telemetry as frames_of
from monitor.errors import ConfigurationError
from recordings.open import open_recording
from recordings.types import Recording
from simulator.demo_file import demo_recording
from simulator.player import LONGEST_DEBT_S, Player
from simulator.replay import ReplayOptions

STATE = "bms/_simulator/simulator/state"


@pytest.fixture(scope="module")
def cells() -> list[Recording]:
    """Three of the demo's twin cells."""
    return open_recording(demo_recording())[:3]


def seqs_of(payload: bytes) -> list[int]:
    """The numbers of a message's frames, of which each has one."""
    numbers = [frame.seq for frame in frames_of(payload)]
    assert None not in numbers
    return [number for number in numbers if number is not None]


class Wire:
    """A broker's client that keeps what is published, and through which a page would command."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bool]] = []
        self.pending_calls_threshold = 0
        self._commands: asyncio.Queue[aiomqtt.Message | None] = asyncio.Queue()
        self._news = asyncio.Event()
        self._lost = False
        self.unanswered: list[int] = []  # of frames that came, but were not acknowledged

    async def publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False) -> None:
        if self._lost:
            if topic.endswith("/telemetry"):
                self.unanswered += seqs_of(payload)
                self._commands.put_nowait(None)
                self._news.set()
            raise aiomqtt.MqttError("connection lost")
        self.sent.append((topic, payload, retain))
        self._news.set()

    def lose(self, quiet: bool) -> None:
        """The connection breaks: publishing fails, and so does listening, at once or after it."""
        self._lost = True
        if quiet:
            self._commands.put_nowait(None)

    async def subscribe(self, topic: str, qos: int = 0) -> None:
        pass

    def command(self, **words: Any) -> None:
        payload = encode(SimulatorCommand(v=1, **words))
        topic = aiomqtt.Topic("bms/_simulator/simulator/command")
        self._commands.put_nowait(aiomqtt.Message(topic, payload, 1, False, 1, None))

    @property
    async def messages(self) -> AsyncIterator[aiomqtt.Message]:
        while (command := await self._commands.get()) is not None:
            yield command
        raise aiomqtt.MqttError("disconnected while listening")

    async def until_unanswered(self) -> None:
        async with asyncio.timeout(10):
            while not self.unanswered:
                self._news.clear()
                await self._news.wait()

    def of(self, topic: str, since: int = 0) -> list[bytes]:
        return [payload for sent, payload, _ in self.sent[since:] if sent == topic]

    def state(self) -> SimulatorState:
        return decode(SimulatorState, self.of(STATE)[-1])

    async def until(self, topic: str, count: int, since: int = 0) -> list[bytes]:
        """What was published there from `since` on, once it is so much."""
        async with asyncio.timeout(60):
            while len(self.of(topic, since)) < count:
                self._news.clear()
                await self._news.wait()
        return self.of(topic, since)


@asynccontextmanager
async def playing(
    cells: list[Recording], first: int, speed: float = 20_000.0
) -> AsyncIterator[Wire]:
    """A player of the first cells that offers all of them, and the wire it is on."""
    wire = Wire()

    @asynccontextmanager
    async def connect(will: aiomqtt.Will) -> AsyncIterator[Any]:
        yield wire

    options = ReplayOptions(speed=speed, longest_gap_s=60.0)
    player = Player(cells[:first], options, Topics(), offers=cells)
    running = asyncio.create_task(player.run(connect))
    try:
        yield wire
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert wire.sent[-1] == (STATE, b"", True)  # nobody thinks that it still listens


async def test_another_recording_is_played_in_place_of_the_first(cells: list[Recording]) -> None:
    names = [cell.info.asset for cell in cells]
    async with playing(cells, 1) as wire:
        await wire.until(f"bms/{names[0]}/telemetry", 100)
        assert (wire.state().recordings, wire.state().playing) == (names, names[:1])
        wire.command(action="play", asset=names[2])
        first, *_ = await wire.until(f"bms/{names[2]}/telemetry", 50)
        assert [frame.seq for frame in frames_of(first)] == [0]
        assert wire.state().playing == [names[2]]
        assert wire.of(f"bms/{names[0]}/status")[-1] == b"offline"
        assert wire.of(f"bms/{names[2]}/status") == [b"online"]
        quiet = len(wire.of(f"bms/{names[0]}/telemetry"))
        wire.command(action="play", asset="nobody")
        await wire.until(f"bms/{names[2]}/telemetry", 150)
        assert "no recording nobody" in (wire.state().refused or "")
        assert wire.state().playing == [names[2]]
        assert len(wire.of(f"bms/{names[0]}/telemetry")) == quiet
        wire.command(action="play")
        await wire.until(f"bms/{names[1]}/telemetry", 10)
        assert wire.state().playing == names
        assert wire.state().refused is None


async def test_a_jump_back_is_a_session_of_its_own(cells: list[Recording]) -> None:
    """Else its frames, which are numbered from 0 again, would be taken for those before."""
    topic = f"bms/{cells[0].info.asset}/telemetry"
    async with playing(cells, 1) as wire:
        before = await wire.until(topic, 200)
        wire.command(action="seek", cycle=1, asset=cells[0].info.asset)
        async with asyncio.timeout(60):
            while frames_of(wire.of(topic)[-1])[0].session == frames_of(before[0])[0].session:
                await wire.until(topic, len(wire.of(topic)) + 1)
        after = frames_of(wire.of(topic)[-1])[0]
    assert after.timestamp_ms < frames_of(before[-1])[-1].timestamp_ms


async def test_pause_and_speed_are_said(cells: list[Recording]) -> None:
    async with playing(cells, 1) as wire:
        await wire.until(STATE, 1)
        wire.command(action="speed", speed=60.0)
        wire.command(action="pause")
        await wire.until(STATE, 3)
        assert (wire.state().paused, wire.state().speed) == (True, 60.0)


def test_only_names_the_first_ones_and_says_what_there_is(cells: list[Recording]) -> None:
    options = ReplayOptions()
    assert list(Show(cells, options).first()) == cells
    name = cells[1].info.asset
    assert list(Show(cells, options, only=[name]).first()) == [cells[1]]
    with pytest.raises(ConfigurationError, match=f"--only B9: no such recording.*{name}"):
        Show(cells, options, only=["B9"]).first()


class Outage:
    """A way to the broker that breaks when told to; every connection has a wire of its own."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.found = asyncio.Event()
        self.there = True

    @asynccontextmanager
    async def connect(self, will: aiomqtt.Will) -> AsyncIterator[Any]:
        if not self.there:
            raise aiomqtt.MqttError("no broker")
        self.wires.append(Wire())
        self.found.set()
        yield self.wires[-1]

    def lose(self, quiet: bool) -> Wire:
        self.there = False
        self.found.clear()
        self.wires[-1].lose(quiet)
        return self.wires[-1]

    async def find(self) -> Wire:
        self.there = True
        async with asyncio.timeout(10):
            await self.found.wait()
        return self.wires[-1]


@pytest.mark.parametrize("paused", [False, True])
async def test_a_broker_that_comes_back_hears_all_of_it(
    cells: list[Recording], paused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What it is, and every frame: those that were not acknowledged are sent again."""
    name = cells[0].info.asset
    topic = f"bms/{name}/telemetry"
    outage = Outage()
    player = Player(cells[:1], ReplayOptions(speed=20_000.0, longest_gap_s=60.0), Topics())
    running = asyncio.create_task(player.run(outage.connect))
    wire = await outage.find()
    await wire.until(topic, 50)
    if paused:
        wire.command(action="pause")
        while not wire.state().paused:
            await wire.until(STATE, len(wire.of(STATE)) + 1)
    before = outage.lose(quiet=paused)
    if not paused:
        await before.until_unanswered()
    wire = await outage.find()
    await wire.until(STATE, 1)
    assert wire.of(f"bms/{name}/config")
    assert wire.of(f"bms/{name}/status") == [b"online"]
    assert wire.state().paused is paused
    if paused:
        wire.command(action="resume")
    await wire.until(topic, 50)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    numbers = [seq for one in (before, wire) for sent in one.of(topic) for seq in seqs_of(sent)]
    assert numbers[0] == 0
    assert set(numbers) == set(range(max(numbers) + 1))
    again = sorted(set(before.unanswered))
    assert bool(again) is not paused
    assert again == [seq for sent in wire.of(topic) for seq in seqs_of(sent)][: len(again)]
    said = [one.message for one in caplog.records if one.message.startswith("replay")]
    assert "the broker is away" in said[0]
    assert said[-1] == "replay works again"


async def test_without_a_broker_to_begin_with_it_says_so(cells: list[Recording]) -> None:
    outage = Outage()
    outage.there = False
    with pytest.raises(aiomqtt.MqttError, match="no broker"):
        await Player(cells[:1], ReplayOptions(), Topics()).run(outage.connect)


async def test_what_was_slept_through_is_not_made_up_for_in_a_hurry(
    cells: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock jumps an hour, as over a stop of the process; the replay goes on where it was."""
    loop = asyncio.get_running_loop()
    topic = f"bms/{cells[0].info.asset}/telemetry"
    speed = 600.0
    async with playing(cells, 1, speed=speed) as wire:
        await wire.until(topic, 20)
        real, count = loop.time, len(wire.of(topic))
        last = frames_of(wire.of(topic)[-1])[0]
        began_s = real()
        monkeypatch.setattr(loop, "time", lambda: real() + 3_600.0)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await wire.until(topic, count + 2_000)
        monkeypatch.undo()
        after = frames_of(wire.of(topic)[-1])[0]
        passed_s = real() - began_s
    assert len(wire.of(topic)) > count
    due_s = speed * (passed_s + LONGEST_DEBT_S)
    assert (after.timestamp_ms - last.timestamp_ms) / 1000.0 < due_s + 60.0
