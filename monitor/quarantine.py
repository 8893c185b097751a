"""What is kept of a message that could not be taken: where it belongs, its bytes, the reason. Pure.

Not for what the contract refuses, which is answered and forgotten: for what raised all the same.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from monitor.contract import GROUP_ASSET, Topics
from monitor.errors import PayloadError, reason_of
from monitor.inputs import (
    CommandIn,
    ConfigIn,
    DeviceAlarmIn,
    FrameIn,
    Input,
    SetAside,
    StatusIn,
    Stored,
    Tick,
    Trouble,
)

TOPIC_CHARACTERS = 200
_LEVELS: dict[type, str] = {
    FrameIn: "telemetry",
    ConfigIn: "config",
    DeviceAlarmIn: "device_alarm",
    CommandIn: "command",
}


class Kept(NamedTuple):
    """A message that is set aside, the asset that its alarm is of, and when it came."""

    asset: str
    message: SetAside
    arrival_ms: int


def of_input(item: Input, error: Exception, topics: Topics) -> Kept | None:
    """Of an input that raised; None for what did not come from outside."""
    if isinstance(item, Tick | Trouble):
        return None
    topic = _topic(item, topics)
    return Kept(_asset(item), SetAside(topic, reason_of(error), _text(item)), item.arrival_ms)


def of_message(
    topic: str, payload: bytes, arrival_ms: int, error: Exception, topics: Topics
) -> Kept:
    """Of a message that raised while it was read."""
    try:
        asset, _ = topics.split(topic)
    except PayloadError:
        asset = GROUP_ASSET
    text = payload.decode("utf-8", "backslashreplace")
    kept = SetAside(topic[:TOPIC_CHARACTERS], reason_of(error), text)
    return Kept(GROUP_ASSET if asset.startswith("_") else asset, kept, arrival_ms)


def of_stored(stored: Stored, topics: Topics, now_ms: int) -> Kept:
    """Of an input of the journal that a recovery left out; it is news, whenever it came."""
    item = stored.item
    if item is None or isinstance(item, Tick | Trouble):
        name = stored.asset or GROUP_ASSET
        return Kept(name, SetAside("", stored.reason, stored.payload, stored.id), now_ms)
    topic = _topic(item, topics)
    return Kept(_asset(item), SetAside(topic, stored.reason, _text(item), stored.id), now_ms)


_Sent = FrameIn | ConfigIn | StatusIn | DeviceAlarmIn | CommandIn


def _asset(item: _Sent) -> str:
    if isinstance(item, StatusIn):
        return GROUP_ASSET if item.gateway else item.name
    return item.asset


def _topic(item: _Sent, topics: Topics) -> str:
    if isinstance(item, StatusIn):
        gateway = item.gateway
        return (
            topics.ours("gateway", item.name, "status")
            if gateway
            else topics.of(item.name, "status")
        )
    return topics.of(item.asset, _LEVELS[type(item)])


def _text(item: _Sent) -> str:
    if isinstance(item, FrameIn):
        return item.payload.decode("utf-8", "backslashreplace")
    return msgspec.json.encode(item).decode()
