"""Decoders against their documents: what is asked, what is refused, and any bytes at all.

The literal frames are recordings or test frames published by patman15/aiobmsble (Apache-2.0),
syssi/esphome-jbd-bms (Apache-2.0) and fl4p/batmon-ha (MIT).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import daly, daly_d2, jbd, jk, jk_ble
from bridge.conversation import Ask, FrameBuffer, Split, finish
from bridge.crc import crc16_modbus
from bridge.errors import FrameError, MappingError
from bridge.protocols import NAMES, Choices, chosen, protocol
from bridge.reading import Identity, Reading, fraction, names_of, text

# syssi/esphome-jbd-bms docs/pdus/JBD-SP04S034-L4S-200A-B-U.txt, captured, Apache-2.0
JBD_STATE = bytes.fromhex(
    "dd03001d0618000001f201f400002c7c00000000000080640304030b8b0b8a0b84fa8d77"
)
JBD_CELLS = bytes.fromhex("dd0400080f450f3d0f370f3dfec677")
# patman15/aiobmsble tests/bms/test_daly_bms.py, Apache-2.0
D2_STATE = bytes.fromhex(
    "d2037c101f10291033103d"
    + "00" * 56
    + "003c003d003e003f0000000000000000008c754e0384103d101f0000000000000d80000400040039"
    "000100000001102e0141002a0000000000000000a0df"
)
# fl4p/batmon-ha bmslib/test/data/jk_uart_fixtures.py, from jblance/mpp-solar, MIT
JK_STATE = bytes.fromhex(
    "4e57011b00000000030001792a010f90020f91030f94040f8e050f92060f91070f91080f91090f930a0f8e0b0f91"
    "0c0f900d0f900e0f8d80002181001c82001e8315ca8481c58564860287001989000016da8a000e8b00008c00038e"
    "16b28f10f4901036911004920005930c1c940c8095000596012c97006e98012c9900559a001e9b0bb89c00329d01"
    "9e005a9f0046a00064a10064a20014a3003ca4003ca50001a60003a7ffeca8fff6a90eaa000000eaab01ac01ad04"
    "37ae01af01b0000ab114b231323334353600000000b300b4496e707574205573b532333036b6000182e3b731312e"
    "58575f5331312e3236315f5fb800b9000000eaba496e707574205573657264614a4b5f423141323053313550c001"
    "0000000068000051d6"
)


def jk_ble_state(layout: jk_ble.Layout, cells_mv: list[int], **at: tuple[str, int]) -> bytes:
    """A state frame with these cells; `at` maps `b<offset>` to (struct format, value)."""
    frame = bytearray(299)
    frame[:6] = jk_ble.HEAD + bytes((jk_ble.STATE, 7))
    struct.pack_into(f"<{len(cells_mv)}H", frame, 6, *cells_mv)
    place = {"24s": (54, 58), "32s": (70, 74)}[layout]
    struct.pack_into("<I", frame, place[0], (1 << len(cells_mv)) - 1)
    struct.pack_into("<H", frame, place[1], sum(cells_mv) // len(cells_mv))
    for name, (form, value) in at.items():
        struct.pack_into("<" + form, frame, int(name[1:]), value)
    return jk_ble.seal(bytes(frame))


JK_24S = jk_ble_state("24s", [3300] * 16)
SPLITS: dict[str, tuple[Split, bytes]] = {
    "jbd": (jbd.split, JBD_STATE),
    "daly": (daly.split, daly.reply(daly.STATE, bytes.fromhex("0108000075620311"))),
    "daly-d2": (daly_d2.split, D2_STATE),
    "jk": (jk.split, JK_STATE),
    "jk-pb": (jk_ble.split, JK_24S),
}
DECODERS: dict[str, Callable[[bytes], object]] = {
    "jbd state": lambda raw: jbd.decode(raw, JBD_CELLS),
    "jbd cells": lambda raw: jbd.decode(JBD_STATE, raw),
    "jbd identity": lambda raw: jbd.decode_identity(raw, raw),
    "daly state": daly.decode_state,
    "daly switches": daly.decode_switches,
    "daly counts": daly.decode_counts,
    "daly cells": lambda raw: daly.decode_numbered([raw], daly.CELLS, 3),
    "daly d2": daly_d2.decode,
    "daly d2 identity": lambda raw: daly_d2.decode_identity(D2_STATE, raw, raw),
    "jk": jk.decode,
    "jk identity": jk.decode_identity,
    "jk ble": jk_ble.decode,
    "jk ble 14": lambda raw: jk_ble.decode(raw, "14.20"),
    "jk ble names": lambda raw: jk_ble.decode_identity(raw, None, None),
    "jk ble settings": lambda raw: jk_ble.decode_identity(None, raw, None),
}


def test_requests_are_those_of_the_documents() -> None:
    # esphome-jbd-bms and dbus-serialbattery write these bytes out.
    assert jbd.request(0x03).hex() == "dda50300fffd77"
    assert jbd.request(0x04).hex() == "dda50400fffc77"
    assert jbd.request(0x05).hex() == "dda50500fffb77"
    # batmon-ha: the sum worked out apart from its builder.
    assert daly.request(0x90).hex() == "a5409008aaaaaaaaaaaaaaaacd"
    assert daly.request(0x90, board=2).hex() == "a5419008aaaaaaaaaaaaaaaace"
    # batmon-ha daly2.py
    assert daly_d2.request(0, 62).hex() == "d2030000003ed7b9"
    # esphome-jk-bms jk_modbus.cpp
    assert jk.request().hex() == "4e5700130000000006030000000000006800000129"
    # dbus-serialbattery jkbms_pb.py
    assert jk_ble.request(0x1620).hex() == "011016200001020000d6f1"


def test_crc_check_value() -> None:
    # The check value of CRC-16/MODBUS over "123456789" is 0x4B37.
    assert crc16_modbus(b"123456789") == b"\x37\x4b"


def answering(**frames: list[bytes]) -> Callable[[Ask], list[bytes]]:
    """A board that answers each ask with those of its frames that the ask accepts."""
    held = [frame for group in frames.values() for frame in group]

    def answer(ask: Ask) -> list[bytes]:
        found = [frame for frame in held if ask.answers(frame)][: ask.count]
        assert len(found) == ask.count or ask.optional
        return found

    return answer


def test_jbd_conversation_lives_without_a_name() -> None:
    board = answering(all=[JBD_STATE, JBD_CELLS])
    spoken = protocol("jbd")
    assert finish(spoken.poll(), board).cell_voltage_v == (3.909, 3.901, 3.895, 3.901)
    assert finish(spoken.identify(), board).model is None


def test_daly_conversation_whole_board() -> None:
    # By hand from the document: 26.4 V, 30050 -> 5.0 A discharging, 78.5 %; 8 cells in three
    # frames, the ninth value is padding; 1 sensor of 61 - 40; faults: byte 0 bit 3 and byte 6
    # bit 2.
    mv = [3301, 3302, 3303, 3304, 3305, 3306, 3307, 3308, 0]
    cells = [
        daly.reply(daly.CELLS, struct.pack(">B3Hx", n + 1, *mv[3 * n : 3 * n + 3]))
        for n in range(3)
    ]
    board = answering(
        counts=[daly.reply(daly.COUNTS, bytes.fromhex("08010000020035dc"))],
        state=[daly.reply(daly.STATE, bytes.fromhex("0108000075620311"))],
        cells=[cells[1], cells[0], cells[2]],  # the order on the wire does not matter
        temperatures=[daly.reply(daly.TEMPERATURES, bytes.fromhex("013dffffffffffff"))],
        switches=[daly.reply(daly.SWITCHES, bytes.fromhex("010101ca0003dd38"))],
        faults=[daly.reply(daly.FAULTS, bytes.fromhex("0800000000000400"))],
        rated=[daly.reply(daly.RATED, struct.pack(">II", 280_000, 3_200))],
    )
    assert finish(protocol("daly").poll(), board) == Reading(
        cell_voltage_v=(3.301, 3.302, 3.303, 3.304, 3.305, 3.306, 3.307, 3.308),
        temperature_c=(21.0,),
        current_a=-5.0,
        pack_voltage_v=26.4,
        soc=0.785,
        remaining_capacity_ah=253.24,
        cycles=53,
        charge_enabled=True,
        discharge_enabled=True,
        alarms=("cell_undervoltage_2", "short_circuit"),
    )
    identity = finish(protocol("daly").identify(), board)
    assert (identity.cells, identity.nominal_capacity_ah) == (8, 280.0)


def test_daly_missing_cell_frame() -> None:
    one = daly.reply(daly.CELLS, struct.pack(">B3Hx", 1, 3300, 3300, 3300))
    with pytest.raises(FrameError, match="frames \\[1\\] of 0x95, 1 to 2"):
        daly.decode_numbered([one, one], daly.CELLS, 4)
    with pytest.raises(FrameError, match="no reply to 0x94"):
        daly.decode({})


def test_daly_alarm_places() -> None:
    # The document's bytes of 0x98: each name at (byte, bit).
    places = {
        "cell_overvoltage_1": (0, 0),
        "pack_undervoltage_2": (0, 7),
        "discharge_undertemperature_2": (1, 7),
        "soc_low_2": (2, 7),
        "temperature_difference_2": (3, 3),
        "charge_mosfet_overtemperature": (4, 0),
        "discharge_mosfet_open": (4, 7),
        "internal_communication_failure": (5, 7),
        "low_voltage_no_charging": (6, 3),
    }
    assert {name: divmod(daly.ALARMS.index(name), 8) for name in places} == places


def test_daly_d2_settings() -> None:
    values = [0] * daly_d2.SETTINGS_COUNT
    values[0x00], values[0x09] = 2_800, 0
    values[0x0C], values[0x0E] = 3_650, 2_500
    values[0x14], values[0x16] = 30_000 - 1_000, 30_000 + 1_500
    frame = daly_d2.reply(struct.pack(f">{len(values)}H", *values))
    identity = daly_d2.decode_identity(D2_STATE, frame, None)
    assert (identity.chemistry, identity.nominal_capacity_ah) == ("LFP", 280.0)
    assert (identity.cell_voltage_max_v, identity.cell_voltage_min_v) == (3.65, 2.5)
    assert (identity.charge_current_max_a, identity.discharge_current_max_a) == (100.0, 150.0)
    unset = daly_d2.reply(bytes(2 * daly_d2.SETTINGS_COUNT))
    assert daly_d2.decode_identity(D2_STATE, unset, None) == Identity(
        chemistry="LFP", cells=4, alarm_names=daly_d2.ALARM_NAMES
    )


def rewrite_jk(tag: int, value: bytes) -> bytes:
    """The recorded JK frame with another value of the same width."""
    body = JK_STATE[11:-9]
    at = body.index(bytes((tag,)), 44)
    return jk.reply(body[: at + 1] + value + body[at + 1 + len(value) :])


@pytest.mark.parametrize(
    ("raw", "by_document", "by_batmon"),
    [(99, 99.0, 99.0), (100, 100.0, -1.0), (101, -1.0, -2.0), (140, -40.0, -41.0)],
)
def test_jk_cold_is_a_choice(raw: int, by_document: float, by_batmon: float) -> None:
    frame = rewrite_jk(0x81, raw.to_bytes(2, "big"))
    assert jk.decode(frame).temperature_c[0] == by_document
    assert jk.decode(frame, cold_zero=99).temperature_c[0] == by_batmon
    spoken = protocol("jk", Choices(jk_cold_zero=99))
    assert finish(spoken.poll(), lambda _: [frame]).temperature_c[0] == by_batmon


def test_jk_current() -> None:
    assert jk.decode(rewrite_jk(0x84, b"\x01\xc5")).current_a == -4.53
    assert jk.decode(rewrite_jk(0x84, b"\x81\xc5")).current_a == 4.53
    assert jk.decode(jk.reply(JK_STATE[11:-9][:-2] + b"\xc0\x00")).current_a is None


def test_jk_stops_at_a_tag_of_newer_firmware() -> None:
    frame = jk.reply(JK_STATE[11:-9] + b"\xd9\x01\x02\x03")
    assert jk.decode(frame) == jk.decode(JK_STATE)
    with pytest.raises(FrameError, match="0x83 is missing"):
        jk.decode(jk.reply(JK_STATE[11:55] + b"\xd9\x01"))
    with pytest.raises(FrameError, match="cut off"):
        jk.decode(jk.reply(JK_STATE[11:-9] + b"\xba\x01"))


def test_jk_cells_must_be_numbered() -> None:
    with pytest.raises(FrameError, match="not numbered from 1"):
        jk.decode(jk.reply(b"\x79\x06\x02\x0f\x90\x01\x0f\x91" + JK_STATE[55:-9]))


def test_jk_ble_alarm_bits_in_both_layouts() -> None:
    # esphome-jk-bms names the 24-cell word by its bytes: 0x10 0x00 cell overvoltage, 0x00 0x08
    # cell undervoltage; the register sheet numbers the same bits 4 and 11 of a 32-bit word.
    old = jk_ble_state("24s", [3300] * 4, b136=("H", 0x0810))
    new = jk_ble_state("32s", [3300] * 4, b166=("I", 0x0810))
    for frame in (old, new):
        assert jk_ble.decode(frame).alarms == ("cell_overvoltage", "cell_undervoltage")
    notice = jk_ble_state("32s", [3300] * 4, b166=("I", 1 << 19))
    assert jk_ble.decode(notice).alarms == ()


def test_jk_ble_missing_sensor_and_negative_temperature() -> None:
    frame = jk_ble_state("32s", [3300] * 4, b162=("h", -2000), b164=("h", -55))
    assert jk_ble.decode(frame).temperature_c == (None, -5.5)


def test_jk_ble_unclear_layout_is_refused() -> None:
    with pytest.raises(FrameError, match="neither"):
        jk_ble.decode(jk_ble_state("24s", [3300] * 4, b58=("H", 5)))


def test_jk_pb_conversation_uses_the_firmware_it_was_told() -> None:
    names = bytearray(299)
    names[:5] = jk_ble.HEAD + bytes((jk_ble.NAMES,))
    names[30:35] = b"15.38"
    state = jk_ble_state("32s", [3300] * 4, b256=("h", 195), b258=("h", 191))
    board = answering(names=[jk_ble.seal(bytes(names))], state=[state])
    spoken = protocol("jk-pb")
    assert finish(spoken.poll(), board).temperature_c == (0.0, 0.0)
    assert finish(spoken.identify(), board).firmware == "15.38"
    assert finish(spoken.poll(), board).temperature_c == (0.0, 0.0, 19.5, 19.1)


def test_invert_current() -> None:
    reading = Reading(current_a=3.0)
    assert chosen(reading, Choices()) == reading
    assert chosen(reading, Choices(invert_current=True)) == replace(reading, current_a=-3.0)
    assert chosen(Reading(), Choices(invert_current=True)).current_a is None


def test_protocols_by_name() -> None:
    assert [protocol(name).name for name in NAMES] == list(NAMES)
    with pytest.raises(MappingError, match="expected one of jbd"):
        protocol("seplos")
    with pytest.raises(MappingError, match="99 or 100"):
        protocol("jk", Choices(jk_cold_zero=0))
    with pytest.raises(MappingError, match="from 1 to 15"):
        protocol("daly", Choices(board=0))


def test_small_helpers() -> None:
    assert names_of(0b1001, ("a", "b")) == ("a", "bit_3")
    assert fraction(101) is None
    assert text(b"  ab\x01\xffc\0zz") == "abc"
    assert text(b"\0\0") is None


@pytest.mark.parametrize("name", SPLITS)
def test_frames_survive_any_cutting_and_noise(name: str) -> None:
    split, frame = SPLITS[name]
    # Noise that begins like a frame, on both sides, byte by byte and at once.
    noise = frame[: max(2, len(frame) // 3)]
    stream = b"\x00\xff\x77" + frame + frame + b"\x13\x37" + frame
    for step in (1, 2, 7, len(stream)):
        buffer = FrameBuffer(split)
        got = [
            found
            for at in range(0, len(stream), step)
            for found in buffer.feed(stream[at : at + step])
        ]
        assert got == [frame, frame, frame], step
    buffer = FrameBuffer(split)
    # A cut-off frame may swallow the next one's beginning, but never more than one frame.
    assert buffer.feed(noise + frame * 4)[-2:] == [frame, frame]


@pytest.mark.parametrize("name", SPLITS)
def test_a_damaged_byte_is_never_a_frame(name: str) -> None:
    split, frame = SPLITS[name]
    for at in range(len(frame)):
        if name == "jbd" and at == 1:
            continue  # JBD's checksum leaves out the command, which the conversation checks
        if name == "jk" and at in range(len(frame) - 4, len(frame) - 2):
            continue  # two bytes of JK that nothing covers, and that nothing reads
        for change in (0x01, 0x80, 0xFF):
            damaged = frame[:at] + bytes((frame[at] ^ change,)) + frame[at + 1 :]
            assert frame not in FrameBuffer(split).feed(damaged)
            assert damaged not in FrameBuffer(split).feed(damaged)


def test_buffer_is_bounded() -> None:
    buffer = FrameBuffer(lambda _: (None, 0), limit=100)
    assert buffer.feed(bytes(101)) == []
    assert buffer.dropped_bytes == 101
    assert buffer.feed(bytes(50)) == []
    buffer.clear()
    assert buffer.feed(bytes(60)) == []
    assert buffer.dropped_bytes == 101


@pytest.mark.parametrize("name", SPLITS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_split_of_any_bytes(name: str, data: st.DataObject) -> None:
    split, frame = SPLITS[name]
    pieces = st.one_of(
        st.binary(max_size=40),
        st.just(frame),
        st.integers(0, len(frame)).map(lambda cut: frame[:cut]),
    )
    received = b"".join(data.draw(st.lists(pieces, max_size=4)))
    found, used = split(received)
    assert 0 <= used <= len(received)
    if found is not None:
        assert received[used - len(found) : used] == found
        assert split(found) == (found, len(found))


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=320))
def test_no_decoder_raises_anything_but_its_own_error(name: str, raw: bytes) -> None:
    with pytest.raises(FrameError):
        DECODERS[name](raw)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_intact_frames_with_any_contents(data: st.DataObject) -> None:
    """A right checksum around nonsense: a reading or the decoder's own error, nothing else."""
    kind = data.draw(st.sampled_from(("jbd", "daly", "d2", "jk", "jk ble")))
    if kind == "jbd":
        raw = jbd.reply(data.draw(st.sampled_from((3, 4, 5))), data.draw(st.binary(max_size=80)))
    elif kind == "daly":
        command = data.draw(st.sampled_from((0x90, 0x93, 0x94, 0x95, 0x96, 0x98)))
        raw = daly.reply(command, data.draw(st.binary(min_size=8, max_size=8)))
    elif kind == "d2":
        raw = daly_d2.reply(data.draw(st.binary(min_size=124, max_size=124)))
    elif kind == "jk":
        body = data.draw(st.one_of(st.binary(max_size=100), st.just(JK_STATE[11:-9])))
        raw = jk.reply(body + data.draw(st.binary(max_size=9)))
    else:
        contents = data.draw(st.binary(min_size=294, max_size=294))
        raw = jk_ble.seal(jk_ble.HEAD + bytes((data.draw(st.integers(1, 3)),)) + contents)
    for decode in DECODERS.values():
        try:
            decode(raw)
        except FrameError:
            continue
