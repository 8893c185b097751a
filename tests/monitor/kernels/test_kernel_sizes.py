"""No kernel is reached with sizes that do not fit: each would read or write other memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monitor.contract import MAX_CELLS
from monitor.kernels.admission import ARRIVAL, JUDGED, admit_inplace, empty_admission
from monitor.kernels.cell import empty_cells
from monitor.kernels.columns import EXTRAS, FEATURES, RESULTS
from monitor.kernels.frames import Frames, Outputs
from monitor.kernels.limits import CHANGE, RULE, check_inplace
from monitor.kernels.results import Answers, write_results_inplace
from monitor.kernels.risk import assess_inplace
from monitor.kernels.update import update_inplace
from simulator import twin_kernels
from simulator.twin import Conditions, TwinState, load_parameters

Change = tuple[str, object]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def frames(**changed: Any) -> Frames:
    """Two frames of two cells each, with two voltages and one temperature."""
    columns = {
        "row": (0, 2), "cells": (2, 2), "timestamp_ms": (0, 1), "current_a": 0.0,
        "ambient_c": 0.0, "volts_from": (0, 2), "volts_count": (2, 2),
        "temperatures_from": (0, 1), "temperatures_count": (1, 1), "new_segment": False,
    }  # fmt: skip
    return Frames.of(np.full(4, 3.7), np.full(2, 25.0), **{**columns, **changed})


def test_what_fits_passes() -> None:
    assert update_inplace(empty_cells(4), frames(), Outputs(4)) == (4, 0)
    assert update_inplace(empty_cells(9), frames(), Outputs(9)) == (4, 0)


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
        update_inplace(empty_cells(4), frames(**change), Outputs(4))


def test_more_samples_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^frame 1 of 2: .* room for 3 samples"):
        update_inplace(empty_cells(4), frames(), Outputs(3))


@pytest.mark.parametrize("name", ["samples", "soh_inputs", "thermal_inputs", "ends"])
def test_outputs_without_the_room_they_claim_are_refused(name: str) -> None:
    out = Outputs(4)
    setattr(out, name, getattr(out, name)[:3])
    with pytest.raises(
        ValueError, match=r"^(cells, frames and outputs do|frame 1 of 2: .*) not fit"
    ):
        update_inplace(empty_cells(4), frames(), out)


@pytest.mark.parametrize("name", ["cells", "frames", "samples", "ends"])
def test_records_of_another_dtype_are_refused(name: str) -> None:
    """A kernel would be compiled anew for them and read other fields."""
    cells, given, out = empty_cells(4), frames(), Outputs(4)
    other = np.zeros(4, np.dtype([("x", "i8")]))
    if name == "cells":
        cells = other
    elif name == "frames":
        given = replace(given, rows=other[:2])
    else:
        setattr(out, name, other)
    with pytest.raises(ValueError, match=r"^cells, frames and outputs do not fit: "):
        update_inplace(cells, given, out)


def samples(*rows: int) -> Outputs:
    out = Outputs(len(rows))
    out.row[:] = rows
    out.frame[:] = range(len(rows))
    return out


def settling() -> dict[str, Any]:
    rows, out = 2, samples(0, 1, 0)
    out.soh_usable[:] = True, False, True
    out.thermal_usable[:] = False, False, True
    none = np.zeros(2, np.float32)
    return {
        "cells": empty_cells(rows), "value": np.full((rows, RESULTS), np.nan),
        "value_ms": np.zeros((rows, RESULTS), np.int64), "out": out,
        "answers": Answers(none, none, none, ints(0, 0), np.zeros(1, np.float32)),
        "result": np.zeros((3, RESULTS), np.float32), "n": 3,
    }  # fmt: skip


def judging() -> dict[str, Any]:
    rows = 2
    return {
        "cells": empty_cells(rows), "value": np.zeros((rows, RESULTS)),
        "value_ms": np.zeros((rows, RESULTS), np.int64), "out": samples(0, 1, 0),
        "result": np.zeros((3, RESULTS), np.float32), "n": 3,
    }  # fmt: skip


def rules(*quantities: int) -> np.ndarray:
    found = np.zeros(len(quantities), RULE)
    found["quantity"] = quantities
    found["sign"] = 1.0
    return found


def checking() -> dict[str, Any]:
    n, rows, count = 3, 2, 2
    return {
        "active": np.zeros((rows, count), np.int8), "since": np.full((rows, count), np.nan),
        "limits": np.zeros((rows, count)), "rules": rules(0, FEATURES), "out": samples(0, 1, 0),
        "changes": np.zeros(n * count, CHANGE), "n": n,
    }  # fmt: skip


def arrivals(*assets: int) -> np.ndarray:
    found = np.zeros(len(assets), ARRIVAL)
    found["asset"] = assets
    return found


def admitting() -> dict[str, Any]:
    return {
        "state": empty_admission(2), "arrivals": arrivals(0, 1, 0), "judged": np.zeros(3, JUDGED),
    }  # fmt: skip


KERNELS: list[tuple[Callable[..., object], Callable[[], dict[str, Any]]]] = [
    (write_results_inplace, settling),
    (assess_inplace, judging),
    (check_inplace, checking),
    (admit_inplace, admitting),
]
EACH_ARRAY = [
    pytest.param(kernel, arguments, name, id=f"{kernel.__name__}-{name}")
    for kernel, arguments in KERNELS
    for name, value in arguments().items()
    if isinstance(value, np.ndarray)
]
EACH_RECORDS = [
    pytest.param(kernel, arguments, name, id=f"{kernel.__name__}-{name}")
    for kernel, arguments in KERNELS
    for name, value in arguments().items()
    if isinstance(value, np.ndarray) and value.dtype.names
]


@pytest.mark.parametrize(("kernel", "arguments"), KERNELS)
def test_each_kernel_takes_what_fits(
    kernel: Callable[..., object], arguments: Callable[[], dict[str, Any]]
) -> None:
    kernel(**arguments())


@pytest.mark.parametrize(("kernel", "arguments", "name"), EACH_ARRAY)
def test_no_array_of_a_kernel_may_be_short(
    kernel: Callable[..., object], arguments: Callable[[], dict[str, Any]], name: str
) -> None:
    given = arguments()
    given[name] = given[name][:-1].copy()
    with pytest.raises(ValueError, match="do not fit: "):
        kernel(**given)


@pytest.mark.parametrize(("kernel", "arguments", "name"), EACH_RECORDS)
def test_no_records_of_a_kernel_may_be_of_another_dtype(
    kernel: Callable[..., object], arguments: Callable[[], dict[str, Any]], name: str
) -> None:
    given = arguments()
    given[name] = np.zeros(len(given[name]), np.dtype([("x", "i8")]))
    with pytest.raises(ValueError, match="do not fit: "):
        kernel(**given)


@pytest.mark.parametrize("name", ["soh", "low", "high", "state", "score"])
def test_each_usable_sample_has_an_answer(name: str) -> None:
    given = settling()
    given["answers"] = given["answers"]._replace(**{name: getattr(given["answers"], name)[:-1]})
    with pytest.raises(ValueError, match="do not fit: "):
        write_results_inplace(**given)


def usable(name: str) -> Outputs:
    out = samples(0, 1, 0)
    getattr(out, name)[:] = True
    return out


@pytest.mark.parametrize(
    ("kernel", "arguments", "change"),
    [
        (write_results_inplace, settling, ("out", samples(0, 2, 0))),
        (write_results_inplace, settling, ("out", samples(0, -1, 0))),
        (write_results_inplace, settling, ("out", samples(0, 1))),
        (write_results_inplace, settling, ("n", 4)),
        (write_results_inplace, settling, ("n", -1)),
        (write_results_inplace, settling, ("out", usable("soh_usable"))),
        (write_results_inplace, settling, ("out", usable("thermal_usable"))),
        (assess_inplace, judging, ("out", samples(0, 2, 0))),
        (assess_inplace, judging, ("n", 4)),
        (check_inplace, checking, ("out", samples(0, 1, 2))),
        (check_inplace, checking, ("rules", rules(0, FEATURES + EXTRAS))),
        (check_inplace, checking, ("rules", rules(-1, 0))),
        (check_inplace, checking, ("n", 4)),
        (admit_inplace, admitting, ("arrivals", arrivals(0, 2, 0))),
        (admit_inplace, admitting, ("arrivals", arrivals(0, 1, -1))),
    ],
)
def test_no_index_may_point_outside(
    kernel: Callable[..., object], arguments: Callable[[], dict[str, Any]], change: Change
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
