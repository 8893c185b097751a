"""Week 11 of the course in one command: segments, training, warnings, the plot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recordings.types import RecordingError
from tests.training.test_thermal_detectors import made_stream
from training.thermal.course import WATTS, plot, run_course, with_temperature
from training.thermal.injection import cut


def test_three_segments_are_marked_and_plotted(tmp_path: Path) -> None:
    course = run_course(made_stream("week-11", 3, hours=60.0), lstm_steps=40)
    assert len(course.segments) == len(WATTS)
    ends = [edge for segment in course.segments for edge in segment]
    assert ends == sorted(ends)
    first = course.slots.timestamp_ms < course.segments[0][0]
    names = [one.detector for one in course.warned]
    assert names == ["Isolation Forest (PyOD)", "LSTM autoencoder, raw window"]
    for one in course.warned:
        assert len(one.score) == len(course.slots)
        assert np.nanmedian(one.score[first]) < 1.0
    assert course.found(course.warned[-1])[-1]  # 5 W in a 2 Ah cell
    plot(course, tmp_path / "warnings.png")
    assert (tmp_path / "warnings.png").read_bytes()[:4] == b"\x89PNG"


def test_a_recording_without_temperature_gets_one_of_its_current() -> None:
    stream = made_stream("calce", 2, hours=4.0)
    blank = np.full(len(stream), np.nan)
    made = with_temperature(replace(stream, temperature_c=blank, ambient_c=blank))
    rise = made.temperature_c - 24.0
    loaded = np.abs(stream.current_a) == 2.0
    assert np.abs(rise).max() < 0.15 / 0.03 + 0.1  # where 1 C settles
    assert rise[loaded].mean() > rise[~loaded].mean()


def test_a_recording_that_is_too_short_is_refused() -> None:
    stream = made_stream("short", 1, hours=20.0)
    with pytest.raises(RecordingError, match="too short"):
        run_course(cut(stream, 0, 10 * 3_600_000))
