"""The incremental-capacity curves of a cell's charges, from the engine's histograms; pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.report.record import IcaCurve
from monitor.contract import CycleSummary
from monitor.dashboard.pages.ica import FIRST_CURVES
from monitor.kernels.columns import BIN_FIRST_V, BIN_V


def charge_curves(cycles: Sequence[tuple[CycleSummary, NDArray[np.float32]]]) -> list[IcaCurve]:
    """dQ/dV of one cell's first complete charges and of its newest, where any charge moved.

    Each half-cycle comes with the charge (Ah) that it moved in bins of `BIN_V`.
    """
    charges = [(cycle, ah) for cycle, ah in cycles if cycle.kind == "charge" and cycle.complete]
    newest = charges[-1:] if len(charges) > FIRST_CURVES else []
    curves = []
    for k, (cycle, histogram) in enumerate([*charges[:FIRST_CURVES], *newest]):
        used = np.flatnonzero(histogram > 0)
        if not len(used):
            continue
        part = slice(int(used[0]), int(used[-1]) + 1)
        volts = BIN_FIRST_V + BIN_V / 2 + BIN_V * np.arange(len(histogram))
        curves.append(
            IcaCurve(
                "first" if k < FIRST_CURVES else "newest", cycle.number, cycle.end_ms,
                [round(float(v), 3) for v in volts[part]],
                [round(float(q), 4) for q in histogram[part] / BIN_V],
            )
        )  # fmt: skip
    return curves
