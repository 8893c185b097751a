"""All that is remembered of a cell, and what its configuration says: one record of names.

A kernel takes a row as `cell` and writes `cell.half_cycle.charge_ah`. Every number is a float64 and
NaN where nothing is known of it, flags are 0 or 1, and instants are event time in milliseconds.
What a checkpoint keeps is all of it but `config`, by name: a field may move, and one that is new
begins as `empty_cells` has it (see `layout`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from monitor.kernels.columns import BINS, CHANNELS, MARKS, SLOTS, TERMS, Record, Records

AMBIENT_UNKNOWN_C = -1_000.0


def _record(*fields: tuple[object, ...]) -> np.dtype[np.void]:
    """A dtype whose rows have their fields as attributes, in Python as in a kernel."""
    return np.dtype((np.record, np.dtype(list(fields), align=True)))


def _floats(*names: str) -> list[tuple[str, str]]:
    return [(name, "f8") for name in names]


HALF_CYCLE = _record(
    *_floats(
        "direction",  # +1 a charge runs, -1 a discharge, 0 neither
        "start_ms",
        "end_ms",  # of its newest sample under load
        "charge_ah",
        "energy_wh",
        "voltage_start_v",
        "voltage_end_v",
        "voltage_min_v",  # of its constant-current part
        "voltage_max_v",
        "current_as",  # integral of |I| over loaded time, A·s
        "current_squared_a2s",  # integral of I², A²·s
        "loaded_s",
        "temperature_cs",  # integral of T, °C·s
        "temperature_s",  # the time that it is taken over
        "temperature_max_c",
        "r60_ohm",
        "gap",  # 1 once a gap was met
        "from_end",  # 1 if it began at the opposite end of the charge
        "reached_end",
        "rest_voltage_v",  # before it, NaN where too old
        "marks_passed",  # how many, -1 where it did not begin full from a known rest
    ),
    ("mark_drop_v", "f8", (len(MARKS),)),  # one a mark, below the rest before
)
VOLTAGE_SIGNAL = _record(
    *_floats(
        "raw_v",  # the last plausible reading
        "frozen_since_ms",
        "frozen_current_a",  # as the reading began to stand still,
        "frozen_deviation_a",  # and how far the current went from it since
        "good_v",  # the last good voltage, its time and the current then
        "good_ms",
        "good_current_a",
        "suspect_v",  # a jump that the next sample has to confirm, NaN for none
        "run",  # where the newest good sample jumped to, +1 up or -1 down, 0 if it did not
        "glitches",  # and spikes, each weighing exp(-age / GLITCH_TAU_S)
    )
)
THERMOMETER = _record(
    *_floats(
        "raw_c",  # the last plausible reading
        "raw_ms",
        "frozen_since_ms",
        "frozen_current_a",
        "smallest_c",  # change ever seen: the sensor's step, NaN before any
        "change_c",  # the last one, with its sign
        "noise_c",  # mean size of changes that turn back
        "turns",  # how often changes turn back, 0 to 1: quick to rise, slow to fall
        "still",  # samples since the last change
        "longest",  # run of unchanged samples before a change, forgotten slowly
        "expected_c",  # what the load's change should have moved the reading since
        "extra_heat",  # the load's change, lagged, W per nominal Ah
        "was_frozen",
        "offset_c",  # sum of the impossible steps; 0 is a believed reading
        "stepped_ms",
        "climb",  # impossible steps up in a row
        "volts_before",  # the first of them
        "spiked",  # 1 where the temperature before was a spike
    )
)
SLOPE = _record(
    *_floats(
        "start_ms",  # where the slope is taken from: one to two spans ago, or the next one
        "start_c",
        "next_ms",  # and where the next is
        "next_c",
        "slope_c_per_s",  # as it was at the last sample
        "heating_c_per_s",  # the newest sample's features
        "rising_c_per_s",
    )
)
HEAT = _record(
    *_floats(
        "stored_w",  # the lumped balance's terms, filtered
        "cooled_w",
        "joule_w",
        "ambient_c",  # as measured, else as assumed
        "slot_start_ms",  # of the window's newest slot
        "slots_filled",
    )
)
BALANCE = _record(
    *_floats(
        "last_ms",  # of the last sample with current and temperature
        "c_rate",  # and what it read
        "temperature_c",
        "ambient_c",
        "voltage_v",
        "origin_ms",  # where the slots are counted from
        "number",  # of the running slot
        "gap_s",  # unseen time before the running slot, -1 for none
        "duration_s",  # sums over the running slot
        "warming_c",
        "sum_temperature_cs",
        "sum_ambient_cs",
        "sum_c_rate_s",
        "sum_c_rate_squared_s",
        "sum_voltage_vs",
        "joule",  # lagged heat terms
        "reversible",
        "deep",
        "charge_voltage",
        "discharge_voltage",
        "fixture_c",  # its rise over ambient
        "fast",  # evidence, W per nominal Ah
        "slow",
        "ambient_used_c",
    ),
    ("coefficient", "f8", (TERMS,)),
    ("covariance", "f8", (TERMS, TERMS)),
)
CONFIG = _record(
    *_floats(
        "nominal_ah",
        "charge_v",
        "discharge_v",
        "max_gap_ms",
        "heat_capacity_j_per_k",
        "cooling_w_per_k",
        "resistance_ohm",
        "soh_table",  # first table of the cell's family in the SOH model, -1 for none
        "configured",
    ),
    ("balance_mean", "f8", (TERMS,)),  # the adaptive balance's prior; NaN where no model has one
    ("balance_spread", "f8", (TERMS,)),  # its standard deviations
    ("temperature_max_c", "f8"),
    ("sensor", "i8"),  # index of the cell's sensor in its frame, -1 for none
)
# What every sample touches stands together, what few do at the end: with 100,000 cells the memory's
# prefetching is what counts.
CELL = _record(
    ("config", CONFIG),
    *_floats(
        "timestamp_ms",  # of the newest sample, and what it read
        "voltage_v",
        "current_a",
        "temperature_c",  # the newest that was believed
        "charge_in_ah",
        "charge_out_ah",
        "energy_in_wh",
        "energy_out_wh",
        "soc",
        "capacity_ah",  # last measured between full and empty
        "since_full_ah",  # net charge drawn since full, NaN if never full
        "dv_dt_v_per_s",
        "dt_dt_c_per_s",
        "voltage_mean_v",
        "voltage_var",
        "current_mean_a",
        "current_var",
        "temperature_mean_c",
        "temperature_var",
        "phase",
        "resistance_ohm",
        "rest_voltage_v",
        "rest_ms",  # of the newest rest voltage
        "rest_s",  # how long the running rest has lasted
        "charges",  # finished
        "discharges",
        "at_end",  # +1 full, -1 empty, 0 between, as last visited with little charge since
        "at_end_ah",
        "voltage_ms",  # of the newest good voltage and temperature
        "temperature_ms",
        "soh_unlike_bins",  # found unlike the training data at so many bins seen, 0 if not
    ),
    ("half_cycle", HALF_CYCLE),  # the running one, or the last
    ("voltage_signal", VOLTAGE_SIGNAL),
    ("thermometer", THERMOMETER),  # what is known of the thermometer itself
    ("slope", SLOPE),  # of the temperature, over a second or two
    ("heat", HEAT),
    ("window", "f4", (SLOTS, CHANNELS)),  # newest slot last
    ("balance", BALANCE),  # the adaptive one
    ("histogram", "f4", (2, BINS)),  # charge, discharge; Ah of the running half-cycle
)
MEMORY_FROM = CONFIG.itemsize  # all behind the config, to the record's end

_ZERO = (
    "charge_in_ah", "charge_out_ah", "energy_in_wh", "energy_out_wh", "phase", "charges",
    "discharges", "rest_s", "at_end", "at_end_ah", "soh_unlike_bins", "histogram", "window",
)  # fmt: skip
_ZERO_OF = {
    "half_cycle": (
        "direction", "charge_ah", "energy_wh", "current_as", "current_squared_a2s", "loaded_s",
        "temperature_cs", "temperature_s", "gap", "from_end", "reached_end",
    ),
    "voltage_signal": ("run", "glitches"),
    "thermometer": (
        "change_c", "noise_c", "turns", "still", "longest", "expected_c", "extra_heat",
        "was_frozen", "offset_c", "stepped_ms", "climb", "volts_before", "spiked",
    ),
    "heat": ("slots_filled",),
    "balance": (
        "origin_ms", "number", "duration_s", "warming_c", "sum_temperature_cs", "sum_ambient_cs",
        "sum_c_rate_s", "sum_c_rate_squared_s", "sum_voltage_vs", "joule", "reversible", "deep",
        "charge_voltage", "discharge_voltage", "fixture_c", "fast", "slow",
    ),
}  # fmt: skip


class HeatPrior(Protocol):
    """The heat balances' parameters before anything is known of a cell, per nominal Ah."""

    @property
    def heat_capacity_j_per_k_ah(self) -> float:
        """Heat capacity, J/K per Ah."""

    @property
    def cooling_w_per_k_ah(self) -> float:
        """Cooling to the ambient, W/K per Ah."""

    @property
    def resistance_ohm_ah(self) -> float:
        """Resistance times capacity, ohm Ah."""

    @property
    def balance_mean(self) -> Sequence[float]:
        """The adaptive balance's coefficients, in the order of BALANCE_TERMS."""

    @property
    def balance_spread(self) -> Sequence[float]:
        """Their standard deviations."""


def empty_cells(rows: int) -> Records:
    """(rows,) of CELL: cells that nothing has been seen of and that have no config."""
    cells = np.empty(rows, CELL)
    _set_unknown(cells)
    for name in _ZERO:
        cells[name] = 0.0
    for group, names in _ZERO_OF.items():
        for name in names:
            cells[group][name] = 0.0
    cells["balance"]["gap_s"] = -1.0
    cells["balance"]["ambient_used_c"] = AMBIENT_UNKNOWN_C
    cells["config"]["sensor"] = -1
    return cells


def _set_unknown(records: Records) -> None:
    names = records.dtype.names or ()
    for name in names:
        part = records[name]
        if part.dtype.names:
            _set_unknown(part)
        elif part.dtype.kind == "f":
            part[...] = np.nan


def cell_config(
    nominal_ah: float,
    charge_v: float,
    discharge_v: float,
    max_gap_ms: float,
    *,
    prior: HeatPrior | None = None,
    soh_table: float = -1.0,
    configured: bool = True,
    temperature_max_c: float = np.nan,
) -> Record:
    """One record of CONFIG, without a sensor. Without a prior no heat balance is computed."""
    config = np.empty(1, CONFIG)
    _set_unknown(config)
    row = config[0]
    row.nominal_ah = nominal_ah
    row.charge_v = charge_v
    row.discharge_v = discharge_v
    row.max_gap_ms = max_gap_ms
    row.soh_table = soh_table
    row.configured = float(configured)
    row.temperature_max_c = temperature_max_c
    row.sensor = -1
    if prior is not None:
        row.heat_capacity_j_per_k = prior.heat_capacity_j_per_k_ah * nominal_ah
        row.cooling_w_per_k = prior.cooling_w_per_k_ah * nominal_ah
        row.resistance_ohm = prior.resistance_ohm_ah / nominal_ah
        row.balance_mean = prior.balance_mean
        row.balance_spread = prior.balance_spread
    return row
