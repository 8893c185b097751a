"""The part of JSONPath (RFC 9535) that mappings need, over values that JSON decodes to.

`$`, `.name`, `['name']`, `[0]`, `[*]` and `.*`. A string that itself holds JSON is opened where a
step goes into it, as Venus OS publishes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from bridge.errors import MappingError

_STEP = re.compile(
    r"\.(?P<name>[A-Za-z_][\w-]*)|\.(?P<star>\*)|\[(?P<index>-?\d+)\]|\[(?P<wild>\*)\]"
    r"|\['(?P<quoted>[^']*)'\]|\[\"(?P<double>[^\"]*)\"\]"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A value that a path leads to; `key` and `position` (from 1) are its last wildcard's."""

    value: Any
    key: str | None = None
    position: int | None = None


class Path:
    """A compiled path; raises MappingError for one that cannot be read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._steps: list[str | int | None] = []
        at = 1
        if not text.startswith("$"):
            raise MappingError(f"path {text!r}: expected it to begin with $")
        while at < len(text):
            step = _STEP.match(text, at)
            if step is None:
                raise MappingError(
                    f"path {text!r}: cannot read {text[at:]!r}; expected .name, ['name'], [0] or "
                    "[*]"
                )
            at = step.end()
            if step["star"] or step["wild"]:
                self._steps.append(None)
            elif step["index"] is not None:
                self._steps.append(int(step["index"]))
            else:
                self._steps.append(next(step[n] for n in ("name", "quoted", "double") if step[n]))

    def find(self, document: Any) -> Iterator[Found]:
        """Every value the path leads to, in the document's order."""
        found = [Found(document)]
        for step in self._steps:
            found = [below for one in found for below in _below(one, step)]
        yield from found


def _below(one: Found, step: str | int | None) -> list[Found]:
    value = _opened(one.value)
    if step is None:
        items = value.items() if isinstance(value, dict) else enumerate(_list(value))
        return [
            Found(inner, str(key) if isinstance(value, dict) else None, place)
            for place, (key, inner) in enumerate(items, 1)
        ]
    if isinstance(step, int):
        held = _list(value)
        inside = -len(held) <= step < len(held)
        return [Found(held[step], one.key, one.position)] if inside else []
    if isinstance(value, dict) and step in value:
        return [Found(value[step], one.key, one.position)]
    return []


def _opened(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
