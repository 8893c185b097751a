"""Sparkplug B in: births name the metrics, data follow by alias, deaths end them.

Reads the part of the Sparkplug 3.0 protobuf payload that metrics of plain values need, by the wire
format itself: no generated code for a dozen fields. `Edge` gives, for each message, the topic
`sparkplug/<group>/<node>/<device>` and the metrics known of it by name, for the rules of a mapping.
A metric `voltage_v/1` or `voltage_v[0]` is member `1` of `voltage_v`, `alarms/hot` member `hot`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bridge.errors import FrameError

FILTER = "spBv1.0/+/+/#"
_SIGNED_BITS = {1: 8, 2: 16, 3: 32, 4: 64}
_LISTED = re.compile(r"(?P<name>.+)(?:\[(?P<zero>\d+)\]|/(?P<member>[^/]+))")
MAX_METRICS = 10_000


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it came: by name, or by the alias that a birth gave it."""

    name: str | None
    alias: int | None
    value: float | bool | str | None


@dataclass(frozen=True, slots=True)
class Death:
    """A node, or one device of it, is off line: all below `prefix`."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a device now."""

    topic: str
    metrics: dict[str, Any]


class Edge:
    """Follows births, data and deaths of every edge node."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, ...], dict[int, str]] = {}

    def receive(self, topic: str, payload: bytes) -> Known | Death | None:
        """One message; None for what is not ours. Raises FrameError for a broken payload."""
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
        names = self._names.setdefault(key, {})
        if kind.endswith("BIRTH"):
            names.clear()
            names.update({m.alias: m.name for m in metrics if m.alias is not None and m.name})
        found: dict[str, Any] = {}
        for metric in metrics:
            name = metric.name or names.get(-1 if metric.alias is None else metric.alias)
            if name:
                _place(found, name, metric.value)
        return Known(f"sparkplug/{group}/{node}/{device}", found)


def read_metrics(payload: bytes) -> Iterator[Metric]:
    """The metrics of a payload; raises FrameError where it is not one."""
    count = 0
    for number, value in _fields(payload):
        if number == 2 and isinstance(value, bytes):
            count += 1
            if count > MAX_METRICS:
                raise FrameError(f"Sparkplug: more than {MAX_METRICS} metrics")
            yield _metric(value)


def _metric(raw: bytes) -> Metric:
    name: str | None = None
    alias: int | None = None
    kind = 0
    null = False
    value: float | bool | str | None = None
    for number, field in _fields(raw):
        if number == 1 and isinstance(field, bytes):
            name = field.decode("utf-8", errors="replace")
        elif number == 15 and isinstance(field, bytes):
            value = field.decode("utf-8", errors="replace")
        elif isinstance(field, bytes):
            continue
        elif number == 2:
            alias = int(field)
        elif number == 4:
            kind = int(field)
        elif number == 7:
            null = bool(field)
        elif number in (10, 11):
            value = _integer(int(field), kind)
        elif number in (12, 13):
            value = float(field)
        elif number == 14:
            value = bool(field)
    return Metric(name, alias, None if null else value)


def _integer(raw: int, kind: int) -> int:
    bits = _SIGNED_BITS.get(kind)
    if bits is None:
        return raw
    raw &= (1 << bits) - 1
    return raw - (1 << bits) if raw >> bits - 1 else raw


def _fields(raw: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """(field number, value) of a protobuf message; fixed fields are read as floating point."""
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
        yield number, value


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


def _place(found: dict[str, Any], name: str, value: Any) -> None:
    listed = _LISTED.fullmatch(name)
    if listed is None:
        found[name] = value
        return
    member = listed["member"] or str(int(listed["zero"]) + 1)
    inner = found.setdefault(listed["name"], {})
    if isinstance(inner, dict):
        inner[member] = value
