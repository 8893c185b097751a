"""Input that could not be used: set aside with its reason, while the bridge goes on.

Counted by kind of reason; logged at the first of a kind and at its powers of ten; the newest
`KEPT` stay in memory. Where the asset is known, it has the device alarm `input_quarantined` until
`CLEAR_S` seconds have passed without another.
"""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bridge.clock import Clock
from bridge.errors import BridgeError
from monitor.errors import PayloadError

_log = logging.getLogger("cellpulse.bridge")
KEPT = 100
CLEAR_S = 60.0
ALARM = "input_quarantined"
_MAX_KINDS = 1_000
_OTHER = "other reasons"
_VARIES = re.compile(r"0x[0-9a-f]+|[0-9]+|'[^']*'|\"[^\"]*\"")
_START_BYTES, _SOURCE, _REASON = 64, 200, 300

Tell = Callable[[str, bool, str], None]
"""Asset, whether its alarm `input_quarantined` is active, the reason."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """One input that was not used, or not wholly; `start` is its first bytes."""

    reason: str
    source: str
    start: bytes


class Quarantine:
    """Where one bridge's unusable input goes. `tell` is told when an asset's alarm changes."""

    def __init__(self, tell: Tell | None = None) -> None:
        self._tell = tell
        self._kinds: dict[str, int] = {}
        self._left_s: dict[str, float] = {}  # by asset: until its alarm is cleared
        self.newest: deque[SetAside] = deque(maxlen=KEPT)

    @property
    def count(self) -> int:
        """How many were set aside."""
        return sum(self._kinds.values())

    def counters(self) -> dict[str, int | str]:
        """For the gateway's metrics: how many, and why the newest."""
        if not self.newest:
            return {"set_aside": 0}
        last = self.newest[-1]
        return {"set_aside": self.count, "set_aside_newest": f"{last.source}: {last.reason}"}

    def alarmed(self, asset: str) -> bool:
        """Whether the asset's alarm is active."""
        return asset in self._left_s

    def set_aside(
        self, why: Exception | str, source: str, start: bytes = b"", asset: str | None = None
    ) -> None:
        """Keep, count and log one input; with `asset`, raise that asset's alarm."""
        reason, kind, detail = _described(why)
        said = SetAside(reason, _shown(source, _SOURCE), bytes(start[:_START_BYTES]))
        self.newest.append(said)
        if kind not in self._kinds and len(self._kinds) >= _MAX_KINDS:
            kind = _OTHER
        count = self._kinds[kind] = self._kinds.get(kind, 0) + 1
        if _is_power_of_ten(count):
            _log.warning(
                "set aside from %s (%d of its kind): %s; it began %s%s",
                *(said.source, count, reason, said.start.hex(" ") or "empty"),
                detail if count == 1 else "",
            )
        if asset is not None:
            new = asset not in self._left_s
            self._left_s[asset] = CLEAR_S
            if new and self._tell is not None:
                self._tell(asset, True, reason)

    @contextlib.contextmanager
    def guard(self, source: str, start: bytes = b"", asset: str | None = None) -> Iterator[None]:
        """Whatever the work inside raises is set aside, and the caller goes on."""
        try:
            yield
        except Exception as error:
            self.set_aside(error, source, start, asset)

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the alarms; those without another input in it end."""
        for asset, left_s in list(self._left_s.items()):
            self._left_s[asset] = left_s - seconds
            if left_s <= seconds:
                self._clear(asset)

    def clear(self) -> None:
        """End every alarm: the bridge ends."""
        for asset in list(self._left_s):
            self._clear(asset)

    async def run(self, clock: Clock) -> None:
        """Clear alarms in time, until cancelled."""
        last_s = clock.monotonic_s()
        while True:
            await clock.sleep(1.0)
            now_s = clock.monotonic_s()
            self.pass_time(now_s - last_s)
            last_s = now_s

    def _clear(self, asset: str) -> None:
        del self._left_s[asset]
        if self._tell is not None:
            self._tell(asset, False, f"nothing was set aside for {CLEAR_S:g} s")


def _described(why: Exception | str) -> tuple[str, str, str]:
    """(the reason in words, its kind, more for the log)."""
    if isinstance(why, (str, BridgeError, PayloadError)):
        reason = _shown(str(why), _REASON)
        return reason, _VARIES.sub("*", reason)[:80], ""
    # Nothing that we raise on purpose: the place is what whoever mends it needs.
    frames = traceback.extract_tb(why.__traceback__)
    place = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"
    kind = f"{type(why).__name__} at {place}"
    lines = "".join(traceback.format_exception(why)).rstrip()[-4_000:]
    return _shown(f"{kind}: {why}", _REASON), kind, f"\n{_printable(lines)}"


def _shown(text: str, most: int) -> str:
    return _printable(text[:most]).replace("\n", " ")


def _printable(text: str) -> str:
    """Without what a terminal or an encoder would stumble over: it comes from outside."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)


def _is_power_of_ten(count: int) -> bool:
    return str(count).rstrip("0") == "1"
