"""The shipped forecast on one battery: next ten cycles, the long run, the remaining cycles.

Needs onnxruntime and NumPy only. History is measured capacity: every complete discharge of the
recording, by its published capacity or the monitor's own coulomb count.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.models import read_card
from recordings.types import Recording, RecordingError
from training.dataset import read_half_cycles
from training.forecast_series import AHEAD, HISTORY, Template, measured_series

Floats = NDArray[np.float64]

FARTHEST = 2000  # cycles


@dataclass(frozen=True, slots=True)
class Forecast:
    """SOH as fractions; entry h - 1 is the cycle `seen` + h."""

    asset: str
    history: Floats  # (seen,)
    soh: Floats  # (ahead,)
    low: Floats  # (ahead,), of the 90 % interval
    high: Floats
    end_of_life: float  # threshold
    remaining: int | None  # cycles until the forecast is below it; None: not within FARTHEST
    remaining_low: int | None  # until the low end of the interval is
    remaining_high: int | None

    @property
    def seen(self) -> int:
        return len(self.history)


class ForecastModel:
    """The committed ONNX with its templates."""

    def __init__(self, onnx: bytes, card: bytes) -> None:
        """Raises ModelError where card and model do not belong together."""
        import hashlib

        self.card = read_card(card, "forecast")
        if hashlib.sha256(onnx).hexdigest() != self.card.onnx_sha256:
            raise ModelError("model forecast: the file is not the one that its card describes")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.templates: list[dict[str, Any]] = json.loads(metadata["templates"])

    def next_cycles(self, history: Floats, family: int) -> tuple[Floats, Floats, Floats]:
        """SOH, low and high (n, AHEAD) from histories (n, HISTORY) of one family."""
        soh, low, high = self._session.run(
            None,
            {
                "history": history.astype(np.float32),
                "family": np.full(len(history), family, np.int64),
            },
        )
        return (
            np.asarray(soh, dtype=np.float64),
            np.asarray(low, dtype=np.float64),
            np.asarray(high, dtype=np.float64),
        )

    def family(self, cell_type: str | None) -> int:
        """The index of a family of cells. Raises ModelError for one that it never saw."""
        for index, template in enumerate(self.templates):
            if template["cell_type"] == cell_type:
                return index
        known = ", ".join(str(template["cell_type"]) for template in self.templates)
        raise ModelError(f"model forecast: cells of type {cell_type} were not trained on ({known})")


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
    return forecast_series(model, info.asset, info.cell_type, series, ahead, end_of_life)


def forecast_series(
    model: ForecastModel,
    asset: str,
    cell_type: str | None,
    series: Floats,
    ahead: int | None = None,
    end_of_life: float = 0.7,
) -> Forecast:
    """`forecast` from the SOH of every complete discharge so far, oldest first; raises the same."""
    family = model.family(cell_type)
    if len(series) < HISTORY:
        raise RecordingError(
            f"{asset}: {len(series)} complete discharges; a forecast needs {HISTORY}"
        )
    near, near_low, near_high = (
        part[0] for part in model.next_cycles(series[None, -HISTORY:], family)
    )
    spec = model.templates[family]
    curves = tuple(np.array(curve) for curve in spec["curves"])
    template = Template(curves, tuple((a, b) for a, b in spec["exponents"]))
    far = template.forecast(series, FARTHEST)
    soh = np.concatenate([near, far[AHEAD:] + (near[-1] - far[AHEAD - 1])])
    steps = np.arange(1, FARTHEST + 1)
    half = np.interp(
        np.sqrt(steps),  # errors grow about as a random walk's between the horizons kept
        np.sqrt(np.array(spec["interval_at"], dtype=np.float64)),
        np.array(spec["interval_half"]),
    )
    low, high = soh - half, soh + half
    low[:AHEAD], high[:AHEAD] = near_low, near_high
    remaining, soonest, latest = (_first_below(part, end_of_life) for part in (soh, low, high))
    shown = ahead if ahead is not None else min(FARTHEST, max(60, 20 + (remaining or 200)))
    return Forecast(
        asset, series, soh[:shown], low[:shown], high[:shown], end_of_life,
        remaining, soonest, latest,
    )  # fmt: skip


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


def _first_below(series: Sequence[float] | Floats, threshold: float) -> int | None:
    below = np.flatnonzero(np.asarray(series) < threshold)
    return int(below[0]) if len(below) else None
