"""A real page comes back by itself from everything that the benchmark does to it."""

from __future__ import annotations

import math
import shutil

import pytest

from benchmarks.recovery import measure
from tests.conftest import need


@pytest.mark.timeout(240)
@pytest.mark.long  # the page's own tests kill the server too
async def test_the_page_comes_back_by_itself(mosquitto_binary: str) -> None:
    """How soon is for `cellpulse bench dashboard` to say, on a machine that is quiet."""
    need(shutil.which("chromium") is not None, "chromium")
    figures = await measure(times=1, away=(1.0,), frozen_s=4.0)
    assert len(figures) == 4
    for figure in figures:
        assert figure.value is not None, figure
        assert math.isfinite(figure.value), figure
