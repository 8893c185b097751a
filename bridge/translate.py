"""Foreign messages to readings. Pure: topics, payloads and times in, readings out.

Sources publish one value a topic, or everything at once. Values are gathered for each asset; a
reading is made when none has come for `settle_ms`, or `longest_ms` after the first. A value that
was not told again for `stale_ms` is no longer known: it becomes None, it does not stay.

A bad value in a message is a missing value, and `receive` names it; a message that cannot be read
is refused with FrameError. Assets, their values and what one message may hold are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bridge.errors import FrameError
from bridge.jsonpath import Found, read_json
from bridge.mapping import INDEXED, Compiled, Mapping, is_switch, is_true, says_nothing
from bridge.numbers import whole
from bridge.reading import Reading
from bridge.settings import legal_name
from monitor.contract import MAX_CELLS

MAX_ASSETS = 1_000
MAX_VALUES = 200_000  # of all assets together
MAX_ALARMS = 64  # of one asset: as many flags as a frame may hold
MAX_PAYLOAD_BYTES = 1024 * 1024  # a Sparkplug birth may be longer than our own messages
MAX_TOPIC = 1_024
MAX_NAMED = 20  # unusable values that are named, of one message
_LASTING = frozenset(("nominal_capacity_ah", "alarm", "online"))
"""What may come from a retained message: it does not say how old it is."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds; see the module's text."""

    settle_ms: int = 200
    longest_ms: int = 1_000
    stale_ms: int = 300_000


@dataclass(frozen=True, slots=True)
class Update:
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
    """Gathers what a mapping's topics say. `ignored` counts messages that no rule could use.

    `receive` and `receive_value` return what of a message is no usable value, in words.
    """

    def __init__(
        self, mapping: Mapping, timing: Timing | None = None, asset: str | None = None
    ) -> None:
        self._rules = mapping.compiled()
        self._timing = timing or Timing()
        self._name = asset
        self._assets: dict[str, _Asset] = {}
        self._values = 0
        self.ignored = 0

    def filters(self) -> list[str]:
        """The MQTT filters to subscribe to."""
        return sorted({rule.filter for rule in self._rules})

    def receive(self, topic: str, payload: bytes, now_ms: int, retained: bool = False) -> list[str]:
        """One message as it came. Raises FrameError for one that cannot be read."""
        matched = self._matched(topic)
        if not matched or not payload:  # nothing at all is how a retained message is deleted
            self.ignored += 1
            return []
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise FrameError(f"{len(payload)} bytes: expected at most {MAX_PAYLOAD_BYTES}")
        try:
            document = read_json(payload)
        except FrameError:
            if any(rule.path is not None for rule, _ in matched):
                raise
            document = payload.decode("utf-8", errors="replace")
        return self._apply(topic, matched, document, now_ms, retained)

    def receive_value(self, topic: str, value: Any, now_ms: int) -> list[str]:
        """One message that somebody else has decoded. Raises FrameError for its topic."""
        return self._apply(topic, self._matched(topic), value, now_ms, False)

    def asset_of(self, topic: str) -> str | None:
        """The known asset that a topic is about."""
        if len(topic) > MAX_TOPIC:
            return None
        for rule in self._rules:
            found = rule.match(topic)
            if found is not None:
                name = self._asset_name(found)
                return name if name in self._assets else None
        return None

    def lost(self, prefix: str, now_ms: int) -> None:
        """The assets whose newest topic is this, or below it where it ends with `/`, are off line
        (a Sparkplug death)."""
        below = prefix.endswith("/")
        for asset in self._assets.values():
            ours = asset.topic.startswith(prefix) if below else asset.topic == prefix
            if ours and asset.online is not False:
                asset.online, asset.turned, asset.last_ms = False, True, now_ms

    def due(self, now_ms: int) -> Iterator[Update]:
        """What is complete now."""
        for name, asset in self._assets.items():
            if asset.turned:
                asset.turned = False
                if asset.online is False:
                    asset.first_ms = None
                    yield Update(name, asset.last_ms, None, online=False)
                    continue
            if asset.first_ms is None:
                continue
            quiet = now_ms - asset.last_ms >= self._timing.settle_ms
            if quiet or now_ms - asset.first_ms >= self._timing.longest_ms:
                asset.first_ms = None
                yield Update(name, asset.last_ms, self._reading(asset, now_ms))

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

    def _matched(self, topic: str) -> list[tuple[Compiled, dict[str, str]]]:
        if len(topic) > MAX_TOPIC:
            raise FrameError(f"a topic of {len(topic)} characters: expected at most {MAX_TOPIC}")
        return [(rule, found) for rule in self._rules if (found := rule.match(topic)) is not None]

    def _asset_name(self, found: dict[str, str]) -> str:
        return legal_name(self._name or found.get("asset") or "pack")

    def _apply(
        self,
        topic: str,
        matched: list[tuple[Compiled, dict[str, str]]],
        document: Any,
        now_ms: int,
        retained: bool,
    ) -> list[str]:
        used = False
        unusable: list[str] = []
        for rule, found in matched:
            if retained and rule.rule.to not in _LASTING:
                continue
            for one in [Found(document)] if rule.path is None else rule.path.find(document):
                said = self._take(topic, rule, found, one, now_ms)
                used |= said is True
                if isinstance(said, str) and len(unusable) < MAX_NAMED:
                    unusable.append(said)
        if not used:
            self.ignored += 1
        return unusable

    def _take(
        self, topic: str, rule: Compiled, found: dict[str, str], one: Found, now_ms: int
    ) -> bool | str:
        """Whether a value was used; or why it is none, in words."""
        name = self._asset_name(found)
        target = rule.rule.to
        if isinstance(one.value, dict | list):
            return False
        if name not in self._assets and len(self._assets) >= MAX_ASSETS:
            return f"an asset past {MAX_ASSETS}"
        asset = self._assets.setdefault(name, _Asset())
        asset.topic = topic
        if target == "online":
            online = is_true(one.value)
            if online is not None and online != asset.online:
                asset.online, asset.turned, asset.last_ms = online, True, now_ms
            return online is not None
        unusable = ""
        if target == "alarm":
            active = is_true(one.value)
            alarm = legal_name(rule.rule.name or found.get("name") or one.key or "alarm")
            if active is None:
                return False
            if len(asset.alarms) >= MAX_ALARMS and alarm not in asset.alarms:
                return f"alarm {alarm}: an alarm past {MAX_ALARMS}"
            asset.alarms[alarm] = active
        else:
            index = _index(rule, found, one) if target in INDEXED else 0
            if index is None:
                return f"{target}: its number is not one of 1 to {MAX_CELLS}"
            if (target, index) not in asset.values:
                if self._values >= MAX_VALUES:
                    return f"{target}: a value past {MAX_VALUES} of all assets"
                self._values += 1
            value = is_true(one.value) if is_switch(target) else rule.rule.number(one.value)
            asset.values[target, index] = value, now_ms
            if value is None and not says_nothing(one.value):
                place = f"{target} {index + 1}" if target in INDEXED else target
                unusable = f"{place}: {_quoted(one.value)} is no number that can be used"
        if asset.first_ms is None:
            asset.first_ms = now_ms
        asset.last_ms = now_ms
        asset.online = True
        return unusable or True

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
            single["cycles"] = int(single["cycles"]) if single["cycles"] >= 0 else None
        if single.get("nominal_capacity_ah") is not None and single["nominal_capacity_ah"] <= 0:
            single["nominal_capacity_ah"] = None
        active = tuple(name for name, raised in asset.alarms.items() if raised)
        return Reading(**lists, **single, alarms=active)


def _index(rule: Compiled, found: dict[str, str], one: Found) -> int | None:
    """A cell's or sensor's place, from 0: by the topic, the rule, the key's digits or the order."""
    if found.get("n"):
        number = whole(found["n"], MAX_CELLS)
    elif rule.rule.n is not None:
        number = rule.rule.n
    elif one.key is not None and (digits := re.search("[0-9]+", one.key)):
        number = whole(digits[0], MAX_CELLS)
    else:
        number = one.position or 1
    return number - 1 if number is not None and 1 <= number <= MAX_CELLS else None


def _quoted(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**20:
        return "a number of more than 20 digits"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 40 else f"{text[:40]}..."
