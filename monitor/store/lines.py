"""What the journal holds as InfluxDB line protocol; pure. docs/storage.md lists every name.

A line without a field is not written. Numbers are floats unless docs/storage.md says integer, so
that a field never changes its type. Tags are only names that the contract bounds; they need no
escaping, and what a device makes up is never one.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

import msgspec

from monitor.contract import (
    AssetConfig,
    CycleSummary,
    Event,
    Frame,
    MonitorMetrics,
    as_list,
    cell_name,
    is_asset_name,
    sensor_name,
)
from monitor.kernels.columns import RESULTS, Result, stored_rows
from monitor.store.journal import Kind

NS_PER_MS = 1_000_000
LAST_MS = 9_223_372_036_853  # what fits into 64 bits of nanoseconds
LONGEST_STRING = 64_000  # bytes; the server's limit is 64 KiB
DEVICE_CODE = "device"
_NAN = float("nan")
_SOURCE = re.compile(r"(pack|c\d{3,4}|t\d{2,4})\Z")
_CONTROL = dict.fromkeys([*range(32), 127], " ")
_CELL_FIELDS = (
    ("voltage_v", 0, "%r"),
    ("soc", 1 + Result.SOC, "%.7g"),
    ("soh", 1 + Result.SOH, "%.7g"),
    ("soh_low", 1 + Result.SOH_LOW, "%.7g"),
    ("soh_high", 1 + Result.SOH_HIGH, "%.7g"),
    ("soh_state", 1 + Result.SOH_STATE, "%di"),
    ("resistance_ohm", 1 + Result.RESISTANCE_OHM, "%.7g"),
    ("thermal_score", 1 + Result.THERMAL_SCORE, "%.7g"),
    ("excess_heat_w", 1 + Result.EXCESS_HEAT_W, "%.7g"),
    ("phase", 1 + Result.PHASE, "%di"),
    ("quality", 1 + Result.QUALITY, "%di"),
    ("dt_dt_c_per_s", 1 + Result.DT_DT_C_PER_S, "%.7g"),
    ("c_rate", 1 + Result.C_RATE, "%.7g"),
    ("risk", 1 + Result.RISK, "%di"),
    ("risk_cause", 1 + Result.RISK_CAUSE, "%di"),
)
_frame = msgspec.json.Decoder(Frame)


def input_lines(
    kind: int, asset: str, arrival_ms: int, payload: str, result: bytes | None
) -> list[str]:
    """The lines of one row of the journal's `input`, its asset by name.

    None for a tick, a command or a device alarm (see its event). Raises msgspec.DecodeError where
    the row is not what a journal writes, ValueError for a time that cannot be written.
    """
    if kind == Kind.FRAME:
        return _frame_lines(asset, arrival_ms, _frame.decode(payload), result or b"")
    if kind == Kind.LATE:
        frame = _frame.decode(payload)
        within = (frame.seq or 0) % NS_PER_MS  # late frames of one millisecond are kept apart
        stamp = frame.timestamp_ms * NS_PER_MS + within
        return _line(f"late,asset={asset}", {"record": _text(payload)}, stamp)
    stamp = arrival_ms * NS_PER_MS
    if kind == Kind.CONFIG:
        config = msgspec.json.decode(payload, type=AssetConfig)
        fields = {
            "record": _text(payload),
            "cells": f"{config.cells}i",
            "nominal_capacity_ah": _float(config.nominal_capacity_ah),
        }
        return _line(f"config,asset={asset}", fields, stamp)
    if kind == Kind.STATUS and is_asset_name(asset):  # a gateway's is not checked before
        status = msgspec.json.decode(payload)
        level = "gateway" if status["gateway"] else "asset"
        online = f"{int(status['online'])}i"
        return _line(f"status,asset={asset},level={level}", {"online": online}, stamp)
    return []


def cycle_lines(summary: str, histogram: bytes) -> list[str]:
    """The line of one finished charge or discharge, from the journal's columns."""
    cycle = msgspec.json.decode(summary, type=CycleSummary)
    fields: dict[str, str | None] = {
        "number": f"{cycle.number}i",
        "end_ms": f"{cycle.end_ms}i",
        "complete": "true" if cycle.complete else "false",
        "soh_state": _text(cycle.soh_state),
        "knee_cycle": None if cycle.knee_cycle is None else f"{cycle.knee_cycle}i",
        "histogram": _text(base64.b64encode(histogram).decode()),
        "record": _text(summary),
    }
    for name in CYCLE_FLOATS:
        fields[name] = _float(getattr(cycle, name))
    return _line(
        f"cycle,asset={cycle.asset},cell={cycle.cell},kind={cycle.kind}",
        fields, cycle.start_ms * NS_PER_MS,
    )  # fmt: skip


CYCLE_FLOATS = (
    "capacity_ah", "energy_wh", "duration_s", "voltage_start_v", "voltage_end_v",
    "current_mean_a", "temperature_mean_c", "temperature_max_c", "resistance_ohm",
    "soh", "soh_low", "soh_high", "fade_per_cycle", "fade_acceleration",
)  # fmt: skip


def event_lines(row: int, record: str) -> list[str]:
    """The line of one alarm transition; `row` is its number in the journal."""
    event = msgspec.json.decode(record, type=Event)
    alarm = event.alarm
    code = DEVICE_CODE if alarm.code.startswith("device_") else alarm.code
    source = alarm.source if _SOURCE.match(alarm.source) else "other"
    fields = {
        "event_id": _text(event.event_id),
        "alarm_code": _text(alarm.code),
        "alarm_source": _text(alarm.source),
        "state": _text(alarm.state),
        "previous": _text(event.previous),
        "cause": _text(event.cause),
        "unit": _text(alarm.unit),
        "message": _text(alarm.message),
        "record": _text(record),
        "severity": f"{alarm.severity}i",
        "count": f"{alarm.count}i",
        "row": f"{row}i",
        "grouped": f"{int(event.group is not None)}i",
        "value": _float(alarm.value),
        "limit": _float(alarm.limit),
    }
    digest = hashlib.blake2s(event.event_id.encode(), digest_size=8).digest()
    within = int.from_bytes(digest, "big") % NS_PER_MS
    stamp = alarm.timestamp_ms * NS_PER_MS + within
    return _line(f"event,asset={alarm.asset},code={code},source={source}", fields, stamp)


def metrics_lines(monitor_id: str, metrics: MonitorMetrics) -> list[str]:
    """The line of the monitor's own counters."""
    fields: dict[str, str | None] = {}
    for name, value in msgspec.structs.asdict(metrics).items():
        if name not in ("v", "timestamp_ms") and isinstance(value, int | float):
            fields[name] = f"{int(value)}i" if isinstance(value, int) else _float(value)
    for name, times in metrics.inference.items():
        fields[f"{name}_runs"] = f"{times.runs}i"
        fields[f"{name}_ms_p50"] = _float(times.ms_p50)
        fields[f"{name}_ms_p99"] = _float(times.ms_p99)
    return _line(f"monitor,monitor={monitor_id}", fields, metrics.timestamp_ms * NS_PER_MS)


def _frame_lines(asset: str, arrival_ms: int, frame: Frame, result: bytes) -> list[str]:
    if frame.timestamp_ms > LAST_MS:
        raise ValueError("its time is past the year 2262, the last that InfluxDB can hold")
    stamp = frame.timestamp_ms * NS_PER_MS
    known = f"arrival_ms={arrival_ms}i"
    for name, value in (
        ("current_a", frame.current_a),
        ("ambient_c", frame.ambient_c),
        ("pack_voltage_v", frame.pack_voltage_v),
        ("device_soc", frame.device_soc),
        ("device_soh", frame.device_soh),
    ):
        if value is not None and value - value == 0.0:
            known += f",{name}={value!r}"
    lines = [f"telemetry,asset={asset} {known} {stamp}"]
    temperatures = as_list(frame.temperature_c)
    lines += [
        f"{prefix} temperature_c={value!r} {stamp}"
        for prefix, value in zip(
            _prefixes("sensor", asset, len(temperatures)), temperatures, strict=True
        )
        if value is not None and value - value == 0.0
    ]
    volts = as_list(frame.voltage_v)
    rows: list[list[float]] = stored_rows(result, max(1, len(volts))).tolist()
    for cell, prefix in enumerate(_prefixes("cell", asset, max(len(rows), len(volts)))):
        volt = volts[cell] if cell < len(volts) else None
        found = rows[cell] if cell < len(rows) else _NOTHING
        values = [_NAN if volt is None else volt, *found]
        made = _template(tuple([value - value == 0.0 for value in values]))
        if made is not None:
            template, pick = made
            lines.append(f"{prefix} {template % pick(values)} {stamp}")
    return lines


_NOTHING = [_NAN] * RESULTS


@cache
def _template(known: tuple[bool, ...]) -> tuple[str, Callable[[list[float]], Any]] | None:
    """How the fields of a cell's line are written where only some values are known."""
    fields = [field for field in _CELL_FIELDS if known[field[1]]]
    if not fields:
        return None
    template = ",".join(f"{name}={form}" for name, _, form in fields)
    return template, itemgetter(*(index for _, index, _ in fields))


@lru_cache(maxsize=2_000)
def _prefixes(measurement: str, asset: str, count: int) -> list[str]:
    """`cell,asset=A,cell=c001` and so on."""
    name = cell_name if measurement == "cell" else sensor_name
    return [f"{measurement},asset={asset},{measurement}={name(index)}" for index in range(count)]


def _line(series: str, fields: dict[str, str | None], stamp: int) -> list[str]:
    body = ",".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    return [f"{series} {body} {stamp}"] if body else []


def _float(value: float | None) -> str | None:
    return repr(float(value)) if value is not None and value - value == 0.0 else None


def _text(value: str) -> str | None:
    """A string field; None where the server could not keep it."""
    if len(value) > LONGEST_STRING or len(value.encode()) > LONGEST_STRING:
        return None
    plain = value.translate(_CONTROL).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'
