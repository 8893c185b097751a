"""What is old, stale and gone, by the one rule that the page, the alarm and Home Assistant have."""

from __future__ import annotations

import json

import pytest

from monitor.contract import AssetConfig, Topics
from monitor.dashboard.live.rows import make_row
from monitor.engine import Engine
from monitor.gaps import OLD_FRAMES, gap_ms
from monitor.inputs import ConfigIn
from monitor.notify.homeassistant import discovery


@pytest.mark.parametrize(
    ("interval_ms", "old_ms", "stale_ms", "gone_s"),
    [(100, 3_000, 5_000, 15), (1_000, 3_000, 5_000, 15), (60_000, 180_000, 300_000, 900)],
)
def test_three_five_and_fifteen_frames(
    interval_ms: int, old_ms: int, stale_ms: int, gone_s: int
) -> None:
    config = AssetConfig(v=1, nominal_capacity_ah=2.0, expected_interval_ms=interval_ms)
    assert make_row("a", config, None, None, []).limit == old_ms
    engine = Engine(None, None)
    engine.process([ConfigIn("a", config, 0)])
    assert engine.fleet.stale_after_ms[0] == stale_ms
    _, payload = discovery("a", config, [], Topics(), "monitor", "0.1")
    sensors = [c for c in json.loads(payload)["cmps"].values() if c["p"] == "sensor"]
    assert {c["expire_after"] for c in sensors} == {gone_s}


def test_an_asset_that_has_not_said_its_interval_has_the_usual_one() -> None:
    assert gap_ms(None, OLD_FRAMES) == 3_000
