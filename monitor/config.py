"""The one configuration of a process: frozen, validated, its secrets masked when printed."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from monitor.contract import Topics, is_asset_name
from monitor.errors import ConfigurationError, PayloadError


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is: `mqtt://[user[:password]@]host[:port]`, `mqtts://` for TLS."""

    host: str = "127.0.0.1"
    port: int = 1883
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @staticmethod
    def parse(url: str) -> BrokerAddress:
        """Read a broker URL; raises ConfigurationError that says what is wrong with it."""
        right = "expected mqtt://[user:password@]host[:port] or mqtts://..."
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"broker: {error}; {right}") from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ConfigurationError(f"broker {_masked(url)!r}: {right}")
        tls = parts.scheme == "mqtts"
        user = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        return BrokerAddress(parts.hostname, port or (8883 if tls else 1883), tls, user, password)

    def url(self) -> str:
        """The whole address with its secret, for a client; print `str(address)` instead."""
        who = "" if self.user is None else quote(self.user, safe="")
        if self.password is not None:
            who += f":{quote(self.password, safe='')}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt{'s' if self.tls else ''}://{who}{'@' if who else ''}{host}:{self.port}"

    def __str__(self) -> str:
        who = "" if self.user is None else f"{self.user}:***@"
        return f"mqtt{'s' if self.tls else ''}://{who}{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of the monitor. Read by `load` from a TOML file, the environment and flags."""

    broker: BrokerAddress = BrokerAddress()
    broker_ca: Path | None = None  # a certificate authority's file for mqtts
    root: str = "bms"
    monitor_id: str = "monitor"
    store: Path = Path("cellpulse.sqlite")
    durable: bool = False  # fsync every commit: survives a power loss, slower
    models: Path | None = None  # a folder; None: the models that came with the package
    dashboard_host: str = "127.0.0.1"
    dashboard_port: int = 8050
    checkpoint_s: float = 5.0
    rules: Path | None = None  # alarm rules, a TOML file; read again when it changes
    webhook: str | None = None  # where alarm transitions are POSTed
    webhook_header: str | None = field(default=None, repr=False)  # such as an authorisation
    homeassistant: str | None = None  # discovery prefix, usually `homeassistant`; None: off


def load(
    file: Path | None = None,
    environment: dict[str, str] | None = None,
    **flags: Any,
) -> Config:
    """Build the configuration: defaults, then the file, then CELLPULSE_*, then flags (not None).

    Raises ConfigurationError naming the key, the value and what would be right.
    """
    settings: dict[str, Any] = {}
    known = {f.name for f in fields(Config)}
    if file is not None:
        try:
            settings.update(tomllib.loads(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"configuration file {file}: {error}") from error
    for key, value in (os.environ if environment is None else environment).items():
        name = key.removeprefix("CELLPULSE_").lower()
        if key.startswith("CELLPULSE_") and name in known:
            settings[name] = value
    settings.update({name: value for name, value in flags.items() if value is not None})
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ConfigurationError(
            f"configuration key {unknown[0]!r} is unknown; known: {', '.join(sorted(known))}"
        )
    config = replace(Config(), **{name: _read(name, value) for name, value in settings.items()})
    try:
        Topics(config.root)
    except PayloadError as error:
        raise ConfigurationError(f"root: {error}") from error
    return config


def _read(name: str, value: Any) -> Any:
    if name == "broker":
        return value if isinstance(value, BrokerAddress) else BrokerAddress.parse(str(value))
    if name in ("store", "models", "broker_ca", "rules"):
        return Path(value)
    if name == "durable":
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise ConfigurationError(f"durable = {value!r}: expected true or false")
    if name == "dashboard_port":
        return int(_number(name, value, 0, 65_535))
    if name == "checkpoint_s":
        return _number(name, value, 0.1, 3_600)
    text = str(value)
    if name == "monitor_id" and not is_asset_name(text):
        raise ConfigurationError(
            f"monitor_id = {text!r}: expected letters, digits, `.`, `_`, `-`, 1 to 64 of them"
        )
    return text


def _number(name: str, value: Any, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not low <= number <= high:
        raise ConfigurationError(f"{name} = {value!r}: expected a number from {low} to {high}")
    return number


def _masked(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"***@{tail}" if at and head else url
