"""Alarm transitions out to a webhook, at least once and in order.

The outbox is the journal: a cursor beside it remembers the last transition that the receiver has
answered; while it does not answer the cursor waits, with back-off and jitter. The cursor moves
after the answer, so a kill between the two sends that one transition again. Where the cursor cannot
be written, as on a full disk, it is said and the next ones are sent all the same; a monitor that
ends before the cursor could be written sends those again after its start. Each request is a POST of
one `Event` as JSON. What a grouped alarm speaks for is not sent: a flood is one notice.

Any 2xx confirms. What the receiver says of this one event (`LET_GO`) would be said of it again: it
is logged, counted and let go, and the next one is sent. Every other answer is about the receiver,
the address or the token, which somebody will put right: it waits, and so does what answers no HTTP.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import re
import socket
import sqlite3
import ssl
import threading
import urllib.error
import urllib.request
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from monitor.errors import AwayError, ConfigurationError, StoreError
from monitor.store.journal import connect
from monitor.supervisor import Report

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
POLL_S = 1.0
# Bad request, conflict (it has this one), too large, unprocessable: of the event, not of us.
LET_GO = frozenset({400, 409, 413, 422})
_HINTS = {
    401: "; is the token in webhook_header right?",
    403: "; is the token in webhook_header right?",
    404: "; is the address right?",
    410: "; is the address right?",
}
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\xa0-\xff]+)")  # RFC 9110
_OURS = ("content-length", "transfer-encoding", "connection", "host")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where transitions go; `header` is one `Name: value`, such as an authorisation.

    The path of an address is often its secret: printed, only scheme and host are shown. Raises
    ConfigurationError, which repeats neither, for what no request could be made of.
    """

    url: str = field(repr=False)
    header: str | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S  # for each step of the way, and for the whole answer

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigurationError("webhook: expected an address with http:// or https://")
        try:
            parts = urlsplit(self.url)
            host, _ = (parts.hostname or "").encode("idna"), parts.port
        except ValueError:  # its text may hold the secret
            host = b""
        if not host:
            raise ConfigurationError("webhook: expected http://host[:port]/... or https://...")
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError(
                "webhook: no user or password in the address; expected webhook_header = "
                "`Authorization: Basic ...`"
            )
        rest = self.url.partition("://")[2].partition("/")[2]
        if not all("!" <= sign <= "~" for sign in rest) or re.search(r"[\s\0]", self.url):
            raise ConfigurationError(
                "webhook: blanks, control characters and letters other than ASCII are to be "
                "written as %XX"
            )
        if self.header is not None:
            found = _HEADER.fullmatch(self.header)
            if found is None:
                raise ConfigurationError(
                    "webhook_header: expected one line `Name: value` of letters in Latin-1"
                )
            if found[1].lower() in _OURS:
                raise ConfigurationError(f"webhook_header: {found[1]} is set by the program itself")

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like another: the header is for one host alone."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


class _InTime:
    """A connection that is cut where its whole answer does not come in time.

    A time-out of the socket is for each read alone: a receiver that says a byte now and then would
    be waited for without end.
    """

    sock: Any
    timeout: Any

    def getresponse(self) -> http.client.HTTPResponse:
        """As `HTTPConnection.getresponse`; what is cut there raises OSError or HTTPException."""
        timer = threading.Timer(self.timeout, _cut, (self.sock,))
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()  # type: ignore[misc,no-any-return]
        finally:
            timer.cancel()


class _Http(_InTime, http.client.HTTPConnection):
    pass


class _Https(_InTime, http.client.HTTPSConnection):
    pass


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Http, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Https, req)


_opener = urllib.request.build_opener(_NoRedirect, _HttpHandler, _HttpsHandler)


class Outbox:
    """What the webhook has not confirmed yet: events of a journal behind a cursor on disk.

    Methods raise StoreError where a file cannot be read now. Where the cursor cannot be written,
    `unwritten` says why; what was confirmed is known all the same, and each `position` and
    `confirm` tries again to write it.
    """

    def __init__(self, journal: Path) -> None:
        self.unwritten: str | None = None  # why the cursor on disk is behind; None where it is not
        self._journal = journal
        self._cursor = journal.with_name(f"{journal.name}.webhook")
        self._confirmed: int | None = None
        self._written: int | None = None

    def position(self) -> int:
        """The id of the last confirmed event; a new cursor begins at the newest event."""
        if self._confirmed is None:
            self._confirmed = self._written = self._read()
        if self._confirmed is None:
            self._confirmed = self._newest()
        if self._written != self._confirmed:
            self._write(self._confirmed)
        return self._confirmed

    def waiting(self, after: int, most: int = 100) -> list[tuple[int, str]]:
        """Ids and JSON records of the events behind `after`, oldest first."""
        return self._rows(
            "SELECT id, record FROM event WHERE id > ? AND json_extract(record, '$.group') IS NULL "
            "ORDER BY id LIMIT ?",
            (after, most),
        )

    def confirm(self, event: int) -> None:
        """Remember that everything up to `event` has arrived."""
        self._confirmed = event
        self._write(event)

    def _read(self) -> int | None:
        """The cursor; None where there is none, or none that can be one."""
        try:
            text = self._cursor.read_bytes()[:100].strip()
        except FileNotFoundError:
            return None
        except OSError as error:  # nothing is skipped for that
            raise StoreError(f"the cursor {self._cursor} cannot be read: {error}") from error
        if not text.isdigit() or len(text) > 18:
            log.error("%s is damaged: what waited in the journal is not sent", self._cursor)
            return None
        # A power loss may take the journal's last commits: what comes with these numbers is new.
        return min(int(text), self._newest())

    def _write(self, event: int) -> None:
        """Write the cursor down if that can be done now."""
        fresh = self._cursor.with_suffix(self._cursor.suffix + ".new")
        try:
            with fresh.open("wb") as file:
                file.write(b"%d" % event)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._cursor)
        except OSError as error:
            self.unwritten = (
                f"{self._cursor.name} cannot be written: {error.strerror or error}; what is sent "
                "meanwhile is sent again after a restart"
            )
            return
        self.unwritten, self._written = None, event

    def _newest(self) -> int:
        return self._rows("SELECT ifnull(max(id), 0), '' FROM event", ())[0][0]

    def _rows(self, sql: str, values: tuple[int, ...]) -> list[tuple[int, str]]:
        try:
            with closing(connect(self._journal, read_only=True)) as db:
                return db.execute(sql, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the journal cannot be read: {error}") from error


class Sender:
    """Sends what waits in an outbox to a receiver."""

    def __init__(self, webhook: Webhook, outbox: Outbox, *, poll_s: float = POLL_S) -> None:
        self.let_go = 0  # events that the receiver refused
        self._webhook = webhook
        self._outbox = outbox
        self._poll_s = poll_s

    async def run(self, report: Report) -> None:
        """Send for ever; raises StoreError, AwayError where that cannot be done now."""
        refused = False
        while True:
            more, refusal = await asyncio.to_thread(self.step)
            unwritten = self._outbox.unwritten
            if refusal is not None:
                report.trouble(refusal, anew=True)
            if unwritten is not None:
                report.trouble(unwritten)
            elif refusal is None and (more or not refused):
                report.well()
            refused = refusal is not None or (refused and not more)
            if not more:
                await asyncio.sleep(self._poll_s)

    def step(self) -> tuple[bool, str | None]:
        """Send the oldest event: whether there was one, and why it was let go, None if it was not.

        In one piece, so that a monitor which ends meanwhile writes down what was answered.
        """
        waiting = self._outbox.waiting(self._outbox.position(), 1)
        if not waiting:
            return False, None
        event, record = waiting[0]
        status = send(self._webhook, record)
        self._outbox.confirm(event)
        if status is None:
            return True, None
        self.let_go += 1
        return True, f"{self._webhook} refuses event {event} with {status}; it is let go"


def send(webhook: Webhook, record: str) -> int | None:
    """POST one record; None where the receiver took it, the status (`LET_GO`) where it refuses it.

    Raises AwayError where it has to be sent again; the text tells no path and no header.
    """
    try:
        request = urllib.request.Request(
            webhook.url, record.encode(), {"Content-Type": "application/json"}, method="POST"
        )
        if webhook.header is not None:
            name, _, value = webhook.header.partition(":")
            request.add_header(name.strip(), value.strip())
        with _opener.open(request, timeout=webhook.timeout_s):
            return None
    except urllib.error.HTTPError as error:
        status = error.code
        with suppress(Exception):  # what is left of the answer is of no interest
            error.close()
        if status in LET_GO:
            return status
        raise AwayError(f"{webhook} answers {status}{_HINTS.get(status, '')}") from None
    except OSError as error:
        raise AwayError(f"{webhook} does not answer: {_why(error)}") from None
    except Exception as error:  # what else http.client makes of an answer that is none
        raise AwayError(f"{webhook} does not answer as HTTP: {type(error).__name__}") from None


def _why(error: OSError) -> str:
    """The system's own words; anything else might repeat the address."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, ssl.SSLError):
        return f"TLS, {(inner.reason or type(inner).__name__).lower().replace('_', ' ')}"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return "not in time" if isinstance(inner, TimeoutError) else type(inner).__name__


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
