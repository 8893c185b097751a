"""Volume under the surface of precision and recall (VUS-PR), without point adjustment.

Paparrizos et al. (2022), "Volume Under the Surface: A New Accuracy Evaluation Measure for
Time-Series Anomaly Detection", PVLDB 15(11): labels get soft shoulders of width l, precision and
recall are counted with them, recall is weighted by the share of events that were met at all, and
the area under the curve is averaged over l. Here every fault lasts to the end of its series, so
there is one shoulder, before the onset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.thermal.data import Floats, Mask

WIDTHS = (0, 4, 8, 16, 32)  # slots


@dataclass(frozen=True, slots=True)
class Series:
    """Scores and labels of one stretch with at most one event, which reaches to its end."""

    score: Floats
    label: Mask


def vus_pr(series: Sequence[Series], widths: Sequence[int] = WIDTHS) -> float:
    """VUS-PR over all series pooled; a missing score counts as the lowest. NaN without events."""
    return float(np.mean([range_auc_pr(series, width) for width in widths]))


def range_auc_pr(series: Sequence[Series], width: int) -> float:
    """Area under precision over recall with shoulders of `width` samples."""
    score = np.concatenate([np.nan_to_num(s.score, nan=-np.inf) for s in series])
    soft = np.concatenate([_shoulder(s.label, width) for s in series])
    hard = sum(int(s.label.sum()) for s in series)
    best = np.sort(
        [
            np.nan_to_num(s.score[_shoulder(s.label, width) > 0], nan=-np.inf).max()
            for s in series
            if s.label.any()
        ]
    )
    if hard == 0:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    true = np.cumsum(soft[order])
    # One point of the curve for each distinct score: ties are taken together.
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    met = (len(best) - np.searchsorted(best, ranked[last], side="left")) / len(best)
    recall = np.minimum(true[last] / (0.5 * (hard + soft.sum())), 1.0) * met
    precision = true[last] / (last + 1.0)
    steps = np.diff(recall, prepend=0.0)
    return float(np.sum(np.maximum(steps, 0.0) * precision))


def _shoulder(label: Mask, width: int) -> Floats:
    soft = label.astype(np.float64)
    if width > 0 and label.any():
        onset = int(np.argmax(label))
        near = np.arange(max(0, onset - width), onset)
        soft[near] = np.sqrt(1.0 - (onset - near) / (width + 1.0))
    return soft
