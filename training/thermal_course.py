"""The course's week 11 as one command: mark three segments, train, show the warning points.

    python -m training.thermal_course --recording B0005.parquet --out warnings.png

The first part of a healthy recording trains the LSTM autoencoder. In the rest three segments are
marked: heat of their own is injected there, so they are synthetic faults and the plot says so. The
autoencoder's limit is the largest score of the part that trained it, times 1.2.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recordings.open import open_recording
from training.thermal_data import Floats, Ints, Stream, stream_of
from training.thermal_detectors import LstmAutoencoder
from training.thermal_injection import cut, inject
from training.thermal_scenarios import AFTER_S, WARM_UP_S, Scenario, Site, sites
from training.thermal_scoring import alarm_times
from training.thermal_slots import Slots, slots_of

TRAIN_SHARE = 0.6
WATTS = (2.0, 3.0, 5.0)
LIMIT_MARGIN = 1.2
SEED = 11


@dataclass(frozen=True, slots=True)
class Course:
    """The marked part of a recording, its segments and where the detector warned."""

    asset: str
    slots: Slots
    score: Floats  # 1 at the limit
    segments: tuple[tuple[int, int], ...]  # from and to, ms
    warnings: Ints  # ms

    @property
    def found(self) -> list[bool]:
        """Whether each segment holds a warning."""
        return [
            bool(((self.warnings >= start) & (self.warnings <= end)).any())
            for start, end in self.segments
        ]


def run_course(stream: Stream, seed: int = SEED) -> Course:
    """Mark, train and warn on one recording; raises ValueError where it is too short."""
    split = int(stream.timestamp_ms[int(TRAIN_SHARE * len(stream))])
    train = cut(stream, int(stream.timestamp_ms[0]), split - 1)
    test = cut(stream, split, int(stream.timestamp_ms[-1]))
    hours = (test.timestamp_ms[-1] - test.timestamp_ms[0]) / 3.6e6
    if hours < 3 * 4.0:
        raise ValueError(f"{stream.asset}: {hours:.0f} h are too short for three segments")
    segments = []
    for watts, site in zip(WATTS, _places(test), strict=True):
        made = inject(test, site, Scenario("heat", watts, "W"))
        first = site.onset_ms - round(1000 * WARM_UP_S)
        inside = (test.timestamp_ms >= first) & (test.timestamp_ms <= made.stream.timestamp_ms[-1])
        temperature = test.temperature_c.copy()
        temperature[inside] = made.stream.temperature_c
        test = replace(test, temperature_c=temperature)
        segments.append((site.onset_ms, int(made.stream.timestamp_ms[-1])))
    detector = LstmAutoencoder()
    learned = slots_of(train)
    detector.fit([learned], seed)
    limit = LIMIT_MARGIN * float(np.nanmax(detector.score(learned)))
    slots = slots_of(test)
    score = detector.score(slots) / limit
    return Course(
        stream.asset, slots, score, tuple(segments), alarm_times(slots.timestamp_ms, score)
    )


def _places(test: Stream) -> list[Site]:
    """Three sites, one in each third of the part, so that segments never meet."""
    drawn = sites([test], per_group=200)
    length = (test.timestamp_ms[-1] - test.timestamp_ms[0]) / len(WATTS)
    found = []
    for third in range(len(WATTS)):
        start = test.timestamp_ms[0] + third * length
        end = start + length - 1000 * AFTER_S
        fit = [site for site in drawn if start <= site.onset_ms < end]
        if not fit:
            raise ValueError(f"{test.asset}: no operation long enough for a segment")
        found.append(fit[0])
    return found


def plot(course: Course, path: Path) -> None:
    """Temperature and score over time, segments shaded, warnings marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    start = course.slots.timestamp_ms[0]
    hours = (course.slots.timestamp_ms - start) / 3.6e6
    top.plot(hours, course.slots.temperature_c, lw=0.6, color="tab:blue")
    top.set_ylabel("temperature, °C")
    top.set_title(f"{course.asset}: three injected (synthetic) segments and the warnings")
    bottom.plot(hours, course.score, lw=0.6, color="tab:gray")
    bottom.axhline(1.0, color="tab:red", lw=0.8)
    bottom.set_ylabel("score, 1 = limit")
    bottom.set_xlabel("hours")
    for axis in (top, bottom):
        for first, last in course.segments:
            axis.axvspan((first - start) / 3.6e6, (last - start) / 3.6e6, color="orange", alpha=0.4)
        for warning in course.warnings:
            axis.axvline((warning - start) / 3.6e6, color="tab:red", lw=0.8)
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.thermal_course", description=__doc__)
    parser.add_argument("--recording", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("warnings.png"))
    given = parser.parse_args(arguments)
    course = run_course(stream_of(open_recording(given.recording, on_bad=lambda error: None)[0]))
    plot(course, given.out)
    for watts, found in zip(WATTS, course.found, strict=True):
        print(f"{watts:g} W injected: {'warned' if found else 'not found'}")
    inside = sum(
        bool(((course.warnings >= a) & (course.warnings <= b)).sum()) for a, b in course.segments
    )
    print(f"{len(course.warnings)} warnings, in {inside} of {len(course.segments)} segments")
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
