"""The shipped parameters: complete, checked when read, and right on cells they have not seen."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.twin import ParameterError, TwinState, load_parameters
from simulator.twin_cycles import assimilate, life, read_cycles
from simulator.twin_parameters import parse_parameters
from training.twin.calibrate import CALIBRATION_CELLS, write
from training.twin.calibrate_cell import EVERY, THIN_TO, Weighed, errors_mv, fit
from training.twin.evaluate import HELD_OUT, Fade, cycle_errors, evaluate

FILE = resources.files("simulator") / "parameters" / "nasa-18650.json"


def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return data


def test_the_file_says_where_its_values_come_from() -> None:
    data = _data()
    assert {"electrical and thermal", "ageing.calendar", "ageing.rate", "runaway"} <= set(
        data["sources"]
    )
    assert {f"{cell}.parquet" for cell in CALIBRATION_CELLS} <= set(data["data"])
    assert all(len(digest) == 64 for digest in data["data"].values())
    assert not {f"{cell}.parquet" for cell in HELD_OUT} & set(data["data"])


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("electrical", "ocv_v", [3.0, 2.0], "differ in length"),
        ("electrical", "tau1_s", 0.0, "must be positive"),
        ("electrical", "loss", [0.3, 0.1], "an axis from 0.3 to 0.1"),
        ("electrical", "total_ah", [1.0, float("nan")], "not a finite number"),
        ("runaway", "start", [0.15], "start five"),
    ],
)
def test_impossible_parameters_are_refused(
    tmp_path: Path, part: str, key: str, value: object, message: str
) -> None:
    data = _data()
    data[part][key] = value
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ParameterError, match=message):
        load_parameters(path)


def test_missing_parameters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no cell parameters nobody"):
        load_parameters("nobody")
    path = tmp_path / "bad.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ParameterError, match="KeyError 'electrical'"):
        load_parameters(path)


def test_writing_and_reading_keeps_five_digits(tmp_path: Path) -> None:
    path = tmp_path / "again.json"
    write(_data(), path)
    for a, b in zip(load_parameters(path).tables(), load_parameters().tables(), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4)


def test_a_scaled_cell_behaves_alike() -> None:
    small, large = load_parameters(), load_parameters().scaled_to(20.0)
    a = TwinState.full(small.tables(), loss=0.1, temperature_c=24.0)
    b = TwinState.full(large.tables(), loss=0.1, temperature_c=24.0)
    assert b.soc(large.tables())[0] == a.soc(small.tables())[0] == 1.0
    assert large.tables().total_ah[0] == pytest.approx(10 * small.tables().total_ah[0])


def test_held_out_cells_are_followed(shared_data: Path) -> None:
    """A few cycles of each; the whole check is `python -m training.twin.evaluate`."""
    tables = load_parameters().tables()
    for cell in HELD_OUT:
        cycles = read_cycles(shared_data / "nasa" / "tidy" / f"{cell}.parquet")
        errors = cycle_errors(cycles, tables, every=25)
        assert np.median(errors[:, 0]) < 0.030
        assert np.median(errors[:, 1]) < 1.5


def test_evaluation_reports_every_figure_with_its_target(shared_data: Path) -> None:
    tables = load_parameters().tables()
    figures = evaluate(shared_data / "nasa" / "tidy", ["B0018"], tables, every=40)
    assert [figure.target for figure in figures] == [30, None, 1.5, None, 3, 3]
    assert all(one.value is not None and np.isfinite(one.value) for one in figures)
    assert all(figure.met is None for figure in figures if figure.target is None)


def test_health_is_found_again_from_a_cell_of_our_own(shared_data: Path) -> None:
    """A twin of known health is run through a recorded cycle; assimilation finds that health."""
    tables = load_parameters().tables()
    cycle = read_cycles(shared_data / "nasa" / "tidy" / "B0018.parquet")[40]
    run = cycle.run(tables, loss=cycle.loss, resistance_scale=1.06)
    made = replace(cycle, voltage_v=run.output.voltage_v)
    loss, scale = assimilate(made, tables)
    assert loss == pytest.approx(cycle.loss, abs=0.01)
    assert scale == pytest.approx(1.06, abs=0.02)


def test_fade_is_counted_from_the_first_cycle_on(shared_data: Path) -> None:
    tables = load_parameters().tables()
    cycles = read_cycles(shared_data / "nasa" / "tidy" / "B0018.parquet", thin_to=50)
    losses = life(cycles[:20], tables)
    assert losses[0] == pytest.approx(cycles[0].loss, abs=0.005)
    assert np.all(np.diff(losses) > 0)
    fade = Fade(np.linspace(0.1, 0.4, 200), np.linspace(0.1, 0.4, 200))
    assert fade.error(0, own_history=False) == pytest.approx(0.0)
    assert fade.error(50, own_history=True) == pytest.approx(0.0)


def test_parsing_does_not_share_memory_with_the_file() -> None:
    parameters = parse_parameters(_data())
    with pytest.raises(ValueError, match="read-only"):
        parameters.ocv_v[0] = 1.0


def test_the_set_of_one_cell_says_what_it_was_fitted_to() -> None:
    path = resources.files("simulator") / "parameters" / "nasa-18650-b0005.json"
    data, general = json.loads(path.read_text(encoding="utf-8")), _data()
    assert data["data"]["B0005.parquet"] == general["data"]["B0005.parquet"]
    assert "B0005" in data["sources"]["electrical"]
    for part in ("ageing", "runaway", "thermal"):
        assert data[part] == general[part]


def test_the_set_of_one_cell_follows_cycles_that_it_was_not_fitted_to(shared_data: Path) -> None:
    cycles = read_cycles(shared_data / "nasa" / "tidy" / "B0005.parquet", thin_to=THIN_TO)[1:-1]
    unseen = [Weighed.of(cycle) for cycle in cycles[EVERY // 2 :: 4 * EVERY]]
    general = errors_mv(unseen, load_parameters().tables())
    own = errors_mv(unseen, load_parameters("nasa-18650-b0005").tables())
    assert own["charge, rise in a minute"] < 0.5 * general["charge, rise in a minute"]
    assert own["charge, voltage"] < 10.0
    assert own["discharge, voltage"] < 15.0


def test_a_fit_finds_the_cell_that_made_the_voltages(shared_data: Path) -> None:
    """Voltages made by another set than the one that the fit starts from."""
    cycles = read_cycles(shared_data / "nasa" / "tidy" / "B0005.parquet", thin_to=200)[5:160:80]
    truth = load_parameters("nasa-18650-b0005").tables()
    made = [
        Weighed.of(replace(cycle, voltage_v=cycle.run(truth).output.voltage_v)) for cycle in cycles
    ]
    start = load_parameters().tables()
    found = fit(start, made, iterations=3)
    before, after = errors_mv(made, start), errors_mv(made, found)
    assert all(after[name] < 0.5 * before[name] for name in before)
