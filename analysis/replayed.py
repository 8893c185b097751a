"""A recording through the monitor's own engine, some thousands of frames at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.contract import Frame
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn
from monitor.models.folder import load_models
from monitor.results import Results
from recordings.messages import counted
from simulator.replay import ReplayOptions, asset_config, messages

if TYPE_CHECKING:
    from recordings.messages import Words
    from recordings.types import Operation, Recording, RecordingInfo

BATCH = 4_000
BATCH_VALUES = 400_000  # of the cells of a batch, so that one of many cells is short
Share = Callable[[float], None]  # is told how much of the recording is done, 0..1


class Replayed:
    """What the engine makes of a recording, in bounded memory.

    `by` names in the asset's config who replays it; the models come from a folder. Raises
    ModelError where they cannot be used.
    """

    def __init__(self, recording: Recording, by: str, models: Path) -> None:
        self.config = asset_config(recording.info, ReplayOptions(speed=None), by)
        self.truths: list[tuple[int, float]] = []  # event time and the recording's own SOH
        self.frames = 0
        self._recording = Noting(recording)
        self._engine = Engine(*load_models(models))

    def results(
        self, progress: Share = lambda share: None
    ) -> Iterator[tuple[list[Frame], Results]]:
        """Frames with their results, from beginning to end; raises RecordingError where it ends."""
        asset = self._recording.info.asset
        self._engine.process([ConfigIn(asset, self.config, 0)])
        for frames in batches(self._recording, self.truths, progress):
            self.frames += len(frames)
            inputs = [FrameIn(asset, frame, frame.timestamp_ms, b"") for frame in frames]
            yield frames, self._engine.process(inputs)

    def findings(self) -> list[str]:
        """What its reader noted of the operations read so far, each kind once."""
        return self._recording.findings()

    @property
    def duplicates(self) -> int:
        """Frames that the engine dropped as repeated."""
        return self._engine.counters.duplicates

    @property
    def late(self) -> int:
        """Frames that the engine dropped as out of order."""
        return self._engine.counters.late


def frames_at_once(cells: int) -> int:
    """The frames of a batch of an asset of so many cells, at least one."""
    return max(1, min(BATCH, BATCH_VALUES // cells))


def batches(
    recording: Noting, truths: list[tuple[int, float]], progress: Share
) -> Iterator[list[Frame]]:
    """Some thousands of frames at once; the recording's own SOH goes to `truths`."""
    batch: list[Frame] = []
    most = frames_at_once(recording.info.cells)
    for timed in messages(recording, ReplayOptions(speed=None)):
        message = timed.message
        if isinstance(message, Frame):
            batch.append(message)
            if len(batch) >= most:
                yield batch
                batch = []
                progress(recording.share)
            continue
        progress(recording.share)
        if message.soh is not None and (not truths or truths[-1][1] != message.soh):
            truths.append((message.timestamp_ms, message.soh))
    if batch:
        yield batch


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
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
