"""Members of a zip, zips inside it included, as the publishers ship them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from recordings.types import RecordingError

Member = tuple[str, ...]
"""Names from the outer zip inwards, such as ("1. BatteryAgingARC.zip", "B0005.mat")."""


def members(path: Path, suffix: str) -> list[Member]:
    """The files that end in `suffix`, in order of name. Raises RecordingError if it is no zip."""
    with _zip(path, str(path)) as archive:
        return sorted(_walk(archive, suffix.lower(), str(path)), key=lambda found: found[-1])


def read(path: Path, member: Member) -> io.BytesIO:
    """One member, inflated into memory. Raises RecordingError if it is damaged."""
    content: Path | io.BytesIO = path
    for name in member:
        with _zip(content, str(path)) as archive:
            content = _read(archive, name, str(path))
    if isinstance(content, Path):
        raise RecordingError(f"{path}: no member named")
    return content


def _walk(archive: zipfile.ZipFile, suffix: str, where: str) -> Iterator[Member]:
    for entry in archive.infolist():
        name = entry.filename
        base = name.rsplit("/", 1)[-1]
        if entry.is_dir() or base.startswith(("._", "~$")):
            continue
        if base.lower().endswith(suffix):
            yield (name,)
        elif base.lower().endswith(".zip"):
            with _zip(_read(archive, name, where), f"{where}, {name}") as inner:
                for found in _walk(inner, suffix, f"{where}, {name}"):
                    yield (name, *found)


def _zip(content: Path | io.BytesIO, where: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(content)
    except Exception as error:  # zipfile raises many kinds on damaged bytes
        raise RecordingError(f"{where}: not a readable zip: {_reason(error)}") from None


def _read(archive: zipfile.ZipFile, name: str, where: str) -> io.BytesIO:
    try:
        return io.BytesIO(archive.read(name))
    except Exception as error:  # as above, and zlib's own
        raise RecordingError(f"{where}, {name}: damaged: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
