"""The incremental features against a plain reference at every prefix, and cut anywhere.

The module is long because the streams and the features that they are held against stand together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from monitor.contract import AssetConfig, sensor_of_cell
from monitor.kernels.cell import CELL, empty_cells
from monitor.kernels.columns import (
    SOH_BINS,
    THERMAL_WIDTH,
    Ended,
    Feature,
    Phase,
    Quality,
    Records,
)
from monitor.kernels.frames import Frames, Outputs
from monitor.kernels.layout import memory
from monitor.kernels.update import update_inplace
from recordings.open import open_recording
from recordings.types import Operation
from tests.reference_features import Settings, Stream, reference

T0 = 1_700_000_000_000
NAN = float("nan")
F = Feature


def make_state(settings: Settings, cells: int = 1, sensor: Sequence[int] = (0,)) -> Records:
    state = empty_cells(cells)
    config = state["config"]
    config["nominal_ah"] = settings.nominal_ah
    config["charge_v"] = settings.charge_v
    config["discharge_v"] = settings.discharge_v
    config["max_gap_ms"] = settings.max_gap_ms
    config["heat_capacity_j_per_k"] = settings.heat_capacity
    config["cooling_w_per_k"] = settings.cooling
    config["resistance_ohm"] = settings.resistance
    config["soh_table"] = settings.table
    config["configured"] = settings.configured
    config["balance_mean"] = settings.balance_mean
    config["balance_spread"] = settings.balance_spread
    config["sensor"] = sensor
    return state


class Run:
    """A pack's stream through the kernel: everything that it wrote, cut where it is told."""

    def __init__(
        self,
        t_ms: np.ndarray,
        current: np.ndarray,
        volts: np.ndarray,  # (n, given cells)
        temperatures: np.ndarray,  # (n, sensors)
        ambient: np.ndarray,
        state: Records,
        cuts: Sequence[int] = (),
        segments: Sequence[int] = (),
    ) -> None:
        self.state = state
        n, cells = len(t_ms), len(state)
        new_segment = np.zeros(n, np.bool_)
        new_segment[list(segments)] = True
        parts: dict[str, list[np.ndarray]] = {}
        self.ended: list[np.ndarray] = []
        self.histograms: list[np.ndarray] = []
        for start, end in zip([0, *cuts], [*cuts, n], strict=True):
            m = end - start
            part = slice(start, end)
            columns = Frames.of(
                volts[part].ravel().copy(),
                temperatures[part].ravel().copy(),
                row=np.zeros(m, np.int64), cells=cells,
                timestamp_ms=t_ms[part], current_a=current[part], ambient_c=ambient[part],
                volts_from=np.arange(m) * volts.shape[1],
                volts_count=volts.shape[1],
                temperatures_from=np.arange(m) * temperatures.shape[1],
                temperatures_count=temperatures.shape[1],
                new_segment=new_segment[part],
            )  # fmt: skip
            out = Outputs(m * cells)
            samples, ended = update_inplace(state, columns, out)
            assert samples == m * cells
            for name in (
                "row", "timestamp_ms", "features", "quality", "soh_inputs", "soh_usable",
                "thermal_inputs", "thermal_usable",
            ):  # fmt: skip
                parts.setdefault(name, []).append(getattr(out, name).copy())
            self.ended += list(np.c_[out.ended_sample[:ended] + start * cells, out.ended[:ended]])
            self.histograms += list(out.ended_histogram[:ended].copy())
        self.out = {name: np.concatenate(values) for name, values in parts.items()}
        self.features = self.out["features"].reshape(n, cells, -1)
        self.quality = self.out["quality"].reshape(n, cells)

    def everything(self) -> bytes:
        """All outputs and the state after, as bytes; unusable model rows count as zeros."""
        soh = self.out["soh_inputs"] * self.out["soh_usable"][:, None]
        thermal = self.out["thermal_inputs"] * self.out["thermal_usable"][:, None]
        rest = [v for k, v in self.out.items() if not k.endswith("_inputs")]
        arrays = [soh, thermal, *rest, *self.ended, *self.histograms, memory(self.state)]
        return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def run_one(
    stream: Stream,
    settings: Settings,
    cuts: Sequence[int] = (),
    segments: Sequence[int] = (),
    state: Records | None = None,
) -> Run:
    return Run(
        stream.t_ms, stream.i, stream.v[:, None], stream.temp[:, None], stream.ambient,
        make_state(settings) if state is None else state, cuts, segments,
    )  # fmt: skip


def stream_of(
    t_s: ArrayLike, i: object, v: object = 3.7, temp: object = 25.0, ambient: object = 24.0
) -> Stream:
    t_ms = T0 + np.rint(np.array(t_s) * 1000).astype(np.int64)
    columns = (
        np.broadcast_to(np.array(x, float), t_ms.shape).copy() for x in (i, v, temp, ambient)
    )
    return Stream(t_ms, *columns)


def assert_equal_to_reference(
    run: Run, stream: Stream, settings: Settings, prefixes: Sequence[int], cell: int = 0
) -> None:
    cells = len(run.state)
    ended = [row for row in run.ended if int(row[0]) % cells == cell]
    histograms = [
        h for h, row in zip(run.histograms, run.ended, strict=True) if int(row[0]) % cells == cell
    ]
    for n in prefixes:
        where = f"sample {n - 1} of cell {cell}"
        answer = reference(stream.first(n), settings)
        k = (n - 1) * cells + cell
        for feature in Feature:
            np.testing.assert_allclose(
                run.out["features"][k, feature], answer.features[feature],
                rtol=1e-7, atol=1e-8, err_msg=f"{feature.name} at {where}",
            )  # fmt: skip
        assert run.out["quality"][k] == answer.quality, f"quality at {where}"
        for name, expected in (("soh", answer.soh), ("thermal", answer.thermal)):
            assert run.out[f"{name}_usable"][k] == (expected is not None), f"{name} at {where}"
            if expected is not None:
                np.testing.assert_allclose(
                    run.out[f"{name}_inputs"][k], expected,
                    rtol=3e-5, atol=2e-6, err_msg=f"{name} at {where}",
                )  # fmt: skip
        closed = [(row, h) for row, h in zip(ended, histograms, strict=True) if row[0] <= k]
        assert len(closed) == len(answer.ended), f"half-cycles at {where}"
    for (row, histogram), expected_row, expected_histogram in zip(
        closed, answer.ended, answer.histograms, strict=True
    ):
        for column in Ended:
            np.testing.assert_allclose(
                row[1 + column], expected_row[column], rtol=1e-7, atol=1e-8, err_msg=column.name
            )
        np.testing.assert_allclose(histogram, expected_histogram, rtol=3e-5, atol=1e-6)


# Made streams: blocks of load with irregular steps, then faults in single readings.

DT_S = st.sampled_from([1.0, 2.5, 7.3, 10.0, 20.0, 20.5, 30.0, 61.0, 119.0, 120.0])
CURRENTS = st.sampled_from([-4.0, -2.0, -0.5, -0.019, 0.0, 0.0, 0.01, 0.05, 0.5, 1.5, 3.0])
VOLTS = st.integers(260, 430).map(lambda x: x / 100)
TEMPS = st.integers(200, 450).map(lambda x: x / 10)


@st.composite
def streams(draw: st.DrawFn, blocks: int = 5) -> Stream:
    parts = []
    for _ in range(draw(st.integers(1, blocks))):
        n = draw(st.integers(1, 9))
        dt = np.full(n, draw(DT_S))
        if draw(st.booleans()):
            dt[draw(st.integers(0, n - 1))] = draw(st.sampled_from([0.001, 120.001, 700.0]))
        parts.append(
            np.c_[
                dt, np.full(n, draw(CURRENTS)), np.linspace(draw(VOLTS), draw(VOLTS), n),
                np.linspace(draw(TEMPS), draw(TEMPS), n),
            ]
        )  # fmt: skip
    table = np.concatenate(parts)
    n = len(table)
    ambient = np.full(n, draw(st.sampled_from([NAN, 24.0])))
    faults = st.tuples(
        st.integers(0, n - 1),
        st.integers(1, 4),
        st.sampled_from([NAN, NAN, NAN, 5.0, 5.001, -0.001, 101.0, -101.0, 1001.0, 2.0, 90.0]),
    )
    table = np.c_[table, ambient]
    for at, column, value in draw(st.lists(faults, max_size=4)):
        table[at, column] = value
    seconds = np.cumsum(table[:, 0])
    return stream_of(seconds, *table[:, 1:].T)


SETTINGS = st.sampled_from(
    [
        Settings(),
        Settings(table=-1.0),
        Settings(configured=0.0, nominal_ah=1.0),
        Settings(table=2.0),
    ]
)


@settings(max_examples=40, deadline=None)
@given(streams(), SETTINGS)
def test_every_prefix_of_made_streams(stream: Stream, setting: Settings) -> None:
    run = run_one(stream, setting)
    assert_equal_to_reference(run, stream, setting, range(1, len(stream.t_ms) + 1))


def _days(cycles: int, dt_s: float, seed: int, missing: float = 0.0) -> Stream:
    """Whole cycles: CC-CV charge, rest, pulsed discharge to the cut-off, rest; noise and holes."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[float, float, float]] = []
    for cycle in range(cycles):
        depth = 1.9 - 0.1 * cycle
        filling = np.arange(0.0, 0.9, 1.5 * dt_s / 3600 / depth)
        rows += [(1.5, 3.4 + 0.78 * soc / 0.9, 24 + 3 * soc) for soc in filling]
        level = 1.5
        while level > 0.03:
            level *= np.exp(-dt_s / 400.0)
            rows.append((level, 4.2, 26.0))
        rows += [(0.0, 4.15, 25.0)] * int(300 / dt_s)
        for k, soc in enumerate(np.arange(1.0, 0.0, -2.0 * dt_s / 3600 / depth)):
            pulse = cycle % 2 == 1 and k % 7 == 6
            rows.append((0.0, 3.3 + 0.8 * soc, 28.0) if pulse else (-2.0, 2.6 + 1.4 * soc, 30.0))
        rows += [(0.0, 3.1, 27.0)] * int(rng.choice([300.0, 1500.0]) / dt_s)
    table = np.array(rows)
    n = len(table)
    table[:, 0] += rng.normal(0, 0.002, n)
    table[:, 1] += rng.normal(0, 0.001, n)
    table[:, 2] += rng.normal(0, 0.05, n)
    table[rng.random((n, 3)) < missing] = NAN
    seconds = np.cumsum(rng.choice([0.5, 1.0, 1.0, 1.5], n) * dt_s)
    seconds[n // 2 :] += 3600.0  # the logger was away for an hour
    current, volts, temp = table.T
    return stream_of(seconds, current, volts, temp, np.where(rng.random(n) < 0.3, NAN, 24.0))


@pytest.mark.parametrize(("seed", "missing"), [(1, 0.0), (2, 0.02)])
def test_whole_cycles_with_holes(seed: int, missing: float) -> None:
    stream = _days(3, 40.0, seed, missing)
    run = run_one(stream, Settings())
    n = len(stream.t_ms)
    prefixes = [*range(1, n, max(1, n // 15)), n]
    assert_equal_to_reference(run, stream, Settings(), prefixes)
    assert len(run.ended) >= 4
    assert any(row[1 + Ended.COMPLETE] == 1.0 for row in run.ended) == (missing == 0.0)
    assert run.out["thermal_usable"].any()
    assert run.out["soh_usable"].any()


def _recorded(operations: Sequence[Operation], rows: int) -> Stream:
    """The first rows of each operation, as one stream."""
    parts = []
    for operation in operations:
        cut = slice(0, rows)
        t = operation.start_ms + np.rint(operation.time_s[cut] * 1000.0).astype(np.int64)
        n = len(t)
        temp = (
            operation.temperature_c[cut, 0] if operation.temperature_c.shape[1] else np.full(n, NAN)
        )
        ambient = np.full(n, NAN) if operation.ambient_c is None else operation.ambient_c[cut]
        parts.append((t, operation.current_a[cut], operation.voltage_v[cut, 0], temp, ambient))
    t, i, v, temp, ambient = (np.concatenate(column) for column in zip(*parts, strict=True))
    keep = np.r_[True, np.diff(np.maximum.accumulate(t)) > 0]
    return Stream(t[keep], i[keep], v[keep], temp[keep], ambient[keep])


@pytest.mark.parametrize(
    ("path", "nominal_ah"),
    [
        ("nasa/mat/B0005.reconstructed.mat", 2.0),
        ("nasa/mat/B0025.mat", 2.0),
        ("calce/tidy/CS2_34.parquet", 1.1),
    ],
)
def test_real_cells(shared_data: Path, path: str, nominal_ah: float) -> None:
    recording = open_recording(shared_data / path)[0]
    operations = []
    for operation in recording.operations():
        if operation.kind != "rest" and len(operation):
            operations.append(operation)
        if len(operations) == 4:
            break
    stream = _recorded(operations, 400)
    setting = Settings(nominal_ah=nominal_ah, discharge_v=recording.info.discharge_voltage_v)
    run = run_one(stream, setting)
    n = len(stream.t_ms)
    prefixes = [*range(1, 12), *range(12, n, n // 12), n]
    assert_equal_to_reference(run, stream, setting, prefixes)
    assert np.nanmax(run.features[:, 0, F.HALF_CYCLE_AH]) > 0.2


def test_a_pack_with_fewer_sensors_than_cells() -> None:
    """Each cell is what it would be alone with its own voltage and its sensor."""
    rng = np.random.default_rng(5)
    base = _days(1, 60.0, 5, 0.01)
    n, cells, sensors = len(base.t_ms), 5, 2
    volts = base.v[:, None] + rng.normal(0, 0.01, (n, cells))
    temps = base.temp[:, None] + rng.normal(0, 1, (n, sensors))
    config = AssetConfig(
        v=1, nominal_capacity_ah=2.0, cells=cells, temperature_map=[[1, 3], [2, 5]]
    )
    wired = sensor_of_cell(config, sensors)
    assert wired == [0, 1, 0, -1, 1]
    run = Run(
        base.t_ms, base.i, volts, temps, base.ambient, make_state(Settings(), cells, wired)
    )  # fmt: skip
    for cell in range(cells):
        temp = temps[:, wired[cell]] if wired[cell] >= 0 else np.full(n, NAN)
        alone = Stream(base.t_ms, base.i, volts[:, cell], temp, base.ambient)
        single = run_one(alone, Settings())
        np.testing.assert_array_equal(run.features[:, cell], single.features[:, 0])
        np.testing.assert_array_equal(run.quality[:, cell], single.quality[:, 0])
        assert_equal_to_reference(run, alone, Settings(), [n // 3, n], cell)
    assert (run.quality[:, 3] & Quality.TEMPERATURE_MISSING).all()


def test_a_frame_with_fewer_or_more_voltages_than_cells() -> None:
    stream = _days(1, 120.0, 3)
    n = len(stream.t_ms)
    temps = stream.temp[:, None]
    few = Run(
        stream.t_ms, stream.i, np.c_[stream.v, stream.v], temps, stream.ambient,
        make_state(Settings(), 3, [0, 0, 0]),
    )  # fmt: skip
    assert (few.quality[:, 2] & Quality.VOLTAGE_MISSING).all()
    assert np.isnan(few.features[:, 2, F.VOLTAGE_V]).all()
    assert np.isfinite(few.features[-1, 2, F.CHARGE_OUT_AH])  # current alone is enough for that
    many = Run(
        stream.t_ms, stream.i, np.c_[stream.v, np.full((n, 3), 9.9)], temps, stream.ambient,
        make_state(Settings()),
    )  # fmt: skip
    assert many.everything() == run_one(stream, Settings()).everything()


# Cuts

CUTS = st.lists(st.integers(0, 45), max_size=6)


@settings(max_examples=60, deadline=None)
@given(streams(), CUTS, st.integers(0, 45))
def test_cuts_change_nothing(stream: Stream, cuts: list[int], segment: int) -> None:
    n = len(stream.t_ms)
    inside = sorted(min(cut, n) for cut in cuts)
    jump = [segment] if segment < n else []
    whole = run_one(stream, Settings(), segments=jump)
    assert run_one(stream, Settings(), inside, jump).everything() == whole.everything()
    alone = list(range(1, n))
    assert run_one(stream, Settings(), alone, jump).everything() == whole.everything()


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_cuts_of_a_pack_change_nothing(batch: int) -> None:
    base = _days(2, 30.0, 9, 0.02)
    n, cells = len(base.t_ms), 4
    rng = np.random.default_rng(1)
    volts = base.v[:, None] + rng.normal(0, 0.01, (n, cells))
    temps = base.temp[:, None] + rng.normal(0, 1, (n, 2))

    def run(cuts: Sequence[int]) -> bytes:
        state = make_state(Settings(), cells, [0, 0, 1, 1])
        return Run(base.t_ms, base.i, volts, temps, base.ambient, state, cuts).everything()

    assert run(range(batch, n, batch)) == run([])


# Signals that may not be believed


def test_missing_and_impossible_values_are_flagged_and_not_used() -> None:
    good = stream_of([0, 10, 20, 30], -1.0, [4.0, 3.9, 3.8, 3.7])
    for column, quality, worst in (
        ("v", Quality.VOLTAGE_IMPOSSIBLE, (-0.01, 5.01, 1e300)),
        ("temp", Quality.TEMPERATURE_IMPOSSIBLE, (-61.0, 1001.0)),
        ("i", Quality.CURRENT_IMPOSSIBLE, (-100.1, 100.1, -1e300)),
    ):
        for value in (*worst, NAN):
            bad = Stream(
                good.t_ms.copy(), good.i.copy(), good.v.copy(), good.temp.copy(),
                good.ambient.copy(),
            )  # fmt: skip
            getattr(bad, column)[2] = value
            run = run_one(bad, Settings())
            missing = {"v": 1, "i": 2, "temp": 4}[column]
            assert run.quality[2, 0] == (missing if np.isnan(value) else quality)
            assert (run.quality[[0, 1, 3], 0] == 0).all()
            used = {"v": F.VOLTAGE_V, "i": F.CURRENT_A, "temp": F.TEMPERATURE_C}[column]
            assert np.isnan(run.features[2, 0, used])
            assert np.isfinite(run.features[3, 0, [F.VOLTAGE_MEAN_V, F.CURRENT_MEAN_A]]).all()
            assert run.out["soh_usable"][2] == (column == "temp")
            hidden = Stream(bad.t_ms, bad.i, bad.v, bad.temp, bad.ambient)
            getattr(hidden, column)[2] = NAN
            np.testing.assert_array_equal(
                run.features, run_one(hidden, Settings()).features
            )  # an impossible value is worth what a missing one is


def test_a_frozen_voltage_is_flagged_after_a_minute_of_changing_current() -> None:
    seconds = np.arange(0, 200, 10.0)
    steady = run_one(stream_of(seconds, -1.0, 3.7), Settings())
    assert (steady.quality == 0).all()  # nothing changed, so nothing is frozen
    current = np.where(seconds < 30, 0.0, -1.0)
    run = run_one(stream_of(seconds, current, 3.7), Settings())
    frozen = (run.quality[:, 0] & Quality.VOLTAGE_FROZEN) != 0
    assert frozen.tolist() == (seconds >= 60).tolist()
    assert np.isnan(run.features[frozen, 0, F.VOLTAGE_V]).all()
    assert not run.out["soh_usable"][frozen].any()
    energy = run.features[:, 0, F.ENERGY_OUT_WH]
    assert (np.diff(energy[6:]) == 0).all()  # and it earns no energy
    thawed = run_one(stream_of(seconds, current, np.where(seconds < 150, 3.7, 3.69)), Settings())
    assert not (thawed.quality[15:] & Quality.VOLTAGE_FROZEN).any()


def flags_of(run: Run) -> list[int]:
    """The thermometer's bits of each sample."""
    bits = Quality.TEMPERATURE_FROZEN | Quality.TEMPERATURE_SPIKE | Quality.TEMPERATURE_JUMP
    flags: list[int] = (run.quality[:, 0] & int(bits)).tolist()
    return flags


def test_a_thermometer_that_the_load_should_have_moved_is_frozen() -> None:
    seconds = np.arange(0, 3600, 60.0)
    current = np.where(seconds < 600, 0.0, -1.5)
    volts = 4.0 - seconds / 10_000
    run = run_one(stream_of(seconds, current, volts, 25.0), Settings())
    frozen = np.array(flags_of(run)) == Quality.TEMPERATURE_FROZEN
    assert frozen.tolist() == (seconds >= 1380).tolist()  # 0.75 C of load had 13 minutes
    assert not run.out["thermal_usable"][frozen].any()
    assert run.out["thermal_usable"][seconds == 1320].all()
    assert np.isnan(run.features[frozen, 0, F.EXCESS_HEAT_W]).all()
    resting = run_one(stream_of(seconds, 0.0, 3.7, 25.0), Settings())
    assert not any(flags_of(resting))


def _noisy(n: int, dt_s: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n) * dt_s, 25.0 + np.random.default_rng(4).normal(0, 0.005, n)


def test_a_noisy_thermometer_that_stands_still_is_frozen_without_any_load() -> None:
    seconds, temp = _noisy(400)
    temp[250:330] = temp[250]
    stream = stream_of(seconds, 0.0, 3.7, temp)
    run = run_one(stream, Settings())
    frozen = np.flatnonzero(flags_of(run))
    assert frozen.tolist() == list(range(280, 330))  # 30 samples of the same value
    assert_equal_to_reference(run, stream, Settings(), [249, 280, 281, 330, 331, 400])
    coarse = run_one(stream_of(seconds, 0.0, 3.7, np.round(temp, 1)), Settings())
    assert not any(flags_of(coarse))  # one that has a step of 0.1 K may stand still


@pytest.mark.parametrize("away", [-25.0, 25.0])
def test_spikes_and_jumps_are_named_and_a_return_is_believed(away: float) -> None:
    seconds, temp = _noisy(120)
    temp[40] += away
    temp[60:90] += away
    stream = stream_of(seconds, -1.0, 3.7, temp)
    run = run_one(stream, Settings())
    flags = flags_of(run)
    spike, jump = int(Quality.TEMPERATURE_SPIKE), int(Quality.TEMPERATURE_JUMP)
    expected = [0] * 40 + [spike] + [0] * 19 + [spike] * 12 + [jump] * 18 + [0] * 30
    assert flags == expected
    assert_equal_to_reference(run, stream, Settings(), [41, 42, 61, 73, 90, 91, 120])
    used = run.features[:, 0, F.TEMPERATURE_C]
    assert np.nanmax(np.abs(used - 25.0)) < 0.1


def test_what_a_cell_can_do_is_no_sensor_fault() -> None:
    seconds = np.arange(0, 200, 10.0)
    runaway = 60.0 + np.cumsum(np.where(seconds < 100, 0.5, 40.0))
    climbing = flags_of(run_one(stream_of(seconds, -1.0, 3.7, runaway), Settings()))
    assert climbing[10:12] == [Quality.TEMPERATURE_SPIKE] * 2  # 40 K in 10 s could be a sensor
    assert not any(climbing[12:])  # a third in a row could not
    volts = np.where(seconds < 100, 3.7, 0.2)
    assert not any(flags_of(run_one(stream_of(seconds, -1.0, volts, runaway), Settings())))
    later = np.r_[seconds[:10], 600.0 + seconds[:10]]
    parted = run_one(stream_of(later, 0.0, 3.7, np.repeat([20.0, 50.0], 10)), Settings())
    assert not any(flags_of(parted))  # nothing is known of the ten minutes between


def test_a_voltage_that_jumps_once_is_rejected_and_a_step_is_believed_one_sample_late() -> None:
    seconds = np.arange(0.0, 100.0)
    volts, warmth = np.full(100, 3.7), np.full(100, 25.0)
    volts[[20, 40]] = 4.9, 2.9
    warmth[60] = 120.0
    run = run_one(stream_of(seconds, -1.0, volts, warmth), Settings())
    quality = run.quality[:, 0]
    assert np.flatnonzero(quality & Quality.VOLTAGE_GLITCH).tolist() == [20, 40]
    assert np.flatnonzero(quality & Quality.TEMPERATURE_SPIKE).tolist() == [60]
    assert np.isnan(run.features[[20, 40], 0, F.VOLTAGE_V]).all()
    assert np.nanmax(np.abs(run.features[:, 0, [F.DV_DT_V_PER_S, F.DT_DT_C_PER_S]])) == 0.0
    assert run.features[60, 0, F.GLITCHES] == pytest.approx(
        np.exp(-40 / 600) + np.exp(-20 / 600) + 1
    )
    volts = np.where(seconds < 50, 3.7, 2.9)  # an internal short does not come back
    run = run_one(stream_of(seconds, -1.0, volts, 25.0), Settings())
    assert np.flatnonzero(run.quality[:, 0]).tolist() == [50]
    assert (run.features[51:, 0, F.VOLTAGE_V] == 2.9).all()
    falling = np.where(seconds < 50, 4.2, np.maximum(0.0, 4.2 - 0.6 * (seconds - 49)))
    run = run_one(stream_of(seconds, -1.0, falling, 25.0), Settings())
    assert np.flatnonzero(run.quality[:, 0] & Quality.VOLTAGE_GLITCH).tolist() == [50]
    loaded = np.where(seconds < 50, 0.0, -4.0)  # a load explains its own step
    run = run_one(stream_of(seconds, loaded, volts, 25.0), Settings())
    assert not (run.quality[:, 0] & Quality.VOLTAGE_GLITCH).any()


# Things with a known answer


def test_counters_soc_and_capacity_of_a_known_cycle() -> None:
    """2 Ah out of a full cell at 1 A: capacity 2 Ah, and the next SOC counts on it."""
    hours = np.arange(0, 2.0001, 1 / 60)
    full = (np.array([0.0, 60.0]), np.array([0.08, 0.08]), np.array([4.2, 4.2]))
    t = np.r_[full[0], 120 + hours * 3600]
    i = np.r_[full[1], np.full(len(hours), -1.0)]
    v = np.r_[full[2], np.linspace(4.1, 2.69, len(hours))]
    run = run_one(stream_of(t, i, v), Settings(nominal_ah=2.5))
    soc = run.features[:, 0, F.SOC]
    assert soc[1] == 1.0
    assert soc[-1] == 0.0
    assert run.features[-1, 0, F.CHARGE_OUT_AH] == pytest.approx(2.0, abs=0.01)
    assert run.features[-1, 0, F.PHASE] == Phase.DISCHARGE
    assert run.features[0, 0, F.PHASE] == Phase.CV_CHARGE
    again = run_one(
        stream_of(t[-1] + 60 + np.arange(0, 3601, 60.0), 1.0, 3.5), Settings(nominal_ah=2.5),
        state=run.state,
    )  # fmt: skip
    assert again.features[-1, 0, F.SOC] == pytest.approx(1.0 / 2.0, abs=0.01)


def test_the_histogram_holds_the_charge_of_the_half_cycle() -> None:
    seconds = np.arange(0, 3600, 30.0)
    run = run_one(stream_of(seconds, -1.0, np.linspace(4.15, 3.05, len(seconds))), Settings())
    inside = run.state["histogram"][0, 1].sum()
    assert inside == pytest.approx(run.features[-1, 0, F.HALF_CYCLE_AH], rel=1e-5)
    assert run.state["histogram"][0, 0].sum() == 0.0
    x = run.out["soh_inputs"][-1]
    assert (x[SOH_BINS], x[SOH_BINS + 1], x[SOH_BINS + 2]) == (3.0, 57.0, 1.0)
    assert x[SOH_BINS + 4] == pytest.approx(0.5)
    # 1 A for 3,570 s over 1.10 V, in bins of 20 mV, per nominal 2 Ah.
    np.testing.assert_allclose(x[3:57], 3570 / 3600 / 55 / 2.0, rtol=1e-4)


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_marks_of_a_discharge_equal_the_reference(data: st.DataObject) -> None:
    """From full, after a rest, by irregular steps, currents and voltages; some readings missing."""
    n = data.draw(st.integers(20, 60))
    steps = st.sampled_from([5.0, 9.4, 18.7, 30.0, 60.0, 119.0])
    t_s = np.r_[0.0, 10.0, 20.0, 20.0 + np.cumsum([data.draw(steps) for _ in range(n)])]
    i = np.r_[0.05, 0.0, 0.0, [data.draw(st.sampled_from([-2.0, -2.0, -4.0])) for _ in range(n)]]
    rest = data.draw(st.sampled_from([4.19, 4.16, 4.1]))
    falls = np.cumsum([data.draw(st.integers(-1, 30)) for _ in range(n)]) / 1000
    v = np.r_[4.2, rest, rest, np.maximum(4.0 - falls, 2.8)]
    if data.draw(st.booleans()):
        v[data.draw(st.integers(3, n + 2))] = np.nan
    stream, settings_ = stream_of(t_s, i, v), Settings()
    run = run_one(stream, settings_)
    assert_equal_to_reference(run, stream, settings_, range(1, len(t_s) + 1))


def test_a_discharge_from_full_is_told_by_its_marks_and_then_by_its_bins() -> None:
    """1C of 2 Ah, the voltage falling by 0.1 mV a second from 4.0 V, after a rest at 4.18 V."""
    seconds = np.r_[-20.0, -10.0, np.arange(0.0, 1400.0, 10.0)]
    volts = np.where(seconds < 0, 4.18, 4.0 - 1e-4 * seconds)
    run = run_one(stream_of(seconds + 20, np.where(seconds < 0, 0.0, -2.0), volts), Settings())
    x, drawn = run.out["soh_inputs"], run.features[:, 0, F.HALF_CYCLE_AH] / 2.0
    k = int(np.flatnonzero(drawn > 5.0 / 60.0)[0])
    assert run.out["soh_usable"][k]
    assert (x[k, SOH_BINS], x[k, SOH_BINS + 1], x[k, SOH_BINS + 2]) == (0.0, 16.0, 2.0)
    # The load's first interval, from rest to 1C, drew half of one sample's charge: 5 s.
    np.testing.assert_allclose(x[k, 0:6:2], 0.18 + 1e-4 * (np.array([30.0, 60.0, 90.0]) - 5.0),
                               atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(np.exp(x[k, 3:7:2]), 3e-3, rtol=1e-4)
    assert x[k, 16:SOH_BINS].tolist() == [0.0] * (SOH_BINS - 16)
    assert x[-1, SOH_BINS + 2] == 1.0
    rested_lower = np.where(seconds < 0, 4.1, volts)
    other = run_one(
        stream_of(seconds + 20, np.where(seconds < 0, 0.0, -2.0), rested_lower), Settings()
    )
    assert (other.out["soh_inputs"][other.out["soh_usable"], SOH_BINS + 2] == 1.0).all()


def test_resistance_from_a_step() -> None:
    run = run_one(stream_of([0, 10, 20], [0.0, -2.0, -2.0], [4.0, 3.8, 3.79]), Settings())
    assert run.features[1, 0, F.RESISTANCE_OHM] == pytest.approx(0.1)
    assert run.features[2, 0, F.RESISTANCE_OHM] == pytest.approx(0.1)
    slow = run_one(stream_of([0, 21, 31], [0.0, -2.0, -2.0], [4.0, 3.8, 3.79]), Settings())
    assert np.isnan(slow.features[:, 0, F.RESISTANCE_OHM]).all()


def test_a_heat_source_shows_as_excess_heat() -> None:
    """A cell that warms by 0.01 K/s with 60 J/K at rest: 0.6 W that nothing explains."""
    seconds = np.arange(0, 601, 10.0)
    setting = Settings(cooling=0.0)
    run = run_one(stream_of(seconds, 0.0, 3.7, 25 + 0.01 * seconds), setting)
    assert run.features[-1, 0, F.EXCESS_HEAT_W] == pytest.approx(0.6, rel=1e-3)
    assert run.features[-1, 0, F.DT_DT_C_PER_S] == pytest.approx(0.01, rel=1e-3)
    assert run.out["thermal_inputs"].shape[1] == THERMAL_WIDTH


def test_a_clock_that_was_set_back_bridges_nothing() -> None:
    forward = np.arange(0, 400, 10.0)
    t = np.r_[10_000 + forward, forward]
    volts = np.r_[np.linspace(3.9, 3.8, 40), np.linspace(3.8, 3.7, 40)]
    temps = np.r_[np.full(40, 25.0), NAN, np.full(39, 26.0)]
    temps += 0.01 * np.arange(80)
    run = run_one(stream_of(t, -2.0, volts, temps), Settings(), segments=[40])
    out = run.features[:, 0, F.CHARGE_OUT_AH]
    assert out[40] == out[39]
    np.testing.assert_allclose(np.diff(out)[[0, 38, 40, 78]], 2.0 * 10 / 3600)
    # The old clock's half-cycle ends, incomplete, with times that run forward; a new one begins.
    assert len(run.ended) == 1
    row = run.ended[0][1:]
    assert row[Ended.COMPLETE] == 0.0
    assert (row[Ended.START_MS], row[Ended.END_MS]) == (T0 + 10_000_000, T0 + 10_390_000)
    assert run.features[-1, 0, F.HALF_CYCLE_S] == 390.0
    # Every filter lives again on the new clock though the first temperature was missing.
    assert np.isfinite(run.features[-1, 0, [F.DT_DT_C_PER_S, F.DV_DT_V_PER_S]]).all()
    assert np.isfinite(run.features[-1, 0, F.EXCESS_HEAT_W])


def test_state_is_small() -> None:
    assert CELL.itemsize <= 4096
