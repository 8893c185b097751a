"""What goes into the engine, in the order it happened; the journal keeps the same sequence."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from monitor.contract import AssetConfig, Command, DeviceAlarm, Frame


class FrameIn(NamedTuple):
    """One frame as it came; `payload` is its JSON, as the journal keeps it."""

    asset: str
    frame: Frame
    arrival_ms: int
    payload: bytes


class ConfigIn(NamedTuple):
    """A device's config."""

    asset: str
    config: AssetConfig
    arrival_ms: int


class StatusIn(NamedTuple):
    """An asset's or a gateway's status."""

    name: str
    gateway: bool
    online: bool
    arrival_ms: int


class DeviceAlarmIn(NamedTuple):
    """An alarm that the BMS itself raises or clears."""

    asset: str
    alarm: DeviceAlarm
    arrival_ms: int


class CommandIn(NamedTuple):
    """What an operator asks."""

    asset: str
    user: str
    command: Command
    arrival_ms: int


class Tick(NamedTuple):
    """The wall clock, for what depends on it: stale, a shelf's end."""

    now_ms: int


class Trouble(NamedTuple):
    """Something went wrong beside the readings; its alarm stands for a minute after the newest.

    `code` is one of `rules.TROUBLES`. `asset` is `contract.GROUP_ASSET` where it concerns no asset
    that is known. `detail` stays in the journal: of a message that was set aside, a `SetAside` as
    JSON.
    """

    asset: str
    code: str
    source: str
    arrival_ms: int
    detail: str = ""


class Stored(NamedTuple):
    """One input of the journal as a recovery reads it; `item` is None where `reason` says why."""

    id: int
    asset: str
    item: Input | None
    reason: str = ""
    payload: str = ""


class SetAside(Struct, omit_defaults=True):
    """A message that could not be taken, kept with the reason."""

    topic: str
    reason: str
    payload: str = ""  # as text; what is no UTF-8 is escaped
    input_id: int = 0  # of the journal, where it had been journalled before


Input = FrameIn | ConfigIn | StatusIn | DeviceAlarmIn | CommandIn | Tick | Trouble
