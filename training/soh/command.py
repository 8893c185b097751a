"""Train and judge the shipped SOH model: `python -m training.soh --data DIR`.

Training: every complete, well labelled charge and discharge of the training cells, through the
monitor's own kernel (`training.dataset`), fits one small ridge a window (`training.soh.windows`).
Judging: each cell is left out in turn, together with everything that is chosen or calibrated on it,
and predicted from its whole charges, from random windows of at most 20 minutes, and from the first
minutes of its discharges.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.kernels.columns import MARKS, SOH_INPUTS
from monitor.models.onnx import CARD_VERSION, Card, Family, SohModel
from recordings.open import open_recording
from recordings.types import Recording, RecordingError
from training.dataset import (
    START,
    HalfCycle,
    dataset_files,
    exclusions,
    read_half_cycles,
)
from training.resume import KERNELS, file_digest, key_of, remembered
from training.soh import graph as soh_onnx
from training.soh.scores import Score, score, table_text, usable, views
from training.soh.tables import TableFit, TableSpec, assemble
from training.soh.windows import LATEST_START_BIN, Regressions, Rows, completed, fit_windows

Floats = NDArray[np.float64]
Progress = Callable[[str], None]

NASA_CELLS = ("B0005", "B0006", "B0007", "B0018")
CALCE_CELLS = ("CS2_35", "CS2_36", "CS2_38")
FAMILIES = (
    Family("nasa-18650", 0, 2.0, "LCO/NCA (18650; the publisher does not say)"),
    Family("calce-cs2", 3, 1.1, "LCO"),
)
TABLE_OF = {family.cell_type: family.table for family in FAMILIES}
LAST_MARK = 2 * len(MARKS)
SPECS = (
    TableSpec(0, "nasa-18650 charge", 0.01, 26, 59, LATEST_START_BIN),
    TableSpec(1, "nasa-18650 discharge", 0.02, 15, 50, 50, 1, discharge=True, relative=True),
    TableSpec(2, "nasa-18650 discharge, marks", 0.0, 0, LAST_MARK, 1, 4, True, marks=True, step=2),
    TableSpec(3, "calce-cs2 charge", 0.01, 10, 59, LATEST_START_BIN),
    TableSpec(4, "calce-cs2 discharge", 0.02, 20, 55, 55, 1, discharge=True),
    TableSpec(5, "calce-cs2 discharge, marks", 0.0, 0, LAST_MARK, 1, 4, True, marks=True, step=2),
)
DATASETS = (("nasa", NASA_CELLS, SPECS[:3]), ("calce", CALCE_CELLS, SPECS[3:]))
FIT_SOURCES = (
    "training/soh/windows.py",
    "training/soh/widths.py",
    "training/soh/tables.py",
    "training/dataset.py",
    *KERNELS,
)
SOURCES = (
    *FIT_SOURCES,
    "training/soh/command.py",
    "training/soh/likeness.py",
    "training/soh/scores.py",
)
WIDEST_HALF_JOINED = 0.065  # of a charge joined in its middle: less is known, so more must be seen


def read_dataset(
    data: Path, dataset: str, cells: Sequence[str], progress: Progress
) -> dict[str, list[HalfCycle]]:
    """Half-cycles of the named cells. Raises FileNotFoundError or RecordingError."""
    found: dict[str, list[HalfCycle]] = {}
    for cell, path in dataset_files(data, dataset, tuple(cells)):
        found[cell] = read_half_cycles(open_recording(path)[0], TABLE_OF)
        progress(f"{cell}: {exclusions(found[cell])['used']} labelled discharges")
    return found


def fit(
    cells: dict[str, list[HalfCycle]],
    specs: Sequence[TableSpec],
    progress: Progress,
    cache: Path | None = None,
    hashes: Mapping[str, str] | None = None,
) -> list[TableFit]:
    """The tables of one family of cells, fitted on the cells given."""
    tables: list[TableFit] = []
    for spec in specs:
        kind = "discharge" if spec.discharge else "charge"
        halves = {
            cell: [half for half in usable(found, kind) if len(half.of_table(spec.table))]
            for cell, found in cells.items()
        }
        rows = []
        for cell, own in halves.items():
            x = np.array([half.of_table(spec.table)[-1] for half in own], dtype=np.float64)
            begin = x[:, START] if spec.discharge else np.array([half.first_bin for half in own])
            rows.append(Rows(cell, x, np.array([half.soh for half in own]), begin))
        seen = [
            half.of_table(spec.table).astype(np.float64) for own in halves.values() for half in own
        ]
        given = sorted((cell, (hashes or {}).get(cell, "")) for cell in cells)
        key = key_of("regressions", spec, given, sources=FIT_SOURCES)

        def compute(spec: TableSpec = spec, rows: list[Rows] = rows) -> Regressions:
            return fit_windows(spec, rows, progress)

        found = remembered(cache if hashes else None, key, Regressions, compute)
        told = completed(spec, widened(found, len(rows)), rows, seen)
        tables.append(told if spec.discharge else without_wide(told))
    return tables


def without_wide(table: TableFit) -> TableFit:
    """The table without the windows of a joined charge that say too little.

    Likeness has little to go by there: a cell of another kind would be told, wrongly.
    """
    kept = {window: fit for window, fit in table.without.items() if fit.half <= WIDEST_HALF_JOINED}
    return replace(table, without=kept)


def widened(found: Regressions, cells: int) -> Regressions:
    """Intervals wider by sqrt(1 + 1 / cells): the errors of so few cells are themselves uncertain.

    It is the factor of a predictive interval about a mean of that many cells.
    """
    factor = float(np.sqrt(1.0 + 1.0 / cells))
    return msgspec.structs.replace(
        found, half=[[factor * half for half in part] for part in found.half]
    )


def score_answers(model: SohModel, recording: Recording, halves: list[HalfCycle]) -> list[Score]:
    """The shipped model on one recording, whose cell it may never have seen."""
    info = recording.info
    if model.table(info.cell_type) < 0:
        return []

    def answer(x: Floats) -> tuple[Any, Any, Any, Any]:
        return model.run(np.ascontiguousarray(x, dtype=np.float32))

    rng = np.random.default_rng(0)
    dataset = "calce" if info.cell_type == "calce-cs2" else "nasa"
    return [
        score(info.asset, view, answer, x, y)
        for view, x, y in views(halves, dataset, rng)
        if len(y)
    ]


def leave_one_cell_out(
    cells: dict[str, list[HalfCycle]],
    dataset: str,
    specs: Sequence[TableSpec],
    seed: int,
    progress: Progress,
    cache: Path | None = None,
    hashes: Mapping[str, str] | None = None,
) -> list[Score]:
    """Every cell predicted by a model that never saw it, in every view."""
    scores: list[Score] = []
    for number, (held_out, halves) in enumerate(cells.items()):
        progress(f"without {held_out}")

        def judge(
            held_out: str = held_out, halves: list[HalfCycle] = halves, number: int = number
        ) -> list[Score]:
            others = {cell: found for cell, found in cells.items() if cell != held_out}
            tables = assemble(fit(others, specs, _silent, cache, hashes), len(SPECS))
            rng = np.random.default_rng([seed, number])
            return [
                score(held_out, view, tables.predict, x, y)
                for view, x, y in views(halves, dataset, rng)
            ]

        key = key_of("soh", held_out, seed, sorted((hashes or {}).items()), sources=SOURCES)
        scores += remembered(cache, key, list[Score], judge)
    return scores


def train(
    data: Path, out: Path, seed: int = 0, progress: Progress = print, cache: Path | None = None
) -> Card:
    """Fit on all training cells, judge on cells left out, and write soh.onnx and soh.json to `out`.

    `data` holds `nasa/` and `calce/` as published or as tidy Parquet. Raises FileNotFoundError
    where a training cell is missing.
    """
    tables: list[TableFit] = []
    metrics: dict[str, list[dict[str, object]]] = {}
    hashes: dict[str, str] = {}
    removed: dict[str, dict[str, int]] = {}
    for dataset, names, specs in DATASETS:
        for cell, path in dataset_files(data, dataset, names):
            hashes[cell] = file_digest(path)
        cells = read_dataset(data, dataset, names, progress)
        removed.update({cell: exclusions(found) for cell, found in cells.items()})
        tables += fit(cells, specs, progress, cache, hashes)
        own = {cell: hashes[cell] for cell in names}
        scores = leave_one_cell_out(cells, dataset, specs, seed, progress, cache, own)
        metrics[dataset] = [_rounded(asdict(line)) for line in scores]
    model = assemble(tables, len(SPECS))
    onnx = soh_onnx.export(model)
    card = Card(
        card_version=CARD_VERSION,
        name="soh",
        description=(
            "State of health (capacity over nominal) from the incremental-capacity histogram of a "
            "partial charge or discharge: one ridge regression a voltage window "
            f"({len(model.bias) - 1} windows), with a 90 % interval."
        ),
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        opset=soh_onnx.OPSET,
        inputs=[(name, unit) for name, unit in SOH_INPUTS],
        outputs=[
            ("soh", "fraction of nominal capacity"),
            ("low", "fraction of nominal capacity"),
            ("high", "fraction of nominal capacity"),
            ("state", "0 ok, 1 not enough seen, 2 unlike the training data"),
        ],
        training_data=hashes,
        protocol=(
            "The shipped weights are fitted on all cells listed. Every metric comes from a fit "
            "that never saw the cell it is about (leave one cell out; penalties, augmentation and "
            "interval widths chosen on the other cells only), over the rows answered `ok`. Errors "
            "and widths in %SOH. Windows start at uniform random instants, seed stated. Labels "
            f"removed and kept, by cell: {json.dumps(removed, sort_keys=True)}."
        ),
        metrics=dict(metrics),
        seed=seed,
        versions=_versions(),
        command="cellpulse train soh",
        limits=[
            "Trained on four NASA 18650 cells at 24 C (B0005, B0006, B0007, B0018), charged at "
            "1.5 A and discharged at 2 A, and on three CALCE CS2 cells charged at C/2 and "
            "discharged at 1 C. Other cells, temperatures and currents are extrapolation; the "
            "`unlike the training data` flag notices many, not all of them.",
            "No estimate from a charge window that starts at 4.06 V or higher.",
            "With four and three cells, coverage of the interval on a fifth is not guaranteed.",
        ],
        families=list(FAMILIES),
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "soh.onnx").write_bytes(onnx)
    (out / "soh.json").write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")
    return card


def _rounded(line: dict[str, object]) -> dict[str, object]:
    return {
        name: round(value, 4) if isinstance(value, float) else value for name, value in line.items()
    }


def _versions() -> dict[str, str]:
    import onnx

    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "numpy": np.__version__,
        "onnx": onnx.__version__,
    }


def _silent(_: str) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `python -m training.soh`."""
    parser = argparse.ArgumentParser(prog="python -m training.soh", description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("CELLPULSE_DATA", "../shared/data"))
    )
    parser.add_argument("--out", type=Path, default=Path("models"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    try:
        card = train(arguments.data, arguments.out, arguments.seed)
    except (FileNotFoundError, RecordingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for dataset, lines in card.metrics.items():
        print(f"\n{dataset}, each cell left out in turn, errors in %SOH")
        print(table_text(lines))
    return 0
