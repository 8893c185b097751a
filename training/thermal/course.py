"""The course's week 11 as one command: mark three segments, train, show the warning points.

    cellpulse train thermal --course B0005.parquet --plot warnings.png

The first part of a healthy recording trains an Isolation Forest and an LSTM autoencoder. In the
rest three segments are marked: heat of their own is injected there, so they are synthetic faults
and the plot says so. A detector's limit is the largest score of the part that trained it, times
1.2. A recording without a temperature, such as CALCE's, is first given one by a heat balance of its
current, and the plot says that too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recordings.open import open_recording
from recordings.types import RecordingError
from training.thermal.data import MAX_GAP_MS, Floats, Ints, Stream, stream_of
from training.thermal.injection import cut, inject
from training.thermal.networks import LSTM_STEPS, lstm_autoencoder
from training.thermal.scenarios import AFTER_S, WARM_UP_S, Scenario, Site, sites
from training.thermal.scoring import alarm_times
from training.thermal.slots import Slots, slots_of
from training.thermal.windowed import isolation_forest

TRAIN_SHARE = 0.6
WATTS = (2.0, 3.0, 5.0)
LIMIT_MARGIN = 1.2
SEED = 11
MADE_AMBIENT_C = 24.0
MADE_HEAT = (20.0, 0.15, 0.03)  # J/K, W at 1 C and W/K, each per nominal Ah
MADE_NOISE_C = 0.005


@dataclass(frozen=True, slots=True)
class Warned:
    """What one detector made of the marked part."""

    detector: str
    score: Floats  # 1 at the limit
    warnings: Ints  # ms


@dataclass(frozen=True, slots=True)
class Course:
    """The marked part of a recording, its segments and where the detectors warned."""

    asset: str
    slots: Slots
    segments: tuple[tuple[int, int], ...]  # from and to, ms
    warned: tuple[Warned, ...]
    made_temperature: bool

    def found(self, one: Warned) -> list[bool]:
        """Whether each segment holds a warning of this detector."""
        return [
            bool(((one.warnings >= start) & (one.warnings <= end)).any())
            for start, end in self.segments
        ]


def run_course(stream: Stream, seed: int = SEED, lstm_steps: int = LSTM_STEPS) -> Course:
    """Mark, train and warn on one recording; raises RecordingError where it is too short."""
    made = not np.isfinite(stream.temperature_c).any()
    if made:
        stream = with_temperature(stream, seed)
    split = int(stream.timestamp_ms[int(TRAIN_SHARE * len(stream))])
    train = cut(stream, int(stream.timestamp_ms[0]), split - 1)
    test = cut(stream, split, int(stream.timestamp_ms[-1]))
    hours = (test.timestamp_ms[-1] - test.timestamp_ms[0]) / 3.6e6
    if hours < 3 * 4.0:
        raise RecordingError(
            f"{stream.asset}: the last {1 - TRAIN_SHARE:.0%} are {hours:.0f} h, too short for "
            "three segments; 12 h would do"
        )
    segments = []
    for watts, site in zip(WATTS, _places(test), strict=True):
        hot = inject(test, site, Scenario("heat", watts, "W"))
        first = site.onset_ms - round(1000 * WARM_UP_S)
        inside = (test.timestamp_ms >= first) & (test.timestamp_ms <= hot.stream.timestamp_ms[-1])
        temperature = test.temperature_c.copy()
        temperature[inside] = hot.stream.temperature_c
        test = replace(test, temperature_c=temperature)
        segments.append((site.onset_ms, int(hot.stream.timestamp_ms[-1])))
    learned, slots = slots_of(train), slots_of(test)
    warned = []
    for detector in (isolation_forest(), lstm_autoencoder(lstm_steps)):
        detector.fit([learned], seed)
        limit = _limit(detector.score(learned))
        score = detector.score(slots) / limit
        warned.append(Warned(detector.name, score, alarm_times(slots.timestamp_ms, score)))
    return Course(stream.asset, slots, tuple(segments), tuple(warned), made)


def with_temperature(stream: Stream, seed: int = SEED) -> Stream:
    """The stream with the temperature that a lumped heat balance gives its current, and noise."""
    capacity, joule, cooling = MADE_HEAT
    rise = 0.0
    made = np.empty(len(stream))
    square = np.nan_to_num(stream.current_a / stream.nominal_ah) ** 2
    step_s = np.diff(stream.timestamp_ms, prepend=stream.timestamp_ms[:1]) / 1000.0
    for k in range(len(stream)):
        settled = joule * square[k] / cooling if step_s[k] * 1000.0 <= MAX_GAP_MS else 0.0
        rise += (1.0 - np.exp(-max(0.0, step_s[k]) * cooling / capacity)) * (settled - rise)
        made[k] = MADE_AMBIENT_C + rise
    noise = np.random.default_rng(seed).normal(0.0, MADE_NOISE_C, len(stream))
    return replace(
        stream, temperature_c=made + noise, ambient_c=np.full(len(stream), MADE_AMBIENT_C)
    )


def _limit(healthy: Floats) -> float:
    """The largest healthy score with a margin above the middle: some scores are negative."""
    middle = float(np.nanmedian(healthy))
    return middle + LIMIT_MARGIN * (float(np.nanmax(healthy)) - middle)


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
            raise RecordingError(f"{test.asset}: no operation is long enough for a segment")
        found.append(fit[0])
    return found


def plot(course: Course, path: Path) -> None:
    """Temperature and scores over time, segments shaded, warnings marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    panels = figure.subplots(1 + len(course.warned), 1, sharex=True)
    start = course.slots.timestamp_ms[0]
    hours = (course.slots.timestamp_ms - start) / 3.6e6
    panels[0].plot(hours, course.slots.temperature_c, lw=0.6, color="tab:blue")
    panels[0].set_ylabel("temperature, °C")
    made = "; its temperature is made from its current" if course.made_temperature else ""
    panels[0].set_title(f"{course.asset}: three injected (synthetic) segments, warnings{made}")
    for panel, one in zip(panels[1:], course.warned, strict=True):
        panel.plot(hours, one.score, lw=0.6, color="tab:gray")
        panel.set_yscale("symlog")
        panel.axhline(1.0, color="tab:red", lw=0.8)
        panel.set_ylabel(f"{one.detector.split(',')[0].split(' (')[0]},\n1 = limit")
        for warning in one.warnings:
            panel.axvline((warning - start) / 3.6e6, color="tab:red", lw=0.8)
    panels[-1].set_xlabel("hours")
    for panel in panels:
        for first, last in course.segments:
            panel.axvspan(
                (first - start) / 3.6e6, (last - start) / 3.6e6, color="orange", alpha=0.4
            )
    figure.savefig(path, dpi=110)


def run(recording: Path, out: Path) -> str:
    """The whole week on one recording: the plot is written, what came out is returned in words."""
    course = run_course(stream_of(open_recording(recording, on_bad=lambda error: None)[0]))
    plot(course, out)
    lines = []
    for one in course.warned:
        found = course.found(one)
        for watts, warned in zip(WATTS, found, strict=True):
            lines.append(
                f"{one.detector}: {watts:g} W injected: {'warned' if warned else 'missed'}"
            )
        inside = sum(
            bool(((one.warnings >= a) & (one.warnings <= b)).sum()) for a, b in course.segments
        )
        outside = len(one.warnings) - int(
            sum(((one.warnings >= a) & (one.warnings <= b)).sum() for a, b in course.segments)
        )
        lines.append(
            f"{one.detector}: warned in {inside} of {len(course.segments)} segments, "
            f"{outside} times outside them"
        )
    return "\n".join([*lines, f"wrote {out}"])
