"""Members of a zip, zips inside it included, as the publishers ship them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

from recordings.errors import FormatError, RecordingError, TooLargeError, reason_of
from recordings.messages import Message, Place

MAX_MEMBER_BYTES = 512 * 1024 * 1024  # inflated; the publishers' largest is 70 MB
MAX_INFLATED_BYTES = 2 * 1024 * 1024 * 1024  # of zips inside a zip, all together
MAX_REPEATED_BYTES = 16 * 1024 * 1024 * 1024  # to open each file, all zips around it are inflated
MAX_DEPTH = 3  # zips inside zips
MAX_MEMBERS = 10_000

Member = tuple[str, ...]
"""Names from the outer zip inwards, such as ("1. BatteryAgingARC.zip", "B0005.mat")."""


def members(path: Path, suffix: str) -> list[Member]:
    """The files that end in `suffix`, in order of name. Raises RecordingError if it is no zip."""
    where = Place(str(path))
    with _zip(path, where) as archive:
        found = _Walk(suffix.lower()).members(archive, where, 1)
        return sorted(found, key=lambda member: member[-1])


def read(path: Path, member: Member) -> io.BytesIO:
    """One member, inflated into memory. Raises RecordingError if it is damaged."""
    content: Path | io.BytesIO = path
    where = Place(str(path))
    for name in member:
        with _zip(content, where) as archive:
            content = _read(archive, name, where)
    if isinstance(content, Path):
        raise FormatError(Message("zip.no_member"), where)
    return content


class _Walk:
    """Through a zip and the zips inside it, with an end to what a hostile one may cost."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._inflated = self._seen = self._repeated = 0

    def members(
        self, archive: zipfile.ZipFile, where: Place, depth: int, around: int = 0
    ) -> Iterator[Member]:
        for entry in archive.infolist():
            name = entry.filename
            base = name.rsplit("/", 1)[-1]
            self._seen += 1
            if self._seen > MAX_MEMBERS:
                raise TooLargeError(Message("zip.files", most=MAX_MEMBERS), where)
            # A nameless entry ends the zipfile module's own `is_dir`.
            if not base or base.startswith(("._", "~$")):
                continue
            if base.lower().endswith(self._suffix):
                self._repeated += around
                if self._repeated > MAX_REPEATED_BYTES:
                    most = MAX_REPEATED_BYTES // 2**30
                    raise TooLargeError(Message("zip.repeated", most=most), where)
                yield (name,)
            elif base.lower().endswith(".zip"):
                if depth >= MAX_DEPTH:
                    raise TooLargeError(Message("zip.depth", most=MAX_DEPTH), where)
                self._inflated += entry.file_size
                if self._inflated > MAX_INFLATED_BYTES:
                    most = MAX_INFLATED_BYTES // 2**20
                    raise TooLargeError(Message("zip.inner_zips", most=most), where)
                inside = where.at(name)
                with _zip(_read(archive, name, where), inside) as inner:
                    held = around + entry.file_size
                    for found in self.members(inner, inside, depth + 1, held):
                        yield (name, *found)


def _zip(content: Path | io.BytesIO, where: Place) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(content)
    except Exception as error:  # zipfile raises many kinds on damaged bytes
        raise FormatError(Message("zip.damaged", reason=reason_of(error)), where) from None


def _read(archive: zipfile.ZipFile, name: str, where: Place) -> io.BytesIO:
    try:
        size = archive.getinfo(name).file_size  # no more than this is inflated, whatever follows
        if size > MAX_MEMBER_BYTES:
            most = MAX_MEMBER_BYTES // 2**20
            raise TooLargeError(
                Message("zip.member", found=size / 2**20, most=most), where.at(name)
            )
        return io.BytesIO(archive.read(name))
    except RecordingError:
        raise
    except Exception as error:  # as above, and zlib's own
        raise FormatError(Message("damaged", reason=reason_of(error)), where.at(name)) from None
