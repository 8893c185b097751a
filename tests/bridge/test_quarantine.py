"""What a bridge cannot use is set aside with its reason, and the bridge goes on.

One test a kind of bridge injects a decoder that raises and sees the next reading published.
"""

from __future__ import annotations

import asyncio
import io
import logging
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge import jbd, run_ble, sparkplug
from bridge.ble import reading_of
from bridge.conversation import Ask, Conversation
from bridge.device import Told
from bridge.errors import FrameError
from bridge.gateway import Gateway
from bridge.jbd import JBD
from bridge.mapping import Mapping, Rule
from bridge.modbus_map import RegisterMap, Value
from bridge.poller import Poller
from bridge.presets import preset
from bridge.protocols import Choices
from bridge.publisher import Publisher
from bridge.quarantine import CLEAR_S, KEPT, Quarantine
from bridge.reading import Identity, Reading, plausible
from bridge.recording import Recorder, play, read
from bridge.run_ble import BleReader
from bridge.run_can import CanListener, open_database
from bridge.run_modbus import ModbusReader
from bridge.run_translate import Assets, Listener
from bridge.settings import TranslateSettings
from bridge.translate import Timing, Translator
from monitor.contract import Topics
from tests.bridge.test_ble import SAMPLE
from tests.bridge.test_fieldbus import CAN_FRAMES, DBC, REGISTERS
from tests.bridge.test_fieldbus import PACK as RACK
from tests.bridge.test_poller import PACK, HandClock, Notes, Wire
from tests.bridge.test_serial import Awaited
from tests.bridge.test_translate import NOW
from tests.bridge_brokers import ear, embedded


class Aside(Quarantine):
    """A quarantine that keeps what it tells."""

    def __init__(self) -> None:
        super().__init__(lambda *told: self.told.append(told))
        self.told: list[tuple[str, bool, str]] = []

    def reasons(self) -> list[str]:
        return [said.reason for said in self.newest]


def once(work: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which raises what nobody foresaw at its second call."""
    calls = [0]

    def raising(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise ZeroDivisionError("injected")
        return work(*args, **kwargs)

    return raising


def test_counted_logged_at_powers_of_ten_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    aside = Aside()
    with caplog.at_level(logging.WARNING, "cellpulse.bridge"):
        for number in range(250):
            aside.set_aside(f"cell {number}: no number", "a/topic", b"\x01\x02", "pack1")
        aside.set_aside(FrameError("cut off"), "b\n\x1b[2J/topic", b"x" * 500)
    assert aside.count == 251
    assert [record.args[1] for record in caplog.records] == [1, 10, 100, 1]  # type: ignore[index]  # a tuple
    assert len(aside.newest) == KEPT
    last = aside.newest[-1]
    assert (last.reason, last.source, len(last.start)) == ("cut off", "b ?[2J/topic", 64)
    assert aside.counters()["set_aside"] == 251
    assert aside.told == [("pack1", True, "cell 0: no number")]


def test_a_hostile_source_makes_no_endless_kinds() -> None:
    aside = Aside()
    for number in range(5_000):
        aside.set_aside("".join(chr(97 + int(digit)) for digit in str(number)), "t")
    assert aside.count == 5_000
    assert len(aside._kinds) <= 1_001


async def test_the_alarm_ends_after_a_minute_without_another() -> None:
    aside, clock = Aside(), HandClock(130.0)
    aside.set_aside("first", "t", asset="pack1")
    aside.pass_time(CLEAR_S - 1)
    aside.set_aside("second", "t", asset="pack1")
    assert aside.alarmed("pack1")
    with pytest.raises(asyncio.CancelledError):
        await aside.run(clock)
    assert aside.told == [
        ("pack1", True, "first"),
        ("pack1", False, "nothing was set aside for 60 s"),
    ]
    aside.set_aside("third", "t", asset="pack1")
    aside.clear()
    assert [active for _, active, _ in aside.told] == [True, False, True, False]


def test_what_nobody_foresaw_names_its_place(caplog: pytest.LogCaptureFixture) -> None:
    aside = Aside()
    for _ in range(2):
        with aside.guard("t"):
            raise ZeroDivisionError("injected")
    assert aside.reasons()[0].startswith("ZeroDivisionError at test_quarantine.py:")
    assert caplog.text.count("Traceback") == 1


def test_text_that_no_encoder_takes_is_told() -> None:
    aside = Aside()
    aside.set_aside("\ud800 is no number", "\ud800/topic", asset="pack1")
    assert aside.told == [("pack1", True, "? is no number")]


async def until_enough(reader: Callable[[], Any], notes: Awaited) -> None:
    """Run a reader until as many frames came as are awaited."""
    task = asyncio.ensure_future(reader())
    async with asyncio.timeout(20):
        await notes.enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def injected(aside: Aside, asset: str = "pack1") -> bool:
    return "injected" in "".join(aside.reasons()) and (asset, True) in [t[:2] for t in aside.told]


async def test_a_serial_board(monkeypatch: pytest.MonkeyPatch) -> None:
    notes, aside = Awaited(3), Aside()
    wire = Wire(HandClock(60.0))
    poller = Poller(
        wire.open,
        "jbd",
        Gateway(notes, Told("pack1", "gw1"), "s1", quarantine=aside),
        wire.clock,
        quarantine=aside,
        asset="pack1",
    )
    monkeypatch.setattr("bridge.jbd.decode", once(jbd.decode))
    await until_enough(poller.run, notes)
    assert injected(aside)
    assert notes.frames[-1].current_a == -12.5
    assert poller.counters.bad_frames == 1
    assert wire.bauds == [9_600]  # the port stayed open


async def test_a_board_that_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    notes, aside = Awaited(3), Aside()
    wire = Wire(HandClock(120.0), "daly")
    poller = Poller(
        wire.open,
        "auto",
        Gateway(notes, Told("pack1", "gw1"), "s1", quarantine=aside),
        wire.clock,
        quarantine=aside,
    )

    wire.echo = True  # so that it hears something in every protocol

    def broken(received: bytes) -> tuple[bytes | None, int]:
        raise IndexError("injected")

    monkeypatch.setattr("bridge.protocols.JBD", replace(JBD, split=broken))
    await until_enough(poller.run, notes)
    assert "injected" in "".join(aside.reasons())


async def test_a_played_recording(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wire, notes, aside = Wire(HandClock(6.0)), Notes(), Aside()
    file = io.StringIO()
    recorder = Recorder(file, wire_choices := Choices())
    recorded = Poller(
        wire.open,
        "jbd",
        Gateway(Notes(), Told("pack1", "gw1"), "s1", wire_choices),
        wire.clock,
        tap=lambda spoken: recorder.start(spoken).tap,
    )
    with pytest.raises(asyncio.CancelledError):
        await recorded.run()
    path = tmp_path / "pack.frames"
    path.write_text(file.getvalue())
    monkeypatch.setattr("bridge.jbd.decode", once(jbd.decode))
    sink = Gateway(notes, Told("pack1", "gw1"), "s1", quarantine=aside)
    counters = await play(read(path), sink, wire.clock, None, None, aside, "pack1")
    assert injected(aside)
    assert counters.bad_frames == 1
    assert len(notes.frames) == recorded.counters.polls - 1


async def test_a_decoder_that_never_reads_does_not_play_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "pack.frames"
    path.write_text('{"cellpulse_frames": 1, "protocol": "jbd"}\n{"t": 1, "tx": "00"}\n')
    recording = read(path)

    def nothing() -> Conversation[Identity]:
        raise ZeroDivisionError("injected")
        yield Ask(b"", bool)  # type: ignore[unreachable]  # makes it a generator

    broken = replace(JBD, identify=nothing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge.recording.protocol", lambda *_: broken)
        with pytest.raises(ZeroDivisionError):
            await play(recording, Gateway(Notes(), Told("p", "g"), "s"), HandClock(1.0), None)


class Talking:
    """Like aiobmsble's object for a board that stays."""

    async def __aenter__(self) -> Talking:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def device_info(self) -> dict[str, str]:
        return {"model": "JK"}

    async def async_update(self, raw: bool = False) -> dict[str, Any]:
        return SAMPLE


async def test_a_bluetooth_board(monkeypatch: pytest.MonkeyPatch) -> None:
    notes, aside, found = Awaited(3), Aside(), [0]

    async def find() -> Talking:
        found[0] += 1
        return Talking()

    sink = Gateway(notes, Told("boat", "gw1"), "s1", quarantine=aside)
    reader = BleReader(find, sink, HandClock(60.0), quarantine=aside, asset="boat")
    monkeypatch.setattr(run_ble, "reading_of", once(reading_of))
    await until_enough(reader.run, notes)
    assert injected(aside, "boat")
    assert found == [1]  # it was not looked for again


class Answers:
    """Like pymodbus's client, at a device that answers."""

    async def connect(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""

    async def read_holding_registers(self, address: int, count: int, device_id: int) -> Any:
        class Answer:
            def __init__(self) -> None:
                self.registers = [REGISTERS.get(address + n, 0) for n in range(count)]

            def isError(self) -> bool:  # noqa: N802 — pymodbus's name
                return False

        return Answer()


async def test_a_modbus_device(monkeypatch: pytest.MonkeyPatch) -> None:
    notes, aside = Awaited(3), Aside()
    registers = RegisterMap([Value("pack_voltage_v", 202, type="f32")])
    sink = Gateway(notes, Told("rack1", "gw1"), "s1", quarantine=aside)
    reader = ModbusReader(
        Answers, registers, sink, HandClock(60.0), quarantine=aside, asset="rack1"
    )
    monkeypatch.setattr(RegisterMap, "reading", once(RegisterMap.reading))
    await until_enough(reader.run, notes)
    assert injected(aside, "rack1")
    assert notes.frames[-1].pack_voltage_v == 13.25
    assert False not in notes.states


async def test_a_modbus_client_that_raises_what_it_should_not() -> None:
    notes, aside = Awaited(3), Aside()
    sink = Gateway(notes, Told("rack1", "gw1"), "s1", quarantine=aside)
    raising = [True]

    class Broken(Answers):
        async def read_holding_registers(self, address: int, count: int, device_id: int) -> Any:
            if raising.pop() if raising else False:
                raise struct.error("injected")
            return await super().read_holding_registers(address, count, device_id)

    registers = RegisterMap([Value("pack_voltage_v", 202, type="f32")])
    reader = ModbusReader(Broken, registers, sink, HandClock(60.0), quarantine=aside, asset="rack1")
    await until_enough(reader.run, notes)
    assert injected(aside, "rack1")
    assert reader.counters.reopened == 1


def can_listener(tmp_path: Path, notes: Notes, aside: Aside, channel: str) -> CanListener:
    path = tmp_path / "pack.dbc"
    path.write_text(DBC)
    rules = (
        Rule("PackStatus/PackVoltage", "pack_voltage_v"),
        Rule("Cells/Cell{n}", "cell_voltage_v"),
    )
    return CanListener(
        "virtual",
        channel,
        None,
        open_database(path),
        Translator(Mapping("m", rules), Timing(settle_ms=1, longest_ms=2), "truck"),
        Gateway(notes, Told("truck", "gw1"), "s1", quarantine=aside),
        60_000,
        aside,
        "truck",
    )


async def test_a_can_bus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import can

    notes, aside = Awaited(3), Aside()
    listening = can_listener(tmp_path, notes, aside, "cellpulse-quarantine")
    monkeypatch.setattr(CanListener, "decode", once(CanListener.decode))
    task = asyncio.create_task(listening.run())
    with can.Bus(interface="virtual", channel="cellpulse-quarantine") as bus:
        async with asyncio.timeout(20):
            while not notes.enough.is_set():
                for identifier, data in CAN_FRAMES:
                    bus.send(
                        can.Message(arbitration_id=identifier, data=data, is_extended_id=False)
                    )
                await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert injected(aside, "truck")
    assert notes.frames[-1].pack_voltage_v == 356.7


async def test_a_can_bus_that_fails_is_opened_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import can

    notes, aside = Awaited(1), Aside()
    listening = can_listener(tmp_path, notes, aside, "cellpulse-failing")
    frames = [*CAN_FRAMES[:1], None, *CAN_FRAMES[:1]]
    opened = [0]

    class Failing:
        """A bus whose adapter is unplugged once."""

        def __init__(self, **_: Any) -> None:
            opened[0] += 1

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def recv(self, timeout: float) -> Any:
            if not frames:
                return None
            frame = frames.pop(0)
            if frame is None:
                raise can.CanOperationError("unplugged")
            return can.Message(arbitration_id=frame[0], data=frame[1], is_extended_id=False)

    monkeypatch.setattr(can, "Bus", Failing)
    await until_enough(listening.run, notes)
    assert opened == [2]
    assert False in notes.states


class Message:
    """Like aiomqtt's."""

    def __init__(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.topic, self.payload, self.retain = topic, payload, retain


def listening(notes: Notes, aside: Aside, mapping: Mapping) -> Listener:
    settings = TranslateSettings(asset="", gateway="gw1")
    return Listener(
        None,  # type: ignore[arg-type]  # no broker is asked
        mapping,
        Translator(mapping, Timing(settle_ms=0)),
        Assets(notes, settings, mapping.name, aside),
        aside,
    )


def test_a_translator(monkeypatch: pytest.MonkeyPatch) -> None:
    notes, aside = Notes(), Aside()
    listener = listening(notes, aside, preset("batmon-ha"))
    monkeypatch.setattr(Translator, "receive", once(Translator.receive))
    edge = sparkplug.Edge()
    for second in range(4):
        now_ms = NOW + 1_000 * second
        listener._take(Message("a/soc/current", b"5"), edge, now_ms)  # type: ignore[arg-type]  # a fake message
        for told in listener.translator.due(now_ms):
            listener._tell(told)
    assert len(notes.frames) == 3
    assert injected(aside, "a")
    # Of an asset that never had a reading no alarm is told: anybody can name any number of them.
    listener._take(Message("b/soc/current", b"x"), edge, NOW)  # type: ignore[arg-type]  # a fake message
    assert [asset for asset, _, _ in aside.told] == ["a"]


def test_a_gateway_sends_nothing_that_the_contract_refuses() -> None:
    notes, aside = Notes(), Aside()
    gateway = Gateway(notes, Told("pack1", "gw1"), "s1", quarantine=aside)
    gateway.reading(PACK, -5)
    gateway.reading(replace(PACK, current_a=float("nan"), pack_voltage_v=1e300), NOW)
    assert [(frame.current_a, frame.pack_voltage_v) for frame in notes.frames] == [(None, None)]
    assert aside.told[0][:2] == ("pack1", True)
    assert "timestamp_ms" in aside.reasons()[0]
    assert "current_a: nan cannot be used" in aside.reasons()


def test_readings_that_no_battery_has() -> None:
    infinite = float("inf")
    reading, unusable = plausible(
        Reading(
            cell_voltage_v=(3.3, infinite, None, *(3.3,) * 5_000),
            temperature_c=(-1e9, 20.0),
            soc=1.5,
            soh=float("nan"),
            remaining_capacity_ah=1e30,
            alarms=tuple(f"a{n}" for n in range(100)),
        )
    )
    assert reading.cell_voltage_v[:4] == (3.3, None, None, 3.3)
    assert len(reading.cell_voltage_v) == 4_096
    assert reading.temperature_c == (None, 20.0)
    assert (reading.soc, reading.soh, reading.remaining_capacity_ah) == (None, None, None)
    assert len(reading.alarms) == 64
    assert len(unusable) == 6
    assert plausible(PACK) == (PACK, [])
    assert plausible(RACK) == (RACK, [])


async def test_the_alarm_and_the_metrics_reach_the_broker(free_port: int) -> None:
    with embedded(free_port):
        from bridge.serve import serve
        from bridge.settings import address_of

        outbox = Publisher(
            address_of(f"127.0.0.1:{free_port}"),
            Topics("bms"),
            "gw1",
            metrics_s=0.05,
            wall_ms=lambda: NOW,
        )
        aside = Quarantine(outbox.quarantined)
        stop = asyncio.Event()

        async def reader() -> None:
            aside.set_aside("a bad frame", "daly", b"\xa5", "pack1")
            await stop.wait()

        async with ear(free_port, "bms/#") as heard:
            served = asyncio.create_task(serve(outbox, [reader], ["pack1"], stop, quarantine=aside))
            topic = "bms/pack1/device_alarm"
            await heard.until(lambda: bool(heard.on(topic)))
            metrics = "bms/_gateway/gw1/metrics"
            await heard.until(lambda: b'"set_aside":1' in b"".join(heard.on(metrics)))
            assert b'"set_aside_newest":"daly: a bad frame"' in heard.on(metrics)[-1]
            stop.set()
            await served
            await heard.until(lambda: len(heard.on(topic)) == 2)
        first, last = heard.on(topic)
        assert b'"name":"input_quarantined","active":true' in first
        assert b'"active":false' in last
