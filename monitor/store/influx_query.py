"""InfluxQL over `/query`, as InfluxDB 1.x, 2.x (by a database mapping) and 3 answer it."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec

from monitor.errors import StoreError
from monitor.store.influx import Target, reason_of

TIMEOUT_S = 20.0
BODY_BYTES = 64 * 1024  # of an error's body


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its tags, and its columns' values row by row; times in ms."""

    tags: dict[str, str]
    columns: list[str]
    rows: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        """One column's values."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the token is for the configured server alone."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class InfluxQuery:
    """Asks one server; a connection each call, so safe in several threads."""

    def __init__(self, target: Target) -> None:
        self._target = target
        context = ssl.create_default_context(cafile=None if target.ca is None else str(target.ca))
        self._opener = urllib.request.build_opener(
            _NoRedirect(), urllib.request.HTTPSHandler(context=context)
        )

    def ask(self, *statements: str) -> list[list[Series]]:
        """The series that each statement finds; raises StoreError."""
        parameters = urllib.parse.urlencode(
            {"db": self._target.bucket, "epoch": "ms", "q": "; ".join(statements)}
        )
        request = urllib.request.Request(f"{self._target.url}/query?{parameters}")
        if self._target.token:
            request.add_header("Authorization", f"Token {self._target.token}")
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                body = msgspec.json.decode(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                self._fail(f"answers {error.code}: {_said(error)}")
        except OSError as error:
            self._fail(f"does not answer: {error}")
        except Exception as error:  # no HTTP, no JSON, JSON too deep; the text may hold the token
            self._fail(f"does not answer as it should: {type(error).__name__}")
        try:
            found = self._found(body)
        except (AttributeError, KeyError, TypeError) as error:
            self._fail(f"gave an answer of another form: {type(error).__name__}")
        if len(found) != len(statements):
            self._fail("gave an answer without results")
        return found

    def _found(self, body: Any) -> list[list[Series]]:
        found: list[list[Series]] = []
        for result in body.get("results", []):
            entries = result.get("series", [])
            if "error" in result or any(entry.get("partial") for entry in [result, *entries]):
                self._fail(str(result.get("error", "gave a part of the answer only")))
            found.append([_series(entry) for entry in entries])
        return found

    def _fail(self, what: str) -> NoReturn:
        raise StoreError(f"InfluxDB {self._target} {what}")


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return reason_of(error.read(BODY_BYTES))[:500]
    except (OSError, http.client.HTTPException):
        return str(error.reason)


def _series(entry: dict[str, Any]) -> Series:
    return Series(entry.get("tags", {}), entry["columns"], entry.get("values", []))


def text(value: str) -> str:
    """A string literal of InfluxQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fields(names: Sequence[str]) -> str:
    """Names as InfluxQL lists them."""
    return ", ".join(f'"{name}"' for name in names)
