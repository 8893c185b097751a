"""A recording as the engine is given it: its frames, some thousands at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.contract import Frame
from recordings.messages import counted
from simulator.replay import messages

if TYPE_CHECKING:
    from recordings.messages import Words
    from recordings.types import Operation, Recording, RecordingInfo

BATCH = 4_000
BATCH_VALUES = 400_000  # of the cells of a batch, so that one of many cells is short


def frames_at_once(cells: int) -> int:
    """The frames of a batch of an asset of so many cells, at least one."""
    return max(1, min(BATCH, BATCH_VALUES // cells))


def batches(
    recording: Noting,
    options: Any,
    truths: list[tuple[int, float]],
    progress: Callable[[float], None],
) -> Iterator[tuple[list[Any], list[int]]]:
    """Frames with their times, some thousands at once; the recording's own SOH goes to `truths`."""
    batch: list[Any] = []
    stamps: list[int] = []
    most = frames_at_once(recording.info.cells)
    for timed in messages(recording, options):
        message = timed.message
        if isinstance(message, Frame):
            batch.append(message)
            stamps.append(message.timestamp_ms)
            if len(batch) >= most:
                yield batch, stamps
                batch, stamps = [], []
                progress(recording.share)
            continue
        progress(recording.share)
        if message.soh is not None and (not truths or truths[-1][1] != message.soh):
            truths.append((message.timestamp_ms, message.soh))
    if batch:
        yield batch, stamps


class Noting:
    """A recording that remembers what its reader noted of each operation."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._noted: dict[int, tuple[Words, ...]] = {}

    @property
    def info(self) -> RecordingInfo:
        """What the recording says of itself."""
        return self._recording.info

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """The recording's own operations."""
        for operation in self._recording.operations(start):
            self._noted[operation.index] = operation.notes
            yield operation

    @property
    def share(self) -> float:
        """How much of the recording has been read, 0..1, as well as its reader can tell."""
        return float(getattr(self._recording, "share", 0.0))

    def findings(self) -> list[str]:
        """Every kind of note once with its count, the commonest first; numbers are left out."""
        return counted(note for notes in self._noted.values() for note in notes)


def file_sha256(path: Path) -> str:
    """Of a file's bytes; of a folder, of its files' names and bytes in order of name."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if path.is_dir():
            digest.update(str(file.relative_to(path)).encode() + b"\0")
        _feed(digest, file)
    return digest.hexdigest()


def _feed(digest: Any, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
