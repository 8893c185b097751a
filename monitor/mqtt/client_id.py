"""The monitor's client id at the broker: its random part is kept in a file beside the store.

Whoever knows the id, and any password of the broker, can throw the monitor out and have the broker
delete the queue that it keeps for it. So the id cannot be guessed. It must also stay the same, as
the queue hangs on it: a file that is there and cannot be used refuses the start, since a new id
would leave behind, without a word, whatever the broker keeps under the old one.

Versions before this file used `cellpulse-<monitor_id>`. A store that comes from one of them gets a
new id too, and the file says in its second line which session is yet to be emptied and ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from monitor.errors import ConfigurationError

_ID = re.compile(r"[A-Za-z0-9._-]{16,160}\Z")


@dataclass(frozen=True, slots=True)
class ClientId:
    """An id, the file that keeps it, and the guessable one whose session is not yet ended."""

    path: Path
    value: str
    former: str | None = None

    def without_former(self) -> ClientId:
        """The former session has been ended; raises ConfigurationError where that is not kept."""
        return _write(replace(self, former=None))


def client_id(store: Path, monitor_id: str, *, had_store: bool) -> ClientId:
    """The id that belongs to a store, made where there is none yet.

    `had_store` says that the store was there before this start. Raises ConfigurationError where the
    file cannot be read or written, or holds something else.
    """
    path = store.with_name(f"{store.name}.client-id")
    try:
        text = path.read_bytes().decode("ascii")
    except FileNotFoundError:
        former = f"cellpulse-{monitor_id}"
        fresh = f"{former}-{secrets.token_hex(16)}"
        return _write(ClientId(path, fresh, former if had_store else None))
    except OSError as error:
        raise ConfigurationError(f"client id file {path}: {error.strerror}; {_WAY}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"client id file {path}: it is not text; {_WAY}") from error
    lines = text.splitlines()
    if not 1 <= len(lines) <= 2 or not _ID.match(lines[0]):
        raise ConfigurationError(f"client id file {path}: expected an id in one line; {_WAY}")
    return ClientId(path, lines[0], lines[1] if len(lines) == 2 else None)


_WAY = (
    "bring it back from a copy, or delete it: then messages that the broker keeps under the old "
    "id do not come"
)


def _write(made: ClientId) -> ClientId:
    """Keep an id: the file is whole or not there, and only its user may read it."""
    fresh = made.path.with_name(f"{made.path.name}.new")
    lines = [made.value] if made.former is None else [made.value, made.former]
    try:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, ("\n".join(lines) + "\n").encode())
            os.fsync(file)
        finally:
            os.close(file)
        fresh.replace(made.path)
    except OSError as error:
        raise ConfigurationError(f"client id file {made.path}: {error.strerror}") from error
    return made
