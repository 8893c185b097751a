"""The shipped SOH model: parity with its framework, its card, and what it refuses to answer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from monitor.kernels.columns import CHARGE_FIRST_V, SOH_BINS, SOH_INPUTS, SOH_WIDTH
from monitor.kernels.soh_state import SohCode
from monitor.models.onnx import Card, SohModel, read_card
from recordings.open import open_recording
from tests.conftest import ROOT
from training.dataset import (
    C_MEAN,
    END,
    R60,
    START,
    TABLE,
    HalfCycle,
    frames_of,
    read_half_cycles,
    window_inputs,
)
from training.soh import command as soh
from training.soh import graph as soh_onnx
from training.soh.tables import Tables, TableSpec, assemble
from training.soh.widths import never_shrinking, weighted_quantile
from training.soh.windows import Rows, counted_down, fit_table, moved


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card((ROOT / "models" / "soh.json").read_bytes(), "soh")


@pytest.fixture(scope="module")
def model(card: Card) -> SohModel:
    return SohModel((ROOT / "models" / "soh.onnx").read_bytes(), card)


@pytest.fixture(scope="module")
def b0005(shared_data: Path) -> list[HalfCycle]:
    path = shared_data / "nasa" / "tidy" / "B0005.parquet"
    return read_half_cycles(open_recording(path)[0], soh.TABLE_OF)


def synthetic(cell: str, seed: int, discharge: bool = False) -> Rows:
    """Cells whose SOH is exactly linear in the charge of their bins, plus a little noise."""
    rng = np.random.default_rng(seed)
    n = 80
    y = np.linspace(1.0, 0.6, n)
    shape = np.exp(-0.5 * ((np.arange(SOH_BINS) - 35.0) / 8.0) ** 2)
    x = np.zeros((n, SOH_WIDTH))
    x[:, :SOH_BINS] = y[:, None] * shape / shape.sum()
    x[:, :SOH_BINS] *= 1.0 + 0.01 * rng.standard_normal((n, SOH_BINS))
    x[:, START], x[:, END] = 0.0, SOH_BINS
    x[:, TABLE] = 1.0 if discharge else 0.0
    x[:, R60] = 0.2 - 0.1 * y
    x[:, C_MEAN] = 0.75
    return Rows(cell, x, y, x[:, START])


@pytest.fixture(scope="module")
def small() -> Tables:
    cells = [synthetic(cell, seed) for seed, cell in enumerate("abc")]
    charge = TableSpec(0, "charge", 0.01, 26, 40, 36)
    discharge = TableSpec(1, "discharge", 0.02, 26, 34, 34, 1, discharge=True, relative=True)
    turned = [synthetic(cell, seed, True) for seed, cell in enumerate("abc")]
    return assemble(
        [
            fit_table(charge, cells, [rows.x for rows in cells]),
            fit_table(discharge, turned, [rows.x for rows in turned]),
        ],
        2,
    )


def onnx_run(tables: Tables, x: np.ndarray) -> tuple[np.ndarray, ...]:
    import onnxruntime as ort

    session = ort.InferenceSession(soh_onnx.export(tables), providers=["CPUExecutionProvider"])
    return tuple(session.run(None, {"x": x.astype(np.float32)}))


def test_export_equals_the_tables_on_any_input(small: Tables) -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([synthetic("d", 9).x, synthetic("d", 9, True).x])
    x = np.tile(rows, (20, 1))
    x[:, START] = rng.integers(0, SOH_BINS, len(x))
    x[:, END] = np.minimum(x[:, START] + rng.integers(0, 40, len(x)), SOH_BINS)
    x[rng.random(len(x)) < 0.3, R60] = -1.0
    x[rng.random(len(x)) < 0.1, C_MEAN] = 9.0
    x[rng.random(len(x)) < 0.1, 30] = 5.0
    x = x.astype(np.float32)
    expected = small.predict(x)
    found = onnx_run(small, x)
    for one, other in zip(expected[:3], found[:3], strict=True):
        assert np.abs(one - other).max() < 1e-4
    assert np.array_equal(expected[3], found[3])
    assert set(found[3]) == {SohCode.OK, SohCode.NOT_ENOUGH_SEEN, SohCode.UNLIKE_TRAINING}


def test_an_unseen_cell_is_told_within_its_interval(small: Tables) -> None:
    rows = synthetic("new", 77)
    value, low, high, state = small.predict(rows.x)
    assert (state == SohCode.OK).mean() > 0.8  # the limit is a 90 % quantile
    assert np.sqrt(np.mean((value - rows.y) ** 2)) < 0.01
    assert np.mean((rows.y >= low) & (rows.y <= high)) > 0.8


def test_the_interval_never_narrows_when_less_is_seen(small: Tables) -> None:
    x = synthetic("new", 77).x[:1].repeat(12, axis=0)
    x[:, START], x[:, END] = 27, np.arange(29, 41)
    _, low, high, state = small.predict(x)
    width = (high - low)[state != SohCode.NOT_ENOUGH_SEEN]
    assert len(width) > 3
    assert (np.diff(width) <= 1e-12).all()


def test_late_short_and_strange_windows_are_not_answered(small: Tables) -> None:
    x = synthetic("new", 77).x[:5]
    x[0, START], x[0, END] = 36, 50  # starts too late
    x[1, START], x[1, END] = 30, 31  # a single bin
    x[2, C_MEAN] = 3.0  # four times the current of training
    x[3, 30:40] *= 3.0  # three times the charge in a few bins
    assert small.predict(x)[3].tolist() == [
        SohCode.NOT_ENOUGH_SEEN,
        SohCode.NOT_ENOUGH_SEEN,
        SohCode.UNLIKE_TRAINING,
        SohCode.UNLIKE_TRAINING,
        SohCode.OK,
    ]


def test_moved_histogram_keeps_its_shape() -> None:
    x = np.zeros((1, SOH_WIDTH))
    x[0, 10] = 1.0
    assert moved(x, 1.0)[0, 11] == 1.0
    half = moved(x, 0.5)
    assert half[0, 10] == pytest.approx(0.5)
    assert half[0, 11] == pytest.approx(0.5)
    assert np.array_equal(moved(x, 0.0), x)


def test_counted_down_reads_from_the_top() -> None:
    x = np.zeros((1, SOH_WIDTH))
    x[0, :SOH_BINS] = np.arange(SOH_BINS)
    x[0, START], x[0, END] = 40, 44
    turned = counted_down(x)
    assert turned[0, :4].tolist() == [43.0, 42.0, 41.0, 40.0]
    assert turned[0, START] == 0.0
    assert turned[0, END] == 4.0


def test_quantile_counts_cells_not_rows() -> None:
    many, few = np.full(900, 0.01), np.full(100, 0.05)
    assert weighted_quantile([many, few], 0.9) == 0.05
    assert weighted_quantile([many, many], 0.9) == 0.01


def test_half_widths_never_shrink() -> None:
    half = np.full((61, 61), np.nan)
    half[3, 5:9] = [0.01, 0.05, 0.02, 0.03]
    assert never_shrinking(half, discharge=False)[3, 5:9].tolist() == [0.05, 0.05, 0.03, 0.03]
    half = np.full((61, 61), np.nan)
    half[5:9, 20] = [0.01, 0.05, 0.02, 0.03]
    assert never_shrinking(half, discharge=True)[5:9, 20].tolist() == [0.01, 0.05, 0.05, 0.05]


def test_the_shipped_model_is_small_and_its_card_is_complete(card: Card) -> None:
    onnx = (ROOT / "models" / "soh.onnx").read_bytes()
    assert len(onnx) <= 5 * 1024 * 1024
    assert card.onnx_sha256 == hashlib.sha256(onnx).hexdigest()
    assert card.inputs == [tuple(entry) for entry in SOH_INPUTS]
    assert set(card.training_data) == {*soh.NASA_CELLS, *soh.CALCE_CELLS}
    assert card.opset == soh_onnx.OPSET
    for dataset, cells in (("nasa", soh.NASA_CELLS), ("calce", soh.CALCE_CELLS)):
        assert {line["cell"] for line in card.metrics[dataset]} == set(cells)
        for line in card.metrics[dataset]:
            if line["view"] == "whole charge":
                assert line["rmse"] < 2.0
                assert line["coverage"] > 0.5
            if line["view"] == "window from 4.06 V or higher":
                assert line["answered"] == 0.0
    assert [family.table for family in card.families] == [0, 3]


def test_the_shipped_model_on_every_sample_of_a_real_cell(
    model: SohModel, b0005: list[HalfCycle]
) -> None:
    halves = [half for half in b0005[:80] if half.usable and len(half.inputs)]
    x = np.concatenate([half.inputs for half in halves])
    truth = np.concatenate([np.full(len(half.inputs), half.soh) for half in halves])
    value, low, high, state = model.run(x)
    assert np.isfinite(value).all()
    ok = state == SohCode.OK
    assert 0.3 < ok.mean() < 1.0
    assert np.abs(value - truth)[ok].mean() < 0.03
    assert ((truth >= low) & (truth <= high))[ok].mean() > 0.8
    late = np.stack(
        [
            window_inputs(half, int(np.argmax(half.voltage_v >= 4.06)), -1, resistance=True)
            for half in halves
            if half.kind == "charge"
        ]
    )
    assert (late[:, START] >= 46).all()
    assert set(model.run(late)[3]) == {SohCode.NOT_ENOUGH_SEEN}


def test_each_row_is_answered_alone(model: SohModel, b0005: list[HalfCycle]) -> None:
    x = next(half for half in b0005 if half.usable and len(half.inputs)).inputs
    whole: tuple[np.ndarray, ...] = model.run(x)
    for k in (0, 7, len(x) - 1):
        row: tuple[np.ndarray, ...] = model.run(x[k : k + 1])
        for one, many in zip(row, whole, strict=True):
            assert one[0] == pytest.approx(many[k], abs=1e-6)


def test_a_window_cut_from_snapshots_is_what_a_late_kernel_sees(shared_data: Path) -> None:
    """Feeding the kernel from mid-charge on gives the row that `window_inputs` cuts."""
    from dataclasses import replace

    from monitor.kernels.cell import cell_config, empty_cells
    from monitor.kernels.frames import Outputs
    from monitor.kernels.update import update_inplace

    path = shared_data / "nasa" / "tidy" / "B0005.parquet"
    recording = open_recording(path)[0]
    operation = next(op for op in recording.operations() if op.kind == "charge" and op.index > 3)
    half = next(h for h in read_half_cycles(recording, soh.TABLE_OF) if h.index == operation.index)
    first, last = 40, 80
    began = half.time_s[0] - half.time_s[first]
    loaded_from = int(np.flatnonzero(operation.current_a > 0.02)[0])
    instants = operation.time_s - operation.time_s[loaded_from]
    begin = int(np.argmin(np.abs(instants - half.time_s[first])))
    finish = int(np.argmin(np.abs(instants - half.time_s[last])))
    assert began < 0
    frames = frames_of(operation)
    late = replace(frames, rows=frames.rows[begin : finish + 1])
    cells = empty_cells(1)
    cells["config"][0] = cell_config(2.0, 4.2, 2.7, 120_000, soh_table=0)
    cells["config"]["sensor"] = 0
    out = Outputs(len(late))
    n, _ = update_inplace(cells, late, out)
    live = out.soh_inputs[n - 1]
    cut = window_inputs(half, first, last, resistance=False)
    start, end = int(cut[START]), int(cut[END])
    assert (live[START], live[END]) == (start, end)
    assert end - start > 5
    assert np.abs(live[start:end] - cut[start:end]).max() < 2e-6
    assert live[R60] == cut[R60] == -1.0
    assert live[C_MEAN] == pytest.approx(cut[C_MEAN], abs=2e-3)
    assert half.voltage_v[first] == pytest.approx(CHARGE_FIRST_V + 0.01 * start, abs=0.011)
