"""The pipeline's way out: nothing that the publisher does not take ends anything.

Refused payloads are answered with the reason, at most so many a second; an error that nobody
expected is logged with where it arose, the first of its kind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from monitor.announcements import Announcement
from monitor.contract import VERSION, Rejected, Topics, encode
from monitor.delivery import Publisher
from monitor.errors import reason_of

log = logging.getLogger(__name__)

REJECTED_PER_S = 10
PAYLOAD_START = 100  # bytes of a refused payload that its answer tells
KINDS_LOGGED = 100


class Outgoing:
    """A publisher that never raises, and what is said of payloads that are refused."""

    def __init__(self, publisher: Publisher, topics: Topics, monitor_id: str) -> None:
        self._publisher = publisher
        self._rejected_topic = topics.ours("monitor", monitor_id, "rejected")
        self._window = (0.0, 0)  # the second that runs, and how many were answered in it
        self._logged: set[str] = set()

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False,
        expiry_s: int | None = None,
    ) -> None:  # fmt: skip
        """Publish; what the publisher does not take (too long, say) is no input's fault."""
        try:
            self._publisher.publish(topic, payload, qos=qos, retain=retain, expiry_s=expiry_s)
        except Exception as error:
            self.unexpected(f"{topic:.120} is not published", error)

    def announce(self, announced: Iterable[Announcement]) -> None:
        """Publish what there is about alarms."""
        for topic, payload, retained in announced:
            self.publish(topic, payload, retain=retained)

    def answer(self, topic: str, payload: bytes, reason: str, now_ms: int, count: int) -> None:
        """Say why a payload was not taken; `count` is how many were not, in all."""
        second, answered = self._window
        now = time.monotonic()
        if now - second >= 1.0:
            second, answered = now, 0
        self._window = (second, answered + 1)
        if answered >= REJECTED_PER_S:
            return
        log.info("refused a payload on %s: %s", topic[:120], reason)
        refusal = Rejected(
            v=VERSION,
            timestamp_ms=now_ms,
            topic=topic[:200],
            reason=reason,
            payload_start=payload[:PAYLOAD_START].decode("utf-8", "replace"),
            count=count,
        )
        self.publish(self._rejected_topic, encode(refusal))

    def unexpected(self, what: str, error: Exception) -> None:
        """Log an error that nobody expected: the first of its kind with where it arose."""
        reason = reason_of(error)
        new = reason[:40] not in self._logged and len(self._logged) < KINDS_LOGGED
        if new:
            self._logged.add(reason[:40])
        log.error("%s: %s", what, reason, exc_info=error if new else None)
