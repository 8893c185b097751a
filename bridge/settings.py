"""What a bridge needs to know to run: built once by the command line, handed over as JSON."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bridge.device import Told
from bridge.errors import MappingError
from bridge.protocols import Choices
from monitor.contract import Topics
from monitor.errors import ConfigurationError
from monitor.mqtt.address import BrokerAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Where readings go, and what the user says of the asset."""

    broker: str = field(default="mqtt://localhost", repr=False)  # may hold a password
    broker_ca: str | None = None
    root: str = "bms"
    asset: str
    gateway: str | None = None
    interval_s: float = 1.0
    capacity_ah: float | None = None
    chemistry: str | None = None
    invert_current: bool = False

    def told(self, source: str, replay: bool = False, speed: float | None = None) -> Told:
        """As the gateway wants it; raises MappingError or PayloadError for what cannot be."""
        Topics(self.root).of(self.asset)
        return Told(
            asset=self.asset,
            gateway=self.gateway or self.asset,
            capacity_ah=self.capacity_ah,
            chemistry=self.chemistry,
            interval_ms=milliseconds("interval", self.interval_s),
            source=source,
            replay=replay,
            speed=speed,
        )

    def choices(self) -> Choices:
        """Where boards or decoders differ."""
        return Choices(invert_current=self.invert_current)

    def address(self) -> BrokerAddress:
        """The broker, with what its address leaves out; raises ConfigurationError."""
        return with_credentials(address_of(self.broker, self.broker_ca), os.environ)

    def topics(self) -> Topics:
        """The topics; raises PayloadError for a root that cannot be one."""
        return Topics(self.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialSettings(Common):
    """`cellpulse bridge serial`."""

    port: str
    protocol: str = "auto"
    baud: int | None = None
    board: int = 1
    jk_cold_zero: int = 100
    record: str | None = None

    def choices(self) -> Choices:
        """Where boards or decoders differ."""
        return Choices(self.board, self.invert_current, self.jk_cold_zero)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslateSettings(Common):
    """`cellpulse bridge translate`. With `asset` empty, each source names its assets."""

    preset: str | None = None
    mapping: str | None = None
    base: str | None = None
    device: str | None = None
    source_broker: str | None = field(default=None, repr=False)  # the same broker where None
    stale_s: float = 300.0

    def source(self) -> BrokerAddress:
        """The broker that is listened to; raises ConfigurationError."""
        if self.source_broker is None:
            return self.address()
        return address_of(self.source_broker, self.broker_ca)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSettings(Common):
    """`cellpulse bridge modbus`."""

    port: str
    map: str
    baud: int = 9_600
    parity: str = "N"


@dataclass(frozen=True, slots=True, kw_only=True)
class CanSettings(Common):
    """`cellpulse bridge can`."""

    dbc: str
    mapping: str
    interface: str = "socketcan"
    channel: str = "can0"
    bitrate: int | None = None
    stale_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BleSettings(Common):
    """`cellpulse bridge ble`."""

    address_or_name: str


def address_of(url: str, ca: str | None = None) -> BrokerAddress:
    """A broker's URL, in which `mqtt://` may be left out; raises ConfigurationError.

    `ca` is the file of a private certificate authority, for `mqtts`.
    """
    url = url if "://" in url else f"mqtt://{url}"
    return BrokerAddress.parse(url, None if ca is None else Path(ca))


def with_credentials(address: BrokerAddress, environment: Mapping[str, str]) -> BrokerAddress:
    """What an address leaves out, from the environment, under the monitor's names.

    CELLPULSE_BROKER_PASSWORD or _PASSWORD_FILE, CELLPULSE_BROKER_CERT and _KEY. Raises
    ConfigurationError for a password's file that cannot be read.
    """
    password = address.password or environment.get("CELLPULSE_BROKER_PASSWORD")
    file = environment.get("CELLPULSE_BROKER_PASSWORD_FILE")
    if password is None and file is not None:
        try:
            password = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"CELLPULSE_BROKER_PASSWORD_FILE {file}: {error}") from error
    cert, key = (
        Path(value) if address.tls and (value := environment.get(name)) else None
        for name in ("CELLPULSE_BROKER_CERT", "CELLPULSE_BROKER_KEY")
    )
    return replace(
        address, password=password if address.user else None, cert=cert, key=key
    )  # fmt: skip


def milliseconds(what: str, seconds: float) -> int:
    """Seconds as whole milliseconds; raises MappingError for what is no time."""
    if not (math.isfinite(seconds) and 0 <= seconds <= 1e9):
        raise MappingError(f"{what} {seconds} s: expected a number of seconds from 0")
    return round(seconds * 1000)


def legal_name(name: str) -> str:
    """The nearest name that may stand in a topic."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "bms"
