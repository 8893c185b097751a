"""Streams as a hostile or broken sender makes them: what the contract allows, and what it does not.

Everything is drawn from one `random.Random`, so that a case is its seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from monitor.contract import MAX_TIMESTAMP_MS
from monitor.mqtt.link import Message

T0 = 1_700_000_000_000
ASSETS = ("p", "q", "r.s", "u")
GATEWAYS = ("gw", "other")
USERS = ("ann", "bob")
SESSIONS = (None, "a", "b", "")
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 1.5, -0.0, 1e-300, 5e-324, 1e6, -1e6, 1e6 + 1, 1e300, -1e300, 2**31, 2**53, 2**53 + 1,
    2**63, 2**64, 2**70, 10**400, -(2**63), MAX_TIMESTAMP_MS, MAX_TIMESTAMP_MS + 1,
)  # fmt: skip
OTHERS: tuple[Any, ...] = (
    None, True, False, "", "x", "x" * 600, "\x00", "\n", "é", "😀", "../../x", "#", "+", [], {},
    [[]], [None], [1, None, 3], {"a": 1}, [[[[[[1]]]]]],
)  # fmt: skip


@dataclass
class Clock:
    """The sender's time and the monitor's, ms."""

    event_ms: int = T0
    arrival_ms: int = T0


@dataclass
class Sender:
    """Makes one message after the other; remembers what it sent, to send some of it again."""

    rng: random.Random
    clock: Clock = field(default_factory=Clock)
    seq: dict[str, int] = field(default_factory=dict)
    cells: dict[str, int] = field(default_factory=dict)
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    mid: int = 0
    many: int = 17  # cells of a frame that has more of them than it should

    def message(self) -> Message:
        """The next message."""
        rng = self.rng
        if self.sent and rng.random() < 0.12:
            topic, payload = rng.choice(self.sent[-30:])  # again, or late
        else:
            topic, payload = self._fresh()
            if rng.random() < 0.15:
                payload = self._spoilt(payload)
            self.sent.append((topic, payload))
        self.clock.arrival_ms += rng.choice((0, 1, 100, 1_000, 1_000, 5_000))
        self.mid += 1
        retain = "/command/" in topic and rng.random() < 0.1
        return Message(topic, payload, 1, retain, self.mid, self.clock.arrival_ms, 1)

    def _fresh(self) -> tuple[str, bytes]:
        rng = self.rng
        asset = rng.choice(ASSETS)
        makers: tuple[tuple[float, Callable[[str], tuple[str, Any]]], ...] = (
            (0.66, self._telemetry),
            (0.74, self._config),
            (0.80, self._status),
            (0.86, self._device_alarm),
            (0.97, self._command),
            (1.0, self._elsewhere),
        )
        draw = rng.random()
        topic, body = next(make for bound, make in makers if draw < bound)(asset)
        return topic, body if isinstance(body, bytes) else json.dumps(body).encode()

    def _telemetry(self, asset: str) -> tuple[str, Any]:
        rng = self.rng
        if rng.random() < 0.08:
            frames = [self._frame(asset) for _ in range(rng.randint(1, 5))]
            return f"bms/{asset}/telemetry", frames
        return f"bms/{asset}/telemetry", self._frame(asset)

    def _frame(self, asset: str) -> dict[str, Any]:
        rng, clock = self.rng, self.clock
        clock.event_ms += rng.choice((0, 1, 1_000, 1_000, 1_000, 10_000, 130_000))
        clock.arrival_ms = max(clock.arrival_ms, clock.event_ms)
        at_ms = clock.event_ms
        draw = rng.random()
        if draw < 0.06:
            at_ms += rng.choice((61_000, 86_400_000, 10**12))  # refused, unless it is a replay
        elif draw < 0.14:
            at_ms -= rng.choice(
                (1, 1_000, 60_000, 86_400_000, at_ms)
            )  # late, or the clock set back
        cells = self.cells.get(asset, 1)
        if rng.random() < 0.05:
            cells = rng.choice((0, 1, 2, 3, self.many))
        sensors = rng.choice((0, 1, 1, 1, 2, 2, 3))
        hot = rng.choice((20.0, 25.0, 44.0, 61.0, 70.0, 95.0))
        frame: dict[str, Any] = {
            "v": 1,
            "timestamp_ms": at_ms,
            "current_a": rng.choice((None, 0.0, 1.5, -1.5, -2.0, 900.0)),
            "voltage_v": [rng.choice((None, 2.6, 3.0, 3.7, 3.71, 4.0, 4.19, 4.4, 0.0, 1e6))
                          for _ in range(cells)],
            "temperature_c": [hot] * sensors if rng.random() < 0.9 else rng.choice((None, hot)),
        }  # fmt: skip
        if rng.random() < 0.8:
            step = rng.choice((0, 1, 1, 1, 1, 1, 2, 5, 100, 2**33, -1, -70))
            self.seq[asset] = min(2**53, max(0, self.seq.get(asset, 0) + step))
            frame["seq"] = self.seq[asset]
        if rng.random() < 0.8:
            frame["session"] = rng.choice(SESSIONS) if rng.random() < 0.2 else "s"
        if rng.random() < 0.5:
            frame["ambient_c"] = rng.choice((None, 20.0, -40.0, 1e6))
        if rng.random() < 0.1:
            frame["device_flags"] = ["x"] * rng.randint(0, 4)
        return frame

    def _config(self, asset: str) -> tuple[str, Any]:
        rng = self.rng
        if rng.random() < 0.1:
            return f"bms/{asset}/config", b""
        cells = rng.choice((1, 1, 2, 3, 5))
        self.cells[asset] = cells
        config: dict[str, Any] = {
            "v": 1,
            "nominal_capacity_ah": rng.choice((2.0, 1e-9, 1e6, 280)),
            "cells": cells,
            "cell_type": rng.choice((None, "nasa-18650", "calce-cs2", "tiny", "x")),
            "expected_interval_ms": rng.choice((1, 1_000, 60_000, 366 * 86_400_000)),
            "max_gap_ms": rng.choice((1, 120_000, 366 * 86_400_000)),
            "gateway": rng.choice((None, *GATEWAYS)),
            "provenance": {"replay": rng.random() < 0.3},
        }
        if rng.random() < 0.3:
            config["temperature_map"] = [
                [rng.randint(1, cells) for _ in range(rng.randint(0, 3))]
                for _ in range(rng.randint(0, 3))
            ]
        if rng.random() < 0.5:
            config["limits"] = {
                "temperature_max_c": rng.choice((45.0, 60.0, 1e6)),
                "voltage_max_v": rng.choice((4.2, 4.25, 1e6)),
                "imbalance_max_v": rng.choice((None, 0.001, 0.3)),
                "resistance_max_ohm": rng.choice((None, 1e-9)),
                "charge_current_max_a": rng.choice((None, 1e-300, 1.0)),
            }
        return f"bms/{asset}/config", config

    def _status(self, asset: str) -> tuple[str, Any]:
        payload = self.rng.choice((b"online", b"offline", b"", b"maybe"))
        if self.rng.random() < 0.5:
            return f"bms/_gateway/{self.rng.choice(GATEWAYS)}/status", payload
        return f"bms/{asset}/status", payload

    def _device_alarm(self, asset: str) -> tuple[str, Any]:
        rng = self.rng
        return f"bms/{asset}/device_alarm", {
            "v": 1,
            "timestamp_ms": rng.choice((self.clock.event_ms, 0, MAX_TIMESTAMP_MS)),
            "name": rng.choice(("short", "over_temp", "x")),
            "active": rng.random() < 0.6,
            "source": rng.choice(("pack", "c001", "t01")),
        }

    def _command(self, asset: str) -> tuple[str, Any]:
        rng = self.rng
        user = rng.choice(USERS)
        target = asset if rng.random() < 0.85 else "_group"
        codes = (
            "over_temperature", "under_voltage", "over_voltage", "stale", "offline", "asset",
            "device_short", "sequence_gap", "clock_jump", "nothing",
        )  # fmt: skip
        actions = (
            "acknowledge", "comment", "shelve", "unshelve", "out_of_service", "in_service",
        )  # fmt: skip
        return f"bms/{target}/command/{user}", {
            "v": 1,
            "id": str(rng.randint(0, 400)),
            "action": rng.choice(actions),
            "code": rng.choice(codes),
            "source": rng.choice(("pack", "c001", "c002", "t01", "t02", "group", "fleet", "gw")),
            "duration_s": rng.choice((None, 1, 30, 3_600, 7 * 86_400)),
            "comment": rng.choice((None, "", "seen", "é\x00")),
        }

    def _elsewhere(self, asset: str) -> tuple[str, Any]:
        topic = self.rng.choice(
            ("bms/_monitor/config", "bms/_gateway/x/y", "bms//telemetry", "elsewhere/p/telemetry",
             f"bms/{asset}/estimate", "bms/_group/config", "bms/" + "x" * 300 + "/telemetry",
             "bms/_gateway/a$b/status", f"bms/{asset}/command/a b", "bms/_x/telemetry")
        )  # fmt: skip
        return topic, self._frame(asset)

    def _spoilt(self, payload: bytes) -> bytes:
        """The payload with one value, or some bytes, changed into what nobody expects."""
        rng = self.rng
        try:
            body = json.loads(payload)
        except ValueError:
            body = None
        if isinstance(body, list) and body:
            body = body[0]
        if isinstance(body, dict) and rng.random() < 0.8:
            key = rng.choice([*body, "v", "cells", "max_gap_ms", "new"])
            inner = body.get(key)
            value = rng.choice(NUMBERS) if rng.random() < 0.6 else rng.choice(OTHERS)
            if isinstance(inner, dict) and inner and rng.random() < 0.8:
                inner[rng.choice(list(inner))] = value
            elif isinstance(inner, list) and inner and rng.random() < 0.8:
                inner[rng.randrange(len(inner))] = value
            elif rng.random() < 0.1:
                body.pop(key, None)
            else:
                body[key] = value
            return json.dumps(body).encode()
        data = bytearray(payload)
        for _ in range(rng.randint(1, 4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data) + 1)))])
