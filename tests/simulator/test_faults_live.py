"""A fault put into a running replay: nothing before it changes, everything after it may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import aiomqtt
import pytest

from monitor.contract import AssetConfig, Frame, Topics, Truth, decode, decode_telemetry, encode
from recordings.open import open_recording
from recordings.types import Recording
from simulator.demo_file import demo_recording
from simulator.faults_live import inject_now, resumed
from simulator.faults_scenario import OFFERED, FaultError, parse_fault
from simulator.player import Player
from simulator.replay import ReplayOptions, Timed, merged, recorded_ms
from simulator.twin import load_parameters

OPTIONS = ReplayOptions(speed=None, longest_gap_s=60.0, rebase_ms=1_700_000_000_000)
AT = 4_000  # messages played before the fault


@pytest.fixture(scope="module")
def cells() -> list[Recording]:
    """Two of the demo's twin cells."""
    return open_recording(demo_recording())[:2]


def played(recordings: Sequence[Recording], count: int) -> list[Timed]:
    return list(islice(merged(recordings, OPTIONS), count))


def frames(messages: Sequence[Timed], track: int) -> list[Frame]:
    return [m.message for m in messages if m.track == track and isinstance(m.message, Frame)]


def test_what_was_played_stays_and_the_fault_begins_now(cells: list[Recording]) -> None:
    before = played(cells, AT)
    held = before.pop()
    name = cells[1].info.asset
    changed = inject_now(
        cells, name, "heating:severity=1", held.offset_ms, OPTIONS, load_parameters("nasa-18650")
    )
    for track in (0, 1):
        now = frames(played(changed, AT - 20), track)
        assert now == frames(before, track)[: len(now)]
    after = list(islice(resumed(changed, OPTIONS, held), 3_000))
    assert after[0].offset_ms == held.offset_ms
    plain = [m for m in played(cells, AT + 3_500) if m.offset_ms >= held.offset_ms]
    assert frames(after, 0)[:800] == frames(plain, 0)[:800]  # the other cell plays on as ever
    heated, healthy = frames(after, 1)[:800], frames(plain, 1)[:800]
    assert [f.seq for f in heated] == [f.seq for f in healthy]
    assert [f.timestamp_ms for f in heated] == [f.timestamp_ms for f in healthy]
    warmer = [float(a.temperature_c) - float(b.temperature_c)  # type: ignore[arg-type]  # one sensor
              for a, b in zip(heated, healthy, strict=True)]  # fmt: skip
    assert abs(warmer[0]) < 0.5
    assert max(warmer) > 10.0
    labels = [m.message for m in after if m.track == 1 and isinstance(m.message, Truth)]
    assert any(label.fault == "heating" and label.fault_active for label in labels)
    assert changed[1].info.synthetic


def test_a_second_fault_joins_the_first(cells: list[Recording]) -> None:
    parameters = load_parameters("nasa-18650")
    name = cells[0].info.asset
    once = inject_now(cells, name, "cooling", 1_000_000, OPTIONS, parameters)
    twice = inject_now(once, None, f"dropped:asset={name}", 2_000_000, OPTIONS, parameters)
    kinds = [(spec.kind, spec.onset.time_s) for spec in twice[0].faults]  # type: ignore[attr-defined]  # a faulty one
    assert [kind for kind, _ in kinds] == ["cooling", "dropped"]
    assert kinds[1][1] == 2_000.0


def test_the_instant_is_found_in_the_recordings_own_time(cells: list[Recording]) -> None:
    stream = merged(cells[:1], ReplayOptions(speed=None))
    for timed in islice(stream, 500, 600):
        if isinstance(timed.message, Frame):
            assert recorded_ms(cells[0], ReplayOptions(speed=None), timed.offset_ms) == (
                timed.offset_ms
            )


@pytest.mark.parametrize(
    ("text", "words"),
    [("nonsense", "no fault"), ("isc:at=cycle:3", "begins now"), ("isc:cell=9", "no cell 9"),
     ("isc:severity=3", "within 0..1")],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(cells: list[Recording], text: str, words: str) -> None:
    with pytest.raises(FaultError, match=words):
        inject_now(cells, cells[0].info.asset, text, 0, OPTIONS, load_parameters("nasa-18650"))
    with pytest.raises(FaultError, match="no asset nobody"):
        inject_now(cells, "nobody", "isc", 0, OPTIONS, load_parameters("nasa-18650"))


def test_everything_that_is_offered_is_understood() -> None:
    for fault in OFFERED:
        kind, _, rest = fault.partition(":")
        parse_fault(f"{kind}:{rest + ',' if rest else ''}asset=a,severity=0.5,cell=1")


class Wire:
    """A broker's client that keeps what is published and says what a page would."""

    def __init__(self, commands: dict[int, bytes]) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.frames = 0
        self._commands = commands
        self._queue: asyncio.Queue[aiomqtt.Message] = asyncio.Queue()
        self.pending_calls_threshold = 0
        self.faulty = asyncio.Event()

    async def publish(self, topic: str, payload: bytes, qos: int = 0, retain: bool = False) -> None:
        self.sent.append((topic, payload))
        self.frames += topic.endswith("telemetry")
        if b'"stuck-zero' in payload:
            self.faulty.set()
        for at in [at for at in self._commands if at <= self.frames]:
            payload = self._commands.pop(at)
            topic_of = aiomqtt.Topic("bms/_simulator/simulator/command")
            self._queue.put_nowait(aiomqtt.Message(topic_of, payload, 1, False, 1, None))

    async def subscribe(self, topic: str, qos: int = 0) -> None:
        pass

    @property
    async def messages(self) -> AsyncIterator[aiomqtt.Message]:
        while True:
            yield await self._queue.get()


async def test_a_player_obeys_and_goes_on(cells: list[Recording]) -> None:
    name = cells[0].info.asset
    commands = {
        300: b'{"v":1,"action":"inject","fault":"nonsense","asset":"%s"}' % name.encode(),
        500: b'{"v":1,"action":"inject","fault":"stuck-zero:channel=voltage","asset":"%s"}'
        % name.encode(),
    }
    wire = Wire(commands)

    @asynccontextmanager
    async def connect(will: aiomqtt.Will) -> AsyncIterator[Any]:
        yield wire

    options = ReplayOptions(speed=20_000.0, longest_gap_s=60.0)
    player = Player(cells[:1], options, Topics())
    running = asyncio.create_task(player.run(connect))
    async with asyncio.timeout(60):
        await wire.faulty.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    telemetry = [
        frame
        for topic, payload in wire.sent
        if topic == f"bms/{name}/telemetry"
        for frame in decode_telemetry(payload)
    ]
    seqs = [frame.seq for frame in telemetry]
    assert sorted(set(seqs)) == list(range(max(seqs) + 1))  # type: ignore[type-var,operator]  # none is None
    configs = [decode(AssetConfig, p) for topic, p in wire.sent if topic.endswith("config")]
    assert len(configs) == 2
    assert "stuck-zero" in str(encode(configs[-1])) or configs[-1].provenance.synthetic
