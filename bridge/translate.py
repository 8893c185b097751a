"""Foreign messages to readings. Pure: topics, payloads and times in, readings out.

Sources publish one value a topic, or everything at once. Values are gathered for each asset; a
reading is made when none has come for `settle_ms`, or `longest_ms` after the first. A value that
was not told again for `stale_ms` is no longer known: it becomes None, it does not stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bridge.jsonpath import Found
from bridge.mapping import INDEXED, Compiled, Mapping, is_switch, is_true
from bridge.reading import Reading
from bridge.settings import legal_name

MAX_INDEX = 4_096
MAX_ASSETS = 1_000
_LASTING = frozenset(("nominal_capacity_ah", "alarm", "online"))
"""What may come from a retained message: it does not say how old it is."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds; see the module's text."""

    settle_ms: int = 200
    longest_ms: int = 1_000
    stale_ms: int = 300_000


@dataclass(frozen=True, slots=True)
class Told:
    """What an asset's source said: a reading, or that it is on or off line."""

    asset: str
    timestamp_ms: int
    reading: Reading | None
    online: bool = True


@dataclass(slots=True)
class _Asset:
    values: dict[tuple[str, int], tuple[float | bool | None, int]] = field(default_factory=dict)
    alarms: dict[str, bool] = field(default_factory=dict)
    first_ms: int | None = None
    last_ms: int = 0
    online: bool | None = None
    turned: bool = False
    topic: str = ""


class Translator:
    """Gathers what a mapping's topics say. `ignored` counts messages that no rule could use."""

    def __init__(
        self, mapping: Mapping, timing: Timing | None = None, asset: str | None = None
    ) -> None:
        self._rules = mapping.compiled()
        self._timing = timing or Timing()
        self._name = asset
        self._assets: dict[str, _Asset] = {}
        self.ignored = 0

    def filters(self) -> list[str]:
        """The MQTT filters to subscribe to."""
        return sorted({rule.filter for rule in self._rules})

    def receive(self, topic: str, payload: bytes, now_ms: int, retained: bool = False) -> None:
        """One message as it came; never raises."""
        matched = [
            (rule, found) for rule in self._rules if (found := rule.match(topic)) is not None
        ]
        if not matched:
            self.ignored += 1
            return
        self._apply(topic, matched, _decoded(payload), now_ms, retained)

    def receive_value(self, topic: str, value: Any, now_ms: int) -> None:
        """One message that somebody else has decoded."""
        matched = [
            (rule, found) for rule in self._rules if (found := rule.match(topic)) is not None
        ]
        self._apply(topic, matched, value, now_ms, False)

    def lost(self, prefix: str, now_ms: int) -> None:
        """The assets whose newest topic is this, or below it where it ends with `/`, are off line
        (a Sparkplug death)."""
        below = prefix.endswith("/")
        for asset in self._assets.values():
            ours = asset.topic.startswith(prefix) if below else asset.topic == prefix
            if ours and asset.online is not False:
                asset.online, asset.turned, asset.last_ms = False, True, now_ms

    def due(self, now_ms: int) -> Iterator[Told]:
        """What is complete now."""
        for name, asset in self._assets.items():
            if asset.turned:
                asset.turned = False
                if asset.online is False:
                    asset.first_ms = None
                    yield Told(name, asset.last_ms, None, online=False)
                    continue
            if asset.first_ms is None:
                continue
            quiet = now_ms - asset.last_ms >= self._timing.settle_ms
            if quiet or now_ms - asset.first_ms >= self._timing.longest_ms:
                asset.first_ms = None
                yield Told(name, asset.last_ms, self._reading(asset, now_ms))

    def wait_ms(self, now_ms: int) -> int | None:
        """How long until something may be due; None while nothing waits."""
        waits = []
        for asset in self._assets.values():
            if asset.turned:
                return 0
            if asset.first_ms is not None:
                quiet_ms = asset.last_ms + self._timing.settle_ms
                latest_ms = asset.first_ms + self._timing.longest_ms
                waits.append(min(quiet_ms, latest_ms) - now_ms)
        return max(0, min(waits)) if waits else None

    def _apply(
        self,
        topic: str,
        matched: list[tuple[Compiled, dict[str, str]]],
        document: Any,
        now_ms: int,
        retained: bool,
    ) -> None:
        used = False
        for rule, found in matched:
            if retained and rule.rule.to not in _LASTING:
                continue
            for one in [Found(document)] if rule.path is None else list(rule.path.find(document)):
                used |= self._take(topic, rule, found, one, now_ms)
        if not used:
            self.ignored += 1

    def _take(
        self, topic: str, rule: Compiled, found: dict[str, str], one: Found, now_ms: int
    ) -> bool:
        name = legal_name(self._name or found.get("asset") or "pack")
        target = rule.rule.to
        if isinstance(one.value, dict | list):
            return False
        if name not in self._assets and len(self._assets) >= MAX_ASSETS:
            return False
        asset = self._assets.setdefault(name, _Asset())
        asset.topic = topic
        if target == "online":
            online = is_true(one.value)
            if online is not None and online != asset.online:
                asset.online, asset.turned, asset.last_ms = online, True, now_ms
            return online is not None
        if target == "alarm":
            active = is_true(one.value)
            alarm = legal_name(rule.rule.name or found.get("name") or one.key or "alarm")
            if active is None or (len(asset.alarms) >= 64 and alarm not in asset.alarms):
                return False
            asset.alarms[alarm] = active
        else:
            index = _index(rule, found, one) if target in INDEXED else 0
            if not 0 <= index < MAX_INDEX:
                return False
            value = is_true(one.value) if is_switch(target) else rule.rule.number(one.value)
            asset.values[target, index] = value, now_ms
        if asset.first_ms is None:
            asset.first_ms = now_ms
        asset.last_ms = now_ms
        asset.online = True
        return True

    def _reading(self, asset: _Asset, now_ms: int) -> Reading:
        fresh: dict[tuple[str, int], Any] = {
            key: value
            for key, (value, at_ms) in asset.values.items()
            if now_ms - at_ms < self._timing.stale_ms or key[0] in _LASTING
        }
        lists: dict[str, Any] = {}
        for target in INDEXED:
            # A cell that fell silent keeps its place: the ones after it must not move up.
            size = max((index for name, index in asset.values if name == target), default=-1) + 1
            lists[target] = tuple(fresh.get((target, index)) for index in range(size))
        single = {name: value for (name, _), value in fresh.items() if name not in INDEXED}
        for name in ("soc", "soh"):
            if single.get(name) is not None and not 0 <= single[name] <= 1:
                single[name] = None
        if single.get("cycles") is not None:
            single["cycles"] = int(single["cycles"])
        if single.get("nominal_capacity_ah") is not None and single["nominal_capacity_ah"] <= 0:
            single["nominal_capacity_ah"] = None
        active = tuple(name for name, raised in asset.alarms.items() if raised)
        return Reading(**lists, **single, alarms=active)


def _index(rule: Compiled, found: dict[str, str], one: Found) -> int:
    """A cell's or sensor's place, from 0: by the topic, the rule, the key's digits or the order."""
    if found.get("n"):
        return int(found["n"]) - 1
    if rule.rule.n is not None:
        return rule.rule.n - 1
    if one.key is not None and (digits := re.search(r"\d+", one.key)):
        return int(digits[0]) - 1
    return (one.position or 1) - 1


def _decoded(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload.decode("utf-8", errors="replace")
