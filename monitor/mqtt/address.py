"""Where the broker is, with the password hidden when it is printed, and how TLS trusts it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from monitor.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker: `mqtt://[user[:password]@]host[:port]`, `mqtts://` for TLS."""

    host: str = "127.0.0.1"
    port: int = 1883
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None  # a certificate authority's file for mqtts; None: the system's own
    cert: Path | None = None  # a client certificate's file for mqtts, and its key's
    key: Path | None = None

    @staticmethod
    def parse(url: str, ca: Path | None = None) -> BrokerAddress:
        """Read a broker URL; raises ConfigurationError that says what would be right.

        It does not repeat a password.
        """
        right = "expected mqtt://[user:password@]host[:port] or mqtts://..."
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")  # what no look-up takes, raises here
        except ValueError as error:
            raise ConfigurationError(f"broker: {right}") from error
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or port == 0:
            raise ConfigurationError(f"broker {masked(url)!r}: {right}")
        tls = parts.scheme == "mqtts"
        user = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        port = port or (8883 if tls else 1883)
        return BrokerAddress(parts.hostname, port, tls, user, password, ca)

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

    def tls_context(self) -> ssl.SSLContext | None:
        """The TLS settings for `mqtts`, None for plain MQTT.

        The broker's certificate must be of its host name and signed by `ca`. Raises
        ConfigurationError that names the file which cannot be used.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ConfigurationError(f"broker_ca = {self.ca}: {_reason(error)}") from error
        context.sslsocket_class = SecureSocket
        if self.cert is not None:
            try:
                # A password for the key is never asked for on the terminal of a service.
                context.load_cert_chain(self.cert, self.key, password=lambda: b"")
            except OSError as error:
                raise ConfigurationError(
                    f"broker_cert = {self.cert}, broker_key = {self.key}: {_reason(error)}; "
                    "expected a PEM certificate and its key without a password"
                ) from error
        return context


class SecureSocket(ssl.SSLSocket):
    """Closes itself where the handshake fails; paho, on which all clients stand, would not."""

    def do_handshake(self, block: bool = False) -> None:
        """As a TLS socket's; raises what that does."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def masked(url: str) -> str:
    """A URL without who comes and their password."""
    head, at, tail = url.rpartition("@")
    return f"***@{tail}" if at and head else url


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "it is not a PEM file").lower().replace("_", " ")
    return str(error.strerror or error)
