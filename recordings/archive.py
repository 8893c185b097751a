"""Members of a zip, zips inside it included, as the publishers ship them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from recordings.types import RecordingError

MAX_MEMBER_BYTES = 512 * 1024 * 1024  # inflated; the publishers' largest is 70 MB
MAX_INFLATED_BYTES = 2 * 1024 * 1024 * 1024  # of zips inside a zip, all together
MAX_REPEATED_BYTES = 16 * 1024 * 1024 * 1024  # to open each file, all zips around it are inflated
MAX_DEPTH = 3  # zips inside zips
MAX_MEMBERS = 10_000

Member = tuple[str, ...]
"""Names from the outer zip inwards, such as ("1. BatteryAgingARC.zip", "B0005.mat")."""


def members(path: Path, suffix: str) -> list[Member]:
    """The files that end in `suffix`, in order of name. Raises RecordingError if it is no zip."""
    with _zip(path, str(path)) as archive:
        found = _Walk(suffix.lower()).members(archive, str(path), 1)
        return sorted(found, key=lambda member: member[-1])


def read(path: Path, member: Member) -> io.BytesIO:
    """One member, inflated into memory. Raises RecordingError if it is damaged."""
    content: Path | io.BytesIO = path
    for name in member:
        with _zip(content, str(path)) as archive:
            content = _read(archive, name, str(path))
    if isinstance(content, Path):
        raise RecordingError(f"{path}: no member named")
    return content


class _Walk:
    """Through a zip and the zips inside it, with an end to what a hostile one may cost."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._inflated = self._seen = self._repeated = 0

    def members(
        self, archive: zipfile.ZipFile, where: str, depth: int, around: int = 0
    ) -> Iterator[Member]:
        for entry in archive.infolist():
            name = entry.filename
            base = name.rsplit("/", 1)[-1]
            self._seen += 1
            if self._seen > MAX_MEMBERS:
                raise RecordingError(f"{where}: more than {MAX_MEMBERS:,} files in the zip")
            # A nameless entry ends the zipfile module's own `is_dir`.
            if not base or base.startswith(("._", "~$")):
                continue
            if base.lower().endswith(self._suffix):
                self._repeated += around
                if self._repeated > MAX_REPEATED_BYTES:
                    raise RecordingError(
                        f"{where}: to read each of its files, more than "
                        f"{MAX_REPEATED_BYTES // 2**30} GiB would be inflated; unpack it first"
                    )
                yield (name,)
            elif base.lower().endswith(".zip"):
                if depth >= MAX_DEPTH:
                    raise RecordingError(f"{where}: zips inside zips, more than {MAX_DEPTH} deep")
                self._inflated += entry.file_size
                if self._inflated > MAX_INFLATED_BYTES:
                    raise RecordingError(
                        f"{where}: the zips in it are more than "
                        f"{MAX_INFLATED_BYTES // 2**20:,} MiB when inflated"
                    )
                inside = f"{where}, {name}"
                with _zip(_read(archive, name, where), inside) as inner:
                    held = around + entry.file_size
                    for found in self.members(inner, inside, depth + 1, held):
                        yield (name, *found)


def _zip(content: Path | io.BytesIO, where: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(content)
    except Exception as error:  # zipfile raises many kinds on damaged bytes
        raise RecordingError(f"{where}: not a readable zip: {_reason(error)}") from None


def _read(archive: zipfile.ZipFile, name: str, where: str) -> io.BytesIO:
    try:
        size = archive.getinfo(name).file_size  # no more than this is inflated, whatever follows
        if size > MAX_MEMBER_BYTES:
            raise RecordingError(
                f"{where}, {name}: {size / 2**20:,.0f} MiB when inflated; at most "
                f"{MAX_MEMBER_BYTES // 2**20} MiB are read"
            )
        return io.BytesIO(archive.read(name))
    except RecordingError:
        raise
    except Exception as error:  # as above, and zlib's own
        raise RecordingError(f"{where}, {name}: damaged: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__
