"""Train and judge the forecasts: the next ten cycles, the rest of a life, the remaining cycles.

The network (`forecast_net`) gives the next ten cycles, other cells' curves (`forecast_series`) the
long run. Each cell is forecast by what was fitted on the others. The half-widths of a cell's 90 %
intervals come from the errors on the other cells, each of them left out in its turn; a network
that told cell B for cell A's interval has seen A, which moves a width, never a forecast.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from monitor.models.onnx import CARD_VERSION, Card
from training.dataset import HalfCycle, dataset_files
from training.forecast import net as forecast_net
from training.forecast.series import (
    AHEAD,
    EXPONENTS,
    HISTORY,
    PLAIN,
    Template,
    drift,
    end_of_life,
    fade_series,
    next_cycles_error,
    persistence,
)
from training.resume import KERNELS, file_digest, key_of, remembered
from training.soh.command import CALCE_CELLS, FAMILIES, NASA_CELLS, read_dataset

Floats = NDArray[np.float64]
Progress = Callable[[str], None]

HIDDEN = 16
COVERAGE = 0.9
END_OF_LIFE = 0.7
FARTHEST = 1500  # cycles
LONG_AT = (10, 20, 50, 100, 200, 400)  # cycles ahead at which the long run's interval is kept
ORIGINS = (50, 75, 100, 150, 200, 300, 400, 500)
GROUPS = {"nasa": NASA_CELLS, "calce": CALCE_CELLS}
FAMILY = {"nasa": 0, "calce": 1}
SOURCES = (
    "training/forecast/net.py",
    "training/dataset.py",
    *KERNELS,
)
Curves = dict[str, tuple[int, Floats]]


class LeftOut(Struct, frozen=True):
    """One cell forecast from the others: errors in %SOH, keyed by method."""

    cell: str
    next_one: dict[str, float]  # MAE of the next cycle, from cycle 50 on
    next_ten: dict[str, float]
    rest: dict[str, float]  # first 50 cycles to all that follow
    life: dict[str, float | None]  # error of the end of life in cycles, None where it never ends
    errors: list[list[float]]  # of the network, by origin and step, fractions
    long_errors: list[list[float]]  # of the template, by origin, at LONG_AT; NaN past the end


def curves_of(cells: Mapping[str, Sequence[HalfCycle]], dataset: str) -> Curves:
    """Fade curves with the index of their family."""
    return {cell: (FAMILY[dataset], fade_series(halves)) for cell, halves in cells.items()}


def teachers(curves: Curves, family: int) -> Curves:
    """The curves that a family's network learns from.

    The few short NASA curves gain from CALCE's; CALCE's own are enough for CALCE (measured).
    """
    if family == FAMILY["calce"]:
        return {cell: curve for cell, curve in curves.items() if curve[0] == family}
    return curves


def told_by_net(
    curves: Curves, cell: str, seed: int, hidden: int = HIDDEN, attention: bool = False
) -> Floats:
    """The next cycles from every history of a cell, by a network that never saw it."""
    family, series = curves[cell]
    others = {name: curve for name, curve in curves.items() if name != cell}
    taught, families = teachers(others, family), len(FAMILIES)
    net: forecast_net.Net
    if attention:
        net = forecast_net.train_net(
            taught, families, hidden, seed, kind=forecast_net.ForecastTransformer
        )
    else:
        net = forecast_net.train_net(taught, families, hidden, seed)
    return forecast_net.run_net(net, forecast_net.examples(series)[0], family)


def leave_one_out(curves: Curves, cell: str, told: Floats) -> LeftOut:
    """One cell, forecast by the network's `told` and by what the other cells' curves say."""
    family, series = curves[cell]
    others = {name: curve for name, curve in curves.items() if name != cell}
    history, ahead = forecast_net.examples(series)
    relatives = [curve for kind, curve in others.values() if kind == family]
    template = Template(tuple(relatives))
    plain = Template(tuple(relatives), PLAIN)
    at = range(HISTORY, HISTORY + len(history))
    methods: dict[str, dict[int, Floats]] = {
        "LSTM": {start: told[i] for i, start in enumerate(at)},
        "template": {start: template.forecast(series[:start], AHEAD) for start in at},
        "drift": {start: drift(series[:start], AHEAD) for start in at},
        "persistence": {start: persistence(series[:start], AHEAD) for start in at},
    }
    after = len(series) - HISTORY
    begun = series[:HISTORY]
    rest = {
        "template": template.forecast(begun, after),
        "mean curve": plain.forecast(begun, after),
        "drift": drift(begun, after),
        "persistence": persistence(begun, after),
    }
    truth = end_of_life(series, END_OF_LIFE)
    life: dict[str, float | None] = {}
    for name, forecast in (
        ("template", template.forecast(begun, FARTHEST)),
        ("mean curve", plain.forecast(begun, FARTHEST)),
        ("drift", drift(begun, FARTHEST)),
    ):
        below = np.flatnonzero(forecast < END_OF_LIFE)
        ends = HISTORY + (int(below[0]) if len(below) else FARTHEST)
        life[name] = None if truth is None else float(abs(ends - truth))
    return LeftOut(
        cell,
        {name: next_cycles_error(series, found, 1) for name, found in _first(methods).items()},
        {name: next_cycles_error(series, found) for name, found in methods.items()},
        {
            name: 100.0 * float(np.mean(np.abs(forecast - series[HISTORY:])))
            for name, forecast in rest.items()
        },
        life,
        (told - ahead).tolist(),
        [
            _at_horizons(series, origin, template.forecast(series[:origin], LONG_AT[-1]))
            for origin in ORIGINS
            if origin + AHEAD <= len(series)
        ],
    )


def _first(methods: Mapping[str, dict[int, Floats]]) -> dict[str, dict[int, Floats]]:
    return {
        name: {start: told[:1] for start, told in found.items()} for name, found in methods.items()
    }


def _at_horizons(series: Floats, origin: int, told: Floats) -> list[float]:
    """Errors at LONG_AT; -1 (no error is negative) where the recording ended before."""
    return [
        float(abs(told[h - 1] - series[origin + h - 1])) if origin + h <= len(series) else -1.0
        for h in LONG_AT
    ]


def half_widths(found: Sequence[LeftOut]) -> Floats:
    """(AHEAD,) half-widths: the 90 % quantile of the errors, each cell counting the same."""
    widths = []
    for step in range(AHEAD):
        values = [np.abs(np.array(one.errors)[:, step]) for one in found]
        widths.append(_quantile(values))
    return np.maximum.accumulate(np.array(widths))


def long_half_widths(found: Sequence[LeftOut]) -> Floats:
    """Half-widths at LONG_AT, never narrower farther ahead."""
    widths = []
    for k in range(len(LONG_AT)):
        values = [
            np.array([line[k] for line in one.long_errors if line[k] >= 0.0]) for one in found
        ]
        known = [value for value in values if len(value)]
        widths.append(_quantile(known) if known else 0.0)
    return np.maximum.accumulate(np.array(widths))


def _quantile(values: Sequence[Floats]) -> float:
    pooled = np.concatenate(values)
    weight = np.concatenate([np.full(len(value), 1.0 / len(value)) for value in values])
    order = np.argsort(pooled)
    rank = np.searchsorted(np.cumsum(weight[order]) / weight.sum(), COVERAGE)
    return float(pooled[order][min(int(rank), len(pooled) - 1)])


class Budget:
    """Seconds that a measurement may take, and what it left out for want of them."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self.left_out: list[str] = []
        self._began = time.monotonic()

    def allows(self, name: str) -> bool:
        """Whether there is time for the next step; else it is noted as left out."""
        if self.seconds is None or time.monotonic() - self._began < self.seconds:
            return True
        self.left_out.append(name)
        return False

    @property
    def note(self) -> str:
        """What a figure's protocol says of it."""
        return "" if self.seconds is None else f"; within a budget of {self.seconds:g} s"


def all_left_out(
    curves: Curves, seed: int, progress: Progress, cache: Path | None, hashes: Mapping[str, str],
    budget: Budget | None = None,
) -> dict[str, LeftOut]:  # fmt: skip
    """Every cell left out in turn; finished ones are taken from the cache.

    Cells for which a budget has no time are missing from the result.
    """
    found = {}
    for cell in curves:
        if budget is not None and not budget.allows(f"{cell} left out"):
            continue

        def compute(cell: str = cell) -> list[list[float]]:
            return told_by_net(curves, cell, seed).tolist()  # type: ignore[no-any-return]

        key = key_of("forecast", cell, seed, sorted(hashes.items()), sources=SOURCES)
        told = np.array(remembered(cache, key, list[list[float]], compute))
        found[cell] = leave_one_out(curves, cell, told)
        ten = found[cell].next_ten
        progress(f"{cell}: next ten {ten['LSTM']:.2f} %SOH, drift {ten['drift']:.2f}")
    return found


def load(data: Path, progress: Progress) -> tuple[Curves, dict[str, str]]:
    """Curves of all training cells and the hashes of their files."""
    curves: Curves = {}
    hashes: dict[str, str] = {}
    for dataset, names in GROUPS.items():
        hashes.update(
            {cell: file_digest(path) for cell, path in dataset_files(data, dataset, names)}
        )
        curves.update(curves_of(read_dataset(data, dataset, names, progress), dataset))
    return curves, hashes


def train(
    data: Path, out: Path, seed: int = 0, progress: Progress = print, cache: Path | None = None
) -> Card:
    """Fit on all cells, judge on cells left out, write forecast.onnx and forecast.json to `out`."""
    curves, hashes = load(data, progress)
    found = all_left_out(curves, seed, progress, cache, hashes)
    nets = [
        forecast_net.train_net(teachers(curves, family), len(FAMILIES), HIDDEN, seed)
        for family in range(len(FAMILIES))
    ]
    half, templates = [], []
    for dataset, names in GROUPS.items():
        own = [found[cell] for cell in names]
        half.append(half_widths(own))
        templates.append(
            {
                "cell_type": FAMILIES[FAMILY[dataset]].cell_type,
                "curves": [np.round(curves[cell][1], 4).tolist() for cell in names],
                "exponents": EXPONENTS,
                "interval_at": list(LONG_AT),
                "interval_half": np.round(long_half_widths(own), 4).tolist(),
            }
        )
    onnx = forecast_net.export(nets, np.array(half), templates)
    card = Card(
        card_version=CARD_VERSION,
        name="forecast",
        description=(
            f"SOH of the next {AHEAD} cycles from the last {HISTORY}: an LSTM with {HIDDEN} hidden "
            "units beside a linear path, with a 90 % interval. The metadata entry `templates` "
            "holds the training cells' fade curves for the long run."
        ),
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        opset=forecast_net.OPSET,
        inputs=[
            ("history", f"fraction of nominal capacity, ({HISTORY},), oldest first, a cycle each"),
            ("family", "index: 0 nasa-18650, 1 calce-cs2"),
        ],
        outputs=[
            (name, f"fraction of nominal capacity, ({AHEAD},)") for name in ("soh", "low", "high")
        ],
        training_data=hashes,
        protocol=(
            "The shipped weights are fitted on all cells listed; every metric comes from a fit "
            "without the cell it is about. Errors in %SOH, of life in cycles. A cycle is a "
            "discharge whose label the exclusion rule keeps."
        ),
        metrics={
            cell: {
                "next_one": _rounded(one.next_one),
                "next_ten": _rounded(one.next_ten),
                "rest_from_50": _rounded(one.rest),
                "life_from_50_cycles": one.life,
            }
            for cell, one in found.items()
        },
        seed=seed,
        versions=_versions(),
        command="cellpulse train forecast",
        limits=[
            "Needs 50 cycles of measured capacity. Trained on four NASA and three CALCE cells, "
            "one protocol each; other duty fades otherwise.",
            "The long run is other cells' curves: a knee that they did not show is not foreseen.",
        ],
        families=list(FAMILIES),
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "forecast.onnx").write_bytes(onnx)
    (out / "forecast.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n"
    )
    return card


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def _versions() -> dict[str, str]:
    import onnx
    import torch

    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "onnx": onnx.__version__,
    }
