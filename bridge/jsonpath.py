"""The part of JSONPath (RFC 9535) that mappings need, over values that JSON decodes to.

`$`, `.name`, `['name']`, `[0]`, `[*]` and `.*`. A string that itself holds JSON is opened where a
step goes into it, as Venus OS publishes it.

`read_json` also takes what other writers make and JSON does not know: NaN, Infinity and numbers
past a float's range, so that one bad number costs that number and not its message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from bridge.errors import FrameError, MappingError

_STEP = re.compile(
    r"\.(?P<name>[A-Za-z_][\w-]*)|\.(?P<star>\*)|\[(?P<index>-?[0-9]{1,6})\]|\[(?P<wild>\*)\]"
    r"|\['(?P<quoted>[^']*)'\]|\[\"(?P<double>[^\"]*)\"\]"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A value that a path leads to; `key` and `position` (from 1) are its last wildcard's."""

    value: Any
    key: str | None = None
    position: int | None = None


def read_json(text: bytes | str) -> Any:
    """The value of a JSON text; raises FrameError where it is none, or is nested too deeply."""
    try:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return json.loads(text, parse_int=_integer)
    except RecursionError as error:
        raise FrameError("JSON: nested too deeply") from error
    except ValueError as error:  # UnicodeDecodeError is one
        raise FrameError(f"not JSON: {str(error)[:100]}") from error


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
                names = (step["name"], step["quoted"], step["double"])
                self._steps.append(next(name for name in names if name is not None))

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
            return read_json(value)
        except FrameError:
            return value
    return value


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 20 else float(digits)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
