"""The figures of `evaluate soh`, with the targets of what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.figures import Figure, figure
from training.soh.command import CALCE_CELLS, NASA_CELLS
from training.soh.evaluate import CALCE_EVERY, PLAIN, Evaluation
from training.soh.families import COULOMB, FAMILIES, RIDGE
from training.soh.scores import WINDOW_START_V, Score


def figures_of(found: Evaluation) -> list[Figure]:
    """The figures with the targets of the issue, and each protocol's means."""
    out: list[Figure] = []
    budget = "" if found.budget_s is None else f"; within a budget of {found.budget_s:.0f} s"

    def view(dataset: str, text: str) -> list[Score]:
        cells = NASA_CELLS if dataset == "nasa" else CALCE_CELLS
        return [one for one in found.shipped if one.cell in cells and one.view.startswith(text)]

    def add(
        name: str, scores: Sequence[Score], what: str, target: float | None, note: str = ""
    ) -> None:
        values = [getattr(one, what) for one in scores]
        known = [value for value in values if value is not None]
        answered = float(np.mean([one.answered for one in scores])) if scores else 0.0
        out.append(
            figure(
                name, float(np.mean(known)) if known else None, "%SOH", target, "lower",
                f"shipped model, each cell left out; mean of {len(known)} cells, {answered:.0%} of "
                f"rows answered{note}{budget}",
            )
        )  # fmt: skip

    low, high = WINDOW_START_V["nasa"]
    nasa_window = view("nasa", "20 min of charge")
    known = [one for one in nasa_window if one.view.endswith("resistance known")]
    unknown = [one for one in nasa_window if not one.view.endswith("resistance known")]
    add("NASA whole charge from the curve, RMSE", view("nasa", "whole charge"), "rmse", 1.1)
    add(f"NASA 20 min from {low:.2f}-{high:.2f} V, RMSE", known, "rmse", 2.5)
    add(f"NASA 20 min from {low:.2f}-{high:.2f} V, worst cell, RMSE",
        [max(known, key=lambda one: one.rmse or 0.0)] if known else [], "rmse", None)  # fmt: skip
    add(f"NASA 20 min from {low:.2f}-{high:.2f} V, joined in mid-charge, RMSE", unknown, "rmse",
        None)  # fmt: skip
    for minutes in (2, 5, 20):
        target = 1.8 if minutes == 5 else None
        name = f"NASA first {minutes} min of discharge, RMSE"
        add(name, view("nasa", f"first {minutes} min"), "rmse", target)
    add("CALCE whole charge from the curve, MAE", view("calce", "whole charge"), "mae", 0.5)
    calce_window = [one for one in view("calce", "20 min") if one.view.endswith("resistance known")]
    add("CALCE 20 min from at most 3.85 V, MAE", calce_window, "mae", 1.2)
    add("CALCE first 5 min of discharge, MAE", view("calce", "first 5 min"), "mae", None)
    late = [one for one in found.shipped if one.view.startswith("window from 4.06")]
    if late:
        out.append(
            figure("windows from 4.06 V or higher that are answered",
                   100.0 * max(one.answered for one in late), "%", 0.0, "lower",
                   "shipped model, each cell left out")
        )  # fmt: skip
    whole = view("nasa", "whole charge") + view("calce", "whole charge")
    if whole:
        counted = [one for one in whole if one.coverage is not None]
        weight = np.array([one.rows * one.answered for one in counted])
        coverage = np.array([one.coverage for one in counted], dtype=np.float64)
        width = np.array([one.width for one in counted], dtype=np.float64)
        how = f"whole charges of {len(counted)} cells, each left out{budget}"
        out += [
            figure("coverage of the 90 % interval, pooled",
                   100.0 * float((coverage * weight).sum() / weight.sum()), "%", 88, "higher", how),
            figure("coverage of the 90 % interval, lowest cell", 100.0 * float(coverage.min()), "%",
                   80, "higher", how),
            figure("mean width of the 90 % interval", float(width.mean()), "%SOH", 4, "lower", how),
        ]  # fmt: skip

    def family(name: str, protocol: str, dataset: str, what: str) -> float | None:
        values = [
            getattr(one, what)
            for one in found.families
            if (one.family, one.protocol, one.dataset) == (name, protocol, dataset)
        ]
        return float(np.mean(values)) if values else None

    left = "leave one cell out, configuration chosen on training cells" + budget
    out.append(
        figure("NASA whole charge with the coulomb count, RMSE",
               family(COULOMB.name, "leave one cell out", "nasa", "rmse"), "%SOH", 0.8, "lower",
               f"{COULOMB.name}, {left}; valid after a complete discharge only")
    )  # fmt: skip
    out.append(
        figure("CALCE whole charge from the curve, MAE, Gaussian process",
               family("Gaussian process", "leave one cell out", "calce", "mae"), "%SOH", None,
               "lower", f"{left}; every {CALCE_EVERY}th charge; not the shipped model")
    )  # fmt: skip
    for name, target in ((COULOMB.name, 1.8), (RIDGE.name, 4.0)):
        out.append(
            figure(f"all NASA groups, MAE, {name}",
                   family(name, "leave one group out", "nasa", "mae"), "%SOH", target, "lower",
                   "leave one group out, mean over cells; chosen on training cells left out")
        )  # fmt: skip
    for plain in PLAIN:
        out.append(
            figure(f"all NASA groups, MAE, {plain.name}",
                   family(plain.name, "leave one group out", "nasa", "mae"), "%SOH", None, "lower",
                   "the same groups, for comparison")
        )  # fmt: skip
    hard = [g for g in found.groups if g.mae_all is not None and g.mae_all > 4.0]
    if hard:
        out.append(
            figure("groups it cannot do: charges flagged or not answered, lowest group",
                   100.0 * min(1.0 - g.answered for g in hard), "%", 90, "higher",
                   "shipped model, whole charges; groups with MAE over 4 %SOH if believed: "
                   + ", ".join(g.group for g in hard))
        )  # fmt: skip
        total = sum(g.charges for g in hard)
        out.append(
            figure("groups it cannot do: charges flagged or not answered, all of them",
                   100.0 * sum((1.0 - g.answered) * g.charges for g in hard) / total, "%", 90,
                   "higher", f"the same, pooled over {total} charges")
        )  # fmt: skip
    adapted = [one.rmse for one in found.families if one.family == "ridge, NASA + 20 labels"]
    alone = [one.rmse for one in found.families if one.family == "ridge, 20 labels alone"]
    if adapted:
        out.append(
            figure("NASA to CALCE after 20 labels of another CALCE cell, RMSE",
                   float(np.mean(adapted)), "%SOH", 1.1, "lower",
                   f"mean over 6 pairs of cells; the same 20 labels alone: {np.mean(alone):.2f}")
        )  # fmt: skip
    for protocol in ("random split", "chronological 80/20", "leave one cell out"):
        for one in FAMILIES:
            for dataset in ("nasa", "calce"):
                value = family(one.name, protocol, dataset, "rmse")
                if value is not None:
                    out.append(
                        figure(f"{dataset} whole charge, RMSE, {one.name}", value, "%SOH", None,
                               "lower", protocol)
                    )  # fmt: skip
    return out
