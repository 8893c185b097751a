"""Where the broker is: one URL, with the password hidden when it is printed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
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

    @classmethod
    def of(cls, url: str, ca: str | None = None) -> BrokerAddress:
        """From `mqtt://[user[:password]@]host[:port]`, `mqtts://...` or `host[:port]`.

        `ca` is the file of a private certificate authority, for `mqtts`. Raises MappingError for
        anything else; the message does not repeat a password.
        """
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        try:
            port = parts.port
        except ValueError:
            port = -1
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
            return ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise MappingError(f"--broker-ca {self.ca}: {error}") from error

    def __str__(self) -> str:
        return f"mqtt{'s' if self.tls else ''}://{self.host}:{self.port}"
