"""Ask a running process how it is (the health check of containers), and a person for a password."""

from __future__ import annotations

import asyncio
import getpass
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

from aiomqtt import MqttError

from monitor.config import Config
from monitor.contract import Topics
from monitor.errors import CellpulseError, ConfigurationError

WITHIN_S = 5.0
MAX_BYTES = 64 * 1024


class UnhealthyError(CellpulseError):
    """The process does not answer, or says that something fails."""


def ask_health(what: str, settings: Callable[[], Config] = Config) -> str:
    """What the part `what` says of itself; raises UnhealthyError where that is not good.

    `what` is the URL of a `/healthz`, to answer 200 within 5 s, or `gateway/NAME`, whose retained
    status at the broker of the `settings` is to be `online`.
    """
    kind, _, name = what.partition("/")
    if kind == "gateway":
        return asyncio.run(_ask_gateway(name, settings()))
    if what.startswith(("http://", "https://")):
        return _ask_url(what)
    raise ConfigurationError(f"{what!r}: expected http://host:port/healthz or gateway/NAME")


async def _ask_gateway(name: str, config: Config) -> str:
    from monitor.mqtt.link import collect_retained

    topic = Topics(config.root).ours("gateway", name, "status")
    try:
        async with asyncio.timeout(WITHIN_S):
            found = await collect_retained(config.broker, topic)
    except (TimeoutError, MqttError) as error:
        raise UnhealthyError(f"broker {config.broker}: {error or 'no answer in time'}") from error
    said = found.get(topic, b"nothing").decode("utf-8", "replace")
    if said != "online":
        raise UnhealthyError(f"gateway {name}: {said[:40]!r}, expected 'online'")
    return f"gateway {name}: online"


def _ask_url(url: str) -> str:
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
