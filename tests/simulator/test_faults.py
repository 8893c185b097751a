"""Injected faults change what physics says and nothing else, and are labelled where they act."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recordings.tidy import TidyRecording
from recordings.types import Operation, Recording, RecordingInfo
from simulator.demo_recording import MadeRecording
from simulator.faults import InternalShort, Runaway
from simulator.faults_inject import InjectedRecording
from simulator.faults_scenario import FaultError, FaultSpec, parse_fault
from simulator.twin import Conditions, TwinState, load_parameters, run_inplace, step_inplace
from simulator.twin_cycler import Protocol, Rig, Sensors, cycle

CELL = load_parameters("nasa-18650")
TABLES = CELL.tables()
CELL_KINDS = (
    "isc",
    "isc-hard",
    "cooling",
    "heating",
    "overcharge",
    "plating",
    "contact",
    "runaway",
)


def _made(hours: float = 9.0, cells: int = 1) -> MadeRecording:
    """A recording of a healthy twin on the NASA protocol."""
    rig = Rig(TABLES, Protocol(sample_s=10.0), ambient_c=lambda _: 24.0)
    state = TwinState.at(TABLES, soc=0.3, loss=0.1, temperature_c=24.0)
    made = cycle(
        rig, state, hours * 3600, start_ms=0, sensors=Sensors(), rng=np.random.default_rng(1)
    )
    info = RecordingInfo("cell", "twin", 2.0, cells=cells, sensors=1, synthetic=True)
    operations = [
        Operation(
            index=o.index,
            cycle=o.cycle,
            kind=o.kind,
            start_ms=o.start_ms,
            time_s=o.time_s,
            current_a=o.current_a,
            voltage_v=np.repeat(o.voltage_v, cells, axis=1),
            temperature_c=o.temperature_c,
            ambient_c=o.ambient_c,
            capacity_ah=o.capacity_ah,
        )
        for o in made
    ]
    return MadeRecording(info, tuple(operations))


RECORDING = _made()


def _inject(*faults: str, recording: Recording = RECORDING, seed: int = 0) -> list[Operation]:
    specs = tuple(parse_fault(fault) for fault in faults)
    return list(InjectedRecording(recording, specs, CELL, seed).operations())


@dataclass
class _Whole:
    """A whole recording as arrays."""

    minutes: np.ndarray
    voltage_v: np.ndarray
    current_a: np.ndarray
    temperature_c: np.ndarray
    active: np.ndarray


def _whole(operations: list[Operation]) -> _Whole:
    def active(o: Operation) -> np.ndarray:
        return np.zeros(len(o), bool) if o.fault_active is None else o.fault_active

    return _Whole(
        np.concatenate([o.start_ms / 6e4 + o.time_s / 60 for o in operations]),
        np.concatenate([o.voltage_v[:, 0] for o in operations]),
        np.concatenate([o.current_a for o in operations]),
        np.concatenate([o.temperature_c[:, 0] for o in operations]),
        np.concatenate([active(o) for o in operations]),
    )


SOUND = _whole(list(RECORDING.operations()))


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_nothing_changes_before_the_onset_and_all_is_labelled_after(kind: str) -> None:
    operations = _inject(f"{kind}:asset=cell,at=time:100m,severity=0.5")
    sick = _whole(operations)
    begun = sick.minutes >= sick.minutes[0] + 100.0
    np.testing.assert_array_equal(sick.active, begun)
    for name in ("voltage_v", "current_a", "temperature_c"):
        np.testing.assert_array_equal(getattr(sick, name)[~begun], getattr(SOUND, name)[~begun])
    assert not np.array_equal(sick.voltage_v[begun], SOUND.voltage_v[begun])
    for operation in operations:
        has = operation.fault_active is not None and bool(operation.fault_active.any())
        assert operation.fault == (kind if has else None)
    info = InjectedRecording(RECORDING, (), CELL).info
    assert info.synthetic


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_the_same_seed_gives_the_same_values(kind: str) -> None:
    text = f"{kind}:asset=cell,at=cycle:1,severity=0.3"
    for a, b in zip(_inject(text), _inject(text), strict=True):
        np.testing.assert_array_equal(a.voltage_v, b.voltage_v)
        np.testing.assert_array_equal(a.temperature_c, b.temperature_c)


def test_a_short_warms_the_cell_by_its_power_and_the_charger_feeds_it() -> None:
    """A steady 20 ohm at 4.2 V dissipates 0.88 W; the charger gives 0.21 A more."""
    # The charge ends by the recorded clock, so look where it is held at 4.2 V.
    sick = _whole(_inject("isc:asset=cell,at=time:10m,ohm=20,growth=1"))
    charge_min = SOUND.minutes[np.argmax(SOUND.current_a < 0.02)]
    held = (SOUND.minutes > charge_min - 15) & (SOUND.minutes < charge_min)
    assert held.any()
    extra_a = (sick.current_a - SOUND.current_a)[held]
    assert extra_a.mean() == pytest.approx(4.2 / 20, rel=0.15)
    np.testing.assert_allclose(sick.voltage_v[held], SOUND.voltage_v[held], atol=1e-9)
    rise_c = (sick.temperature_c - SOUND.temperature_c)[held][-1]
    assert rise_c == pytest.approx(4.2**2 / 20 / TABLES.heat_transfer_w_per_k, rel=0.1)


def test_cooling_loss_shows_only_while_there_is_heat() -> None:
    sick = _whole(_inject("cooling:asset=cell,at=time:0,severity=0.5"))
    rise_c = sick.temperature_c - SOUND.temperature_c
    loaded = SOUND.current_a < -1.0
    assert rise_c[loaded].max() > 5.0
    assert (sick.temperature_c - 24.0)[loaded].max() > 1.2 * (SOUND.temperature_c - 24.0).max()


def test_plating_ends_the_discharge_early_and_says_so() -> None:
    sound = {o.index: o for o in RECORDING.operations()}
    # Plated before the last discharge, whose capacity the recording knows.
    sick = _inject("plating:asset=cell,at=time:0,loss=0.2,growth=1h")
    last = [o for o in sick if o.capacity_ah is not None][-1]
    before = sound[last.index].capacity_ah
    assert before is not None
    assert last.capacity_ah is not None
    assert before - last.capacity_ah == pytest.approx(0.2 * 2.0, abs=0.15)


def test_overcharge_raises_the_charging_voltage_by_what_was_asked() -> None:
    sick = _whole(_inject("overcharge:asset=cell,at=time:0,volt=0.2"))
    assert sick.voltage_v.max() == pytest.approx(SOUND.voltage_v.max() + 0.2, abs=0.01)


def test_contact_resistance_shows_as_an_ohmic_step() -> None:
    sick = _whole(_inject("contact:asset=cell,at=time:0,ohm=0.1,growth=1"))
    start = np.flatnonzero((SOUND.current_a[1:] < -1.5) & (SOUND.current_a[:-1] > -0.5))[0] + 1
    change_v = sick.voltage_v - SOUND.voltage_v
    assert change_v[start] - change_v[start - 1] == pytest.approx(-0.2, abs=0.01)


def test_a_fault_with_a_duration_ends() -> None:
    sick = _whole(_inject("heating:asset=cell,at=time:60m,for=30m,watt=2"))
    assert sick.active.sum() == pytest.approx(30 * 6, abs=1)
    ended = sick.minutes - sick.minutes[0] > 90 + 180
    np.testing.assert_allclose(sick.temperature_c[ended], SOUND.temperature_c[ended], atol=0.2)


def test_in_a_pack_only_the_faulty_cell_changes() -> None:
    pack = _made(3.0, cells=3)
    sick = _inject("isc:asset=cell,at=time:30m,ohm=5,growth=10m,cell=2", recording=pack)
    for a, b in zip(pack.operations(), sick, strict=True):
        np.testing.assert_array_equal(a.voltage_v[:, [0, 2]], b.voltage_v[:, [0, 2]])
        np.testing.assert_array_equal(a.current_a, b.current_a)
    assert np.any(sick[0].voltage_v[:, 1] < pack.made[0].voltage_v[:, 1] - 0.01)
    with pytest.raises(FaultError, match="no cell 4, cell has 3"):
        InjectedRecording(pack, (parse_fault("isc:asset=cell,cell=4"),), CELL)


def test_operations_from_a_number_on_are_those_of_a_whole_run() -> None:
    specs = (parse_fault("isc:asset=cell,at=cycle:1,severity=0.4"),)
    injected = InjectedRecording(RECORDING, specs, CELL)
    for a, b in zip(itertools.islice(injected.operations(), 3, None), injected.operations(3)):  # noqa: B905
        np.testing.assert_array_equal(a.voltage_v, b.voltage_v)


def test_reactions_release_the_heat_that_they_hold_and_no_more() -> None:
    """An adiabatic cell that runs away ends hotter by the reactions' and the short's energy."""
    # Reversible heat is exchanged with the chemistry: leave it out of the balance.
    tables = TABLES._replace(entropy_v_per_k=np.zeros_like(TABLES.entropy_v_per_k))
    state = TwinState.at(tables, soc=0.0, loss=0.1, temperature_c=170.0)
    conditions = Conditions.resting(1, ambient_c=24.0)
    conditions.cooling[:] = 0.0
    start = state.values.copy()
    heat_j = 0.0
    for _ in range(3600):
        output = step_inplace(state, conditions, tables, 1.0)
        heat_j += float(output.heat_w[0])
    warmed_j = float(state.temperature_c[0] - 170.0) * TABLES.heat_capacity_j_per_k
    assert warmed_j == pytest.approx(heat_j, rel=1e-6)
    assert state.temperature_c[0] > 400.0
    r = TABLES.reactions[:, 2]
    held_j = r[0] * start[9, 0] + r[1] * start[10, 0] + r[2] * (1 - start[12, 0]) + r[3]
    left = state.values[:, 0]
    left_j = r[0] * left[9] + r[1] * left[10] + r[2] * (1 - left[12]) + r[3] * left[13]
    short_j = heat_j - (held_j - left_j)
    # The rest is the charge that the melted separator let go, at its open-circuit voltage.
    axis = np.linspace(TABLES.loss_low, TABLES.loss_high, len(TABLES.total_ah))
    total_ah = np.interp(0.1, axis, TABLES.total_ah)
    left_ah = total_ah - np.array([state.discharged_ah[0], start[0, 0]])
    before, after = left_ah / total_ah
    z = np.linspace(before, after, 2001)
    table = np.linspace(TABLES.stoichiometry_low, TABLES.stoichiometry_high, len(TABLES.ocv_v))
    stored_j = np.trapezoid(np.interp(z, table, TABLES.ocv_v), z) * total_ah * 3600.0
    assert short_j == pytest.approx(stored_j, rel=0.05)


def test_a_sound_cell_does_not_run_away_and_a_grown_short_does() -> None:
    def hottest(fault: Runaway | InternalShort | None) -> float:
        state = TwinState.full(TABLES, loss=0.1, temperature_c=24.0)
        n = 2 * 360
        profile = Conditions.resting(n, ambient_c=24.0)
        dt_s = np.full(n, 10.0)
        if fault is not None:
            fault.apply_inplace(profile, np.cumsum(dt_s))
        return float(run_inplace(state, profile, TABLES, dt_s).temperature_c.max())

    assert hottest(None) < 25.0
    assert 40.0 < hottest(InternalShort(150.0, 8.0, 1800.0)) < 90.0
    assert hottest(Runaway(growth_s=1800.0)) > 300.0


def test_isc_resistance_over_time() -> None:
    short = InternalShort(start_ohm=100.0, end_ohm=1.0, growth_s=1000.0)
    np.testing.assert_allclose(
        short.resistance_ohm(np.array([-1.0, 0.0, 500.0, 1000.0, 5000.0])),
        [np.inf, 100.0, 10.0, 1.0, 1.0],
    )


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        ("bias", lambda d: np.allclose(d, 0.05)),
        ("drift", lambda d: 0 <= d[0] < 1e-3 and np.all(np.diff(d) > -1e-12) and d[-1] > 0.04),
        ("noise", lambda d: 0.02 < d.std() < 0.03),
        ("spikes", lambda d: 0 < np.count_nonzero(d) < 0.05 * len(d)),
    ],
)
def test_sensor_faults_add_what_they_say(kind: str, check: object) -> None:
    sick = _whole(_inject(f"{kind}:asset=cell,at=time:100m,severity=0.5,channel=voltage"))
    begun = sick.minutes >= sick.minutes[0] + 100.0
    assert callable(check)
    assert check((sick.voltage_v - SOUND.voltage_v)[begun])
    np.testing.assert_array_equal(sick.voltage_v[~begun], SOUND.voltage_v[~begun])
    np.testing.assert_array_equal(sick.temperature_c, SOUND.temperature_c)
    np.testing.assert_array_equal(sick.active, begun)


def test_a_frozen_sensor_repeats_its_last_reading_and_a_dead_one_reads_zero() -> None:
    frozen = _whole(_inject("frozen:asset=cell,at=time:100m,channel=temperature"))
    begun = frozen.minutes >= frozen.minutes[0] + 100.0
    held = SOUND.temperature_c[np.argmax(begun) - 1]
    np.testing.assert_array_equal(frozen.temperature_c[begun], held)
    dead = _whole(_inject("stuck-zero:asset=cell,at=time:100m,channel=current"))
    np.testing.assert_array_equal(dead.current_a[begun], 0.0)


def test_two_faults_are_both_labelled() -> None:
    faults = ("isc:asset=cell,at=time:60m", "bias:asset=cell,at=time:90m,channel=temperature")
    labels = {operation.fault for operation in _inject(*faults)}
    assert "isc+bias-temperature" in labels


@dataclass(frozen=True)
class _Nan:
    """A recording with gaps in its channels."""

    info: RecordingInfo = RECORDING.info

    def operations(self, start: int = 0) -> Iterator[Operation]:
        for o in RECORDING.operations(start):
            voltage_v = o.voltage_v.copy()
            voltage_v[::7] = np.nan
            yield Operation(
                o.index, o.cycle, o.kind, o.start_ms, o.time_s, o.current_a, voltage_v,
                np.empty((len(o), 0)),
            )  # fmt: skip


def test_gaps_and_missing_thermometers_stay_what_they_are() -> None:
    for a, b in zip(_Nan().operations(), _inject("isc:asset=cell", recording=_Nan()), strict=True):
        np.testing.assert_array_equal(np.isnan(a.voltage_v), np.isnan(b.voltage_v))
        assert b.temperature_c.shape == (len(b), 0)


def test_a_nasa_cell_can_be_injected(shared_data: Path) -> None:
    recording = TidyRecording(shared_data / "nasa" / "tidy" / "B0005.parquet")
    spec: FaultSpec = parse_fault("isc:asset=B0005,at=cycle:3,severity=0.3")
    injected = InjectedRecording(recording, (spec,), CELL)
    pairs = zip(recording.operations(), injected.operations(), strict=True)
    hotter = 0.0
    for sound, sick in itertools.islice(pairs, 8):
        if sound.cycle < 3:
            np.testing.assert_array_equal(sound.voltage_v, sick.voltage_v)
            assert sick.fault is None
        else:
            assert sick.fault == "isc"
            hotter = max(hotter, float((sick.temperature_c - sound.temperature_c).max()))
    # 25 ohm and 4.2 V are 0.7 W.
    assert hotter == pytest.approx(0.7 / TABLES.heat_transfer_w_per_k, rel=0.3)
