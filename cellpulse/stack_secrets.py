"""The secrets of the stack in docker-compose.yml: made once, each a file, nothing by default.

Compose mounts each file into the services that name it, with the file's own mode, and their users
are not ours. So the files may be read by all and the folder, which is never mounted, by its owner
alone.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

from monitor.contract import ASSET_PATTERN, is_asset_name
from monitor.errors import ConfigurationError
from monitor.web.login import set_password

BROKER_USERS = ("monitor", "simulator", "dashboard")
ROUNDS = 10_000


def make_secrets(folder: Path, user: str) -> str:
    """Write every secret into a new folder; returns what to tell the person.

    Raises ConfigurationError where one is there already: a stack that runs would lose its own.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if any(folder.iterdir()):
            raise ConfigurationError(
                f"{folder} is not empty; what is there may be in use, so nothing was changed"
            )
        hashes = []
        for name in BROKER_USERS:
            password = secrets.token_urlsafe(24)
            _write(folder / f"{name}_password", password)
            hashes.append(f"{name}:{mosquitto_hash(password)}")
        _write(folder / "mosquitto_passwords", "\n".join(hashes))
        for name in ("influx_password", "influx_token", "grafana_password"):
            _write(folder / name, secrets.token_urlsafe(32))
        page = secrets.token_urlsafe(18)
        _write(folder / "page_password", page)
        set_password(folder / "logins", user, page)
        (folder / "logins").chmod(0o644)
    except OSError as error:
        raise ConfigurationError(f"secrets in {folder}: {error.strerror}") from error
    return (
        f"{folder}: written. {user}'s password for the page stands in page_password, "
        "that of Grafana's admin in grafana_password."
    )


def add_broker_user(folder: Path, name: str) -> str:
    """Give one more user of the broker a password; returns what to tell the person.

    Raises ConfigurationError where the name cannot be a user's or has a password already.
    """
    if not is_asset_name(name):
        raise ConfigurationError(f"user {name!r}: expected {ASSET_PATTERN}")
    passwords, own = folder / "mosquitto_passwords", folder / f"{name}_password"
    try:
        lines = passwords.read_text(encoding="utf-8").splitlines()
        if own.exists() or any(line.startswith(f"{name}:") for line in lines):
            raise ConfigurationError(f"user {name} has a password already; nothing was changed")
        password = secrets.token_urlsafe(24)
        _write(own, password)
        fresh = passwords.with_name(f"{passwords.name}.new")
        fresh.unlink(missing_ok=True)
        _write(fresh, "\n".join([*lines, f"{name}:{mosquitto_hash(password)}"]))
        fresh.replace(passwords)
    except OSError as error:
        raise ConfigurationError(f"secrets in {folder}: {error.strerror}") from error
    return f"{own}: {name}'s password for the broker. It holds once the broker has been restarted."


def mosquitto_hash(password: str) -> str:
    """A line's second half in mosquitto's password file: PBKDF2-HMAC-SHA512, as mosquitto 2 reads.

    Source: mosquitto 2.0, `mosquitto_passwd(1)` and its `$7$rounds$salt$hash` form.
    """
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS)
    return f"$7${ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _write(path: Path, secret: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
        file.write(secret + "\n")
    path.chmod(0o644)
