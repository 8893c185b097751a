"""Ask a running process how it is (the health check of containers), and a person for a password."""

from __future__ import annotations

import getpass
import sys
import urllib.error
import urllib.request

from monitor.errors import CellpulseError, ConfigurationError

WITHIN_S = 5.0
MAX_BYTES = 64 * 1024


class UnhealthyError(CellpulseError):
    """The process does not answer, or says that something fails."""


def ask_health(url: str) -> str:
    """The answer of a `/healthz`; raises UnhealthyError where it is not 200 within 5 s."""
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{url!r}: expected http://host:port/healthz")
    try:
        # No proxy: what is asked is on this machine or beside it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=WITHIN_S) as answer:
            return str(answer.read(MAX_BYTES).decode("utf-8", "replace").strip())
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(MAX_BYTES).decode("utf-8", "replace").strip()
        raise UnhealthyError(f"{url}: {error.code} {said}") from error
    except (OSError, ValueError) as error:
        raise UnhealthyError(f"{url} does not answer: {error}") from error


def ask_password() -> str:
    """A password typed twice, or the one line of a pipe; raises ConfigurationError."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise ConfigurationError("the two are not the same; nothing was changed")
    return first
