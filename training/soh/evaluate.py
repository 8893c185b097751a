"""What is measured of SOH: the shipped model, model families, and protocols side by side.

The result is one object of figures (`--json`) and the tables behind it, from which
`docs/results-soh.md` is written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from monitor.kernels.soh_state import SohCode
from monitor.models.folder import load_model
from monitor.models.onnx import SohModel
from recordings.open import open_recording
from training.dataset import HalfCycle, dataset_files, exclusions, read_half_cycles
from training.resume import KERNELS, file_digest, key_of, remembered
from training.soh.command import (
    DATASETS,
    NASA_CELLS,
    TABLE_OF,
    Progress,
    leave_one_cell_out,
    read_dataset,
    score_answers,
)
from training.soh.families import (
    BY_CYCLE,
    COULOMB,
    FAMILIES,
    FIRST,
    RIDGE,
    TSFRESH_RIDGE,
    FamilyOfModels,
    Predict,
    Table,
    bands,
    chosen,
    counted,
    joined,
    ridge,
    table_of,
    tsfresh_features,
)
from training.soh.scores import Score, usable

Floats = NDArray[np.float64]

NASA_GROUPS = {
    "B0005-B0018": NASA_CELLS,
    "B0025-B0028": ("B0025", "B0026", "B0027", "B0028"),
    "B0029-B0032": ("B0029", "B0030", "B0032"),
    "B0033-B0036": ("B0033", "B0034"),
    "B0038-B0040": ("B0039", "B0040"),
    "B0041-B0044": ("B0041", "B0042", "B0043", "B0044"),
    "B0045-B0048": ("B0045", "B0046", "B0048"),
    "B0049-B0052": ("B0049", "B0050", "B0051", "B0052"),
    "B0053-B0056": ("B0053", "B0054", "B0055"),
}
MANY_CELLS = FamilyOfModels(
    "ridge",
    (
        *((f"penalty {p:g}", ridge(p)) for p in (0.1, 1.0, 10.0)),
        *(
            (
                f"bands of {10 * width} mV and temperature, penalty {p:g}",
                ridge(p, look=bands(width)),
            )
            for width in (5, 8)
            for p in (0.01, 0.1, 1.0)
        ),
    ),
)
# Beside them, what they are made of: without bands, without the residual, without the correction.
PLAIN = (
    FamilyOfModels("ridge on bins only", MANY_CELLS.candidates[:3]),
    FamilyOfModels("coulomb count, nothing learned", (("", lambda _, __: counted),)),
    FamilyOfModels("coulomb count, as it is", (("", lambda _, __: lambda table: table.coulomb),)),
)
FEW_LABELS = FamilyOfModels(
    "ridge, quadratic", tuple((f"penalty {p:g}", ridge(p, 0.1)) for p in (1e-2, 1e-1))
)
CALCE_EVERY = 4  # charges of a CALCE cell that the families learn from: every fourth
ADAPT_LABELS = 20
SOURCES = (
    "training/soh/evaluate.py",
    "training/soh/families.py",
    "training/dataset.py",
    *KERNELS,
)


class Line(Struct, frozen=True):
    """One cell under one protocol by one family, in %SOH."""

    family: str
    protocol: str
    dataset: str
    cell: str
    rows: int
    rmse: float
    mae: float
    worst: float


class GroupLine(Struct, frozen=True):
    """The shipped model on one NASA group, whole charges."""

    group: str
    charges: int
    answered: float
    unlike: float
    mae_answered: float | None
    mae_all: float | None  # had every charge with a number been believed


class Evaluation(Struct, frozen=True):
    """All that was measured."""

    seed: int
    budget_s: float | None
    data: dict[str, str]
    removed: dict[str, dict[str, int]]
    shipped: list[Score]
    families: list[Line]
    groups: list[GroupLine]
    left_out: list[str]  # what the budget did not allow


def line(family: str, protocol: str, dataset: str, cell: str, told: Floats, y: Floats) -> Line:
    """Errors of one cell."""
    error = 100.0 * (told - y)
    return Line(
        family, protocol, dataset, cell, len(y),
        float(np.sqrt(np.mean(error**2))), float(np.mean(np.abs(error))),
        float(np.max(np.abs(error))),
    )  # fmt: skip


def protocols(
    family: FamilyOfModels, tables: Mapping[str, Table], dataset: str, seed: int
) -> list[Line]:
    """Random split, within-cell chronological 80/20, and leave one cell out."""
    out: list[Line] = []
    everything = joined(list(tables.values()))
    rng = np.random.default_rng(seed)
    test = rng.random(len(everything.y)) < 0.2
    _, predict = chosen(family, everything.rows(~test), seed)
    told = predict(everything.rows(test))
    for cell in tables:
        own = everything.cell[test] == cell
        y = everything.y[test][own]
        out.append(line(family.name, "random split", dataset, cell, told[own], y))
    for cell, table in tables.items():
        late = np.arange(len(table.y)) >= int(0.8 * len(table.y))
        _, predict = chosen(family, table.rows(~late), seed)
        rest = table.rows(late)
        out.append(line(family.name, "chronological 80/20", dataset, cell, predict(rest), rest.y))
    for cell, table in tables.items():
        _, predict = chosen(family, joined([t for c, t in tables.items() if c != cell]), seed)
        out.append(line(family.name, "leave one cell out", dataset, cell, predict(table), table.y))
    return out


def leave_one_group_out(
    family: FamilyOfModels, tables: Mapping[str, Table], seed: int
) -> list[Line]:
    """Every NASA group told by the others; each counts the same and is left out in choosing."""
    out: list[Line] = []
    group_of = {cell: group for group, names in NASA_GROUPS.items() for cell in names}
    for names in NASA_GROUPS.values():
        inside = [tables[cell] for cell in names if cell in tables]
        outside = [
            replace(table, cell=np.full(len(table.y), group_of[cell]))
            for cell, table in tables.items()
            if cell not in names
        ]
        if inside and outside:
            _, predict = chosen(family, joined(outside), seed)
            out += [
                line(
                    family.name,
                    "leave one group out",
                    "nasa",
                    str(table.cell[0]),
                    np.clip(predict(table), 0.0, 1.2),
                    table.y,
                )
                for table in inside
            ]
    return out


def across(nasa: Mapping[str, Table], calce: Mapping[str, Table], seed: int) -> list[Line]:
    """NASA to CALCE and back without a label, and after 20 labels of another CALCE cell."""
    out: list[Line] = []
    for origin, target, name, dataset in (
        (nasa, calce, "NASA to CALCE, no label", "calce"),
        (calce, nasa, "CALCE to NASA, no label", "nasa"),
    ):
        _, predict = chosen(RIDGE, joined(list(origin.values())), seed)
        for cell, table in target.items():
            told = np.clip(predict(table), 0.0, 1.2)
            out.append(line(RIDGE.name, name, dataset, cell, told, table.y))
    _, base = chosen(RIDGE, joined(list(nasa.values())), seed)
    for cell, table in calce.items():
        for other, source in calce.items():
            if other == cell:
                continue
            few = source.rows(np.linspace(0, len(source.y) - 1, ADAPT_LABELS).astype(np.int64))
            for family, learn, target_rows in (
                ("ridge, 20 labels alone", few, table),
                ("ridge, NASA + 20 labels", _with(few, base), _with(table, base)),
            ):
                _, predict = chosen(FEW_LABELS, _in_fifths(learn), seed)
                where = f"20 labels of {other}"
                out.append(line(family, where, "calce", cell, predict(target_rows), table.y))
    return out


def _with(table: Table, base: Predict) -> Table:
    """The NASA model's estimate as further columns; several, so that the penalty spares it."""
    told = np.clip(base(table), -1.0, 2.0)[:, None]
    return replace(table, curve=np.hstack([table.curve, np.repeat(told, 8, axis=1)]))


def _in_fifths(table: Table) -> Table:
    """Every fifth row as a cell of its own: the few labels are left out in turn."""
    return replace(table, cell=np.array([str(i % 5) for i in range(len(table.y))]))


def shipped_on_groups(model: SohModel, cells: Mapping[str, Sequence[HalfCycle]]) -> list[GroupLine]:
    """What the committed model does with every NASA group, its own training group included."""
    out: list[GroupLine] = []
    for group, names in NASA_GROUPS.items():
        halves = [h for cell in names for h in usable(cells.get(cell, ()), "charge")]
        if not halves:
            continue
        y = np.array([h.soh for h in halves])
        soh, _, _, state = model.run(np.array([h.whole for h in halves]))
        error = 100.0 * np.abs(soh - y)
        ok, told = state == SohCode.OK, state != SohCode.NOT_ENOUGH_SEEN
        out.append(
            GroupLine(
                group, len(y), float(ok.mean()), float((state == SohCode.UNLIKE_TRAINING).mean()),
                float(error[ok].mean()) if ok.any() else None,
                float(error[told].mean()) if told.any() else None,
            )
        )  # fmt: skip
    return out


def evaluate(
    data: Path,
    models: Path,
    seed: int = 0,
    progress: Progress = print,
    cache: Path | None = None,
    budget_s: float | None = None,
) -> Evaluation:
    """Measure everything. With a budget, families are left out once it is spent, and named.

    Raises FileNotFoundError, RecordingError or ModelError.
    """
    began = time.monotonic()
    left_out: list[str] = []

    def spent(share: float) -> bool:
        return budget_s is not None and time.monotonic() - began > share * budget_s

    hashes: dict[str, str] = {}
    removed: dict[str, dict[str, int]] = {}
    shipped: list[Score] = []
    loaded: dict[str, dict[str, list[HalfCycle]]] = {}
    for dataset, names, specs in DATASETS:
        own = {cell: file_digest(path) for cell, path in dataset_files(data, dataset, names)}
        hashes |= own
        loaded[dataset] = read_dataset(data, dataset, names, progress)
        removed |= {cell: exclusions(found) for cell, found in loaded[dataset].items()}
        if spent(0.5):
            left_out.append(f"the shipped model on {dataset} cells left out")
            continue
        shipped += leave_one_cell_out(loaded[dataset], dataset, specs, seed, progress, cache, own)

    tables = {
        dataset: {
            cell: table_of(halves, FIRST[dataset]) for cell, halves in loaded[dataset].items()
        }
        for dataset in loaded
    }
    thin = {
        cell: table.rows(np.arange(0, len(table.y), CALCE_EVERY))
        for cell, table in tables["calce"].items()
    }
    lines: list[Line] = []
    for family in FAMILIES:
        for dataset, given in (("nasa", tables["nasa"]), ("calce", thin)):
            if spent(0.8):
                left_out.append(f"{family.name} on {dataset}")
                continue
            progress(f"{family.name} on {dataset}")
            key = key_of(
                "family", family.name, dataset, seed, sorted(hashes.items()), sources=SOURCES
            )

            def measure(
                family: FamilyOfModels = family,
                dataset: str = dataset,
                given: Mapping[str, Table] = given,
            ) -> list[Line]:
                if family is TSFRESH_RIDGE:
                    features = tsfresh_features(list(given.values()))
                    given = {
                        cell: replace(table, curve=curve)
                        for (cell, table), curve in zip(given.items(), features, strict=True)
                    }
                return protocols(family, given, dataset, seed)

            lines += remembered(cache, key, list[Line], measure)
    common = {cell: table_of(halves, FIRST["nasa"]) for cell, halves in loaded["calce"].items()}
    lines += across(tables["nasa"], common, seed)

    progress("all NASA groups")
    others = dict(loaded["nasa"])
    for group in NASA_GROUPS.values():
        for cell in group:
            if cell in others:
                continue
            try:
                path = next(iter(dataset_files(data, "nasa", (cell,))))[1]
            except FileNotFoundError:
                left_out.append(f"{cell} (no file)")
                continue
            hashes[cell] = file_digest(path)
            others[cell] = read_half_cycles(open_recording(path)[0], TABLE_OF)
            removed[cell] = exclusions(others[cell])
    whole = {
        cell: table
        for cell, halves in others.items()
        if len((table := table_of(halves, FIRST["nasa"])).y)
    }
    for family in (MANY_CELLS, COULOMB, *PLAIN):
        lines += leave_one_group_out(family, whole, seed)
    model = load_model(SohModel, "soh", models)
    return Evaluation(
        seed, budget_s, hashes, removed, shipped, lines, shipped_on_groups(model, others), left_out
    )


def evaluate_files(paths: Sequence[Path], models: Path, progress: Progress = print) -> list[Score]:
    """The committed model on any recordings: whole charges, windows and discharges of each cell.

    A cell whose family the model does not know is not answered. Raises RecordingError, ModelError.
    """
    model = load_model(SohModel, "soh", models)
    out: list[Score] = []
    for path in paths:
        for recording in open_recording(path):
            progress(recording.info.asset)
            out += score_answers(model, recording, read_half_cycles(recording, TABLE_OF))
    return out


def decode(data: bytes) -> Evaluation:
    """An evaluation kept as JSON."""
    return msgspec.json.decode(data, type=Evaluation)


__all__ = ["BY_CYCLE", "Evaluation", "decode", "evaluate", "evaluate_files"]
