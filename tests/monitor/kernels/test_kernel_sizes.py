"""No kernel is reached with sizes that do not fit: each would read or write other memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monitor import risk
from monitor.alarms.rules import EXTRAS
from monitor.contract import MAX_CELLS
from monitor.kernels import admission, features
from monitor.kernels import limits as conditions
from monitor.kernels import results as latest
from monitor.kernels.features import CellState, FrameColumns, Outputs
from monitor.kernels.results import RESULTS
from simulator import twin_kernels
from simulator.twin import Conditions, TwinState, load_parameters

Change = tuple[str, object]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def frames() -> FrameColumns:
    """Two frames of two cells each, with two voltages and one temperature."""
    return FrameColumns(
        row=ints(0, 2), cells=ints(2, 2), timestamp_ms=ints(0, 1), current_a=np.zeros(2),
        ambient_c=np.zeros(2), volts=np.full(4, 3.7), volts_from=ints(0, 2),
        volts_count=ints(2, 2), temperatures=np.full(2, 25.0), temperatures_from=ints(0, 1),
        temperatures_count=ints(1, 1), new_segment=np.zeros(2, np.bool_),
    )  # fmt: skip


def test_what_fits_passes() -> None:
    assert features.update_inplace(CellState.empty(4), frames(), Outputs(4)) == (4, 0)
    assert features.update_inplace(CellState.empty(9), frames(), Outputs(9)) == (4, 0)


@pytest.mark.parametrize(
    ("change", "frame"),
    [
        ({"row": ints(0, 3)}, 1),
        ({"row": ints(-1, 2)}, 0),
        ({"row": ints(0, 2**63 - 1)}, 1),
        ({"cells": ints(2, 3)}, 1),
        ({"cells": ints(2, MAX_CELLS + 1)}, 1),
        ({"cells": ints(-1, 2)}, 0),
        ({"volts_count": ints(2, 3)}, 1),
        ({"volts_count": ints(-1, 2)}, 0),
        ({"volts_from": ints(0, 3)}, 1),
        ({"volts_from": ints(-2, 2)}, 0),
        ({"volts_from": ints(2**63 - 1, 2)}, 0),
        ({"temperatures_from": ints(0, 2)}, 1),
        ({"temperatures_count": ints(1, 2**63 - 1)}, 1),
    ],
)
def test_a_frame_that_reaches_too_far_is_refused(change: dict[str, Any], frame: int) -> None:
    with pytest.raises(ValueError, match=f"^frame {frame} of 2: .* do not fit 4 cells"):
        features.update_inplace(CellState.empty(4), replace(frames(), **change), Outputs(4))


def test_more_samples_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^frame 1 of 2: .* room for 3 samples"):
        features.update_inplace(CellState.empty(4), frames(), Outputs(3))


@pytest.mark.parametrize(
    "name", ["cells", "timestamp_ms", "current_a", "ambient_c", "volts_from", "new_segment"]
)
def test_a_short_column_is_refused(name: str) -> None:
    short = replace(frames(), **{name: getattr(frames(), name)[:1]})
    with pytest.raises(ValueError, match=r"^state, frames and outputs do not fit: scalars"):
        features.update_inplace(CellState.empty(4), short, Outputs(4))


@pytest.mark.parametrize("name", ["scalars", "histogram", "window", "params", "sensor"])
def test_state_of_other_sizes_is_refused(name: str) -> None:
    state = CellState.empty(4)
    setattr(state, name, getattr(state, name)[:3])
    with pytest.raises(ValueError, match="do not fit"):
        features.update_inplace(state, frames(), Outputs(4))


@pytest.mark.parametrize("name", ["row", "features", "soh_inputs", "ended", "ended_histogram"])
def test_outputs_without_the_room_they_claim_are_refused(name: str) -> None:
    out = Outputs(4)
    setattr(out, name, getattr(out, name)[:3])
    with pytest.raises(ValueError, match=r"^state, frames and outputs do not fit: "):
        features.update_inplace(CellState.empty(4), frames(), out)


def settling() -> dict[str, object]:
    n, rows = 3, 2
    return {
        "value": np.full((rows, RESULTS), np.nan), "value_ms": np.zeros((rows, RESULTS), np.int64),
        "row": ints(0, 1, 0), "frame": ints(0, 0, 1), "t": ints(0, 0, 1),
        "features": np.zeros((n, features.FEATURES)), "quality": ints(0, 0, 0),
        "usable": np.array([True, False, True]), "soh": np.zeros(2, np.float32),
        "low": np.zeros(2, np.float32), "high": np.zeros(2, np.float32), "state": ints(0, 0),
        "score": np.zeros(1, np.float32), "scored": np.array([False, False, True]),
        "has_model": ints(1, 1), "n": n, "result": np.zeros((n, RESULTS), np.float32),
        "soh_ms": ints(0, 0, 0), "extras": np.zeros((n, EXTRAS)),
        "inputs": np.zeros((n, features.SOH_WIDTH), np.float32),
        "unlike_bins": np.zeros(rows, np.float32),
    }  # fmt: skip


def judging() -> dict[str, object]:
    n, rows = 3, 2
    return {
        "row": ints(0, 1, 0), "t": ints(0, 0, 1), "features": np.zeros((n, features.FEATURES)),
        "temperature_max_c": np.full(rows, 60.0), "n": n,
        "result": np.zeros((n, RESULTS), np.float32), "value": np.zeros((rows, RESULTS)),
        "value_ms": np.zeros((rows, RESULTS), np.int64),
    }  # fmt: skip


def checking() -> dict[str, object]:
    n, rows, rules = 3, 2, 2
    return {
        "active": np.zeros((rows, rules), np.int8), "since": np.full((rows, rules), np.nan),
        "limits": np.zeros((rows, rules)), "quantity": ints(0, features.FEATURES),
        "sign": np.ones(rules), "deadband": np.zeros(rules), "on_delay": ints(0, 0),
        "off_delay": ints(0, 0), "row": ints(0, 1, 0), "t": ints(0, 0, 1),
        "features": np.ones((n, features.FEATURES)), "extras": np.zeros((n, EXTRAS)), "n": n,
        "change_sample": np.zeros(n * rules, np.int64),
        "change_rule": np.zeros(n * rules, np.int64),
        "change_active": np.zeros(n * rules, np.int8),
    }  # fmt: skip


def admitting() -> dict[str, object]:
    return {
        "state": admission.empty_admission(2), "asset": ints(0, 1, 0), "session": ints(1, 1, 1),
        "seq": ints(0, 0, 1), "t": ints(0, 0, 1), "arrival": ints(0, 0, 1),
        "replay": ints(0, 0, 0), "verdict": ints(0, 0, 0), "missed": ints(0, 0, 0),
        "began": ints(0, 0, 0),
    }  # fmt: skip


KERNELS: list[tuple[Callable[..., object], Callable[[], dict[str, object]]]] = [
    (latest.settle_inplace, settling),
    (risk.judge_inplace, judging),
    (conditions.check_inplace, checking),
    (admission.admit_inplace, admitting),
]
EACH_ARRAY = [
    pytest.param(kernel, arguments, name, id=f"{kernel.__name__}-{name}")
    for kernel, arguments in KERNELS
    for name, value in arguments().items()
    if isinstance(value, np.ndarray)
]


@pytest.mark.parametrize(("kernel", "arguments"), KERNELS)
def test_each_kernel_takes_what_fits(
    kernel: Callable[..., object], arguments: Callable[[], dict[str, object]]
) -> None:
    kernel(**arguments())


@pytest.mark.parametrize(("kernel", "arguments", "name"), EACH_ARRAY)
def test_no_array_of_a_kernel_may_be_short(
    kernel: Callable[..., object], arguments: Callable[[], dict[str, object]], name: str
) -> None:
    given = arguments()
    array = given[name]
    assert isinstance(array, np.ndarray)
    given[name] = array[:-1].copy()
    with pytest.raises(ValueError, match="do not fit: "):
        kernel(**given)


@pytest.mark.parametrize(
    ("kernel", "arguments", "change"),
    [
        (latest.settle_inplace, settling, ("row", ints(0, 2, 0))),
        (latest.settle_inplace, settling, ("row", ints(0, -1, 0))),
        (latest.settle_inplace, settling, ("n", 4)),
        (latest.settle_inplace, settling, ("n", -1)),
        (latest.settle_inplace, settling, ("usable", np.ones(3, np.bool_))),
        (latest.settle_inplace, settling, ("scored", np.ones(3, np.bool_))),
        (risk.judge_inplace, judging, ("row", ints(0, 2, 0))),
        (risk.judge_inplace, judging, ("n", 4)),
        (conditions.check_inplace, checking, ("row", ints(0, 1, 2))),
        (conditions.check_inplace, checking, ("quantity", ints(0, features.FEATURES + EXTRAS))),
        (conditions.check_inplace, checking, ("quantity", ints(-1, 0))),
        (conditions.check_inplace, checking, ("n", 4)),
        (admission.admit_inplace, admitting, ("asset", ints(0, 2, 0))),
        (admission.admit_inplace, admitting, ("asset", ints(0, 1, -1))),
    ],
)
def test_no_index_may_point_outside(
    kernel: Callable[..., object], arguments: Callable[[], dict[str, object]], change: Change
) -> None:
    given = arguments()
    given[change[0]] = change[1]
    with pytest.raises(ValueError, match="do not fit: "):
        kernel(**given)


@pytest.mark.parametrize("short", ["state", "conditions", "output", "columns"])
def test_the_twin_refuses_what_does_not_fit(short: str) -> None:
    tables = load_parameters("nasa-18650").tables()
    state = TwinState.full(tables, loss=np.zeros(2), temperature_c=24.0).values
    weather = Conditions.resting(2, ambient_c=24.0).values
    output = np.zeros((twin_kernels.OUTPUT_ROWS, 2))
    twin_kernels.step_kernel_inplace(state, weather, output, tables, 1.0)
    given = {"state": state[:-1], "conditions": weather[:-1], "output": output[:-1]}
    given = {short: given[short]} if short in given else {"output": output[:, :1].copy()}
    sizes = {"state": state, "conditions": weather, "output": output, **given}
    with pytest.raises(ValueError, match="2 columns of 15 quantities"):
        twin_kernels.step_kernel_inplace(**sizes, p=tables, dt_s=1.0)
    with pytest.raises(ValueError, match=r"quantities|one cell and"):
        twin_kernels.run_kernel_inplace(
            sizes["state"], sizes["conditions"], np.ones(2), sizes["output"], np.zeros(1), tables
        )


def test_a_twin_of_no_number_stays_within_its_tables() -> None:
    tables = load_parameters("nasa-18650").tables()
    state = TwinState.full(tables, loss=0.0, temperature_c=24.0).values
    state[twin_kernels.DISCHARGED_AH] = np.nan
    weather = Conditions.resting(1, ambient_c=24.0).values
    output = np.zeros((twin_kernels.OUTPUT_ROWS, 1))
    twin_kernels.step_kernel_inplace(state, weather, output, tables, 1.0)
    assert np.isnan(output[twin_kernels.VOLTAGE_V, 0])
