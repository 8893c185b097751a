"""Every recorded frame in, the whole expected reading out.

Where the expectations come from:
- JBD, JK 300-byte frames and Daly D2: the output of aiobmsble 0.29.0 (Apache-2.0) on the same
  bytes, run apart from this project, for all that it reports; alarm names and identities by hand
  from the sources that each decoder's docstring names. Where we differ from it on purpose, the
  line says so.
- JK UART: by hand from the JK document as esphome-jk-bms `jk_bms.cpp` quotes it (Apache-2.0).
- Daly A5: by hand from the Daly UART/485 document V1.2 (no intact capture exists in public).

The module is long because whole expected readings stand here, field by field.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge import daly, daly_d2, jbd, jk, jk_ble
from bridge.conversation import FrameBuffer
from bridge.errors import FrameError
from bridge.reading import Identity, Reading

BOTH_ON: dict[str, Any] = {"charge_enabled": True, "discharge_enabled": True, "balancing": False}

# aiobmsble's test frame, with a current and cycles written into syssi's capture.
JBD_4S = Reading(
    cell_voltage_v=(3.43, 3.425, 3.432, 3.417),
    temperature_c=(22.4, 22.3, 21.7),
    current_a=-2.87,
    pack_voltage_v=15.6,
    soc=1.0,
    remaining_capacity_ah=4.98,
    nominal_capacity_ah=5.0,
    cycles=42,
    **BOTH_ON,
)
JBD_SYSSI = replace(JBD_4S, cell_voltage_v=(3.909, 3.901, 3.895, 3.901), current_a=0.0, cycles=0)
JBD = "test_jbd_bms.py#"
SYSSI = "JBD-SP04S034-L4S-200A-B-U.txt#"
S16 = "JBD-SP25S003-L16S-100A-100A-B.txt#"

# (frame of the state, frame of the cells) -> reading
JBD_READINGS: dict[tuple[str, str], Reading] = {
    (JBD + "L109", JBD + "L114"): JBD_4S,
    (JBD + "L323", JBD + "L366"): replace(JBD_4S, alarms=("cell_overvoltage",)),
    (JBD + "L330", JBD + "L366"): replace(JBD_4S, alarms=("bit_15",)),
    (SYSSI + "0", SYSSI + "2"): JBD_SYSSI,
    (SYSSI + "1", SYSSI + "3"): replace(
        JBD_SYSSI,
        cell_voltage_v=(3.909, 3.902, 3.895, 3.901),
        temperature_c=(22.4, 22.2, 21.7),
    ),
    ("jbd_3cell_syssi_example", JBD + "L114"): replace(
        JBD_4S,
        temperature_c=(22.6, 22.5, 22.1),
        current_a=0.0,
        pack_voltage_v=15.59,
        remaining_capacity_ah=4.99,
        cycles=0,
    ),
    (S16 + "0", S16 + "1"): Reading(
        # aiobmsble leaves out a cell of 0 V, which would move the cells after it; it stays here.
        cell_voltage_v=(3.6,) * 15 + (0.0,),
        current_a=0.0,
        pack_voltage_v=0.0,
        soc=0.0,
        remaining_capacity_ah=0.0,
        nominal_capacity_ah=100.0,
        cycles=0,
        charge_enabled=True,
        discharge_enabled=False,
        balancing=False,
    ),
}

JK_CPP = "jk_bms_ble.cpp#"
V, W = 3.329, 3.327
JK_SYSSI = Reading(
    cell_voltage_v=(W, V, V, W, V, V, W, V, V, V, V, W, V, V, V, V),
    temperature_c=(19.0, 19.1),
    mos_temperature_c=21.0,
    current_a=0.0,
    pack_voltage_v=53.251,
    soc=0.84,
    soh=1.0,
    remaining_capacity_ah=68.494,
    nominal_capacity_ah=81.0,
    cycles=0,
    **BOTH_ON,
)
JK_PB = Reading(
    cell_voltage_v=(
        *(3.333, 3.326, 3.326, 3.329, 3.329, 3.325, 3.323, 3.329),
        *(3.324, 3.323, 3.326, 3.323, 3.32, 3.323, 3.323, 3.337),
    ),
    # aiobmsble lists 20.5 C (byte 254) as a second transistor sensor; it is left out here.
    temperature_c=(13.4, 12.8, 19.5, 19.1),
    mos_temperature_c=12.9,
    current_a=31.881,
    pack_voltage_v=53.224,
    soc=0.25,
    soh=1.0,
    remaining_capacity_ah=49.286,
    nominal_capacity_ah=200.0,
    cycles=9,
    **BOTH_ON,
)
JIKONG = "test_jikong_bms.py#"

# frame -> (the firmware that its board told, reading)
JK_READINGS: dict[str, tuple[str | None, Reading]] = {
    JIKONG + "L48": (
        "10.08",
        Reading(
            cell_voltage_v=(
                *(3.31, 3.314, 3.313, 3.312, 3.312, 3.308, 3.312, 3.309),
                *(3.309, 3.309, 3.309, 3.312, 3.313, 3.309, 3.31, 3.309),
            ),
            temperature_c=(18.1, 18.6),
            mos_temperature_c=22.8,
            current_a=2.329,
            pack_voltage_v=52.971,
            soc=0.56,
            soh=1.0,
            remaining_capacity_ah=113.245,
            nominal_capacity_ah=202.0,
            cycles=60,
            **BOTH_ON,
        ),
    ),
    JIKONG + "L88": (
        "11.48",
        Reading(
            cell_voltage_v=(3.315, 3.315, 3.315, 3.312, 3.313, 3.312, 3.313, 3.313),
            temperature_c=(28.4, 29.2),
            mos_temperature_c=31.0,
            current_a=-7.063,
            pack_voltage_v=26.509,
            soc=0.68,
            soh=1.0,
            remaining_capacity_ah=142.464,
            nominal_capacity_ah=210.0,
            cycles=21,
            **BOTH_ON,
        ),
    ),
    JIKONG + "L128": ("15.38", JK_PB),
    JIKONG + "L166": ("19.05", JK_PB),
    JIKONG + "L205": (
        "19.27",
        Reading(
            cell_voltage_v=(3.308, 3.312, 3.312, 3.307, 3.311, 3.311, 3.312, 3.309),
            temperature_c=(23.3, 23.6, 24.5, 24.0),
            mos_temperature_c=26.2,
            current_a=-12.684,
            pack_voltage_v=26.481,
            soc=0.78,
            soh=1.0,
            remaining_capacity_ah=244.296,
            nominal_capacity_ah=314.0,
            cycles=15,
            charge_enabled=True,
            discharge_enabled=True,
            balancing=True,
        ),
    ),
    # The firmware is not in the capture: the layout is found in the frame.
    "jk_issue365_status.bin": (
        None,
        Reading(
            cell_voltage_v=(3.357, 3.341, 3.354, 3.352),
            temperature_c=(30.0, 30.4),
            mos_temperature_c=37.4,
            current_a=33.292,
            pack_voltage_v=13.405,
            soc=0.66,
            soh=0.79,
            remaining_capacity_ah=165.5,
            nominal_capacity_ah=251.235,
            cycles=427,
            charge_enabled=True,
            discharge_enabled=True,
            balancing=True,
        ),
    ),
    JK_CPP + "L714": (None, JK_SYSSI),
    JK_CPP + "L718": (
        None,
        replace(
            JK_SYSSI,
            cell_voltage_v=(W, V, V, V, V, V, W, V, V, V, W, W, V, V, V, V),
            pack_voltage_v=53.252,
        ),
    ),
    JK_CPP + "L722": (
        None,
        replace(
            JK_SYSSI,
            cell_voltage_v=(W, V, V, W, V, V, W, V, V, V, W, W, V, V, V, V),
            pack_voltage_v=53.252,
        ),
    ),
    JK_CPP + "L726": (
        None,
        replace(
            JK_SYSSI,
            cell_voltage_v=(W, W, V, W, V, V, W, V, V, V, V, W, V, V, V, V),
            temperature_c=(19.1, 19.2),
            pack_voltage_v=53.249,
        ),
    ),
    JK_CPP + "L730": (
        None,
        replace(
            JK_SYSSI,
            cell_voltage_v=(V, V, V, V, V, V, W, V, V, V, V, W, V, V, V, V),
            temperature_c=(19.1, 19.2),
        ),
    ),
    JK_CPP + "L734": (
        None,
        replace(
            JK_SYSSI,
            cell_voltage_v=(W, V, V, V, V, V, W, V, V, V, W, W, V, V, V, V),
            temperature_c=(19.0, 19.2),
            pack_voltage_v=53.252,
        ),
    ),
}
# The serial number: 11 bytes at 86 (batmon-ha); aiobmsble shows the first 8 of them.
JK_IDENTITIES = {
    JIKONG + "L27": ("JK-B2A20S20P", "10.XG", "10.08", "2032816012"),
    JIKONG + "L67": ("JK_B2A8S20P", "11.XA", "11.48", "404092C2262"),
    JIKONG + "L107": ("JK_PB2A16S20P", "15A", "15.38", "41018492555"),
    JIKONG + "L147": ("JK_PB2A16S20P", "19A", "19.05", "50321484900"),
    JIKONG + "L185": ("JK-PB2A16S20P", "19A", "19.27", "51020BO4900"),
}

DALY = "test_daly_bms.py#"
D2_4S = Reading(
    cell_voltage_v=(4.127, 4.137, 4.147, 4.157),
    temperature_c=(20.0, 21.0, 22.0, 23.0),
    mos_temperature_c=38.0,
    current_a=3.0,
    pack_voltage_v=14.0,
    soc=0.9,
    remaining_capacity_ah=345.6,
    cycles=57,
    charge_enabled=False,
    discharge_enabled=True,
    balancing=True,
)
D2_READINGS = {
    DALY + "L59": D2_4S,
    DALY + "L292": replace(D2_4S, alarms=("bit_48",)),  # register 0x3D has no names
    DALY + "L304": replace(D2_4S, alarms=("discharge_undertemperature_2",)),
}

UART_READINGS = {
    "MPP_SOLAR_14S": Reading(
        cell_voltage_v=(
            *(3.984, 3.985, 3.988, 3.982, 3.986, 3.985, 3.985),
            *(3.985, 3.987, 3.982, 3.985, 3.984, 3.984, 3.981),
        ),
        temperature_c=(28.0, 30.0),
        mos_temperature_c=33.0,
        current_a=4.53,  # 0x81C5: bit 15 charging, 0x01C5 = 453
        pack_voltage_v=55.78,
        soc=1.0,
        nominal_capacity_ah=234.0,
        cycles=25,
        **BOTH_ON,
    ),
    "JK-B2A24S20P-10.07-UART-TTL.txt#0": Reading(
        cell_voltage_v=(
            *(4.092, 4.047, 4.093, 4.092, 4.092, 4.09, 4.087),
            *(4.094, 4.094, 4.092, 4.087, 4.087, 4.093),
        ),
        temperature_c=(19.0, 19.0),
        mos_temperature_c=22.0,
        current_a=0.0,
        pack_voltage_v=53.13,
        soc=0.94,
        nominal_capacity_ah=5.0,
        cycles=0,
        charge_enabled=False,
        discharge_enabled=False,
        balancing=True,
    ),
}

# What a stream makes of the frames that are damaged: (frames found, bytes dropped, bytes kept).
DAMAGED = {
    JBD + "L171": (1, 6, 0),  # an intact frame with six bytes after it
    JBD + "L177": (1, 12, 0),
    JBD + "L271": (0, 35, 1),  # the end byte is wrong; it could begin a frame
    DALY + "L240": (0, 129, 0),  # the CRC is wrong
    "JK-BD6A17S6P-7.1.0H-UART-TTL.txt#0": (0, 0, 150),  # the capture stops half-way
}


@pytest.fixture(scope="module")
def frames(shared_data: Path) -> dict[str, tuple[str, bytes]]:
    """Name -> (protocol, bytes) of every recorded frame."""
    listed: list[dict[str, Any]] = json.loads(
        (shared_data / "bms_frames" / "frames.json").read_text()
    )
    return {entry["name"]: (entry["protocol"], bytes.fromhex(entry["hex"])) for entry in listed}


def test_every_recorded_frame_has_an_expectation(frames: dict[str, tuple[str, bytes]]) -> None:
    expected = (
        {name for pair in JBD_READINGS for name in pair}
        | {"jbd_7cell_dummy", JBD + "L118", SYSSI + "4", SYSSI + "5"}
        | {f"JBD-SP04S034-L4S-200A-B-U_MOS.txt#{n}" for n in (0, 1)}
        | set(JK_READINGS)
        | set(JK_IDENTITIES)
        | {"jk_issue365_settings.bin"}
        | set(D2_READINGS)
        | {DALY + f"L{n}" for n in (70, 74, 119)}
        | set(UART_READINGS)
        | {"SOC_26V4", "STATUS_CHARGING", "STATES_8S"}
        | {f"request {n}" for n in (90, 93, 94, 95)}
        | set(DAMAGED)
    )
    assert set(frames) == expected
    assert len(frames) == 56


def test_jbd_readings(frames: dict[str, tuple[str, bytes]]) -> None:
    for (state, cells), expected in JBD_READINGS.items():
        assert jbd.decode(frames[state][1], frames[cells][1]) == expected, state


def test_jbd_eight_cells_under_load(frames: dict[str, tuple[str, bytes]]) -> None:
    # Its cells were not published: eight of 3.3 V stand in; the rest is aiobmsble's output.
    cells = jbd.reply(jbd.CELLS, (3300).to_bytes(2, "big") * 8)
    assert jbd.decode(frames["jbd_7cell_dummy"][1], cells) == Reading(
        cell_voltage_v=(3.3,) * 8,
        temperature_c=(21.0, 20.4),
        current_a=-6.04,
        pack_voltage_v=26.4,
        soc=0.84,
        remaining_capacity_ah=468.71,
        nominal_capacity_ah=560.0,
        cycles=0,
        **BOTH_ON,
    )


def test_jbd_names(frames: dict[str, tuple[str, bytes]]) -> None:
    state = frames[SYSSI + "0"][1]
    expected = Identity(firmware="8.0", cells=4, nominal_capacity_ah=5.0, alarm_names=jbd.ALARMS)
    assert jbd.decode_identity(state, None) == expected
    for name, model in ((JBD + "L118", "0123456789"), (SYSSI + "4", "JBD-SP04S034-L4S-200A-B-U")):
        assert jbd.decode_identity(state, frames[name][1]) == replace(expected, model=model)


def test_jbd_other_replies_are_frames_but_no_readings(
    frames: dict[str, tuple[str, bytes]],
) -> None:
    state, cells = frames[SYSSI + "0"][1], frames[SYSSI + "2"][1]
    for name in (
        SYSSI + "5",  # 0xAA, error counts
        "JBD-SP04S034-L4S-200A-B-U_MOS.txt#0",  # acknowledgements of a write
        "JBD-SP04S034-L4S-200A-B-U_MOS.txt#1",
    ):
        raw = frames[name][1]
        assert FrameBuffer(jbd.split).feed(raw) == [raw]
        with pytest.raises(FrameError, match="expected 0x03"):
            jbd.decode(raw, cells)
        with pytest.raises(FrameError, match="expected 0x04"):
            jbd.decode(state, raw)


def test_jk_readings(frames: dict[str, tuple[str, bytes]]) -> None:
    for name, (firmware, expected) in JK_READINGS.items():
        assert jk_ble.decode(frames[name][1], firmware) == expected, name


def test_jk_layout_is_found_without_the_firmware(frames: dict[str, tuple[str, bytes]]) -> None:
    for name, (firmware, _) in JK_READINGS.items():
        if firmware is not None:
            found = jk_ble.layout_of(frames[name][1])
            assert found == jk_ble.layout_of_firmware(firmware), name


def test_jk_identities(frames: dict[str, tuple[str, bytes]]) -> None:
    for name, (model, hardware, firmware, serial) in JK_IDENTITIES.items():
        (frame,) = FrameBuffer(jk_ble.split).feed(frames[name][1])
        assert jk_ble.decode_identity(frame, None, None) == Identity(
            model, hardware, firmware, serial, alarm_names=jk_ble.ALARM_NAMES
        )


def test_jk_settings(frames: dict[str, tuple[str, bytes]]) -> None:
    # By hand from the register sheet: 0x0D7A at 18, 0x0B86 at 10, 150000 mA at 50 and 62,
    # 700 tenths at 90, -200 at 98, 4 at 114 and 320000 mAh at 130.
    settings, state = (frames[f"jk_issue365_{kind}.bin"][1] for kind in ("settings", "status"))
    assert jk_ble.decode_identity(None, settings, state) == Identity(
        cells=4,
        nominal_capacity_ah=320.0,
        cell_voltage_max_v=3.45,
        cell_voltage_min_v=2.95,
        charge_current_max_a=150.0,
        discharge_current_max_a=150.0,
        temperature_max_c=70.0,
        temperature_min_c=-20.0,
        alarm_names=jk_ble.ALARM_NAMES,
    )


def test_daly_d2_readings(frames: dict[str, tuple[str, bytes]]) -> None:
    mos = frames[DALY + "L70"][1]
    for name, expected in D2_READINGS.items():
        assert daly_d2.decode(frames[name][1], mos) == expected, name
        without = replace(expected, mos_temperature_c=None)
        assert daly_d2.decode(frames[name][1]) == without, name


def test_daly_d2_identity(frames: dict[str, tuple[str, bytes]]) -> None:
    state, versions = frames[DALY + "L59"][1], frames[DALY + "L74"][1]
    assert daly_d2.decode_identity(state, None, versions) == Identity(
        hardware="H2.0_103R_309F9F",
        firmware="T00K_321042_11",
        cells=4,
        alarm_names=daly_d2.ALARM_NAMES,
    )


def test_daly_d2_intact_frame_of_the_wrong_length(frames: dict[str, tuple[str, bytes]]) -> None:
    raw = frames[DALY + "L119"][1]
    assert FrameBuffer(daly_d2.split).feed(raw) == [raw]
    with pytest.raises(FrameError, match="17 bytes of data, expected 124"):
        daly_d2.decode(raw)


def test_jk_uart_readings(frames: dict[str, tuple[str, bytes]]) -> None:
    spoken = jk.protocol()
    for name, expected in UART_READINGS.items():
        assert jk.decode(frames[name][1]) == expected, name
        ask = next(spoken.poll())
        assert ask.answers(frames[name][1]), name  # one of them answers as command 3


def test_jk_uart_identity(frames: dict[str, tuple[str, bytes]]) -> None:
    assert jk.decode_identity(frames["MPP_SOLAR_14S"][1]) == Identity(
        model="JK_B1A20S15P",
        firmware="11.XW_S11.261",
        chemistry="NMC",
        cells=14,
        nominal_capacity_ah=234.0,
        cell_voltage_max_v=4.15,
        cell_voltage_min_v=3.1,
        charge_current_max_a=85.0,
        discharge_current_max_a=110.0,
        temperature_max_c=60.0,
        temperature_min_c=-20.0,
        alarm_names=jk.ALARMS,
    )


def test_daly_a5(frames: dict[str, tuple[str, bytes]]) -> None:
    # 0x0108 = 264, 0x7562 = 30050: 5.0 A of discharge, 0x0311 = 785.
    assert daly.decode_state(frames["SOC_26V4"][1]) == (26.4, -5.0, 0.785)
    # 0x0003DD38 = 253240 mAh.
    assert daly.decode_switches(frames["STATUS_CHARGING"][1]) == (True, True, 253.24)
    assert daly.decode_counts(frames["STATES_8S"][1]) == (8, 1, 53)
    for name, command in (("90", 0x90), ("93", 0x93), ("94", 0x94), ("95", 0x95)):
        raw = frames[f"request {name}"][1]
        assert daly.request(command, fill=0) == raw
        assert FrameBuffer(daly.split).feed(raw) == []  # a request's echo is no reply


def test_damaged_frames(frames: dict[str, tuple[str, bytes]]) -> None:
    decoders: dict[str, Callable[[bytes], object]] = {
        "JBD": lambda raw: jbd.payload(raw, raw[1]),
        "DALY-D2": daly_d2.decode,
        "JK-UART": jk.decode,
    }
    splits = {"JBD": jbd.split, "DALY-D2": daly_d2.split, "JK-UART": jk.split}
    for name, (found, dropped, kept) in DAMAGED.items():
        protocol, raw = frames[name]
        buffer = FrameBuffer(splits[protocol])
        got = buffer.feed(raw)
        assert (len(got), buffer.dropped_bytes) == (found, dropped), name
        assert sum(map(len, got)) + dropped + kept == len(raw), name
        with pytest.raises(FrameError, match="not one intact"):
            decoders[protocol](raw)
