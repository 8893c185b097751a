"""Sparkplug B in: births name the metrics, data follow by alias, deaths end them.

Reads the part of the Sparkplug 3.0 protobuf payload that metrics of plain values need, by the wire
format itself: no generated code for a dozen fields. `Edge` gives, for each message, the topic
`sparkplug/<group>/<node>/<device>` and the metrics known of it by name, for the rules of a mapping.
A metric `voltage_v/1` or `voltage_v[0]` is member `1` of `voltage_v`, `alarms/hot` member `hot`.

A metric whose value cannot be used (a NaN, a field of another wire type than the specification's)
is a missing value, and `Known.unusable` names it; a payload that is none raises FrameError.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bridge.errors import FrameError
from bridge.numbers import whole

FILTER = "spBv1.0/+/+/#"
_SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}
_LISTED = re.compile(r"(?P<name>.+)(?:\[(?P<zero>[0-9]+)\]|/(?P<member>[^/]+))")
MAX_METRICS = 10_000
MAX_NAME = 256
MAX_TOPIC = 1_024
MAX_INDEX = 4_095
MAX_DEVICES = 1_000
MAX_ALIASES = 100_000  # of all devices together
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Field of a metric -> its wire type (Sparkplug 3.0, the protobuf schema in 6.4.1).
_WIRES = {
    **dict.fromkeys((1, 15), _BYTES),
    **dict.fromkeys((2, 4, 7, 10, 11, 14), _VARINT),
    12: _FIXED32,
    13: _FIXED64,
}
_VALUES = range(10, 16)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it came: by name, or by the alias that a birth gave it."""

    name: str | None
    alias: int | None
    value: float | bool | str | None
    unusable: bool = False  # there was a value, and it says nothing


@dataclass(frozen=True, slots=True)
class Death:
    """A node, or one device of it, is off line: all below `prefix`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a device now."""

    topic: str
    metrics: dict[str, Any]
    unusable: tuple[str, ...] = ()  # metrics whose value cannot be used, in words


def place_of(topic: str) -> str | None:
    """The topic of `Known` for a topic of the wire; None for what is not ours."""
    levels = topic.split("/")
    if len(levels) not in (4, 5) or levels[0] != "spBv1.0":
        return None
    device = levels[4] if len(levels) == 5 else levels[3]
    return f"sparkplug/{levels[1]}/{levels[3]}/{device}"


class Edge:
    """Follows births, data and deaths of every edge node: of at most `MAX_DEVICES` devices."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, ...], dict[int, str]] = {}

    def receive(self, topic: str, payload: bytes) -> Known | Death | None:
        """One message; None for what is not ours. Raises FrameError for one that is broken."""
        if len(topic) > MAX_TOPIC:
            raise FrameError(f"a topic of {len(topic)} characters: expected at most {MAX_TOPIC}")
        levels = topic.split("/")
        if len(levels) not in (4, 5) or levels[0] != "spBv1.0":
            return None
        group, kind, node = levels[1:4]
        device = levels[4] if len(levels) == 5 else node
        key = (group, node, device)
        if kind == "NDEATH":
            # All that the node said is stale, and its aliases are void (Sparkplug 3.0, 6.4.9).
            for known in [k for k in self._names if k[:2] == key[:2]]:
                del self._names[known]
            return Death(f"sparkplug/{group}/{node}/")
        if kind == "DDEATH":
            self._names.pop(key, None)
            return Death(f"sparkplug/{group}/{node}/{device}")
        if kind not in ("NBIRTH", "DBIRTH", "NDATA", "DDATA"):
            return None
        metrics = list(read_metrics(payload))
        names = self._born(key, metrics) if kind.endswith("BIRTH") else self._names.get(key, {})
        found: dict[str, Any] = {}
        unusable = []
        for metric in metrics:
            name = metric.name or names.get(-1 if metric.alias is None else metric.alias)
            if name and len(name) > MAX_NAME:
                unusable.append(f"{name[:40]}...: a metric's name of {len(name)} characters")
            elif name and not _place(found, name, metric.value):
                unusable.append(f"{name}: expected an index from 0 to {MAX_INDEX}")
            elif name and metric.unusable:
                unusable.append(f"{name}: its value is no finite number of its type")
        return Known(f"sparkplug/{group}/{node}/{device}", found, tuple(unusable))

    def _born(self, key: tuple[str, ...], metrics: list[Metric]) -> dict[int, str]:
        """What a birth names, remembered; raises FrameError where there is no room for it."""
        names = {
            m.alias: m.name
            for m in metrics
            if m.alias is not None and m.name and len(m.name) <= MAX_NAME
        }
        others = [len(known) for device, known in self._names.items() if device != key]
        if len(others) >= MAX_DEVICES:
            raise FrameError(f"Sparkplug: a birth past {MAX_DEVICES} devices")
        if sum(others) + len(names) > MAX_ALIASES:
            raise FrameError(f"Sparkplug: a birth past {MAX_ALIASES} aliases of all devices")
        self._names[key] = names
        return names


def read_metrics(payload: bytes) -> Iterator[Metric]:
    """The metrics of a payload; raises FrameError where it is not one."""
    count = 0
    for number, _, value in _fields(payload):
        if number == 2 and isinstance(value, bytes):
            count += 1
            if count > MAX_METRICS:
                raise FrameError(f"Sparkplug: more than {MAX_METRICS} metrics")
            yield _metric(value)


def _metric(raw: bytes) -> Metric:
    name: str | None = None
    alias: int | None = None
    kind = 0
    null = unusable = False
    value: float | bool | str | None = None
    for number, wire, field in _fields(raw):
        if _WIRES.get(number) != wire:
            unusable |= number in _VALUES
        elif isinstance(field, bytes):
            said = field.decode("utf-8", errors="replace")
            name, value = (said, value) if number == 1 else (name, said)
        elif isinstance(field, float):
            value = field if math.isfinite(field) else None
            unusable |= value is None
        elif number == 2:
            alias = field
        elif number == 4:
            kind = field
        elif number == 7:
            null = bool(field)
        else:
            value = bool(field) if number == 14 else _integer(field, kind)
    return Metric(name, alias, None if null else value, unusable and not null)


def _integer(raw: int, kind: int) -> int:
    bits = _SIGNED_BITS.get(kind)
    if bits is None:
        return raw
    raw &= (1 << bits) - 1
    return raw - (1 << bits) if raw >> bits - 1 else raw


def _fields(raw: bytes) -> Iterator[tuple[int, int, int | float | bytes]]:
    """(field number, wire type, value) of a protobuf message; fixed fields as floating point."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        value: int | float | bytes
        if wire == 0:
            value, at = _varint(raw, at)
        elif wire == 2:
            size, at = _varint(raw, at)
            value, at = raw[at : at + size], at + size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            if at + size > len(raw):
                raise FrameError("Sparkplug: the payload is cut off")
            value = struct.unpack_from("<d" if wire == 1 else "<f", raw, at)[0]
            at += size
        else:
            raise FrameError(f"Sparkplug: wire type {wire}")
        if at > len(raw):
            raise FrameError("Sparkplug: the payload is cut off")
        yield number, wire, value


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(raw):
            raise FrameError("Sparkplug: the payload is cut off")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise FrameError("Sparkplug: a number of more than 10 bytes")


def _place(found: dict[str, Any], name: str, value: Any) -> bool:
    """Put a value where its name says; False for an index that no pack has."""
    listed = _LISTED.fullmatch(name)
    if listed is None:
        found[name] = value
        return True
    member = listed["member"]
    if member is None:
        index = whole(listed["zero"], MAX_INDEX)
        if index is None:
            return False
        member = str(index + 1)
    inner = found.setdefault(listed["name"], {})
    if isinstance(inner, dict):
        inner[member] = value
    return True
