"""Faults as people write them: `--fault isc:asset=B0005,at=cycle:3,severity=0.2`, or a scenario.

A scenario is TOML or JSON: an optional `seed`, and a list `fault` of tables with the same keys.

    seed = 7
    [[fault]]
    kind = "isc"
    asset = "B0005"
    at = "cycle:3"
    severity = 0.2
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from monitor.errors import ConfigurationError
from monitor.refusals import refusal
from simulator.faults import SEVERITY, CellFault, cell_fault
from simulator.faults_frames import FULL_SIZE as FRAME_SIZE
from simulator.faults_frames import FrameFault, FrameKind
from simulator.faults_sensors import CHANNELS, Channel, SensorKind
from simulator.faults_sensors import FULL_SIZE as SENSOR_SIZE

SENSOR_KINDS: tuple[SensorKind, ...] = get_args(SensorKind)
FRAME_KINDS: tuple[FrameKind, ...] = get_args(FrameKind)
KINDS = (*SEVERITY, *SENSOR_KINDS, *FRAME_KINDS)
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_ASSET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


# What a page offers to be injected: each kind, and a sensor's for every channel.
OFFERED: tuple[str, ...] = (
    *SEVERITY,
    *(f"{kind}:channel={channel}" for kind in SENSOR_KINDS for channel in CHANNELS),
    *FRAME_KINDS,
)


class FaultError(ConfigurationError):
    """A fault or a scenario is not written as it should be; the message says what would be."""


@dataclass(frozen=True, slots=True)
class Onset:
    """Where a fault begins: a cycle's or an operation's first sample, or seconds from the start."""

    cycle: int | None = None
    operation: int | None = None
    time_s: float | None = None


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """One fault as it was asked for. `values` holds what replaces the severity's own scale."""

    kind: str
    asset: str
    onset: Onset
    severity: float = 0.5
    duration_s: float | None = None
    cell: int = 1  # from 1
    channel: Channel = "voltage"
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The fault's name in the truth."""
        return f"{self.kind}-{self.channel}" if self.kind in SENSOR_KINDS else self.kind

    def cell_fault(self) -> CellFault | None:
        """The fault of the cell that this asks for, or None where it is of another sort."""
        if self.kind not in SEVERITY:
            return None
        name, scale, growth_s = SEVERITY[self.kind]
        value = self.values.get(name, scale(self.severity))
        return cell_fault(self.kind, value, self.values.get("growth", growth_s or 0.0))

    def sensor(self) -> tuple[SensorKind, Channel, float] | None:
        """Kind, channel and size of the sensor fault that this asks for, or None."""
        for kind in SENSOR_KINDS:
            if kind == self.kind:
                full = SENSOR_SIZE[kind][self.channel]
                return kind, self.channel, self.values.get("size", self.severity * full)
        return None

    def frame_fault(self) -> FrameFault | None:
        """The fault of the link that this asks for, or None."""
        for kind in FRAME_KINDS:
            if kind == self.kind:
                size = self.values.get("size", self.severity * FRAME_SIZE[kind])
                return FrameFault(kind, size, self.onset.time_s, self.onset.cycle, self.duration_s)
        return None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Many faults and the seed of their randomness."""

    faults: tuple[FaultSpec, ...]
    seed: int = 0


def parse_fault(text: str) -> FaultSpec:
    """Read `kind:key=value,...`. Raises FaultError."""
    kind, _, rest = text.partition(":")
    pairs: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise FaultError(f"{text!r}: {part!r} is not key=value")
        if key.strip() in pairs:
            raise FaultError(f"{text!r}: {key.strip()} is given twice")
        pairs[key.strip()] = value.strip()
    return _spec(kind.strip(), pairs, repr(text))


def read_scenario(path: Path) -> Scenario:
    """Read a scenario file, .toml or .json. Raises FaultError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FaultError(f"{path}: cannot be read: {error}") from error
    try:
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise FaultError(f"{path}: not {path.suffix.lstrip('.') or 'toml'}: {error}") from error
    if not isinstance(data, dict):
        raise FaultError(f"{path}: a scenario is a table with a list `fault`")
    unknown = sorted(set(data) - {"seed", "fault"})
    if unknown:
        raise FaultError(f"{path}: unknown key {unknown[0]}; known are seed and fault")
    seed, listed = data.get("seed", 0), data.get("fault", [])
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise FaultError(f"{path}: seed is {seed!r}, not a whole number from 0 on")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise FaultError(f"{path}: `fault` is not a list of tables")
    faults = []
    for number, table in enumerate(listed, start=1):
        where = f"{path}, fault {number}"
        pairs = {str(key): str(value) for key, value in table.items()}
        faults.append(_spec(pairs.pop("kind", ""), pairs, where))
    return Scenario(tuple(faults), seed)


def check_assets(faults: Iterable[FaultSpec], assets: Iterable[str]) -> None:
    """Raise FaultError where a fault is meant for an asset that is not there."""
    known = sorted(assets)
    listed = ", ".join(known) or "none"
    for fault in faults:
        if fault.asset not in known:
            raise FaultError(
                refusal("fault_asset", fault=fault.kind, asset=fault.asset, known=listed)
            )


def _spec(kind: str, pairs: dict[str, str], where: str) -> FaultSpec:
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise FaultError(refusal("fault_kind", fault=where, kind=repr(kind), known=known))
    left = dict(pairs)
    asset = left.pop("asset", "")
    if not _ASSET.fullmatch(asset):
        raise FaultError(f"{where}: asset is {asset!r}, not an asset's name such as B0005")
    onset = _onset(left.pop("at", "time:0"), where)
    severity = _number(left.pop("severity", "0.5"), "severity", where)
    if not 0.0 <= severity <= 1.0:
        raise FaultError(refusal("fault_severity", fault=where, severity=f"{severity:g}"))
    duration = left.pop("for", None)
    duration_s = None if duration is None else _seconds(duration, "for", where)
    cell = _whole(left.pop("cell", "1"), "cell", where)
    channel = _channel(kind, left.pop("channel", None), where)
    if kind in FRAME_KINDS and onset.operation is not None:
        raise FaultError(f"{where}: {kind} begins at a cycle: or a time:, not at an operation:")
    return FaultSpec(
        kind=kind,
        asset=asset,
        onset=onset,
        severity=severity,
        duration_s=duration_s,
        cell=cell,
        channel=channel,
        values=_values(kind, left, where),
    )


def _values(kind: str, left: Mapping[str, str], where: str) -> dict[str, float]:
    """The values given in place of the severity's scale."""
    if kind in SEVERITY:
        name, _, growth_s = SEVERITY[kind]
        allowed = [name] if growth_s is None or name == "growth" else [name, "growth"]
    else:
        allowed = [] if kind in ("frozen", "stuck-zero") else ["size"]
    values = {}
    for key, text in left.items():
        if key not in allowed:
            known = ["asset", "at", "severity", "for", "cell", *allowed]
            known += ["channel"] if kind in SENSOR_KINDS else []
            raise FaultError(f"{where}: {kind} has no {key!r}; it has {', '.join(known)}")
        read = _seconds if key == "growth" else _number
        values[key] = read(text, key, where)
    if values.get("ohm", 1.0) <= 0 or not 0.0 <= values.get("remaining", 0.0) <= 1.0:
        raise FaultError(f"{where}: ohm must be above 0 and remaining within 0..1")
    if not 0.0 <= values.get("loss", 0.0) < 1.0:
        raise FaultError(f"{where}: loss must be within 0..1")
    return values


def _onset(text: str, where: str) -> Onset:
    name, _, value = text.partition(":")
    if name == "cycle":
        return Onset(cycle=_whole(value, "at=cycle", where))
    if name == "operation":
        return Onset(operation=_whole(value, "at=operation", where, least=0))
    if name == "time":
        return Onset(time_s=_seconds(value, "at=time", where))
    raise FaultError(f"{where}: at is {text!r}, not cycle:3, operation:4 or time:90m")


def _channel(kind: str, text: str | None, where: str) -> Channel:
    if text is None:
        return "voltage"
    if kind not in SENSOR_KINDS:
        raise FaultError(f"{where}: {kind} has no channel")
    for channel in CHANNELS:
        if channel == text:
            return channel
    raise FaultError(f"{where}: channel is {text!r}, not one of {', '.join(CHANNELS)}")


def _number(text: str, key: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise FaultError(f"{where}: {key} is {text!r}, not a number") from error
    if not abs(value) < 1e12:  # also refuses nan
        raise FaultError(f"{where}: {key} is {text!r}, not a finite number")
    return value


def _whole(text: str, key: str, where: str, least: int = 1) -> int:
    if not text.isdecimal() or int(text) < least:
        raise FaultError(f"{where}: {key} is {text!r}, not a whole number from {least} on")
    return int(text)


def _seconds(text: str, key: str, where: str) -> float:
    match = re.fullmatch(r"([0-9.]+)\s*([a-z]*)", text)
    if match is None or match[2] not in _UNITS:
        raise FaultError(f"{where}: {key} is {text!r}, not a duration such as 90, 20m or 3h")
    return _number(match[1], key, where) * _UNITS[match[2]]
