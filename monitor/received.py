"""What a message says: its inputs for the engine, by its topic. Pure."""

from __future__ import annotations

from monitor.contract import (
    ASSET_PATTERN,
    GROUP_ASSET,
    AssetConfig,
    Command,
    DeviceAlarm,
    Topics,
    decode,
    decode_status,
    decode_telemetry,
    encode,
    is_asset_name,
)
from monitor.errors import PayloadError
from monitor.inputs import CommandIn, ConfigIn, DeviceAlarmIn, FrameIn, Input, StatusIn

BRACKETS = 64  # in a frame's payload that is kept as it came; a frame of ours has a few


def inputs_of(
    topics: Topics, topic: str, payload: bytes, arrival_ms: int, *, retained: bool
) -> list[Input]:
    """The inputs that a message holds; none where it only clears what was retained.

    Raises PayloadError for what is not within the contract.
    """
    asset, rest = topics.split(topic)
    if rest == ("telemetry",) and not asset.startswith("_"):
        return _frames(asset, payload, arrival_ms)
    if len(rest) == 2 and rest[0] == "command" and (asset == GROUP_ASSET or asset[0] != "_"):
        if retained:
            raise PayloadError("a retained command is ignored")
        _check_name("user", rest[1])
        return [CommandIn(asset, rest[1], decode(Command, payload), arrival_ms)]
    if asset == "_gateway" and len(rest) == 2 and rest[1] == "status":
        _check_name("gateway", rest[0])
        return [StatusIn(rest[0], True, decode_status(payload), arrival_ms)] if payload else []
    if not asset.startswith("_"):
        if rest == ("config",):
            return [ConfigIn(asset, decode(AssetConfig, payload), arrival_ms)] if payload else []
        if rest == ("status",):
            return [StatusIn(asset, False, decode_status(payload), arrival_ms)] if payload else []
        if rest == ("device_alarm",):
            return [DeviceAlarmIn(asset, decode(DeviceAlarm, payload), arrival_ms)]
    raise PayloadError("the contract has no such topic")


def _frames(asset: str, payload: bytes, arrival_ms: int) -> list[Input]:
    frames = decode_telemetry(payload)
    if len(frames) == 1 and payload[:1] == b"{":
        # What nests deeply in a field that is ignored would be read again at every start.
        deep = payload.count(b"[") + payload.count(b"{") > BRACKETS
        return [FrameIn(asset, frames[0], arrival_ms, encode(frames[0]) if deep else payload)]
    return [FrameIn(asset, frame, arrival_ms, encode(frame)) for frame in frames]


def _check_name(kind: str, name: str) -> None:
    if not is_asset_name(name):
        raise PayloadError(f"{kind} name {name[:80]!r}: expected {ASSET_PATTERN}")
