"""Finding a Bluetooth board, and samples that are none, with stand-ins for bleak and aiobmsble."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bridge.ble import identity_of, reading_of
from bridge.errors import FrameError, LinkError
from bridge.run_ble import finder


class BleakError(Exception):
    """Stands for bleak's."""


@dataclass(frozen=True)
class Device:
    address: str
    name: str | None


class Radio:
    """What a scan hears, and which of it aiobmsble knows."""

    def __init__(self, *heard: Device, known: bool = True, broken: bool = False) -> None:
        self.heard, self.known, self.broken = heard, known, broken

    async def discover(  # as bleak names it
        self,
        timeout: float,  # noqa: ASYNC109
        return_adv: bool,
    ) -> dict[str, tuple[Device, str]]:
        assert timeout > 0
        assert return_adv
        if self.broken:
            raise BleakError("no adapter")
        return {one.address: (one, f"advertised by {one.address}") for one in self.heard}

    async def bms_identify(self, advertised: str, address: str) -> Any:
        assert advertised == f"advertised by {address}"
        return (lambda ble_device: ("board", ble_device)) if self.known else None


async def found(radio: Radio, wanted: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    bleak, utils = ModuleType("bleak"), ModuleType("aiobmsble.utils")
    vars(bleak).update(BleakScanner=radio, exc=SimpleNamespace(BleakError=BleakError))
    vars(utils).update(bms_identify=radio.bms_identify)
    monkeypatch.setitem(sys.modules, "bleak", bleak)
    monkeypatch.setitem(sys.modules, "aiobmsble", ModuleType("aiobmsble"))
    monkeypatch.setitem(sys.modules, "aiobmsble.utils", utils)
    return await finder(wanted)()


PHONE, BOARD = Device("AA:01", None), Device("C8:02", "JK-B2A8S20P")


@pytest.mark.parametrize("wanted", ["c8:02", "C8:02", "jk-b2a8s20p"])
async def test_a_board_is_found_by_its_address_or_its_name(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await found(Radio(PHONE, BOARD), wanted, monkeypatch) == ("board", BOARD)


@pytest.mark.parametrize(
    ("radio", "words"),
    [
        (Radio(PHONE), "c8:02: not in range, or connected to a phone"),
        (Radio(), "c8:02: not in range, or connected to a phone"),
        (Radio(BOARD, known=False), "c8:02: aiobmsble does not know this board"),
        (Radio(broken=True), "Bluetooth: no adapter"),
    ],
)
async def test_a_board_that_is_not_found_is_a_link_that_is_away(
    radio: Radio, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LinkError, match=words):
        await found(radio, "c8:02", monkeypatch)


class NoFloat:
    def __float__(self) -> float:
        raise OverflowError


@pytest.mark.parametrize("value", [NoFloat(), object(), [3.3], float("nan"), "much", 10**400])
def test_a_value_that_is_no_number_is_missing(value: object) -> None:
    reading = reading_of({"voltage": value, "current": value, "cell_voltages": [value, 3.3]})
    assert reading.pack_voltage_v is None
    assert reading.current_a is None
    assert reading.cell_voltage_v == (None, 3.3)


@pytest.mark.parametrize("values", ["3.3", 3.3, {"1": 3.3}, [3.3] * 5_000])
@pytest.mark.parametrize("name", ["cell_voltages", "temp_values"])
def test_a_list_that_is_none_is_refused(name: str, values: object) -> None:
    with pytest.raises(FrameError, match=f"Bluetooth: {name} is no list of at most 4096 values"):
        reading_of({name: values})


def test_what_a_board_says_of_itself_is_cut_and_cleaned() -> None:
    said = identity_of({"model": "\x00\x07JK" + "x" * 500, "serial_number": "\n \t"})
    assert said.model == "JK" + "x" * 96
    assert said.serial is None
