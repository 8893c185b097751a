"""Whether another client takes our client id, told from how connections end and begin. Pure.

Two clients with one id throw each other out (MQTT 5.0, section 3.1.4; 3.1.1, section 3.1.4-2). A
broker with MQTT 5 says so as it hangs up, reason 0x8E. mosquitto before 2.0.15 does not, and MQTT
3.1.1 has no word for it: there it is inferred. Where the broker takes us back at the first try, it
has not been away. If our session is gone then, somebody began a new one; if it hung up in good
order three times within a minute, somebody comes back as we do. A network that breaks ends a
connection with an error instead.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

TAKEN_OVER = 0x8E
TIMES = 3
WITHIN_S = 60.0
STEADY_S = 120.0  # without another one for so long, it is over
WAIT_S = (2.0, 60.0)  # before the next try: at first, and at most
LONGEST_INFERRED_S = 5.0  # at most, where it is not certain: a bad network is to cost no more

Sign = Literal["said", "session gone", "again and again"]

WORDS: dict[Sign, str] = {
    "said": "another client took our client id",
    "session gone": "the broker hung up, and what it kept for us is gone: another client seems to "
    "have taken our client id, unless the broker lost its memory",
    "again and again": f"the broker hung up {TIMES} times within {WITHIN_S:.0f} s and took us back "
    "at once: another client seems to use our client id",
}
ADVICE = "is there a second monitor with a copy of this store, or does somebody know the id?"


class Takeovers:
    """What one link has seen. Times are of a monotonic clock, s."""

    def __init__(self) -> None:
        self.count = 0
        self.first = False  # whether the newest one began a new row of them
        self._unexplained = False
        self._orderly = False
        self._times: deque[float] = deque(maxlen=TIMES)
        self._newest_s = -1e9
        self._wait_s = 0.0

    def closed(self, reason: int | None, now_s: float, *, orderly: bool = True) -> Sign | None:
        """The connection ended; `reason` is MQTT 5's code, None where the broker said none.

        `orderly` says that the broker closed it, not an error of the network.
        """
        self._unexplained, self._orderly = reason is None, orderly
        return self._seen("said", now_s) if reason == TAKEN_OVER else None

    def away(self) -> None:
        """A try to connect failed: the broker was away, and nobody took anything."""
        self._unexplained = False

    def opened(self, session_kept: bool, now_s: float) -> Sign | None:
        """The broker took us back, with our session or without."""
        if not self._unexplained:
            return None
        self._unexplained = False
        if not session_kept:
            return self._seen("session gone", now_s)
        if self._orderly:
            self._times.append(now_s)
        if not self._orderly or len(self._times) < TIMES or now_s - self._times[0] > WITHIN_S:
            return None
        return self._seen("again and again", now_s)

    def wait_s(self, now_s: float) -> float | None:
        """How long to stay away before the next try; None: as after any loss."""
        return self._wait_s if self._lasts(now_s) else None

    def _lasts(self, now_s: float) -> bool:
        return now_s - self._newest_s <= STEADY_S + self._wait_s

    def _seen(self, sign: Sign, now_s: float) -> Sign:
        self.first = not self._lasts(now_s)
        self.count += 1
        longest_s = WAIT_S[1] if sign == "said" else LONGEST_INFERRED_S
        self._wait_s = WAIT_S[0] if self.first else min(2.0 * self._wait_s, longest_s)
        self._newest_s = now_s
        self._times.clear()
        return sign
