"""Alarm transitions out to a webhook, at least once and in order.

The outbox is the journal: a cursor beside it remembers the last transition that the receiver has
confirmed with a 2xx answer; while it does not answer the cursor waits, with back-off and jitter.
Each request is a POST of one `Event` as JSON. What a grouped alarm speaks for is not sent: a
flood is one notice.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from monitor.errors import ConfigurationError
from monitor.store.journal import connect

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where transitions go; `header` is one `Name: value`, such as an authorisation.

    The path of an address is often its secret: printed, only scheme and host are shown.
    """

    url: str = field(repr=False)
    header: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigurationError("webhook: expected an address with http:// or https://")
        if self.header is not None and ":" not in self.header:
            raise ConfigurationError("webhook_header: expected `Name: value`")

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like another: the header is for one host alone."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


_opener = urllib.request.build_opener(_NoRedirect)


class Outbox:
    """What the webhook has not confirmed yet: events of a journal behind a cursor on disk."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._cursor = journal.with_name(f"{journal.name}.webhook")

    def position(self) -> int:
        """The id of the last confirmed event; a new cursor begins at the newest event."""
        try:
            return int(self._cursor.read_text())
        except (OSError, ValueError):
            newest = self._rows("SELECT ifnull(max(id), 0), '' FROM event", ())[0][0]
            self.confirm(newest)
            return newest

    def waiting(self, after: int, most: int = 100) -> list[tuple[int, str]]:
        """Ids and JSON records of the events behind `after`, oldest first."""
        return self._rows(
            "SELECT id, record FROM event WHERE id > ? AND json_extract(record, '$.group') IS NULL "
            "ORDER BY id LIMIT ?",
            (after, most),
        )

    def confirm(self, event: int) -> None:
        """Remember that everything up to `event` has arrived."""
        fresh = self._cursor.with_suffix(self._cursor.suffix + ".new")
        fresh.write_text(str(event))
        fresh.replace(self._cursor)

    def _rows(self, sql: str, values: tuple[int, ...]) -> list[tuple[int, str]]:
        db = connect(self._journal, read_only=True)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()


async def run(
    webhook: Webhook, outbox: Outbox, *, first_wait_s: float = FIRST_WAIT_S, poll_s: float = POLL_S
) -> None:
    """Send what waits, for ever."""
    position = await asyncio.to_thread(outbox.position)
    wait_s = first_wait_s
    while True:
        try:
            waiting = await asyncio.to_thread(outbox.waiting, position)
        except sqlite3.Error as error:
            log.warning("webhook: the journal cannot be read now: %s", error)
            waiting = []
        for event, record in waiting:
            while not await asyncio.to_thread(send, webhook, record):
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            wait_s = first_wait_s
            position = event
            await asyncio.to_thread(outbox.confirm, position)
        if not waiting:
            await asyncio.sleep(poll_s)


def send(webhook: Webhook, record: str) -> bool:
    """POST one record; whether the receiver took it. What it refuses for good (4xx) is let go."""
    request = urllib.request.Request(
        webhook.url, record.encode(), {"Content-Type": "application/json"}, method="POST"
    )
    if webhook.header is not None:
        name, _, value = webhook.header.partition(":")
        request.add_header(name.strip(), value.strip())
    try:
        with _opener.open(request, timeout=TIMEOUT_S):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        if 400 <= error.code < 500 and error.code not in (408, 425, 429):
            log.error("webhook %s refuses an event with %d; it is let go", webhook, error.code)
            return True
        log.warning("webhook %s answers %d; trying again", webhook, error.code)
    except OSError as error:
        log.warning("webhook %s does not answer: %s; trying again", webhook, error)
    return False
