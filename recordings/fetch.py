"""Download public datasets: resumed where it was cut, checked, recorded, and with its citation.

Next to every finished file stands `<file>.json` with its address, size, SHA-256 and the day. The
publishers publish no checksums: the first download's is recorded, every later look compares with
it. A file is under its own name only when it is complete; until then it is `<file>.part`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recordings import archive
from recordings.catalogue import Dataset, Download
from recordings.errors import RecordingError
from recordings.messages import Message, Place, Words

CHUNK_BYTES = 1 << 18
ATTEMPTS = 6  # in a row without a byte gained
TIMEOUT_S = 30.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 20.0

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes there are, and the bytes there will be if known."""


class FetchError(RecordingError):
    """A download failed; what was read so far is kept, and the next try goes on from there."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is written beside a finished download."""

    url: str
    size: int
    sha256: str
    fetched: str
    citation: str
    terms: str


def fetch(
    dataset: Dataset,
    folder: Path,
    *,
    only: tuple[str, ...] = (),
    progress: Progress | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> list[Path]:
    """The dataset's files in `folder`, downloaded where they are not there yet.

    `only` names downloads (with or without their suffix), default the dataset's usual ones. A zip
    of zips of `.mat` is unpacked into `<cell>.mat`. Returns what `open_recording` can open. Raises
    FetchError: unknown name, no network, a file that is not what it was, no space left.
    """
    wanted = [_named(dataset, name) for name in only or dataset.default]
    found: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for download in wanted:
            path = folder / download.name
            if not _is_there(path, download):
                _download(download, path, progress, wait)
                _finish(dataset, download, path)
            found += _unpack(path, folder) if dataset.name == "nasa" else [path]
    except OSError as error:
        message = Message("passed_on", reason=error.strerror or str(error))
        raise FetchError(message, Place(str(folder))) from None
    return found


def verify(path: Path) -> Record:
    """The record of a finished download, its bytes compared with it. Raises FetchError."""
    record = _record(path)
    if record is None:
        raise FetchError(Message("fetch.no_record"), Place(str(path)))
    digest = _sha256(path)
    if digest != record.sha256:
        raise FetchError(
            Message("fetch.changed", found=digest, expected=record.sha256, fetched=record.fetched),
            Place(str(path)),
        )
    return record


def _named(dataset: Dataset, name: str) -> Download:
    for download in dataset.downloads:
        if name.lower() in (download.name.lower(), Path(download.name).stem.lower()):
            return download
    known = ", ".join(Path(download.name).stem for download in dataset.downloads)
    raise FetchError(Message("fetch.unknown", dataset=dataset.name, found=name, expected=known))


def _is_there(path: Path, download: Download) -> bool:
    record = _record(path)
    if record is None or not path.exists():
        return False
    if download.sha256 is not None and record.sha256 != download.sha256:
        message = Message("fetch.other_hash", found=record.sha256, expected=download.sha256)
        raise FetchError(message, Place(str(path)))
    verify(path)
    return True


def _record(path: Path) -> Record | None:
    beside = path.with_name(path.name + ".json")
    try:
        return Record(**json.loads(beside.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        message = Message("fetch.record_damaged", reason=str(error))
        raise FetchError(message, Place(str(beside))) from None


@dataclass(slots=True)
class _Part:
    """An unfinished download: its bytes, and the mark by which the server knows the version."""

    path: Path
    mark_path: Path

    @classmethod
    def of(cls, path: Path) -> _Part:
        return cls(path.with_name(path.name + ".part"), path.with_name(path.name + ".part.mark"))

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def mark(self) -> str:
        return self.mark_path.read_text() if self.mark_path.exists() else ""

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.mark_path.unlink(missing_ok=True)


def _download(
    download: Download, path: Path, progress: Progress | None, wait: Callable[[float], None]
) -> None:
    part = _Part.of(path)
    where = Place(download.url)
    failures, pause_s = 0, _FIRST_WAIT_S
    while True:
        before = part.size
        try:
            total = _read_on(download, part, progress)
            break
        except _CutError as cut:
            if part.size > before:
                failures, pause_s = 0, _FIRST_WAIT_S
            failures += 1
            if failures >= ATTEMPTS or cut.final:
                message = Message("fetch.cut", reason=cut.reason, kept=part.size)
                raise FetchError(message, where) from None
            wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_WAIT_S)
    if total is not None and part.size != total:
        part.drop()
        raise FetchError(Message("fetch.more_bytes", expected=total), where)
    if download.size is not None and part.size != download.size:
        size = part.size
        part.drop()
        raise FetchError(Message("fetch.bytes", found=size, expected=download.size), where)
    os.replace(part.path, path)
    part.mark_path.unlink(missing_ok=True)


class _CutError(Exception):
    def __init__(self, reason: Words, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final


def _read_on(download: Download, part: _Part, progress: Progress | None) -> int | None:
    """One request, from where the part ends; returns the whole size if the server says it."""
    have = part.size
    headers = {"User-Agent": "cellpulse", "Accept-Encoding": "identity"}
    if have and part.mark:
        headers |= {"Range": f"bytes={have}-", "If-Range": part.mark}
    request = urllib.request.Request(download.url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            resumed = response.status == 206 and _starts_at(response, have)
            if not resumed:
                have = 0
                part.drop()
            mark = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            if mark.startswith("W/"):
                mark = ""  # a weak mark does not promise the same bytes
            if mark:
                part.mark_path.write_text(mark)
            length = response.headers.get("Content-Length")
            total = have + int(length) if length is not None and length.isdigit() else None
            with part.path.open("ab" if resumed else "wb") as file:
                while chunk := response.read(CHUNK_BYTES):
                    file.write(chunk)
                    have += len(chunk)
                    if progress is not None:
                        progress(download.name, have, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is longer than the file: it is another file
            part.drop()
        raise _CutError(
            Message("fetch.http", code=error.code, reason=str(error.reason)),
            final=error.code in (401, 403, 404, 410),
        ) from None
    except http.client.IncompleteRead:
        raise _CutError(Message("fetch.connection_cut")) from None
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        raise _CutError(str(getattr(error, "reason", error)) or type(error).__name__) from None
    if total is not None and have < total:
        raise _CutError(Message("fetch.connection_cut"))
    return total


def _starts_at(response: Any, have: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _finish(dataset: Dataset, download: Download, path: Path) -> None:
    """Check the finished file and write its record."""
    digest = _sha256(path)
    problem = None
    if download.sha256 is not None and digest != download.sha256:
        problem = Message("fetch.other_hash", found=digest, expected=download.sha256)
    elif not zipfile.is_zipfile(path):
        problem = Message("fetch.not_a_zip")
    if problem is not None:
        path.unlink()
        raise FetchError(problem, Place(download.url))
    record = Record(
        url=download.url,
        size=path.stat().st_size,
        sha256=digest,
        fetched=datetime.now(UTC).date().isoformat(),
        citation=dataset.citation,
        terms=dataset.terms,
    )
    beside = path.with_name(path.name + ".json")
    part = beside.with_name(beside.name + ".part")
    part.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    os.replace(part, beside)


def _unpack(path: Path, folder: Path) -> list[Path]:
    """The `.mat` files of a zip (of zips), each under its own name; of doubles the longer one."""
    out: dict[str, Path] = {}
    for member in archive.members(path, ".mat"):
        name = member[-1].rsplit("/", 1)[-1]
        target = folder / name
        data = archive.read(path, member).getvalue()
        if not (target.exists() and target.stat().st_size >= len(data)):
            part = target.with_name(name + ".part")
            part.write_bytes(data)
            os.replace(part, target)
        out[name] = target
    if not out:
        raise FetchError(Message("fetch.no_mat"), Place(str(path)))
    return [out[name] for name in sorted(out)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
