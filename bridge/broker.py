"""Where the broker is: one URL, with the password hidden when it is printed."""

from __future__ import annotations

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

    @classmethod
    def of(cls, url: str) -> BrokerAddress:
        """From `mqtt://[user[:password]@]host[:port]`, `mqtts://...` or `host[:port]`.

        Raises MappingError for anything else; the message does not repeat a password.
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
        )

    def __str__(self) -> str:
        return f"mqtt{'s' if self.tls else ''}://{self.host}:{self.port}"
