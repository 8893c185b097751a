"""The shipped forecast on one recording, its picture and what it says in words.

Needs onnxruntime and NumPy only. History is measured capacity: every complete discharge of the
recording, by its published capacity or the monitor's own coulomb count.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monitor.models.forecast import FARTHEST, HISTORY, Forecast, ForecastModel, forecast_series
from recordings.types import Recording, RecordingError
from training.dataset import read_half_cycles
from training.forecast.series import measured_series

__all__ = [
    "FARTHEST", "Forecast", "ForecastModel", "draw", "forecast", "forecast_series", "sentence",
]  # fmt: skip


def forecast(
    model: ForecastModel,
    recording: Recording,
    *,
    after: int | None = None,
    ahead: int | None = None,
    end_of_life: float = 0.7,
) -> Forecast:
    """Forecast a battery from its cycles, or from its first `after`, until end of life or `ahead`.

    Beyond ten cycles the curves of the training cells are laid on. Raises RecordingError for a
    record with fewer than 50 cycles and ModelError for a family that was not trained on.
    """
    info = recording.info
    model.family(info.cell_type)  # refused before the recording is read
    series = measured_series(read_half_cycles(recording, {}))[:after]
    if len(series) < HISTORY:
        raise RecordingError(
            f"{info.asset}: {len(series)} complete discharges; a forecast needs {HISTORY}"
        )
    return forecast_series(
        model, info.asset, info.cell_type, series, ahead=ahead, end_of_life=end_of_life
    )


def draw(found: Forecast, path: Path) -> None:
    """History, forecast, interval and the end-of-life line as a picture. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    seen = np.arange(1, found.seen + 1)
    ahead = np.arange(found.seen + 1, found.seen + 1 + len(found.soh))
    axes.plot(seen, 100 * found.history, color="#0072B2", label="measured")
    axes.plot(ahead, 100 * found.soh, color="#D55E00", label="forecast")
    axes.fill_between(
        ahead, 100 * found.low, 100 * found.high, color="#D55E00", alpha=0.2, linewidth=0,
        label="90 % interval",
    )  # fmt: skip
    axes.axhline(100 * found.end_of_life, color="#666666", linestyle="--", label="end of life")
    if found.remaining is not None:
        axes.axvline(found.seen + found.remaining, color="#666666", linestyle=":")
    axes.set(xlabel="cycle", ylabel="state of health, %", title=f"{found.asset}: {sentence(found)}")
    axes.legend()
    figure.savefig(path, dpi=150)


def sentence(found: Forecast) -> str:
    """What the forecast says of the end of life, in words."""
    percent = f"{100 * found.end_of_life:g} %"
    if found.remaining is None:
        return f"no end of life ({percent}) within {FARTHEST} cycles"
    if found.remaining == 0:
        return f"already below {percent}"
    late = "over " + str(FARTHEST) if found.remaining_high is None else str(found.remaining_high)
    return f"{percent} in {found.remaining} cycles ({found.remaining_low} to {late})"
