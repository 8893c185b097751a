"""Where the broker is: one URL, with the password hidden when it is printed."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bridge.errors import MappingError


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """An MQTT broker."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    @classmethod
    def of(cls, url: str, ca: str | None = None) -> BrokerAddress:
        """From `mqtt://[user[:password]@]host[:port]`, `mqtts://...` or `host[:port]`.

        `ca` is the file of a private certificate authority, for `mqtts`. Raises MappingError for
        anything else; the message does not repeat a password.
        """
        try:
            parts = urlsplit(url if "://" in url else f"mqtt://{url}")
            port = parts.port
            (parts.hostname or "").encode("idna")  # what no look-up takes, raises here
        except ValueError:
            parts, port = urlsplit(""), -1
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port in (-1, 0):
            raise MappingError(
                "broker: expected mqtt://host:port or mqtts://user:password@host:port"
            )
        tls = parts.scheme == "mqtts"
        return cls(
            host=parts.hostname,
            port=port or (8883 if tls else 1883),
            tls=tls,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            ca=ca,
        )

    def tls_context(self) -> ssl.SSLContext | None:
        """For `mqtts`: the system's authorities, or `ca`; raises MappingError for a bad file."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise MappingError(f"--broker-ca {self.ca}: {error}") from error
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key, password=lambda: b"")
            except OSError as error:
                raise MappingError(
                    f"client certificate {self.cert}, {self.key}: {error}"
                ) from error
        return context

    def with_credentials(self, environment: Mapping[str, str]) -> BrokerAddress:
        """What the address leaves out, from the environment, under the monitor's names.

        CELLPULSE_BROKER_PASSWORD or _PASSWORD_FILE, CELLPULSE_BROKER_CERT and _KEY.
        Raises MappingError for a password's file that cannot be read.
        """
        password = self.password or environment.get("CELLPULSE_BROKER_PASSWORD")
        file = environment.get("CELLPULSE_BROKER_PASSWORD_FILE")
        if password is None and file is not None:
            try:
                password = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise MappingError(f"CELLPULSE_BROKER_PASSWORD_FILE {file}: {error}") from error
        return replace(
            self,
            password=password if self.username is not None else None,
            cert=environment.get("CELLPULSE_BROKER_CERT") if self.tls else None,
            key=environment.get("CELLPULSE_BROKER_KEY") if self.tls else None,
        )

    def __str__(self) -> str:
        return f"mqtt{'s' if self.tls else ''}://{self.host}:{self.port}"
