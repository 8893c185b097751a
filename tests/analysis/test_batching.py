"""How many frames go through the engine at once: bounded in frames and in values."""

from __future__ import annotations

import pytest

from analysis.replayed import frames_at_once


@pytest.mark.parametrize(
    ("cells", "frames"), [(1, 4_000), (100, 4_000), (101, 3_960), (4_096, 97), (10**6, 1)]
)
def test_a_batch_is_short_where_the_cells_are_many(cells: int, frames: int) -> None:
    assert frames_at_once(cells) == frames
