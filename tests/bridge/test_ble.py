"""Bluetooth boards: aiobmsble's samples as readings, and the loop around it.

The samples are what aiobmsble 0.29.0 (Apache-2.0) made of recorded frames, run apart from this
project; the radio and aiobmsble itself are not part of these tests.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from bridge.ble import identity_of, reading_of
from bridge.device import AssetOptions
from bridge.errors import LinkError, MappingError
from bridge.gateway import Gateway
from bridge.reading import Identity, Reading
from bridge.run_ble import BleReader, finder
from tests.bridge.test_poller import HandClock, Notes


class Kind(Enum):
    GENERIC = 0
    CELL = 1
    MOSFET = 4
    AMBIENT = 8


@dataclass(frozen=True)
class Sensor:
    """Like aiobmsble's TempSensor."""

    value: float
    type: Kind

    def __float__(self) -> float:
        return self.value


# aiobmsble on jk_issue365_status.bin (fl4p/batmon-ha, MIT).
SAMPLE: dict[str, Any] = {
    "voltage": 13.405,
    "current": 33.292,
    "problem_code": 0,
    "balance_current": 1.99,
    "balancer": True,
    "battery_level": 66,
    "cycle_charge": 165.5,
    "design_capacity": 251,
    "cycles": 427,
    "battery_health": 79,
    "chrg_mosfet": True,
    "dischrg_mosfet": True,
    "temp_sensors": 255,
    "cell_count": 4,
    "delta_voltage": 0.016,
    "temp_values": [
        Sensor(37.4, Kind.MOSFET),
        Sensor(30.0, Kind.GENERIC),
        Sensor(30.4, Kind.CELL),
        Sensor(37.4, Kind.MOSFET),
        Sensor(5.0, Kind.AMBIENT),
    ],
    "cell_voltages": [3.357, 3.341, 3.354, 3.352],
}


def test_sample_to_reading() -> None:
    assert reading_of(SAMPLE) == Reading(
        cell_voltage_v=(3.357, 3.341, 3.354, 3.352),
        temperature_c=(30.0, 30.4),
        mos_temperature_c=37.4,
        current_a=33.292,
        pack_voltage_v=13.405,
        soc=0.66,
        soh=0.79,
        remaining_capacity_ah=165.5,
        nominal_capacity_ah=251.0,
        cycles=427,
        charge_enabled=True,
        discharge_enabled=True,
        balancing=True,
    )
    assert reading_of({}) == Reading()
    assert reading_of({"problem_code": 8}).alarms == ("problem",)


def test_info_to_identity() -> None:
    info = {"default_model": "smart BMS", "model": "JK_B2A8S20P", "sw_version": "11.48"}
    assert identity_of(info) == Identity(
        model="JK_B2A8S20P", firmware="11.48", alarm_names=("problem",)
    )


class Board:
    """Like aiobmsble's object for a board: answers, then walks out of range."""

    def __init__(self, answers: int) -> None:
        self._left = answers

    async def __aenter__(self) -> Board:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def device_info(self) -> dict[str, str]:
        return {"model": "JK"}

    async def async_update(self, raw: bool = False) -> dict[str, Any]:
        assert raw
        if not self._left:
            raise TimeoutError
        self._left -= 1
        return SAMPLE


async def test_a_board_that_comes_and_goes() -> None:
    notes, clock = Notes(), HandClock(30.0)
    finds = [0]

    async def find() -> Board:
        finds[0] += 1
        if finds[0] == 1:
            raise LinkError("not in range")
        return Board(3)

    reader = BleReader(find, Gateway(notes, AssetOptions("boat", "gw1"), "s1"), clock)
    with pytest.raises(asyncio.CancelledError):
        await reader.run()
    assert notes.states[:4] == [False, True, False, True]
    assert [frame.seq for frame in notes.frames] == list(range(len(notes.frames)))
    assert notes.frames[0].current_a == 33.292
    assert notes.configs[0].nominal_capacity_ah == 251.0


def test_without_aiobmsble_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bleak", None)
    with pytest.raises(MappingError, match=r"aiobmsble and Python 3\.12"):
        finder("x")
