"""Who may see the page and `/metrics`: a file of names and salted password hashes (scrypt).

A line is `name:scrypt:log2(n):r:p:salt:hash`, salt and hash in hexadecimal digits; `#` begins a
comment. The file is read again when it changes. `cellpulse password NAME` writes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from monitor.contract import is_asset_name
from monitor.errors import ConfigurationError

LOG_N, R, P = 15, 8, 1  # 32 MiB and about a tenth of a second a try
MAX_LOG_N, MAX_R, MAX_P = 20, 32, 16
SHORTEST = 10
LONGEST = 1_000
MAX_WAITING = 8  # tries that wait their turn; past it they are refused


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """One user's salted hash and its cost."""

    log_n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @staticmethod
    def make(password: str) -> PasswordHash:
        """Hash a password with a fresh salt."""
        salt = secrets.token_bytes(16)
        return PasswordHash(LOG_N, R, P, salt, _scrypt(password, salt, LOG_N, R, P))

    def fits(self, password: str) -> bool:
        """Whether this is the password; takes the same time either way."""
        found = _scrypt(password, self.salt, self.log_n, self.r, self.p)
        return hmac.compare_digest(found, self.digest)

    def __str__(self) -> str:
        return f"scrypt:{self.log_n}:{self.r}:{self.p}:{self.salt.hex()}:{self.digest.hex()}"


class BusyError(Exception):
    """Too many tries at once."""


class Logins:
    """The users of a login file."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError where the file cannot be used or names nobody."""
        self._path = path
        self._users = read_logins(path)
        if not self._users:
            raise ConfigurationError(f"login = {path}: it names nobody; see `cellpulse password`")
        self._stamp = _stamp(path)
        self._nobody = PasswordHash.make(secrets.token_hex())
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def check(self, name: str, password: str) -> bool:
        """Whether name and password belong together; raises BusyError where too many ask.

        One hash is computed at a time, in a thread, also for a name that nobody has: the time says
        nothing about names, and a flood of tries costs one core at most.
        """
        if self._waiting >= MAX_WAITING:
            raise BusyError
        self._waiting += 1
        try:
            async with self._turn:
                self._refresh()
                known = self._users.get(name)
                fits = await asyncio.to_thread(
                    (known or self._nobody).fits, password[: LONGEST + 1]
                )
        finally:
            self._waiting -= 1
        return fits and known is not None

    def knows(self, name: str) -> bool:
        """Whether the user is still there."""
        self._refresh()
        return name in self._users

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            try:
                self._users = read_logins(self._path)
            except ConfigurationError:
                self._users = {}  # a file that cannot be read lets nobody in
            self._stamp = stamp


def read_logins(path: Path) -> dict[str, PasswordHash]:
    """The users of a file; raises ConfigurationError naming the line, never repeating it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigurationError(f"login = {path}: {reason}") from error
    users = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, kind, log_n, r, p, salt, digest = line.strip().split(":")
            found = PasswordHash(int(log_n), int(r), int(p), bytes.fromhex(salt),
                                 bytes.fromhex(digest))  # fmt: skip
            good = kind == "scrypt" and is_asset_name(name) and len(found.digest) == 32
            good &= 1 <= found.log_n <= MAX_LOG_N and 1 <= found.r <= MAX_R
            good &= 1 <= found.p <= MAX_P and len(found.salt) >= 8
        except ValueError:
            good = False
        if not good:
            raise ConfigurationError(
                f"login = {path}, line {number}: expected what `cellpulse password` writes"
            )
        users[name] = found
    return users


def set_password(path: Path, name: str, password: str) -> None:
    """Add a user or change the password; the file is readable by its owner alone.

    Raises ConfigurationError for a name that cannot stand in a topic or a password too short.
    """
    if not is_asset_name(name):
        raise ConfigurationError(
            f"user {name[:80]!r}: expected letters, digits, `.`, `_`, `-`, 1 to 64 of them"
        )
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigurationError(f"the password: expected {SHORTEST} to {LONGEST} characters")
    users = read_logins(path) if path.exists() else {}
    users[name] = PasswordHash.make(password)
    text = "".join(f"{user}:{found}\n" for user, found in users.items())
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigurationError(f"login file {path}: {error.strerror}") from error


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    # RFC 7914; the memory is 128 * n * r bytes, and OpenSSL wants a little more.
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << log_n, r=r, p=p, dklen=32,
        maxmem=128 * r * ((1 << log_n) + p + 2) + 2**20,
    )  # fmt: skip


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
