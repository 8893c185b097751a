"""Model families learn, choose on training cells only, and the results page says what it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from training.figures import figure, markdown_table, targets_table, text_table
from training.resume import key_of, remembered
from training.soh.evaluate import Evaluation, GroupLine, decode, protocols
from training.soh.families import (
    BOOSTING,
    BY_CYCLE,
    COULOMB,
    GAUSSIAN,
    QUADRATIC,
    RIDGE,
    FamilyOfModels,
    Predict,
    Table,
    about_the_count,
    chosen,
    counted,
    joined,
    masked_mlp,
    ridge,
    selected_ridge,
)
from training.soh.figures import figures_of
from training.soh.page import page


def cell(name: str, seed: int, rows: int = 60) -> Table:
    """Rows whose SOH is linear in the curve; the cycle number only says so within one cell."""
    rng = np.random.default_rng(seed)
    y = np.linspace(1.0, 0.6 + 0.05 * seed, rows)
    curve = np.outer(y, np.linspace(0.5, 1.5, 20)) / 20 + 2e-4 * rng.standard_normal((rows, 20))
    return Table(
        curve,
        y + 0.01 + 0.05 * seed + 0.002 * rng.standard_normal(rows),
        np.full(rows, 0.05 * seed),
        np.full(rows, 25.0),
        np.zeros(rows),
        np.arange(rows, dtype=float),
        [np.linspace(3.5, 4.2, 40) for _ in range(rows)],
        y,
        np.full(rows, name),
    )


@pytest.fixture(scope="module")
def cells() -> dict[str, Table]:
    return {name: cell(name, seed) for seed, name in enumerate("abc")}


@pytest.mark.parametrize("family", [RIDGE, QUADRATIC, GAUSSIAN, COULOMB], ids=lambda f: f.name)
def test_a_family_tells_a_cell_it_never_saw(
    family: FamilyOfModels, cells: dict[str, Table]
) -> None:
    _, predict = chosen(family, joined([cells["a"], cells["b"]]), 0)
    error = predict(cells["c"]) - cells["c"].y
    assert np.sqrt(np.mean(error**2)) < 0.01


def test_the_masked_network_and_the_selected_features_learn(cells: dict[str, Table]) -> None:
    train = joined([cells["a"], cells["b"]])
    for fit in (masked_mlp(16, epochs=30), selected_ridge(1e-2)):
        error = fit(train, 0)(cells["c"]) - cells["c"].y
        assert np.sqrt(np.mean(error**2)) < 0.03


def test_rows_that_are_far_off_do_not_move_a_clipped_fit(cells: dict[str, Table]) -> None:
    """A tenth of the labels is wrong by 0.5, as where a discharge was broken off."""
    train = joined([cells["a"], cells["b"]])
    wrong = replace(train, y=np.where(np.arange(len(train.y)) % 10 == 3, train.y - 0.5, train.y))
    clipped = ridge(0.1, look=about_the_count, base=counted, clipped_at=0.005)(wrong, 0)
    plain = ridge(0.1, look=about_the_count, base=counted)(wrong, 0)
    truth = cells["c"].y
    assert np.abs(clipped(cells["c"]) - truth).mean() < 0.006
    assert np.abs(plain(cells["c"]) - truth).mean() > 0.03


def test_a_family_repeats_with_its_seed(cells: dict[str, Table]) -> None:
    train = joined([cells["a"], cells["b"]])
    for family in (BOOSTING, BY_CYCLE):
        once, again = (chosen(family, train, 3)[1](cells["c"]) for _ in range(2))
        assert np.array_equal(once, again)


def test_the_choice_never_sees_the_cell_that_is_told(cells: dict[str, Table]) -> None:
    seen: list[set[str]] = []

    def spy(train: Table, seed: int) -> Predict:
        seen.append(set(train.cell))
        return ridge(1e-3)(train, seed)

    family = FamilyOfModels("spy", (("one", spy), ("two", spy)))
    chosen(family, joined([cells["a"], cells["b"]]), 0)
    assert seen
    assert all("c" not in names for names in seen)
    assert {"a", "b"} in seen
    assert {"a"} in seen


def test_a_random_split_flatters_what_only_memorises(cells: dict[str, Table]) -> None:
    """Trees that see which cell it is and how old tell its neighbours' labels, not a new cell's."""
    marked = {
        name: replace(
            table,
            curve=np.column_stack([np.full(len(table.y), float(i)), table.cycle]),
            y=table.y - 0.1 * (i == 1),
        )
        for i, (name, table) in enumerate(cells.items())
    }
    lines = protocols(BOOSTING, marked, "nasa", 0)
    rmse = {
        protocol: np.mean([one.rmse for one in lines if one.protocol == protocol])
        for protocol in ("random split", "leave one cell out")
    }
    assert 3.0 * rmse["random split"] < rmse["leave one cell out"]
    assert len(lines) == 9


def test_figures_say_met_or_missed() -> None:
    assert figure("a", 1.0, "%SOH", 1.1, "lower", "p").met is True
    assert figure("a", 1.2, "%SOH", 1.1, "lower", "p").met is False
    assert figure("a", 91.0, "%", 90.0, "higher", "p").met is True
    assert figure("a", None, "%", 90.0, "higher", "p").met is False
    assert figure("a", 1.0, "%", None, "lower", "p").met is None


def test_tables_show_misses_and_hide_nothing() -> None:
    lines = [
        figure("good", 1.0, "%SOH", 1.1, "lower", "p"),
        figure("bad", 2.0, "%SOH", 1.1, "lower", "p"),
        figure("none", None, "%SOH", 1.1, "lower", "p"),
    ]
    text = targets_table(lines)
    assert "| bad | 2.00 %SOH | ≤ 1.1 %SOH | missed | p |" in text
    assert "not measured" in text
    assert text_table(("a", "b"), [("x", 1.0), ("yy", None)]).splitlines()[2] == "yy     -"
    assert markdown_table(("a",), [(0.123,)]).endswith("| 0.12 |")


def test_a_step_is_computed_once_and_again_when_its_inputs_change(tmp_path: Path) -> None:
    calls = []

    def compute() -> list[int]:
        calls.append(1)
        return [1, 2]

    key = key_of("step", 0)
    assert key != key_of("step", 1)
    assert key != key_of("step", 0, sources=["training/resume.py"])
    for _ in range(3):
        assert remembered(tmp_path, key, list[int], compute) == [1, 2]
    assert len(calls) == 1
    (tmp_path / f"{key}.json").write_text("cut off [")
    assert remembered(tmp_path, key, list[int], compute) == [1, 2]
    assert len(calls) == 2
    assert remembered(None, key, list[int], compute) == [1, 2]
    assert len(calls) == 3


def test_the_page_names_what_was_left_out(cells: dict[str, Table]) -> None:
    lines = protocols(RIDGE, cells, "nasa", 0)
    removed = {"a": {"discharges": 3, "used": 2, "no capacity published": 1}}
    group = GroupLine("B0025-B0028", 10, 0.1, 0.9, None, 12.0)
    found = Evaluation(0, 60.0, {"a": "0"}, removed, [], lines, [group], ["random forest on calce"])
    assert decode(msgspec.json.encode(found)) == found
    text = page(found, figures_of(found), None, [])
    assert "random forest on calce" in text
    assert "| a | 3 | 2 | 1 no capacity published |" in text
    assert "ridge" in text
    assert "missed" in text
