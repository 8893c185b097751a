"""The polling loop against simulated boards, on a clock that the test moves.

The module is long because the simulated boards and the polling that they upset stand together.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.clock import SystemClock
from bridge.device import AssetOptions
from bridge.errors import LinkError, MappingError
from bridge.gateway import Gateway
from bridge.link import Link
from bridge.poller import Poller, Rhythm
from bridge.protocols import NAMES, Choices
from bridge.reading import Reading
from bridge.recording import Recorder, Recording, is_recording, play, read
from bridge.session import Patience
from bridge.simulate import Board
from monitor.contract import AssetConfig, DeviceAlarm, Frame, decode, encode

PACK = Reading(
    cell_voltage_v=(3.301, 3.302, 3.303, 3.304),
    temperature_c=(21.0, 22.0),
    current_a=-12.5,
    pack_voltage_v=13.2,
    soc=0.5,
    remaining_capacity_ah=50.0,
    nominal_capacity_ah=100.0,
    cycles=7,
    charge_enabled=True,
    discharge_enabled=True,
    balancing=False,
)
START_MS = 1_700_000_000_000


class HandClock:
    """A clock that moves when somebody sleeps; the test cancels whoever runs past `end_s`."""

    def __init__(self, end_s: float) -> None:
        self.now_s = 0.0
        self._end_s = end_s

    def wall_ms(self) -> int:
        return START_MS + round(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += max(seconds, 0.0)
        if self.now_s >= self._end_s:
            raise asyncio.CancelledError
        await asyncio.sleep(0)


class BoardLink:
    """A board on a wire of memory. Reading from a silent board takes the time-out."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._pending = b""

    async def write(self, data: bytes) -> None:
        self._wire.fail_if_unplugged()
        self._wire.asked.append((self._wire.clock.now_s, data))
        self._pending += data if self._wire.echo else b""
        if not self._wire.silent():
            self._pending += b"".join(self._wire.board.receive(data))

    async def read(self, timeout_s: float) -> bytes:
        self._wire.fail_if_unplugged()
        got, self._pending = self._pending, b""
        self._wire.clock.now_s += self._wire.answer_s if got else timeout_s
        return got

    async def discard(self) -> None:
        self._pending = b""

    async def close(self) -> None:
        self._wire.closed += 1


class Wire:
    """What a test does to the line: plug, unplug, silence."""

    def __init__(self, clock: HandClock, name: str = "jbd") -> None:
        self.clock = clock
        self.pack = PACK
        self.board = Board(name, lambda: self.pack)
        self.asked: list[tuple[float, bytes]] = []
        self.bauds: list[int] = []
        self.closed = 0
        self.answer_s = 0.05
        self.echo = False
        self.silences: list[tuple[float, float]] = []
        self.unplugged: list[tuple[float, float]] = []

    def silent(self) -> bool:
        return any(a <= self.clock.now_s < b for a, b in self.silences)

    def fail_if_unplugged(self) -> None:
        if any(a <= self.clock.now_s < b for a, b in self.unplugged):
            raise LinkError("unplugged")

    async def open(self, baud: int) -> Link:
        self.fail_if_unplugged()
        self.bauds.append(baud)
        return BoardLink(self)


class Notes:
    """An outbox that keeps everything, with the time."""

    def __init__(self, clock: HandClock | None = None) -> None:
        self.clock = clock
        self.frames: list[Frame] = []
        self.alarms: list[DeviceAlarm] = []
        self.configs: list[AssetConfig] = []
        self.states: list[bool] = []
        self.order: list[str] = []

    def telemetry(self, asset: str, frame: Frame) -> None:
        self.frames.append(frame)
        self.order.append("telemetry")

    def alarm(self, asset: str, alarm: DeviceAlarm) -> None:
        self.alarms.append(alarm)
        self.order.append("alarm")

    def config(self, asset: str, config: AssetConfig) -> None:
        self.configs.append(config)
        self.order.append("config")

    def status(self, asset: str, online: bool) -> None:
        if not self.states or self.states[-1] != online:
            self.states.append(online)
            self.order.append("online" if online else "offline")


def gateway(notes: Notes, **told: Any) -> Gateway:
    return Gateway(notes, replace(AssetOptions("pack1", "gw1"), **told), "s1")


async def run(
    wire: Wire, notes: Notes, name: str = "jbd", rhythm: Rhythm | None = None, **options: Any
) -> Poller:
    poller = Poller(
        wire.open,
        name,
        gateway(notes),
        wire.clock,
        rhythm=rhythm,
        **options,
    )
    with pytest.raises(asyncio.CancelledError):
        await poller.run()
    return poller


async def test_one_reading_a_second_and_config_first() -> None:
    wire, notes = Wire(HandClock(5.0)), Notes()
    poller = await run(wire, notes)
    assert notes.order[:3] == ["config", "online", "telemetry"]
    assert len(notes.frames) == 5
    assert [frame.seq for frame in notes.frames] == [0, 1, 2, 3, 4]
    # The first poll follows the identification; later ones keep to the second.
    assert [frame.timestamp_ms - START_MS for frame in notes.frames] == [
        200,
        1100,
        2100,
        3100,
        4100,
    ]
    assert notes.frames[0] == Frame(
        v=1,
        timestamp_ms=START_MS + 200,
        session="s1",
        seq=0,
        current_a=-12.5,
        voltage_v=[3.301, 3.302, 3.303, 3.304],
        temperature_c=[21.0, 22.0],
        pack_voltage_v=13.2,
        device_soc=0.5,
    )
    (config,) = notes.configs
    assert (config.nominal_capacity_ah, config.cells, config.gateway) == (100.0, 4, "gw1")
    assert decode(AssetConfig, encode(config)) == config
    assert poller.counters.polls == 5
    assert poller.counters.timeouts == 0


@pytest.mark.parametrize("name", NAMES)
async def test_every_protocol_from_board_to_frame(name: str) -> None:
    wire, notes = Wire(HandClock(3.0), name), Notes()
    await run(wire, notes, name)
    frame = notes.frames[0]
    assert frame.voltage_v == [3.301, 3.302, 3.303, 3.304]
    assert frame.temperature_c == [21.0, 22.0]
    assert (frame.current_a, frame.pack_voltage_v, frame.device_soc) == (-12.5, 13.2, 0.5)
    assert notes.configs[0].nominal_capacity_ah == 100.0


@pytest.mark.parametrize("name", NAMES)
async def test_an_adapter_that_echoes_is_no_board(name: str) -> None:
    # Half-duplex adapters give back what was sent, before the answer.
    wire, notes = Wire(HandClock(3.0), name), Notes()
    wire.echo = True
    await run(wire, notes, name)
    assert notes.frames[0].voltage_v == [3.301, 3.302, 3.303, 3.304]
    assert len(notes.frames) == 3
    alone, nothing = Wire(HandClock(6.0), name), Notes()
    alone.echo, alone.silences = True, [(0.0, 99.0)]
    await run(alone, nothing, name)
    assert nothing.frames == []


@pytest.mark.parametrize("name", NAMES)
async def test_auto_finds_the_protocol(name: str) -> None:
    wire, notes = Wire(HandClock(40.0), name), Notes()
    await run(wire, notes, "auto")
    assert notes.frames[0].voltage_v == [3.301, 3.302, 3.303, 3.304]
    assert wire.bauds[-1] == (115_200 if name.startswith("jk") else 9_600)
    assert notes.states == [True]


async def test_auto_with_no_board_tells_so_and_tries_again() -> None:
    wire, notes = Wire(HandClock(60.0)), Notes()
    wire.silences = [(0.0, 20.0)]
    await run(wire, notes, "auto")
    assert notes.states == [False, True]


async def test_a_lost_answer_is_asked_for_again() -> None:
    wire, notes = Wire(HandClock(6.0)), Notes()
    wire.silences = [(2.0, 2.5)]
    poller = await run(wire, notes)
    assert poller.counters.timeouts == 1
    assert notes.states == [True]
    assert [frame.seq for frame in notes.frames] == list(range(len(notes.frames)))
    assert len(notes.frames) == 5  # the poll that waited is late, and no burst follows it


async def test_silence_is_offline_and_then_online_again() -> None:
    wire, notes = Wire(HandClock(40.0)), Notes()
    wire.silences = [(3.0, 15.0)]
    await run(wire, notes, rhythm=Rhythm(patience=Patience(0.5, retries=1), reopen_after=99))
    assert notes.states == [True, False, True]
    assert wire.closed == 1  # by the end of the run; the port stayed open through the silence


async def test_long_silence_opens_the_port_again() -> None:
    wire, notes = Wire(HandClock(60.0)), Notes()
    wire.silences = [(3.0, 30.0)]
    poller = await run(wire, notes, rhythm=Rhythm(patience=Patience(0.5, 0), reopen_after=5))
    assert poller.counters.reopened >= 2
    assert notes.states == [True, False, True]
    assert len(wire.bauds) == wire.closed


async def test_unplug_and_plug_in_again() -> None:
    wire, notes = Wire(HandClock(30.0)), Notes()
    wire.unplugged = [(4.5, 12.0)]
    await run(wire, notes)
    assert notes.states == [True, False, True]
    assert len(notes.configs) == 2  # another board may have been plugged in
    gap = [
        b.timestamp_ms - a.timestamp_ms
        for a, b in zip(notes.frames, notes.frames[1:], strict=False)
    ]
    assert max(gap) > 7_000
    assert [frame.seq for frame in notes.frames] == list(range(len(notes.frames)))


async def test_a_reading_that_contradicts_itself_costs_one_poll() -> None:
    wire, notes = Wire(HandClock(5.0)), Notes()
    receive_as_it_is = wire.board.receive
    states = [0]

    def receive(data: bytes) -> list[bytes]:
        states[0] += data[2] == 3
        # The third reply about the state is of a pack that has a fifth cell.
        cells = 5 if states[0] == 3 and data[2] == 3 else 4
        wire.pack = replace(PACK, cell_voltage_v=(3.3,) * cells)
        return receive_as_it_is(data)

    wire.board.receive = receive  # type: ignore[method-assign]  # a fault put in
    poller = await run(wire, notes)
    assert poller.counters.bad_frames == 1
    assert len(notes.frames) == 4
    assert notes.states == [True]


async def test_a_port_that_never_can_be_opened_refuses_to_start() -> None:
    notes = Notes()

    async def opener(baud: int) -> Link:
        raise MappingError("port 'nonsense://': expected ...")

    poller = Poller(opener, "jbd", gateway(notes), HandClock(10.0))
    with pytest.raises(MappingError):
        await poller.run()


async def test_alarms_are_told_once_each_way() -> None:
    wire, notes = Wire(HandClock(6.0)), Notes()
    receive = wire.board.receive

    def raising(data: bytes) -> list[bytes]:
        alarmed = 2.0 <= wire.clock.now_s < 4.0
        wire.pack = replace(
            PACK, alarms=("cell_overvoltage", "charge_overcurrent") if alarmed else ()
        )
        return receive(data)

    wire.board.receive = raising  # type: ignore[method-assign]  # a fault put in
    await run(wire, notes)
    # At the start every name is told as not active: an alarm may have ended unheard.
    told = [(alarm.name, alarm.active) for alarm in notes.alarms]
    assert not any(active for _, active in told[:14])
    assert told[14] == ("input_quarantined", False)
    assert told[15:] == [
        ("cell_overvoltage", True),
        ("charge_overcurrent", True),
        ("cell_overvoltage", False),
        ("charge_overcurrent", False),
    ]
    flagged = [frame.seq for frame in notes.frames if frame.device_flags]
    assert flagged == [2, 3]
    assert notes.frames[2].device_flags == ["cell_overvoltage", "charge_overcurrent"]


async def test_record_and_play_give_the_same_frames(tmp_path: Path) -> None:
    wire, notes = Wire(HandClock(20.0)), Notes()
    wire.silences = [(5.0, 7.2), (12.0, 12.3)]
    file = io.StringIO()
    choices = Choices(invert_current=True)
    recorder = Recorder(file, choices)
    await run(
        wire,
        notes,
        rhythm=Rhythm(patience=Patience(0.5, retries=2)),
        choices=choices,
        tap=lambda spoken: recorder.start(spoken).tap,
    )
    recording = read_text(tmp_path, file.getvalue())
    assert (recording.protocol, recording.choices) == ("jbd", choices)
    again = Notes()
    counters = await play(recording, gateway(again), HandClock(1e9), speed=None)
    assert [replace_time(frame) for frame in again.frames] == [
        replace_time(frame) for frame in notes.frames
    ]
    assert again.configs == notes.configs
    assert again.alarms[1:] == notes.alarms[1:]
    assert counters.polls == len(notes.frames)


def replace_time(frame: Frame) -> tuple[object, ...]:
    return (frame.seq, frame.timestamp_ms, frame.voltage_v, frame.current_a, frame.session)


async def test_play_keeps_the_pace(tmp_path: Path) -> None:
    wire, notes = Wire(HandClock(11.0)), Notes()
    file = io.StringIO()
    recorder = Recorder(file, Choices())
    await run(wire, notes, tap=lambda spoken: recorder.start(spoken).tap)
    lines = file.getvalue().splitlines()
    assert len(lines) > 30
    recording = read_text(tmp_path, file.getvalue())
    clock = HandClock(1e9)
    await play(recording, gateway(Notes()), clock, speed=10.0)
    assert clock.now_s == pytest.approx(1.0, abs=0.1)


def read_text(folder: Path, text: str) -> Recording:
    path = folder / "a.frames"
    path.write_text(text)
    return read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a recording"),
        ('{"cellpulse_frames": 9, "protocol": "jbd"}', "another version"),
        ('{"cellpulse_frames": 1, "protocol": "jbd", "choices": {"colour": 1}}', "colour"),
        ('{"cellpulse_frames": 1, "protocol": "jbd"}\n{"t": 1, "rx": "zz"}', "line 2"),
        ('{"cellpulse_frames": 1, "protocol": "jbd"}\n{"t": "1", "rx": "00"}', "milliseconds"),
        ('{"cellpulse_frames": 1, "protocol": "jbd"}\n{"t": 1}', "line 2"),
        ('{"cellpulse_frames": 1, "protocol": "jbd"}\n[1]', "line 2"),
        (
            '{"cellpulse_frames": 1, "protocol": "jbd"}\n{"cellpulse_frames": 1, "protocol": "jk"}',
            "another protocol, jk",
        ),
    ],
)
def test_a_file_that_is_no_recording(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        read_text(tmp_path, text)


def test_a_recording_that_was_appended_to(tmp_path: Path) -> None:
    header = '{"cellpulse_frames": 1, "protocol": "jbd"}\n'
    recording = read_text(
        tmp_path, f'{header}{{"t": 1, "rx": "00"}}\n{header}{{"t": 2, "tx": "01"}}'
    )
    assert [event.t_ms for event in recording.events] == [1, 2]
    assert is_recording(tmp_path / "a.frames")
    assert not is_recording(tmp_path / "none")
    (tmp_path / "b.csv").write_text("time_s,voltage_v\n")
    assert not is_recording(tmp_path / "b.csv")


@pytest.mark.parametrize("name", NAMES)
async def test_a_pack_that_does_not_know_its_charge(name: str) -> None:
    wire, notes = Wire(HandClock(2.0), name), Notes()
    wire.pack = replace(PACK, soc=None)
    await run(wire, notes, name)
    assert notes.frames[0].device_soc is None


def test_config_of_a_board_that_does_not_say_its_capacity() -> None:
    notes = Notes()
    silent = replace(PACK, nominal_capacity_ah=None, soc=0.1)
    sink = gateway(notes)
    sink.reading(silent, START_MS)
    assert notes.configs == []
    # From a fifth of charge on, remaining charge over SOC is good enough.
    sink.reading(replace(silent, soc=0.4, remaining_capacity_ah=41.3), START_MS + 1)
    assert notes.configs[0].nominal_capacity_ah == 103.2
    assert "remaining charge over SOC" in notes.configs[0].provenance.source
    told = Notes()
    gateway(told, capacity_ah=98.0, chemistry="LFP").reading(PACK, START_MS)
    assert told.configs[0].nominal_capacity_ah == 98.0
    limits = told.configs[0].limits
    assert (limits.voltage_min_v, limits.voltage_max_v, limits.charge_voltage_v) == (2.5, 3.65, 3.5)
    with pytest.raises(MappingError, match="expected one of LFP"):
        gateway(Notes(), chemistry="NiMH").reading(PACK, START_MS)


def test_limits_are_those_the_board_enforces() -> None:
    from bridge.device import config_of
    from bridge.reading import Identity

    identity = Identity(
        chemistry="LFP",
        cell_voltage_max_v=3.6,
        cell_voltage_min_v=2.9,
        charge_current_max_a=50.0,
        discharge_current_max_a=100.0,
        temperature_max_c=55.0,
        temperature_min_c=-10.0,
    )
    config = config_of(identity, PACK, AssetOptions("pack1", "gw1"))
    assert config is not None
    limits = config.limits
    assert (limits.voltage_max_v, limits.voltage_min_v) == (3.6, 2.9)
    assert (limits.charge_voltage_v, limits.discharge_voltage_v) == (3.5, 2.9)
    assert (limits.charge_current_max_a, limits.discharge_current_max_a) == (50.0, 100.0)
    assert (limits.temperature_max_c, limits.temperature_min_c) == (55.0, -10.0)
    assert decode(AssetConfig, encode(config)) == config
    # Nonsense from a board never makes a config that the contract refuses.
    odd = replace(identity, cell_voltage_max_v=2.0, cell_voltage_min_v=9.0, temperature_min_c=99.0)
    config = config_of(odd, PACK, AssetOptions("pack1", "gw1"))
    assert config is not None
    assert decode(AssetConfig, encode(config)) == config


def test_system_clock() -> None:
    clock = SystemClock()
    assert clock.wall_ms() > START_MS
    assert clock.monotonic_s() <= clock.monotonic_s()


def test_board_of_unknown_protocol() -> None:
    with pytest.raises(MappingError, match="expected one of"):
        Board("ant", lambda: PACK)


def test_boards_ignore_noise_and_other_requests() -> None:
    for name in NAMES:
        board = Board(name, lambda: PACK)
        assert board.receive(b"\x00\x13\xdd\xa5\xd2\x4e") == []
    jbd_board = Board("jbd", lambda: PACK)
    (refused,) = jbd_board.receive(bytes.fromhex("dda5aa00ff5677"))
    assert refused[2] == 0x80
    assert Board("daly", lambda: PACK).receive(bytes.fromhex("a5405908000000000000000046")) == []
