"""Thinning by a table of cases, which the page's own script is held to as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.store.thinning import gaps, keep_extremes, mark_gaps

CASES: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "thinning_cases.json").read_text(encoding="utf-8")
)


def each(kind: str) -> pytest.MarkDecorator:
    """One test a case, by its name."""
    cases = CASES[kind]
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


@each("gap")
def test_a_line_is_broken_before_the_next_row_or_not(case: dict[str, Any]) -> None:
    times = np.array([*case["times"], case["next"]], np.int64)
    assert (len(times) - 1 in gaps(times, len(times))) == case["gap"]


@each("marked")
def test_a_gap_is_marked_by_an_empty_row(case: dict[str, Any]) -> None:
    rows = [tuple(row) for row in case["rows"]]
    assert [list(row) for row in mark_gaps(rows, len(rows))] == case["marked"]


@each("kept")
def test_peaks_edges_and_gaps_are_kept(case: dict[str, Any]) -> None:
    columns = [np.array(column, np.float64) for column in case["columns"]]
    assert keep_extremes(columns, case["points"]).tolist() == case["kept"]
