"""Checkpoints of the engine beside the journal: two generations, each with its checksum.

A checkpoint is the state after input number `input_id`. It is written to a new file and moved into
place, the generations taking turns, so that a kill at any instant leaves the other one whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

_MAGIC = b"cellpulse-checkpoint-1\n"
_DIGEST = 32


class _Body(Struct, omit_defaults=True):
    input_id: int
    assets: list[bytes]
    groups: bytes = b""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The engine's state, asset by asset and of the assets together, after input `input_id`."""

    input_id: int
    assets: list[bytes]
    groups: bytes = b""


def write(journal: Path, checkpoint: Checkpoint) -> None:
    """Write over the older generation; raises OSError."""
    body = msgspec.msgpack.encode(_Body(checkpoint.input_id, checkpoint.assets, checkpoint.groups))
    old = min(_paths(journal), key=lambda path: _peek(path))
    fresh = old.with_suffix(old.suffix + ".new")
    with fresh.open("wb") as file:
        file.write(_MAGIC + hashlib.sha256(body).digest() + body)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(old)


def newest(journal: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None."""
    found = [body for path in _paths(journal) if (body := _read(path)) is not None]
    if not found:
        return None
    body = max(found, key=lambda body: body.input_id)
    return Checkpoint(body.input_id, body.assets, body.groups)


def candidates(journal: Path, last_input: int) -> Iterator[tuple[Path, Checkpoint]]:
    """The whole checkpoints of a journal that ends with `last_input`, the newest first.

    Those beyond its end are deleted (OSError): a power loss took the commits that they stand
    behind, and other inputs will get these numbers.
    """
    found = []
    for path in _paths(journal):
        body = _read(path)
        if body is not None and body.input_id > last_input:
            path.unlink()
        elif body is not None:
            found.append((path, Checkpoint(body.input_id, body.assets, body.groups)))
    yield from sorted(found, key=lambda one: one[1].input_id, reverse=True)


def set_aside(path: Path) -> Path:
    """Give a checkpoint that cannot be used another name, and return that; raises OSError."""
    aside = path.with_name(f"{path.name}.unusable")
    path.replace(aside)
    return aside


def oldest_input(journal: Path) -> int:
    """The input that the older of two whole checkpoints stands behind; 0 without two of them.

    What came after it may be needed again.
    """
    found = [body.input_id for path in _paths(journal) if (body := _read(path)) is not None]
    return min(found) if len(found) == 2 else 0


def _paths(journal: Path) -> tuple[Path, Path]:
    return (
        journal.with_name(f"{journal.name}.checkpoint-a"),
        journal.with_name(f"{journal.name}.checkpoint-b"),
    )


def _peek(path: Path) -> int:
    body = _read(path)
    return -1 if body is None else body.input_id


def _read(path: Path) -> _Body | None:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        data = path.read_bytes()
        body = data[len(_MAGIC) + _DIGEST :]
        digest = data[len(_MAGIC) : len(_MAGIC) + _DIGEST]
        if data.startswith(_MAGIC) and hashlib.sha256(body).digest() == digest:
            return msgspec.msgpack.decode(body, type=_Body)
    return None
