"""The shipped forecast model for the page, read when a cell is first looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitor.contract import AssetConfig, CycleSummary
    from monitor.dashboard.pages.outlook import Outlook
    from monitor.models.forecast import ForecastModel


def forecaster(
    folder: Path,
) -> Callable[[str, AssetConfig, Sequence[CycleSummary]], Outlook]:
    """Forecasts a cell from its finished half-cycles; blocks, so call it from a thread.

    The first call raises ModelError where the folder's model cannot be used.
    """

    def tell(asset: str, config: AssetConfig, cycles: Sequence[CycleSummary]) -> Outlook:
        from monitor.dashboard.pages.outlook import outlook

        return outlook(forecast_model(folder), asset, config, cycles)

    return tell


@lru_cache(maxsize=2)
def forecast_model(folder: Path) -> ForecastModel:
    """The forecast model in a folder; raises ModelError naming the file."""
    from monitor.models.folder import load_model
    from monitor.models.forecast import ForecastModel

    return load_model(ForecastModel, "forecast", folder)
