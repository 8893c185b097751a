"""Results of long steps, kept on disk so that an interrupted run goes on where it stopped.

A step's key is the hash of what it depends on: data, seed, and the sources that compute it. Any
change makes a new key, so nothing stale is ever read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")
_ROOT = Path(__file__).resolve().parent.parent
KERNELS = tuple(  # the sources of the features, for `key_of`
    str(path.relative_to(_ROOT)) for path in sorted((_ROOT / "monitor" / "kernels").glob("*.py"))
)


def default_folder() -> Path:
    """Where steps are kept when nobody says otherwise."""
    return Path.home() / ".cache" / "cellpulse" / "steps"


def remembered(folder: Path | None, key: str, kind: type[T], compute: Callable[[], T]) -> T:
    """The kept result under `key`, or `compute()`, kept for the next time.

    `folder` None computes always. A file that does not decode is computed anew.
    """
    if folder is None:
        return compute()
    path = folder / f"{key}.json"
    if path.exists():
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except msgspec.DecodeError:
            path.unlink()
    result = compute()
    keep(folder, key, result)
    return result


def keep(folder: Path, key: str, result: object) -> None:
    """Write a result as `key`, in one step: what is there afterwards is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{key}.partial"
    partial.write_bytes(msgspec.json.encode(result))
    partial.replace(folder / f"{key}.json")


def all_kept(folder: Path, kind: type[T]) -> list[T]:
    """Every result in a folder, in order of the keys; none where it is not there."""
    return [
        msgspec.json.decode(path.read_bytes(), type=kind) for path in sorted(folder.glob("*.json"))
    ]


def key_of(*parts: object, sources: Iterable[str] = ()) -> str:
    """A hash of the parts' text and of source files named from the checkout's root."""
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode())
    for source in sources:
        digest.update((_ROOT / source).read_bytes())
    return digest.hexdigest()[:32]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files in order of their names."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
