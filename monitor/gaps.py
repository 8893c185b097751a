"""How long an asset may send nothing: one rule, in frames that did not come.

An interval counts as 1 s at least: a link may hold up frames that come faster.
"""

from __future__ import annotations

from monitor.contract import AssetConfig

OLD_FRAMES = 3  # the page calls what it shows old
STALE_FRAMES = 5  # the alarm `stale`
GONE_FRAMES = 15  # Home Assistant shows nothing any more


def gap_ms(config: AssetConfig | None, frames: int) -> int:
    """The time in which so many frames should have come, ms."""
    interval_ms = 1_000 if config is None else config.expected_interval_ms
    return frames * max(1_000, interval_ms)
