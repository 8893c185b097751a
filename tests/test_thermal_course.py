"""Week 11: three segments are marked apart from each other, and the plot shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.test_thermal_detectors import made_stream
from training.thermal_course import WATTS, plot, run_course
from training.thermal_detectors import LstmAutoencoder
from training.thermal_injection import cut


def test_three_segments_are_marked_and_plotted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LstmAutoencoder, "steps", 40)
    course = run_course(made_stream("week-11", 3, hours=60.0))
    assert len(course.segments) == len(WATTS)
    ends = [edge for segment in course.segments for edge in segment]
    assert ends == sorted(ends)
    assert len(course.score) == len(course.slots)
    assert course.found[-1]  # 5 W in a 2 Ah cell
    first = course.slots.timestamp_ms < course.segments[0][0]
    assert np.nanmedian(course.score[first]) < 1.0
    plot(course, tmp_path / "warnings.png")
    assert (tmp_path / "warnings.png").read_bytes()[:4] == b"\x89PNG"


def test_a_recording_that_is_too_short_is_refused() -> None:
    stream = made_stream("short", 1, hours=20.0)
    with pytest.raises(ValueError, match="too short"):
        run_course(cut(stream, 0, 10 * 3_600_000))
