"""The material of a report, from a recording run through the engine or from a monitor's store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.messages import AnalysisMessage
from analysis.newest import Newest
from analysis.replayed import Replayed, file_sha256
from analysis.report.samples import Samples
from monitor.contract import VERSION, AssetConfig, CycleSummary, Event, Frame
from monitor.errors import ConfigurationError
from monitor.fleet import DEFAULT_CAPACITY_AH
from recordings.errors import SamplesError
from recordings.messages import Place

if TYPE_CHECKING:
    from monitor.results import Results
    from recordings.types import Recording, RecordingInfo

Histogram = NDArray[np.float32]
MOST = 1_000_000  # half-cycles and events read from a store


@dataclass(slots=True)
class Material:
    """Everything that a report is made of, before any of it is judged."""

    kind: Literal["store", "file"]
    name: str
    sha256: str
    asset: str
    config: AssetConfig
    samples: Samples
    dataset: str | None = None
    citation: str | None = None
    cycles: list[tuple[CycleSummary, Histogram]] = field(default_factory=list)  # of every cell
    events: list[Event] = field(default_factory=list)  # in order
    truths: list[tuple[int, float]] = field(default_factory=list)  # start, published SOH
    duplicates: int | None = None
    late: int = 0
    findings: list[str] = field(default_factory=list)
    rejected: list[str] | None = None
    newest: Newest = field(init=False)  # what charging advice needs

    def __post_init__(self) -> None:
        self.newest = Newest(self.config.cells)

    def take(self, frames: Sequence[Frame], results: Results) -> None:
        """A micro-batch of frames and what the engine made of them."""
        self.samples.take(frames, results.rows)
        self.newest.take(frames, results.rows)
        self.cycles.extend((found.summary, found.histogram) for found in results.cycles)
        self.events.extend(results.events)

    def finish(self, replayed: Replayed) -> None:
        """The recording has ended: what it published, what its reader noted, what was dropped."""
        self.truths = list(replayed.truths)
        self.findings += replayed.findings()
        self.duplicates, self.late = replayed.duplicates, replayed.late


def of_file(path: Path, sha256: str, info: RecordingInfo, config: AssetConfig) -> Material:
    """Material to be fed with the frames of a recording in the file at `path`."""
    return Material(
        "file", path.name, sha256, info.asset, config, Samples(config),
        dataset=info.dataset, citation=info.citation or None,
        findings=[str(problem) for problem in info.problems], rejected=[],
    )  # fmt: skip


def from_recording(
    recording: Recording, path: Path, models: Path, rejected: Sequence[str] = ()
) -> Material:
    """Run a recording of the file or folder at `path` through the engine.

    `rejected` says what its reader left out. Raises RecordingError where the file is broken.
    """
    replayed = Replayed(recording, "report", models)
    material = of_file(path, file_sha256(path), recording.info, replayed.config)
    for frames, results in replayed.results():
        material.take(frames, results)
    if not material.samples.frames:
        raise SamplesError(AnalysisMessage("no_samples"), Place(str(path)))
    material.finish(replayed)
    material.rejected = list(rejected)
    return material


def from_store(path: Path, asset: str) -> Material:
    """An asset of a monitor's store; raises ConfigurationError where the store lacks it."""
    from monitor.store.sqlite_history import SqliteHistory

    if not path.is_file():
        raise ConfigurationError(f"store {path}: no such file; name a monitor's store with --store")
    history = SqliteHistory(path)
    found = {stored.name: stored for stored in history.assets()}
    if asset not in found:
        held = ", ".join(list(found)[:8]) or "none"
        raise ConfigurationError(f"{asset}: the store {path} has no such asset; it has {held}")
    config = found[asset].config or AssetConfig(VERSION, DEFAULT_CAPACITY_AH)
    samples, newest = Samples(config), Newest(config.cells)
    digest = hashlib.sha256()
    for payloads, frames, rows in history.samples(asset):
        digest.update(b"\n".join(payloads) + b"\n")
        samples.take(frames, rows)
        newest.take(frames, rows)
    cycles: list[tuple[CycleSummary, Histogram]] = []
    for cell in range(config.cells):
        histograms = {
            (start, kind): histogram
            for start, kind, histogram in history.histograms(asset, cell, MOST)
        }
        cycles += [
            (cycle, histograms.get((cycle.start_ms, cycle.kind), np.zeros(0, np.float32)))
            for cycle in history.cycles(asset, cell, MOST)
        ]
    material = Material(
        "store", path.name, digest.hexdigest(), asset, config, samples,
        cycles=cycles, events=list(reversed(history.events(asset, MOST))),
        late=history.late_frames(asset),
    )  # fmt: skip
    material.newest = newest
    return material
