"""The one configuration of a process: frozen, validated, its secrets masked when printed."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from monitor.alarms.operators import Operators
from monitor.contract import Topics, is_asset_name
from monitor.drift import DETECTORS, OWN
from monitor.errors import ConfigurationError, PayloadError
from monitor.mqtt.address import BrokerAddress, masked


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of the monitor. Read by `load` from a TOML file, the environment and flags."""

    broker: BrokerAddress = field(default_factory=BrokerAddress)
    broker_ca: Path | None = None  # a certificate authority's file for mqtts
    broker_cert: Path | None = None  # a client certificate's file for mqtts
    broker_key: Path | None = None  # its key's file, where it is not in the same one
    broker_password: str | None = field(default=None, repr=False)  # where the address has none
    broker_password_file: Path | None = None  # where it is read from instead
    root: str = "bms"
    monitor_id: str = "monitor"
    operators: str = ""  # who may command, names parted by commas; "": whom the broker lets through
    store: Path = Path("cellpulse.sqlite")
    durable: bool = False  # fsync every commit: survives a power loss, slower
    models: Path | None = None  # a folder; None: the models that came with the package
    dashboard_host: str = "127.0.0.1"
    dashboard_port: int = 8050
    dashboard_names: str = ""  # further host names of the page, parted by commas
    login: Path | None = None  # who may see the page and /metrics: `cellpulse password` writes it
    checkpoint_s: float = 5.0
    knee_detector: str = OWN  # what finds a cell's knee: one of `monitor.drift.DETECTORS`
    rules: Path | None = None  # alarm rules, a TOML file; read again when it changes
    webhook: str | None = field(default=None, repr=False)  # where alarm transitions are POSTed
    webhook_header: str | None = field(default=None, repr=False)  # such as an authorisation
    homeassistant: str | None = None  # discovery prefix, usually `homeassistant`; None: off
    health_host: str = "127.0.0.1"
    health_port: int | None = None  # /healthz and /metrics of the monitor; None: off
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    keep_raw_days: float = 30.0  # raw telemetry older than this goes; its minutes stay; 0: never
    keep_minutes_days: float = 0.0  # minutes older than this go; 0: never
    store_max_mb: float = 10_000.0  # past this the oldest raw telemetry goes; 0: no bound
    influx_url: str | None = None  # http://host:8086; None: no InfluxDB
    influx_org: str = ""
    influx_bucket: str = "cellpulse"
    influx_token: str | None = field(default=None, repr=False)
    influx_token_file: Path | None = None  # where the token is read from instead
    influx_ca: Path | None = None  # a certificate authority's file for https
    influx_max_assets: int = 10_000  # later ones are not written, to bound the series
    influx_history: bool = False  # the page and reports read InfluxDB instead of the store


_PATHS = (
    "store", "models", "broker_ca", "broker_cert", "broker_key", "broker_password_file", "rules",
    "login", "influx_token_file", "influx_ca",
)  # fmt: skip
_CHOICES = {
    "knee_detector": DETECTORS,
    "log_format": ("text", "json"),
    "log_level": ("debug", "info", "warning", "error"),
}
_NUMBERS: dict[str, tuple[type[int] | type[float], float, float]] = {  # smallest and largest
    "dashboard_port": (int, 0, 65_535),
    "health_port": (int, 0, 65_535),
    "checkpoint_s": (float, 0.1, 3_600),
    "keep_raw_days": (float, 0, 100_000),
    "keep_minutes_days": (float, 0, 100_000),
    "store_max_mb": (float, 0, 1e9),
    "influx_max_assets": (int, 1, 1e9),
}


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
    return replace(config, broker=_with_credentials(config))


def read_secret(path: Path, name: str) -> str:
    """The one line of a secret's file; raises ConfigurationError that does not repeat it."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigurationError(f"{name} = {path}: {reason}") from error
    if not secret or "\n" in secret:
        raise ConfigurationError(f"{name} = {path}: expected one line with the secret")
    return secret


def _with_credentials(config: Config) -> BrokerAddress:
    """The broker's address with the password and certificates that stand in other settings."""
    broker = config.broker
    password = broker.password or config.broker_password
    if password is None and config.broker_password_file is not None:
        password = read_secret(config.broker_password_file, "broker_password_file")
    if password is not None and broker.user is None:
        raise ConfigurationError(f"broker {broker}: a password without a user; add `user@`")
    if config.broker_cert is not None and not broker.tls:
        raise ConfigurationError(f"broker {broker}: broker_cert needs an address with mqtts://")
    if config.broker_key is not None and config.broker_cert is None:
        raise ConfigurationError("broker_key: expected broker_cert beside it")
    return replace(
        broker, password=password, ca=config.broker_ca, cert=config.broker_cert,
        key=config.broker_key,
    )  # fmt: skip


def _read(name: str, value: Any) -> Any:
    if name == "broker":
        return value if isinstance(value, BrokerAddress) else BrokerAddress.parse(str(value))
    if name in _PATHS:
        return Path(value)
    if name in ("durable", "influx_history"):
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise ConfigurationError(f"{name} = {value!r}: expected true or false")
    if name in _NUMBERS:
        kind, low, high = _NUMBERS[name]
        return kind(_number(name, value, low, high))
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ConfigurationError(
                f"{name} = {value!r}: expected one of {', '.join(_CHOICES[name])}"
            )
        return value
    if name == "influx_url":
        return _influx_url(str(value))
    text = str(value)
    if name == "monitor_id" and not is_asset_name(text):
        raise ConfigurationError(
            f"monitor_id = {text!r}: expected letters, digits, `.`, `_`, `-`, 1 to 64 of them"
        )
    if name == "operators":
        Operators.parse(text)
    return text


def _number(name: str, value: Any, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not low <= number <= high:
        raise ConfigurationError(f"{name} = {value!r}: expected a number from {low} to {high}")
    return number


def _influx_url(url: str) -> str:
    right = "expected http://host[:port] or https://host[:port]"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError as error:
        raise ConfigurationError(f"influx_url: {error}; {right}") from error
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"influx_url {masked(url)!r}: no user or password here; "
            "the token goes into influx_token_file or CELLPULSE_INFLUX_TOKEN"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ConfigurationError(f"influx_url {url!r}: {right}")
    return url.rstrip("/")


def influx_token(config: Config) -> str:
    """The token, from its file where one is named; raises ConfigurationError."""
    if config.influx_token_file is None:
        return config.influx_token or ""
    try:
        token = config.influx_token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"influx_token_file {config.influx_token_file}: {error}"
        ) from error
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigurationError(
            f"influx_token_file {config.influx_token_file}: expected one line with the token"
        )
    return token
