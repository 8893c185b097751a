"""What the page says of a cell's future, from its finished half-cycles."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from analysis.forecast import ForecastProcess, forecast_model, outlook_of
from monitor.contract import AssetConfig, CycleSummary, Limits
from monitor.dashboard.pages.outlook import LONGEST, Outlook
from monitor.errors import ModelError
from monitor.models.folder import models_folder
from monitor.models.forecast import AHEAD, HISTORY, forecast_series, measured
from tests.dashboard_world import make_cycle

CYCLE_MS = 28_800_000  # two half-cycles of `make_cycle`


def config(**limits: Any) -> AssetConfig:
    return AssetConfig(
        v=1, nominal_capacity_ah=2.0, cell_type="nasa-18650",
        limits=Limits(**limits),
    )  # fmt: skip


@cache
def life(cycles: int) -> list[CycleSummary]:
    """Half-cycles of a cell that fades by 0.1 % each; odd ones are discharges."""
    return [make_cycle("B0099", number) for number in range(2 * cycles)]


def tell(cycles: list[CycleSummary], about: AssetConfig | None = None) -> Outlook:
    return outlook_of(models_folder(), "B0099", about or config(), cycles)


def test_too_few_cycles_are_said() -> None:
    told = tell(life(49))
    assert (told.state, told.seen, told.needs) == ("few", 49, HISTORY)
    assert told.soh == []
    incomplete = [msgspec.structs.replace(c, complete=False) for c in life(80)]
    assert tell(incomplete).seen == 0
    assert tell([]).state == "few"


def test_cells_it_was_not_trained_on_are_said() -> None:
    about = AssetConfig(v=1, nominal_capacity_ah=2.0, cell_type="other")
    assert tell(life(80), about).state == "family"


def test_it_is_the_forecast_of_the_model() -> None:
    told = tell(life(80))
    series = measured(life(80), 2.0)
    found = forecast_series(forecast_model(models_folder()), "B0099", "nasa-18650", series)
    assert told.state == "ok"
    assert told.seen == len(series) == 80
    assert told.step[:AHEAD] == list(range(1, AHEAD + 1))
    assert told.soh[:AHEAD] == pytest.approx(found.soh[:AHEAD], abs=1e-4)
    assert told.low[:AHEAD] == pytest.approx(found.low[:AHEAD], abs=1e-4)
    assert told.remaining == found.remaining
    assert told.cycle_ms == CYCLE_MS
    assert told.last_ms == life(80)[-1].end_ms
    assert all(a <= b <= c for a, b, c in zip(told.low, told.soh, told.high, strict=True))
    assert told.remaining is not None
    assert told.remaining <= told.step[-1] <= LONGEST


def test_the_end_of_life_is_the_assets_own() -> None:
    at_80 = tell(life(80), config(soh_end_of_life=0.8))
    at_70 = tell(life(80), config(soh_end_of_life=0.7))
    none = tell(life(80), config(soh_end_of_life=None))
    assert at_80.end_of_life == 0.8
    assert at_80.remaining is not None
    assert at_70.remaining is not None
    assert at_80.remaining < at_70.remaining
    assert none.end_of_life is None
    assert none.remaining is None


def test_the_knee_is_where_it_was_noticed() -> None:
    cycles = [
        msgspec.structs.replace(c, knee_cycle=101)
        if c.number >= 101 and c.kind == "discharge"
        else c
        for c in life(80)
    ]
    told = tell(cycles)
    assert told.knee_cycle == 101
    assert told.knee_ms == next(c.end_ms for c in cycles if c.number == 101)
    assert tell(life(80)).knee_ms is None


def test_a_model_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"forecast\.onnx"):
        outlook_of(tmp_path, "B0099", config(), life(80))


async def test_the_process_says_the_same(tmp_path: Path) -> None:
    process = ForecastProcess(models_folder())
    try:
        expected = tell(life(80))
        assert await process.outlook("B0099", config(), life(80)) == expected
        assert (await process.outlook("B0099", config(), life(49))).state == "few"
    finally:
        await process.aclose()
    without = ForecastProcess(tmp_path)
    try:
        with pytest.raises(ModelError, match=r"forecast\.onnx"):
            await without.outlook("B0099", config(), life(80))
    finally:
        await without.aclose()
