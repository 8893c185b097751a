"""Faults and nuisances put into healthy recordings through a two-node heat balance.

    core:    φC dTc/dt     = Q - K (Tc - Ts)
    surface: (1-φ)C dTs/dt = K (Tc - Ts) - hA Ts + Q_surface
    sensor:  τ dTm/dt      = Ts - Tm

Tc, Ts and Tm are what the fault adds to the recorded temperature, so the recorded cell's own heat
stays as it was. Q is the fault's heat and, once hot, the decomposition reactions of SEI, anode,
cathode and electrolyte (Hatchard et al. 2001, J. Electrochem. Soc. 148, A755; parameters as in Kim,
Pesaran and Spotnitz 2007, J. Power Sources 170, 476, table 2). A short also pulls the terminal
voltage down and drains the cell. Everything made here is synthetic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from monitor.kernels.jit import njit
from training.thermal.data import Floats, Ints, Mask, Stream
from training.thermal.scenarios import (
    AFTER_S,
    FAMILIES,
    GROWTH_AFTER_S,
    WARM_UP_S,
    Nuisance,
    Scenario,
    SensorFault,
    Site,
)

RUNAWAY_C = 80.0  # a cell maker's usual maximum, with
RUNAWAY_C_PER_S = 1.0  # this slope held for
RUNAWAY_HELD_S = 3.0
FIRST_OHM, LAST_OHM = 100.0, 0.3
CHARGED = 0.9  # of nominal capacity is there to drain when a short begins


@dataclass(frozen=True, slots=True)
class Injected:
    """A piece of a recording with a fault in it."""

    stream: Stream
    onset_ms: int
    runaway_ms: int | None  # held slope at a hot cell: GB 38031's runaway and GTR 20's hazard
    active: Mask  # (n,) the fault is there

    def __len__(self) -> int:
        return len(self.stream)


def inject(stream: Stream, site: Site, scenario: Scenario) -> Injected:
    """The recording around a site with the scenario's fault from the site's onset on.

    Ends at the runaway where there is one.
    """
    after_s = GROWTH_AFTER_S if scenario.family == "growing_short" else AFTER_S
    piece = cut(
        stream, site.onset_ms - round(1000 * WARM_UP_S), site.onset_ms + round(1000 * after_s)
    )
    if scenario.family == "overcharge":
        piece = _overcharged(piece, site)
    family = FAMILIES.index(scenario.family)
    sag, added = np.empty(len(piece)), np.empty(len(piece))
    if (
        len(
            {
                len(piece.timestamp_ms),
                len(piece.current_a),
                len(piece.voltage_v),
                len(piece.temperature_c),
                len(piece.ambient_c),
                len(sag),
            }
        )
        != 1
    ):
        raise ValueError(f"{piece.asset}: the stream's columns differ in length")
    runaway = _inject_inplace(
        piece.timestamp_ms, piece.current_a, np.nan_to_num(piece.voltage_v, nan=3.7),
        _held(piece.temperature_c), _held(piece.ambient_c), site.onset_ms, family, scenario.level,
        site.heat_capacity_j_per_k, site.core_share, site.core_to_surface_w_per_k,
        site.cooling_w_per_k, site.sensor_lag_s, site.contact_ohm, piece.nominal_ah,
        sag, added,
    )  # fmt: skip
    stop = len(piece) if runaway < 0 else runaway + 1
    hot = replace(
        piece,
        voltage_v=piece.voltage_v - sag,
        temperature_c=piece.temperature_c + added,
    )
    kept = _rows(hot, np.arange(stop))
    return Injected(
        stream=kept,
        onset_ms=site.onset_ms,
        runaway_ms=None if runaway < 0 else int(piece.timestamp_ms[runaway]),
        active=kept.timestamp_ms >= site.onset_ms,
    )


def cut(stream: Stream, from_ms: int, to_ms: int) -> Stream:
    """The samples of a stream from one time to another."""
    return _rows(
        stream, np.flatnonzero((stream.timestamp_ms >= from_ms) & (stream.timestamp_ms <= to_ms))
    )


def disturb(stream: Stream, site: Site, nuisance: Nuisance) -> Stream:
    """A day around a site with something in it that is no fault."""
    piece = cut(
        stream, site.onset_ms - round(1000 * WARM_UP_S), site.onset_ms + round(1000 * WARM_UP_S)
    )
    rng = np.random.default_rng(site.seed)
    name, _, level = nuisance.rpartition("_")
    if nuisance == "ambient_step_5" or nuisance == "ambient_step_10":
        return _ambient_step(piece, site, float(level))
    if nuisance == "offset_2":
        return replace(piece, temperature_c=piece.temperature_c + 2.0)
    if name == "quantised":
        step = float(level)
        return replace(piece, temperature_c=np.round(piece.temperature_c / step) * step)
    if nuisance == "sampled_30_s":
        return _thinned(piece, 30_000)
    if nuisance == "sampled_60_s":
        return _thinned(piece, 60_000)
    if nuisance == "dropped_20_percent":
        return _rows(piece, np.flatnonzero(rng.random(len(piece)) > 0.2))
    return replace(piece, ambient_c=np.full(len(piece), np.nan))


def break_sensor(stream: Stream, site: Site, fault: SensorFault) -> Stream:
    """A piece of healthy recording whose temperature sensor breaks at the site's onset."""
    piece = cut(
        stream,
        site.onset_ms - round(1000 * WARM_UP_S / 6),
        site.onset_ms + round(1000 * AFTER_S),
    )
    rng = np.random.default_rng(site.seed)
    broken = piece.timestamp_ms >= site.onset_ms
    temperature = piece.temperature_c.copy()
    before = temperature[~broken]
    last = float(before[np.isfinite(before)][-1]) if np.isfinite(before).any() else 25.0
    if fault == "disconnected":
        temperature[broken] = np.nan
    elif fault == "open_circuit_reading":
        temperature[broken] = -273.1  # what a 10 k thermistor's table gives for an open wire
    elif fault == "short_circuit_reading":
        temperature[broken] = 1_500.0
    elif fault == "frozen":
        temperature[broken] = last
    elif fault == "spikes":
        hit = broken & (rng.random(len(temperature)) < 0.02)
        temperature[hit] += rng.choice([-1.0, 1.0], int(hit.sum())) * rng.uniform(
            20.0, 80.0, int(hit.sum())
        )
    else:
        temperature[broken] += float(rng.choice([-1.0, 1.0])) * rng.uniform(15.0, 40.0)
    return replace(piece, temperature_c=temperature)


def _rows(stream: Stream, rows: Ints) -> Stream:
    return replace(
        stream,
        timestamp_ms=stream.timestamp_ms[rows],
        current_a=stream.current_a[rows],
        voltage_v=stream.voltage_v[rows],
        temperature_c=stream.temperature_c[rows],
        ambient_c=stream.ambient_c[rows],
        operation=stream.operation[rows],
    )


def _held(values: Floats) -> Floats:
    """Missing values replaced by the last known one, the first by the first known."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), 25.0)
    index = np.maximum.accumulate(np.where(known, np.arange(len(values)), 0))
    held: Floats = values[index]
    return np.where(np.isfinite(held), held, values[known][0])


def _thinned(stream: Stream, every_ms: int) -> Stream:
    slot = stream.timestamp_ms // every_ms
    return _rows(stream, np.flatnonzero(np.diff(slot, prepend=-1) != 0))


def _ambient_step(stream: Stream, site: Site, step_k: float) -> Stream:
    """The chamber goes up by `step_k` for four hours; its sensor sees it and the cell follows."""
    time_s = (stream.timestamp_ms - site.onset_ms) / 1000.0
    up = (time_s >= 0.0) & (time_s < 4 * 3600.0)
    chamber = np.where(up, step_k, 0.0)
    tau = site.heat_capacity_j_per_k / site.cooling_w_per_k
    seen = np.zeros(len(stream))
    added = np.zeros(len(stream))
    for k in range(1, len(stream)):
        dt = max(0.0, time_s[k] - time_s[k - 1])
        # The air itself takes two minutes, its sensor another half.
        seen[k] = seen[k - 1] + (1.0 - np.exp(-dt / 150.0)) * (chamber[k] - seen[k - 1])
        added[k] = added[k - 1] + (1.0 - np.exp(-dt / tau)) * (seen[k] - added[k - 1])
    return replace(
        stream, temperature_c=stream.temperature_c + added, ambient_c=stream.ambient_c + seen
    )


def _overcharged(stream: Stream, site: Site) -> Stream:
    """From the onset on the charger drives 1 C on, at a voltage that rises to 4.6 V."""
    time_s = (stream.timestamp_ms - site.onset_ms) / 1000.0
    on = time_s >= 0.0
    volts = 4.2 + 0.4 * (1.0 - np.exp(-np.maximum(time_s, 0.0) / 900.0))
    return replace(
        stream,
        current_a=np.where(on, stream.nominal_ah, stream.current_a),
        voltage_v=np.where(on, volts, stream.voltage_v),
    )


@njit
def _reaction_heat_inplace(kelvin: float, dt: float, left: Floats, volume_m3: float) -> float:
    """Heat of the four decomposition reactions in W, mean over a step; `left` is what remains."""
    gas = 8.314
    heat: float = 0.0
    rate = 1.667e15 * np.exp(-1.3508e5 / (gas * kelvin)) * left[0]
    moved = min(left[0], rate * dt)
    left[0] -= moved
    heat += 2.57e5 * 610.4 * moved
    rate = 2.5e13 * np.exp(-left[4] / 0.033) * np.exp(-1.3508e5 / (gas * kelvin)) * left[1]
    moved = min(left[1], rate * dt)
    left[1] -= moved
    left[4] += moved
    heat += 1.714e6 * 610.4 * moved
    rate = 6.667e13 * left[2] * (1.0 - left[2]) * np.exp(-1.396e5 / (gas * kelvin))
    moved = min(1.0 - left[2], rate * dt)
    left[2] += moved
    heat += 3.14e5 * 1221.0 * moved
    rate = 5.14e25 * np.exp(-2.74e5 / (gas * kelvin)) * left[3]
    moved = min(left[3], rate * dt)
    left[3] -= moved
    heat += 1.55e5 * 406.9 * moved
    mean_w: float = heat * volume_m3 / dt
    return mean_w


@njit
def _inject_inplace(  # noqa: PLR0913 - a kernel takes arrays
    t_ms: Ints, current: Floats, volts: Floats, temp: Floats, ambient: Floats,
    onset_ms: int, family: int, level: float,
    capacity: float, share: float, between: float, cooling: float, lag: float, contact: float,
    nominal_ah: float, sag: Floats, added: Floats,
) -> int:  # fmt: skip
    """Write voltage sag and added temperature at every sample; the sample of runaway, or -1."""
    core = 0.0
    surface = 0.0
    sensor = 0.0
    gone_ah = 0.0
    held = 0.0
    left = np.array([0.15, 0.75, 0.04, 1.0, 0.033])
    volume = 1.65e-5 * nominal_ah / 2.0
    for k in range(len(t_ms)):
        sag[k] = 0.0
        added[k] = 0.0
        if k == 0 or t_ms[k] <= onset_ms:
            continue
        start = max(t_ms[k - 1], onset_ms)
        span = (t_ms[k] - start) / 1000.0
        if span <= 0.0:
            added[k] = sensor
            continue
        steps = max(1, int(np.ceil(span / 0.5)))
        dt = span / steps
        short = 0.0
        for n in range(steps):
            age = (start - onset_ms) / 1000.0 + (n + 0.5) * dt
            weight = (n + 0.5) / steps
            rise = temp[k - 1] + weight * (temp[k] - temp[k - 1]) - ambient[k]
            heat = 0.0
            outside = 0.0
            ohm = 0.0
            if family == 0:
                heat = level
            elif family == 1:
                ohm = level
            elif family == 2:
                outside = (1.0 - level) * cooling * (rise + surface)
            elif family == 3:
                outside = cooling * level * (1.0 - np.exp(-age / 300.0))
            elif family == 4:
                heat = 0.8 * nominal_ah * volts[k] * (1.0 - np.exp(-age / 1200.0))
            else:
                ohm = FIRST_OHM * (LAST_OHM / FIRST_OHM) ** min(1.0, age / (60.0 * level))
            if ohm > 0.0 and gone_ah < CHARGED * nominal_ah:
                short = max(volts[k], 0.0) / (ohm + contact)
                gone_ah += short * dt / 3600.0
                heat += short * volts[k]
            else:
                short = 0.0
            heat += _reaction_heat_inplace(273.15 + ambient[k] + rise + core, dt, left, volume)
            flow = between * (core - surface)
            before = sensor
            core += dt * (heat - flow) / (share * capacity)
            surface += dt * (flow + outside - cooling * surface) / ((1.0 - share) * capacity)
            sensor += (1.0 - np.exp(-dt / lag)) * (surface - sensor)
            slope = (sensor - before) / dt
            hot = ambient[k] + rise + sensor >= RUNAWAY_C
            held = held + dt if hot and slope >= RUNAWAY_C_PER_S else 0.0
            if held > RUNAWAY_HELD_S:
                sag[k] = short * contact
                added[k] = sensor
                return k
        sag[k] = short * contact
        added[k] = sensor
    return -1
