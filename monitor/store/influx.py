"""Lines to an InfluxDB through `influxdb-client`, and what its answers mean; blocking.

The v2 write API: InfluxDB 2.x, 3 Core and Cloud have it. A server may take part of a batch and
refuse the rest (a field of another type, say), and each version says differently which; so a
refused batch is parted, by the field that the reason names or in halves, until the refused lines
stand alone. What was taken already is written again by that, which changes nothing.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from monitor.config import Config, influx_token
from monitor.errors import AwayError

CONNECT_S = 5.0
ANSWER_S = 10.0
TRIES = 200  # requests that one batch's refused lines may cost
REASON_CHARACTERS = 500
BODY_CHARACTERS = 10_000  # of an error's body, that are looked at
LONGEST_ASKED_S = 600.0  # a server may ask for so long a pause
_REFUSED = (400, 413, 422)  # of the data, not of us
_CONFLICT = re.compile(r'input field "([^"]+)" on measurement "([^"]+)" is type')
_DROPPED = re.compile(r"\bdropped=(\d+)")
_EXPIRED = re.compile("retention policy|retention period", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the points go."""

    url: str
    org: str = ""
    bucket: str = "cellpulse"
    token: str = field(default="", repr=False)
    ca: Path | None = None

    def __str__(self) -> str:
        return f"{self.url} bucket {self.bucket}"

    @property
    def key(self) -> str:
        """What tells one target from another; holds no secret."""
        return f"{self.url} {self.org} {self.bucket}"


def make_target(config: Config) -> Target | None:
    """The target of a configuration, None where it has none; raises ConfigurationError."""
    if config.influx_url is None:
        return None
    return Target(
        config.influx_url, config.influx_org, config.influx_bucket, influx_token(config),
        config.influx_ca,
    )  # fmt: skip


class RefusedError(Exception):
    """The server refuses these lines for good; the text is its reason. Caught by `deliver`."""


class Writer(Protocol):
    """One request: raises RefusedError for the lines, AwayError for the server."""

    def write(self, lines: Sequence[str]) -> None:
        """Write lines; raises StoreError, AwayError."""


class InfluxWriter:
    """A connection to one target."""

    def __init__(self, target: Target) -> None:
        from influxdb_client.client.influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS
        from influxdb_client.rest import ApiException

        self._target = target
        self._answer = ApiException
        self._client: Any = InfluxDBClient(
            target.url, token=target.token, org=target.org, enable_gzip=True,
            timeout=(int(CONNECT_S * 1000), int(ANSWER_S * 1000)),
            ssl_ca_cert=None if target.ca is None else str(target.ca),
        )  # fmt: skip
        _compress_quickly(self._client.conf)
        self._api: Any = self._client.write_api(write_options=SYNCHRONOUS)

    def write(self, lines: Sequence[str]) -> None:
        """One request with these lines, nanosecond times, gzip."""
        try:
            self._api.write(
                self._target.bucket, self._target.org, "\n".join(lines).encode(),
                write_precision="ns",
            )  # fmt: skip
        except self._answer as error:
            reason = reason_of(error.body) or str(error.reason)
            if error.status in _REFUSED:
                raise RefusedError(reason) from None
            wait = None if error.headers is None else error.headers.get("Retry-After")
            raise AwayError(
                f"InfluxDB {self._target} answers {error.status}: {reason}", asked_s(wait)
            ) from None
        except Exception as error:  # urllib3's, and what the client makes of a strange answer
            raise AwayError(
                f"InfluxDB {self._target} does not answer: {type(error).__name__}"
            ) from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _compress_quickly(configuration: Any) -> None:
    """The client's own gzip is level 9: as long as making the lines takes, for a quarter less."""
    configuration.update_request_body = _compressed


def _compressed(path: str, body: bytes) -> bytes:
    return gzip.compress(body, 1) if path == "/api/v2/write" else body


def deliver(writer: Writer, lines: Sequence[str]) -> list[tuple[str, str]]:
    """Write every line that the server takes; returns the others, each with the reason.

    Lines beyond the bucket's retention are the server's own to drop, and are none of them. After
    `TRIES` requests what is left of a refused batch is returned whole: it was sent as well, so a
    server that takes parts of batches has what it could take. Raises AwayError.
    """
    refused: list[tuple[str, str]] = []
    waiting = [list(lines)] if lines else []
    tries = 0
    while waiting:
        part = waiting.pop()
        tries += 1
        try:
            writer.write(part)
        except RefusedError as refusal:
            reason = str(refusal)[:REASON_CHARACTERS]
            if _EXPIRED.search(reason):
                continue
            dropped = _DROPPED.search(reason)
            whole = dropped is not None and int(dropped[1]) == len(part)
            if len(part) == 1 or tries >= TRIES or whole:
                refused += [(line, reason) for line in part]
            else:
                waiting += _parted(part, reason)
    return refused


def _parted(lines: list[str], reason: str) -> list[list[str]]:
    """Two smaller batches: the lines with the field that the reason names, or halves."""
    found = _CONFLICT.search(reason)
    if found is not None:
        named = re.compile(rf"{re.escape(found[2])}[, ](?:.*[, ])?{re.escape(found[1])}=")
        suspects = [line for line in lines if named.match(line)]
        if 0 < len(suspects) < len(lines):
            return [suspects, [line for line in lines if not named.match(line)]]
    middle = len(lines) // 2
    return [lines[middle:], lines[:middle]]


def asked_s(wait: object) -> float:
    """The seconds that a Retry-After asks for, at most `LONGEST_ASKED_S`; 0 for anything else."""
    text = str(wait)[:20]
    return min(float(text), LONGEST_ASKED_S) if text.isascii() and text.isdecimal() else 0.0


def reason_of(body: object) -> str:
    """The sentence in an error's body, of 1.x (`error`), 2.x (`message`) or 3; never raises."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    text = text[:BODY_CHARACTERS].strip()
    try:
        found = msgspec.json.decode(text)
        if not isinstance(found, dict):
            return text
        said = found.get("message") or found.get("error") or text
        data = found.get("data")
        if isinstance(data, list) and data and isinstance(data[0], dict):
            said = f"{said}: {data[0].get('error_message', data[0])}"
        return str(said)
    except (msgspec.DecodeError, ValueError, RecursionError):  # or a number of 5,000 digits
        return text
