"""Incremental features: one plain loop over samples, O(1) each, for 1 cell or 100,000.

State is a struct of arrays with one row a cell (`CellState`). `update_inplace` walks the samples of
a batch in order, so no result depends on where a stream was cut into batches. Positive current
charges; time is event time.

What is computed, with dt the real step between a cell's consecutive samples:

* charge and energy counters: trapezoidal integrals of I and of V·I, apart for each direction;
* `soc`: coulomb counting from the last full (CV with the current under C/20) or empty (a
  discharge at the cut-off voltage) instant, over the capacity last measured between the two,
  else nominal;
* `heating_c_per_s`: the slope of T over the last second or two, for what happens in seconds, and
  `rising_c_per_s`, the same one reading earlier and with less proof;
* mean, variance and slope of V, I, T: exponential in event time with `TAU_S`, weight
  1 - exp(-dt/τ); the variance recursion is Finch (2009), "Incremental calculation of weighted
  mean and variance", equation 143;
* phase from current and the CC-CV corner; half-cycles (a charge or a discharge) found from it;
* `resistance_ohm`: ΔV/ΔI at a current step of at least C/4, averaged over steps; `r60_ohm`:
  (V(60 s after the start) - V at rest) / I;
* the incremental-capacity histogram: charge moved per 10 mV (dQ/dV times the bin's width), each
  step's charge spread evenly over the voltages it crossed;
* `excess_heat_w`: C·dT/dt + hA·(T - T_ambient) - I²R, each term through the same filter; what is
  left when the lumped heat balance (Bernardi et al. 1985 without the entropic term) is paid;
* heat evidence, the thermal model's input: what an adaptive balance of eight terms leaves over, in
  two exponential windows (see `balance_slot_inplace`).

A missing value is NaN. A sample whose voltage or temperature is impossible or frozen, or whose
temperature stepped faster than a cell's heat capacity allows, is flagged in its quality bits and
treated as missing. So is a voltage glitch: one sample that jumps from the last good one while the
current did not, unless the next one confirms it; a true jump is believed one sample late.

The module is long because Numba's cache sees changes of one file only: constants, columns and the
jitted functions that use them stand together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.jit import kernel, unfit

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

TAU_S = 60.0
QUICK_S = 0.9  # the least span of the quick slope; thermal runaway is a matter of seconds
RISING_TIMES = 4.0  # a reading that stands alone on a steady temperature is no rise
RISING_NOISES = 6.0  # nor is one that the thermometer's own flicker may have made
REST_C_RATE = 0.01  # below it a current counts as rest
CV_BAND_V = 0.01  # this close to the charge voltage, a charge is in its CV phase
FULL_C_RATE = 0.05
STEP_C_RATE = 0.25  # the smallest current step that gives a resistance
STEP_MAX_S = 20.0
STEP_WEIGHT = 0.3
R60_S = 60.0
V_REST_VALID_S = 1_200.0  # a rest voltage older than this says nothing about the load that follows
REST_SURVIVES_S = 10.0  # a load this short leaves the rest voltage standing (NASA's false current)
REST_ENDS_S = 600.0  # so long a rest ends a half-cycle
SMALLEST_HALF_CYCLE = 0.01  # of nominal capacity; a smaller one is a blip and is not reported
PLAUSIBLE_V = (0.0, 5.0)
PLAUSIBLE_C = (-60.0, 1_000.0)  # a burning cell is hot, not impossible
PLAUSIBLE_C_RATE = 50.0
FROZEN_S = 60.0
FROZEN_C_RATE = 0.2
# A thermometer that flickers by several of its own steps cannot show one value for long.
STILL_SAMPLES = 30.0
STILL_RUNS = 3.0  # times the longest run that it has shown before: some are read once a minute
FLICKERS = 0.4  # above it changes turn back so often, even under load, that they are noise
FLICKER_STEPS = 3.0  # noise over the smallest step seen
# One that does not flicker is frozen where the load should have moved it by so many steps.
STILL_STEPS = 10.0
STILL_LEAST_C = 3.0  # the balance is no finer
STILL_UNSEEN_C = 2.0  # for a thermometer that has never changed
STILL_LAG_S = 60.0  # from the cell's core to its sensor
USUAL_JOULE, USUAL_COOLING = 0.15, 0.03  # of the heat balance, where no model gives its prior
# A cell has a heat capacity: a reading that steps beyond these is the sensor's, not the cell's.
STEP_MOST_C = 4.0
STEP_MOST_C_PER_S = 0.2  # no healthy cell of 11,000 recorded hours was steeper
CLIMBS = 3.0  # so many impossible steps up in a row are a runaway, no sensor does that
COLLAPSED_SHARE = 0.75  # with the voltage under this share of what it was, a step up is believed
GLITCH_V = 0.5  # a larger jump in one sample has to be confirmed by the next
GLITCH_C_RATE = 0.1  # a voltage may jump when the current changes by this much
GLITCH_S = 30.0  # and after this time without a good sample any value may be true
GLITCH_TAU_S = 600.0  # glitches are counted with this memory
JUMP_S = 120.0  # a step that stays so long is a jump, until then a spike
AMBIENT_RISE_C_PER_S = (
    2.0 / 3600.0
)  # how fast an ambient that nobody measures may be believed to rise

BINS = 160
BIN_V = 0.01
BIN_FIRST_V = 2.7

SOH_BINS = 60
CHARGE_FIRST_V = 3.6  # the model's view of a charge: 60 bins of 10 mV, 3.60 to 4.20 V
DISCHARGE_FIRST_V = 3.0  # and of a discharge: 60 bins of 20 mV, 3.00 to 4.20 V

CHARGE_FIRST_BIN = round((CHARGE_FIRST_V - BIN_FIRST_V) / BIN_V)
DISCHARGE_FIRST_BIN = round((DISCHARGE_FIRST_V - BIN_FIRST_V) / BIN_V)
# The beginning of a discharge that began full is told by voltage differences instead of bins: the
# columns hold, mark after mark, the drop below the rest before (V) and the log of the last step.
MARKS = tuple(
    minutes / 60.0
    for minutes in (
        0.5,
        1.0,
        1.5,
        2.0,
        2.5,
        3.0,
        4.0,
        5.0,
        6.0,
        8.0,
        10.0,
        12.0,
        14.0,
        16.0,
        18.0,
        20.0,
    )
)  # charge drawn over nominal: minutes at 1C
FULL_REST_V = 0.05  # a cell that rests so little below its charge voltage is full
FEWEST_MARKS = 2
MARKS_END = 21.0 / 60.0  # with so much drawn the bins say more
SMALLEST_STEP_V = 0.001  # a smaller drop from mark to mark counts as this
MARK_SLACK = 1e-9  # of nominal: how far a sum of charges may round

SOH_INPUTS = (
    *((f"charge_in_bin_{b:02d}", "Ah per nominal Ah") for b in range(SOH_BINS)),
    ("window_start", "bin"),  # first bin crossed whole; 0 of a charge that began empty
    ("window_end", "bin"),  # one past the last
    ("table", "index"),  # thrice the cell's family, + 1 for a discharge, + 2 by its marks
    ("r60_ohm", "ohm"),  # -1 where unknown
    ("c_rate_mean", "1/h"),
    ("c_rate_spread", "1/h"),
)
SOH_WIDTH = len(SOH_INPUTS)

SLOTS = 16
SLOT_MS = 30_000  # one slot of the thermal window
SLOT_CHANNELS = (
    ("heat_evidence_fast", "W per nominal Ah"),
    ("heat_evidence_slow", "W per nominal Ah"),
    ("c_rate", "1/h"),
    ("rise_over_ambient", "degC"),
)
THERMAL_INPUTS = tuple(
    (f"{name}_{slot:02d}", unit) for slot in range(SLOTS) for name, unit in SLOT_CHANNELS
)  # oldest slot first
THERMAL_WIDTH = len(THERMAL_INPUTS)


# The adaptive heat balance, per nominal Ah and in slots of SLOT_MS.
BALANCE_TERMS = (
    "joule", "cooling", "offset", "reversible", "deep_discharge", "charge_voltage",
    "discharge_voltage", "fixture",
)  # fmt: skip
TERMS = len(BALANCE_TERMS)
HEAT_CAPACITY_J_PER_K_AH = 20.0  # an 18650: 45 g at 0.9 to 1.0 J/(g K) over 2.0 to 2.6 Ah
BALANCE_LAG_S = 45.0  # from the core to the sensor
FIXTURE_S = 3_600.0  # what holds the cell warms with it and gives the heat back
ARRHENIUS_K = 2_000.0  # of the Joule term, over the gas constant
REFERENCE_K = 298.15
DEEP_V = 3.4  # below it polarisation grows out of proportion
DEEP_MOST_V = 1.0
USUAL_V = 3.8  # where no voltage is known
WALK_S = 2.0 * 86_400.0  # in this time the coefficients' walk has the prior's variance again
BALANCE_NOISE_W_PER_AH = 0.3  # of one slot; model error lasts many slots, so it is large
INNOVATION_MOST_W_PER_AH = 0.2
HOLD_W_PER_AH = 0.08  # slow evidence above which nothing is learned
# Two windows of evidence. The fast one is for much heat at once and must allow for what a heavy
# load's start does to the balance; the slow one is for little heat that stays, so a slot cannot
# weigh much in it. Neither falls under zero: heat that was missing earlier pays for nothing.
EVIDENCE_FAST_S = 150.0
EVIDENCE_SLOW_S = 400.0
FAST_MOST_W_PER_AH = 0.6
SLOW_MOST_W_PER_AH = 0.15
EVIDENCE_LEAST_W_PER_AH = -0.4
FAST_MODEL_SHARE = 0.5  # of the load's own heat that the balance may be wrong by
SLOW_MODEL_SHARE = 0.1  # the same, of the Joule heat
AMBIENT_UNKNOWN_C = -1_000.0


class Phase(IntEnum):
    """What a cell is doing."""

    UNKNOWN = 0
    REST = 1
    CC_CHARGE = 2
    CV_CHARGE = 3
    DISCHARGE = 4


class Quality(IntEnum):
    """Bits that say what is wrong with a sample; 0 is a good one."""

    VOLTAGE_MISSING = 1
    CURRENT_MISSING = 2
    TEMPERATURE_MISSING = 4
    VOLTAGE_IMPOSSIBLE = 8
    CURRENT_IMPOSSIBLE = 16
    TEMPERATURE_IMPOSSIBLE = 32
    VOLTAGE_FROZEN = 64
    TEMPERATURE_FROZEN = 128
    NO_CONFIG = 256
    AFTER_GAP = 512
    AMBIENT_ASSUMED = 1024
    TEMPERATURE_SPIKE = 2048  # stepped faster than the cell can
    TEMPERATURE_JUMP = 4096  # and stayed there
    VOLTAGE_GLITCH = 8192


class Feature(IntEnum):
    """Columns of the feature matrix, one row a sample."""

    CHARGE_IN_AH = 0
    CHARGE_OUT_AH = 1
    ENERGY_IN_WH = 2
    ENERGY_OUT_WH = 3
    C_RATE = 4
    SOC = 5
    DV_DT_V_PER_S = 6
    DT_DT_C_PER_S = 7
    VOLTAGE_MEAN_V = 8
    VOLTAGE_VAR = 9
    CURRENT_MEAN_A = 10
    CURRENT_VAR = 11
    TEMPERATURE_MEAN_C = 12
    TEMPERATURE_VAR = 13
    RISE_C = 14
    PHASE = 15
    RESISTANCE_OHM = 16
    HALF_CYCLE_AH = 17
    HALF_CYCLE_S = 18
    EXCESS_HEAT_W = 19
    VOLTAGE_V = 20  # as accepted: NaN where missing, impossible or frozen
    CURRENT_A = 21
    TEMPERATURE_C = 22
    AMBIENT_C = 23
    DIRECTION = 24  # of the running half-cycle: +1 charge, -1 discharge, 0 none
    GLITCHES = 25  # voltage glitches and spikes, each weighing exp(-age / GLITCH_TAU_S)
    # The smaller of the last two slopes over QUICK_S and more; of a reading that is not believed
    # because it stepped up, how far, K.
    HEATING_C_PER_S = 26
    # The newest slope as far as the one before bears it out: at most RISING_TIMES as steep.
    RISING_C_PER_S = 27


class Ended(IntEnum):
    """Columns of a finished half-cycle."""

    KIND = 0  # +1 charge, -1 discharge
    START_MS = 1
    END_MS = 2
    CHARGE_AH = 3
    ENERGY_WH = 4
    VOLTAGE_START_V = 5
    VOLTAGE_END_V = 6
    CURRENT_MEAN_A = 7
    TEMPERATURE_MEAN_C = 8
    TEMPERATURE_MAX_C = 9
    R60_OHM = 10
    COMPLETE = 11
    NUMBER = 12


class Param(IntEnum):
    """Columns of what a cell's configuration tells the kernel."""

    NOMINAL_AH = 0
    CHARGE_V = 1
    DISCHARGE_V = 2
    MAX_GAP_MS = 3
    HEAT_CAPACITY_J_PER_K = 4
    COOLING_W_PER_K = 5
    RESISTANCE_OHM = 6
    TABLE = 7  # first table of the cell's family in the SOH model, -1 for none
    CONFIGURED = 8
    BALANCE_MEAN = 9  # TERMS columns: the adaptive balance's prior; NaN where no model has one
    BALANCE_SPREAD = 17  # TERMS columns: its standard deviations


class S(IntEnum):
    """Columns of a cell's state."""

    T_MS = 0
    V = 1
    I = 2  # noqa: E741  # the field's sign for current
    T = 3
    AMBIENT = 4
    CHARGE_IN = 5
    CHARGE_OUT = 6
    ENERGY_IN = 7
    ENERGY_OUT = 8
    SOC = 9
    CAPACITY = 10  # last measured between full and empty
    SINCE_FULL = 11  # net charge drawn since full, NaN if never full
    DV_DT = 12
    DT_DT = 13
    V_MEAN = 14
    V_VAR = 15
    I_MEAN = 16
    I_VAR = 17
    T_MEAN = 18
    T_VAR = 19
    PHASE = 20
    R_STEP = 21
    V_REST = 22
    DIRECTION = 23
    HC_START = 24
    HC_END = 25
    HC_AH = 26
    HC_WH = 27
    HC_V0 = 28
    HC_V1 = 29
    HC_VMIN = 30
    HC_VMAX = 31
    HC_I_S = 32  # integral of |I| over loaded time, A·s
    HC_II_S = 33  # integral of I², A²·s
    HC_LOAD_S = 34
    HC_T_S = 35  # integral of T, C·s
    HC_T_TIME = 36
    HC_TMAX = 37
    HC_R60 = 38
    HC_GAP = 39  # 1 once a gap was met
    HC_FROM_END = 40  # 1 if it began at the opposite end of the charge
    HC_REACHED_END = 41
    CHARGES = 42
    DISCHARGES = 43
    REST_S = 44
    AT_END = 45  # +1 full, -1 empty, 0 between, as last visited with little charge since
    AT_END_AH = 46
    HEAT_STORED = 47
    HEAT_COOLED = 48
    HEAT_JOULE = 49
    FROZEN_SINCE = 51
    FROZEN_I = 52
    FROZEN_T_SINCE = 53
    FROZEN_T_I = 54
    AMBIENT_EST = 55
    SLOT_START = 56
    SLOTS_FILLED = 57
    V_LAST_MS = 58
    T_LAST_MS = 59
    RAW_V = 60
    RAW_T = 61
    V_REST_MS = 62
    HC_V_REST = 63
    FROZEN_DEV = 64


class B(IntEnum):
    """Columns of the adaptive balance's state, after those of `S` in the same row."""

    LAST_MS = 66  # of the last sample with current and temperature
    C_RATE = 67  # and what it read
    TEMPERATURE = 68
    AMBIENT = 69
    VOLTAGE = 70
    ORIGIN_MS = 71  # where the slots are counted from
    NUMBER = 72  # of the running slot
    GAP_S = 73  # unseen time before the running slot, -1 for none
    DURATION_S = 74  # sums over the running slot
    WARMING = 75
    SUM_TEMPERATURE = 76
    SUM_AMBIENT = 77
    SUM_C_RATE = 78
    SUM_SQUARE = 79
    SUM_VOLTAGE = 80
    JOULE = 81  # lagged heat terms
    REVERSIBLE = 82
    DEEP = 83
    CHARGE_V = 84
    DISCHARGE_V = 85
    FIXTURE = 86  # its rise over ambient
    FAST = 87  # evidence, W per nominal Ah
    SLOW = 88
    AMBIENT_USED = 89
    COEFFICIENT = 90  # TERMS
    COVARIANCE = 98  # TERMS times TERMS


class G(IntEnum):
    """Columns of what is known of the thermometer itself, after those of `B` in the same row."""

    RAW_MS = 162  # of the last plausible reading
    SMALLEST_C = 163  # change ever seen: the sensor's step, NaN before any
    CHANGE_C = 164  # the last one, with its sign
    NOISE_C = 165  # mean size of changes that turn back
    TURNS = 166  # how often changes turn back, 0 to 1: quick to rise, slow to fall
    STILL = 167  # samples since the last change
    LONGEST = 168  # run of unchanged samples before a change, forgotten slowly
    EXPECTED_C = 169  # what the load's change should have moved the reading since
    EXTRA_HEAT = 170  # the load's change, lagged, W per nominal Ah
    WAS_FROZEN = 171
    OFFSET_C = 172  # sum of the impossible steps; 0 is a believed reading
    STEPPED_MS = 173
    CLIMB = 174  # impossible steps up in a row
    VOLTS_BEFORE = 175  # the first of them


class J(IntEnum):
    """Columns of what tells a jump of the voltage, after those of `G` in the same row."""

    V = 176  # the last good voltage, its time and the current then
    V_MS = 177
    V_I = 178
    SUSPECT = 179  # a jump that the next sample has to confirm, NaN for none
    RUN = 180  # where the newest good sample jumped to, +1 up or -1 down, 0 if it did not
    COUNT = 181
    SPIKED = 182  # 1 where the temperature before was a spike


class H(IntEnum):
    """Columns of the quick slope of the temperature, after those of `J` in the same row."""

    START_MS = 183  # where the slope is taken from: one to two spans ago, or the next one
    START_C = 184
    NEXT_MS = 185  # and where the next is
    NEXT_C = 186
    SLOPE = 187  # as it was at the last sample
    HEATING = 188  # the newest sample's feature
    RISING = 189


class K(IntEnum):
    """Columns of a discharge's marks, after those of `H` in the same row."""

    PASSED = 190  # how many marks, -1 where it did not begin full from a known rest
    DROP = 191  # one a mark, V below the rest before


STATE_WIDTH = int(K.DROP) + len(MARKS)
FEATURES = len(Feature)
ENDED_WIDTH = len(Ended)
PARAMS = int(Param.BALANCE_SPREAD) + len(BALANCE_TERMS)


@dataclass(slots=True)
class CellState:
    """Everything the kernel remembers, one row a cell. About 3.3 KB a cell."""

    scalars: Floats  # (rows, STATE_WIDTH)
    histogram: Floats32  # (rows, 2, BINS): charge, discharge; Ah of the running half-cycle
    window: Floats32  # (rows, SLOTS, channels), newest slot last
    params: Floats  # (rows, PARAMS)
    sensor: Ints  # (rows,), index of the cell's sensor in its frame, -1 for none

    @staticmethod
    def empty(rows: int) -> CellState:
        """State of `rows` cells that nothing has been seen of."""
        scalars = np.full((rows, STATE_WIDTH), np.nan)
        scalars[:, _ZERO] = 0.0
        scalars[:, int(B.ORIGIN_MS) : int(B.COEFFICIENT)] = 0.0
        scalars[:, int(G.CHANGE_C) : int(G.VOLTS_BEFORE) + 1] = 0.0
        scalars[:, B.GAP_S] = -1.0
        scalars[:, B.AMBIENT_USED] = AMBIENT_UNKNOWN_C
        return CellState(
            scalars,
            np.zeros((rows, 2, BINS), np.float32),
            np.zeros((rows, SLOTS, len(SLOT_CHANNELS)), np.float32),
            np.full((rows, PARAMS), np.nan),
            np.full(rows, -1, np.int64),
        )

    @property
    def rows(self) -> int:
        """How many cells there is room for."""
        return len(self.scalars)

    def bytes_per_cell(self) -> int:
        """Bytes of state a cell takes."""
        arrays = (self.scalars, self.histogram, self.window, self.params, self.sensor)
        return sum(array.nbytes for array in arrays) // max(1, self.rows)


_ZERO = [
    S.CHARGE_IN, S.CHARGE_OUT, S.ENERGY_IN, S.ENERGY_OUT, S.PHASE, S.DIRECTION, S.HC_AH, S.HC_WH,
    S.HC_I_S, S.HC_II_S, S.HC_LOAD_S, S.HC_T_S, S.HC_T_TIME, S.HC_GAP, S.HC_FROM_END,
    S.HC_REACHED_END, S.CHARGES, S.DISCHARGES, S.REST_S, S.AT_END, S.AT_END_AH, S.SLOTS_FILLED,
    J.RUN, J.COUNT, J.SPIKED,
]  # fmt: skip


@dataclass(slots=True)
class FrameColumns:
    """A run of frames as columns; frame f holds cells row[f] .. row[f] + cells[f] - 1."""

    row: Ints
    cells: Ints
    timestamp_ms: Ints
    current_a: Floats
    ambient_c: Floats
    volts: Floats  # flat, all frames
    volts_from: Ints
    volts_count: Ints
    temperatures: Floats  # flat, all frames
    temperatures_from: Ints
    temperatures_count: Ints
    new_segment: NDArray[np.bool_]  # the clock jumped back: bridge nothing


@dataclass(slots=True)
class Outputs:
    """Room for what the kernel writes about up to `size` samples; reused between calls."""

    size: int
    row: Ints = field(init=False)
    frame: Ints = field(init=False)
    timestamp_ms: Ints = field(init=False)
    features: Floats = field(init=False)
    quality: Ints = field(init=False)
    soh_inputs: Floats32 = field(init=False)
    soh_usable: NDArray[np.bool_] = field(init=False)
    thermal_inputs: Floats32 = field(init=False)
    thermal_usable: NDArray[np.bool_] = field(init=False)
    ended: Floats = field(init=False)
    ended_sample: Ints = field(init=False)
    ended_histogram: Floats32 = field(init=False)

    def __post_init__(self) -> None:
        n = self.size
        self.row = np.empty(n, np.int64)
        self.frame = np.empty(n, np.int64)
        self.timestamp_ms = np.empty(n, np.int64)
        self.features = np.empty((n, FEATURES))
        self.quality = np.empty(n, np.int64)
        self.soh_inputs = np.zeros((n, SOH_WIDTH), np.float32)
        self.soh_usable = np.empty(n, np.bool_)
        self.thermal_inputs = np.zeros((n, THERMAL_WIDTH), np.float32)
        self.thermal_usable = np.empty(n, np.bool_)
        self.ended = np.empty((n, ENDED_WIDTH))
        self.ended_sample = np.empty(n, np.int64)
        self.ended_histogram = np.empty((n, BINS), np.float32)


def update_inplace(state: CellState, frames: FrameColumns, out: Outputs) -> tuple[int, int]:
    """Run frames through the features; returns how many samples and half-cycle ends were written.

    `out.size` must be at least the sum of `frames.cells`. Raises ValueError where it is not, and
    where a frame reaches past the state's rows or its own values.
    """
    samples, ended = _update_inplace(
        state.scalars, state.histogram, state.window, state.params, state.sensor,
        frames.row, frames.cells, frames.timestamp_ms, frames.current_a, frames.ambient_c,
        frames.volts, frames.volts_from, frames.volts_count,
        frames.temperatures, frames.temperatures_from, frames.temperatures_count,
        frames.new_segment,
        out.row, out.frame, out.timestamp_ms,
        out.features, out.quality, out.soh_inputs, out.soh_usable,
        out.thermal_inputs, out.thermal_usable, out.ended, out.ended_sample, out.ended_histogram,
    )  # fmt: skip
    if samples < 0:
        raise _unfit(state, frames, out, int(ended))
    return int(samples), int(ended)


def _unfit(state: CellState, frames: FrameColumns, out: Outputs, frame: int) -> ValueError:
    """What does not fit: a frame by its number, -1 for the arrays' lengths."""
    everything = {
        name: getattr(part, name)
        for part in (state, frames, out)
        for name in part.__slots__
        if name != "size"
    }
    if frame < 0:
        return unfit("state, frames and outputs", **everything)
    f = frames
    return ValueError(
        f"frame {frame:,} of {len(f.row):,}: cells {f.row[frame]:,} and {f.cells[frame]:,} on, "
        f"voltages {f.volts_from[frame]:,} and {f.volts_count[frame]:,} on, temperatures "
        f"{f.temperatures_from[frame]:,} and {f.temperatures_count[frame]:,} on do not fit "
        f"{state.rows:,} cells, {len(f.volts):,} voltages, {len(f.temperatures):,} temperatures "
        f"and room for {out.size:,} samples"
    )


@kernel
def _fits(
    scalars: Floats, histogram: Floats32, window: Floats32, params: Floats, sensor: Ints,
    f_row: Ints, f_cells: Ints, f_t: Ints, f_i: Floats, f_ambient: Floats,
    v_from: Ints, v_count: Ints, t_from: Ints, t_count: Ints, new_segment: NDArray[np.bool_],
    out_row: Ints, out_frame: Ints, out_t: Ints,
    features: Floats, quality: Ints, soh_x: Floats32, soh_ok: NDArray[np.bool_],
    thermal_x: Floats32, thermal_ok: NDArray[np.bool_],
    ended: Floats, ended_sample: Ints, ended_histogram: Floats32,
) -> bool:  # fmt: skip
    """Whether all arrays of the state, of the frames and of the outputs are of one length each."""
    rows = len(scalars)
    if scalars.shape != (rows, STATE_WIDTH) or histogram.shape != (rows, 2, BINS):
        return False
    if window.shape != (rows, SLOTS, len(SLOT_CHANNELS)) or params.shape != (rows, PARAMS):
        return False
    frames = len(f_row)
    if rows != len(sensor) or not frames == len(f_cells) == len(f_t) == len(f_i):
        return False
    if not frames == len(f_ambient) == len(v_from) == len(v_count) == len(t_from) == len(t_count):
        return False
    size = len(out_row)
    if frames != len(new_segment) or not size == len(out_frame) == len(out_t) == len(quality):
        return False
    if not size == len(soh_ok) == len(thermal_ok) == len(ended_sample):
        return False
    if features.shape != (size, FEATURES) or ended.shape != (size, ENDED_WIDTH):
        return False
    if soh_x.shape != (size, SOH_WIDTH) or thermal_x.shape != (size, THERMAL_WIDTH):
        return False
    return bool(ended_histogram.shape == (size, BINS))


@kernel
def _first_unfit(
    row: Ints, cells: Ints, v_from: Ints, v_count: Ints, t_from: Ints, t_count: Ints,
    rows: int, size: int, volts: int, temps: int,
) -> int:  # fmt: skip
    """The first frame that reaches past the state, the values or the room; -1 where none does."""
    left = size
    for f in range(len(row)):
        if row[f] < 0 or cells[f] < 0 or cells[f] > rows - row[f] or cells[f] > left:
            return f
        if v_from[f] < 0 or v_count[f] < 0 or v_count[f] > volts - v_from[f]:
            return f
        if t_from[f] < 0 or t_count[f] < 0 or t_count[f] > temps - t_from[f]:
            return f
        left -= cells[f]
    return -1


@kernel
def _update_inplace(
    scalars: Floats, histogram: Floats32, window: Floats32, params: Floats, sensor: Ints,
    f_row: Ints, f_cells: Ints, f_t: Ints, f_i: Floats, f_ambient: Floats,
    volts: Floats, v_from: Ints, v_count: Ints,
    temps: Floats, t_from: Ints, t_count: Ints, new_segment: NDArray[np.bool_],
    out_row: Ints, out_frame: Ints, out_t: Ints,
    features: Floats, quality: Ints, soh_x: Floats32, soh_ok: NDArray[np.bool_],
    thermal_x: Floats32, thermal_ok: NDArray[np.bool_],
    ended: Floats, ended_sample: Ints, ended_histogram: Floats32,
) -> tuple[int, int]:  # fmt: skip
    """As above; -1 and the frame that does not fit, -1 for sizes, and nothing done."""
    if not _fits(
        scalars, histogram, window, params, sensor, f_row, f_cells, f_t, f_i, f_ambient,
        v_from, v_count, t_from, t_count, new_segment, out_row, out_frame, out_t,
        features, quality, soh_x, soh_ok, thermal_x, thermal_ok,
        ended, ended_sample, ended_histogram,
    ):  # fmt: skip
        return -1, -1
    wrong = _first_unfit(
        f_row, f_cells, v_from, v_count, t_from, t_count,
        len(scalars), len(out_row), len(volts), len(temps),
    )  # fmt: skip
    if wrong >= 0:
        return -1, wrong
    n = 0
    m = 0
    for f in range(len(f_row)):
        for k in range(f_cells[f]):
            row = f_row[f] + k
            v = volts[v_from[f] + k] if k < v_count[f] else np.nan
            s = sensor[row]
            temp = temps[t_from[f] + s] if 0 <= s < t_count[f] else np.nan
            state = scalars[row]
            hist = histogram[row]
            win = window[row]
            param = params[row]
            if new_segment[f]:
                _forget_times_inplace(state)
            q, v, i, temp = _screen_inplace(state, param, f_t[f], v, f_i[f], temp, new_segment[f])
            finished = _half_cycle_inplace(
                state, hist, param, f_t[f], v, i, new_segment[f], ended[m], ended_histogram[m]
            )
            if finished:
                ended_sample[m] = n
                m += 1
            if not np.isnan(temp) and not np.isnan(i):
                _balance_inplace(state, param, f_t[f], v, i, temp, f_ambient[f], new_segment[f])
            q, usable = _thermal_inplace(
                state, win, param, f_t[f], i, temp, f_ambient[f], new_segment[f], q
            )
            heating = _heating_inplace(state, param, f_t[f], temp)
            if q & Quality.TEMPERATURE_SPIKE and state[G.OFFSET_C] > 0.0:
                heating = state[G.OFFSET_C]  # a broken sensor, or a runaway
            state[H.HEATING] = heating
            _remember_inplace(state, param, f_t[f], v, i, temp)
            thermal_ok[n] = usable
            if usable:
                for slot in range(SLOTS):
                    for channel in range(4):
                        thermal_x[n, slot * 4 + channel] = win[slot, channel]
            soh_ok[n] = _soh_row_inplace(state, hist, param, v, soh_x[n])
            quality[n] = q
            out_row[n] = row
            out_frame[n] = f
            out_t[n] = f_t[f]
            _features_inplace(state, param, v, i, temp, f_ambient[f], heating, features[n])
            n += 1
    return n, m


@kernel
def _forget_times_inplace(s: Floats) -> None:
    """The clock was set back: no earlier instant may be compared with what comes."""
    for column in (
        S.V_LAST_MS, S.T_LAST_MS, S.V_REST, S.V_REST_MS, S.RAW_V, S.RAW_T, S.DV_DT, S.DT_DT,
    ):  # fmt: skip
        s[column] = np.nan
    s[G.RAW_MS] = np.nan
    s[J.V_MS] = np.nan


@kernel
def _screen_inplace(
    s: Floats, p: Floats, t: int, v: float, i: float, temp: float, segment: bool
) -> tuple[int, float, float, float]:
    """Flag what is missing, impossible or frozen; such a value goes on as NaN."""
    q = 0
    if p[Param.CONFIGURED] == 0.0:
        q |= Quality.NO_CONFIG
    nominal = p[Param.NOMINAL_AH]
    last = s[S.T_MS]
    broken = segment or np.isnan(last) or t - last > p[Param.MAX_GAP_MS]
    if not segment and not np.isnan(last) and t - last > p[Param.MAX_GAP_MS]:
        q |= Quality.AFTER_GAP
    if np.isnan(i):
        q |= Quality.CURRENT_MISSING
    elif not abs(i) <= PLAUSIBLE_C_RATE * nominal:
        q |= Quality.CURRENT_IMPOSSIBLE
        i = np.nan
    if np.isnan(v):
        q |= Quality.VOLTAGE_MISSING
    elif not PLAUSIBLE_V[0] <= v <= PLAUSIBLE_V[1]:
        q |= Quality.VOLTAGE_IMPOSSIBLE
        v = np.nan
    else:
        if v != s[S.RAW_V] or broken:
            s[S.RAW_V] = v
            s[S.FROZEN_SINCE] = t
            s[S.FROZEN_I] = i
            s[S.FROZEN_DEV] = 0.0
        else:
            if np.isnan(s[S.FROZEN_I]):
                s[S.FROZEN_I] = i
            elif abs(i - s[S.FROZEN_I]) > s[S.FROZEN_DEV]:
                s[S.FROZEN_DEV] = abs(i - s[S.FROZEN_I])
            if (
                t - s[S.FROZEN_SINCE] >= FROZEN_S * 1000.0
                and s[S.FROZEN_DEV] >= FROZEN_C_RATE * nominal
            ):
                q |= Quality.VOLTAGE_FROZEN
                v = np.nan
    if np.isnan(temp):
        q |= Quality.TEMPERATURE_MISSING
    elif not PLAUSIBLE_C[0] <= temp <= PLAUSIBLE_C[1]:
        q |= Quality.TEMPERATURE_IMPOSSIBLE
        temp = np.nan
    else:
        fault = _gauge_inplace(s, p, t, v, i, temp)
        if fault != 0:
            q |= fault
            temp = np.nan
    if t > last:
        s[J.COUNT] *= np.exp(-(t - last) / (1000.0 * GLITCH_TAU_S))
    spiked = 1.0 if q & Quality.TEMPERATURE_SPIKE else 0.0
    if spiked > s[J.SPIKED]:
        s[J.COUNT] += 1.0
    s[J.SPIKED] = spiked
    if not np.isnan(v):
        if _jumped_inplace(s, t, v, i, nominal):
            q |= Quality.VOLTAGE_GLITCH
            s[J.COUNT] += 1.0
            v = np.nan
        else:
            s[J.V] = v
            s[J.V_MS] = t
            s[J.V_I] = i
            s[J.SUSPECT] = np.nan
    return q, v, i, temp


@kernel
def _jumped_inplace(s: Floats, t: int, v: float, i: float, nominal: float) -> bool:
    """Whether v jumps from the last good voltage and the sample before does not bear it out."""
    going, s[J.RUN] = s[J.RUN], 0.0
    # A change of current explains a step; so may one that is not known.
    explained = not abs(i - s[J.V_I]) < GLITCH_C_RATE * nominal
    step = v - s[J.V]
    if explained or not t - s[J.V_MS] <= GLITCH_S * 1000.0 or abs(step) <= GLITCH_V:
        return False
    before = s[J.SUSPECT]
    stays = abs(v - before) <= GLITCH_V
    if stays or (v - before) * (before - s[J.V]) > 0.0 or going * step > 0.0:
        s[J.RUN] = 1.0 if step > 0.0 else -1.0  # it stays there, or goes on in the same direction
        return False
    s[J.SUSPECT] = v
    return True


@kernel
def _gauge_inplace(s: Floats, p: Floats, t: int, v: float, i: float, temp: float) -> int:
    """What is wrong with a plausible temperature reading, as quality bits; 0 is nothing.

    Compares the reading with the one before it and with what the sensor has shown so far. After a
    gap it starts anew: nothing can be compared.
    """
    since = t - s[G.RAW_MS]
    change = temp - s[S.RAW_T]
    if not (0.0 <= since <= p[Param.MAX_GAP_MS]):
        s[G.OFFSET_C] = 0.0
        s[G.CLIMB] = 0.0
        _new_reading_inplace(s, t, i, temp)
        return 0
    if change == 0.0:
        return _still_inplace(s, p, t, i, since) | _stepped(s, t)
    frozen = s[G.WAS_FROZEN] == 1.0
    span_s = (t - s[S.FROZEN_T_SINCE] if frozen else since) / 1000.0
    if abs(change) > STEP_MOST_C + STEP_MOST_C_PER_S * span_s:
        if s[G.OFFSET_C] == 0.0:
            s[G.STEPPED_MS] = t
            s[G.VOLTS_BEFORE] = s[S.V]
        s[G.OFFSET_C] += change
        s[G.CLIMB] = s[G.CLIMB] + 1.0 if change > 0.0 else 0.0
        back = abs(s[G.OFFSET_C]) <= STEP_MOST_C + STEP_MOST_C_PER_S * span_s
        if back or s[G.CLIMB] >= CLIMBS:
            s[G.OFFSET_C] = 0.0
    else:
        s[G.CLIMB] = 0.0
        _flicker_inplace(s, change)
    if s[G.OFFSET_C] > 0.0 and v < COLLAPSED_SHARE * s[G.VOLTS_BEFORE]:
        s[G.OFFSET_C] = 0.0
        s[G.CLIMB] = CLIMBS
    s[G.LONGEST] = max(0.99 * s[G.LONGEST], s[G.STILL])
    _new_reading_inplace(s, t, i, temp)
    return _stepped(s, t)


@kernel
def _new_reading_inplace(s: Floats, t: int, i: float, temp: float) -> None:
    s[S.RAW_T] = temp
    s[G.RAW_MS] = t
    s[S.FROZEN_T_SINCE] = t
    s[S.FROZEN_T_I] = i
    s[G.STILL] = 0.0
    s[G.EXPECTED_C] = 0.0
    s[G.EXTRA_HEAT] = 0.0
    s[G.WAS_FROZEN] = 0.0


@kernel
def _flicker_inplace(s: Floats, change: float) -> None:
    """The sensor's step, and how large and how frequent its noise is."""
    if not abs(change) >= s[G.SMALLEST_C]:
        s[G.SMALLEST_C] = abs(change)
    turned = change * s[G.CHANGE_C] < 0.0
    if turned:
        s[G.NOISE_C] += 0.02 * (abs(change) - s[G.NOISE_C])
        s[G.TURNS] += 0.01 * (1.0 - s[G.TURNS])
    else:
        s[G.TURNS] -= 0.001 * s[G.TURNS]
    s[G.CHANGE_C] = change


@kernel
def _still_inplace(s: Floats, p: Floats, t: int, i: float, since_ms: float) -> int:
    """An unchanged reading: whether the sensor's own noise or the load says that it is frozen."""
    s[G.RAW_MS] = t
    s[G.STILL] += 1.0
    if np.isnan(s[S.FROZEN_T_I]):
        s[S.FROZEN_T_I] = i
    elif not np.isnan(i):
        nominal = p[Param.NOMINAL_AH]
        c = i / nominal
        c0 = s[S.FROZEN_T_I] / nominal
        known = not np.isnan(p[Param.BALANCE_MEAN])
        joule = p[Param.BALANCE_MEAN] if known else USUAL_JOULE
        cooling = p[Param.BALANCE_MEAN + 1] if known else USUAL_COOLING
        dt = since_ms / 1000.0
        lag = 1.0 - np.exp(-dt / STILL_LAG_S)
        s[G.EXTRA_HEAT] += lag * (joule * (c * c - c0 * c0) - s[G.EXTRA_HEAT])
        rate = (s[G.EXTRA_HEAT] - cooling * s[G.EXPECTED_C]) / HEAT_CAPACITY_J_PER_K_AH
        s[G.EXPECTED_C] += rate * dt
    step = s[G.SMALLEST_C]
    must_move = max(STILL_LEAST_C, STILL_STEPS * step) if step > 0.0 else STILL_UNSEEN_C
    noisy = s[G.TURNS] > FLICKERS and s[G.NOISE_C] >= FLICKER_STEPS * step
    too_long = noisy and s[G.STILL] >= max(STILL_SAMPLES, STILL_RUNS * s[G.LONGEST])
    unmoved = abs(s[G.EXPECTED_C]) >= must_move
    if t - s[S.FROZEN_T_SINCE] >= FROZEN_S * 1000.0 and (too_long or unmoved):
        s[G.WAS_FROZEN] = 1.0
        return Quality.TEMPERATURE_FROZEN + 0
    return 0


@kernel
def _stepped(s: Floats, t: int) -> int:
    """The bits of a reading that stands away from where the cell can be."""
    if s[G.OFFSET_C] == 0.0:
        return 0
    if t - s[G.STEPPED_MS] >= JUMP_S * 1000.0:
        return Quality.TEMPERATURE_JUMP + 0
    return Quality.TEMPERATURE_SPIKE + 0


@kernel
def _phase(p: Floats, v: float, i: float) -> int:
    if np.isnan(i):
        return Phase.UNKNOWN + 0
    if abs(i) < REST_C_RATE * p[Param.NOMINAL_AH]:
        return Phase.REST + 0
    if i < 0.0:
        return Phase.DISCHARGE + 0
    if v >= p[Param.CHARGE_V] - CV_BAND_V:
        return Phase.CV_CHARGE + 0
    return Phase.CC_CHARGE + 0


@kernel
def _half_cycle_inplace(
    s: Floats, hist: Floats32, p: Floats, t: int, v: float, i: float, segment: bool,
    end_row: Floats, end_hist: Floats32,
) -> bool:  # fmt: skip
    """Counters, state of charge, resistance, half-cycles and the histogram; True if one ended."""
    last = s[S.T_MS]
    gap = segment or (not np.isnan(last) and t - last > p[Param.MAX_GAP_MS])
    bridged = not np.isnan(last) and not gap and t > last
    nominal = p[Param.NOMINAL_AH]
    before = int(s[S.PHASE])
    phase = _phase(p, v, i)
    direction = 0
    if phase == Phase.CC_CHARGE or phase == Phase.CV_CHARGE:
        direction = 1
    elif phase == Phase.DISCHARGE:
        direction = -1
    before_direction = 0
    if before == Phase.CC_CHARGE or before == Phase.CV_CHARGE:
        before_direction = 1
    elif before == Phase.DISCHARGE:
        before_direction = -1

    finished = False
    if gap and s[S.DIRECTION] != 0.0:
        if segment:
            s[S.HC_GAP] = 1.0  # the old clock's half-cycle ends here, incomplete
        if segment or before == Phase.REST or s[S.HC_REACHED_END] == 1.0:
            finished = _end_inplace(s, hist, nominal, end_row, end_hist)
        else:
            s[S.HC_GAP] = 1.0
    if gap and before_direction != 0:
        s[S.SINCE_FULL] = np.nan  # charge may have moved unseen
        s[S.AT_END] = 0.0

    # Rest ends a half-cycle only when it lasts: a pulse train is one discharge.
    if phase == Phase.REST:
        if bridged and before == Phase.REST:
            s[S.REST_S] += (t - last) / 1000.0
        if s[S.DIRECTION] != 0.0 and s[S.REST_S] >= REST_ENDS_S:
            finished = _end_inplace(s, hist, nominal, end_row, end_hist)
    else:
        s[S.REST_S] = 0.0
    if direction != 0 and direction != s[S.DIRECTION]:
        if s[S.DIRECTION] != 0.0:
            finished = _end_inplace(s, hist, nominal, end_row, end_hist)
        _start_inplace(s, hist, p, t, last, direction, v, bridged)

    if bridged:
        dt = (t - last) / 1000.0
        i0 = s[S.I]
        if np.isnan(i) or np.isnan(i0):
            if s[S.DIRECTION] != 0.0:
                s[S.HC_GAP] = 1.0
            s[S.SINCE_FULL] = np.nan
        else:
            dq = 0.5 * (i + i0) * dt / 3600.0
            if dq > 0.0:
                s[S.CHARGE_IN] += dq
            else:
                s[S.CHARGE_OUT] -= dq
            if not np.isnan(s[S.SINCE_FULL]):
                s[S.SINCE_FULL] -= dq
            if not np.isnan(s[S.SOC]):
                capacity = nominal if np.isnan(s[S.CAPACITY]) else s[S.CAPACITY]
                s[S.SOC] = min(1.0, max(0.0, s[S.SOC] + dq / capacity))
            if s[S.AT_END] != 0.0:
                s[S.AT_END_AH] += abs(dq)
            v0 = s[S.V]
            volts_known = not np.isnan(v) and not np.isnan(v0)
            dw = 0.0
            if volts_known:
                dw = 0.5 * (v * i + v0 * i0) * dt / 3600.0
                if dw > 0.0:
                    s[S.ENERGY_IN] += dw
                else:
                    s[S.ENERGY_OUT] -= dw
                step = i - i0
                if dt <= STEP_MAX_S and abs(step) >= STEP_C_RATE * nominal:
                    r = (v - v0) / step
                    if 0.0 < r < 5.0:
                        if np.isnan(s[S.R_STEP]):
                            s[S.R_STEP] = r
                        else:
                            s[S.R_STEP] += STEP_WEIGHT * (r - s[S.R_STEP])
            sign = s[S.DIRECTION]
            if sign != 0.0 and dq * sign > 0.0:
                s[S.HC_AH] += dq * sign
                s[S.HC_WH] += dw * sign
                if direction == sign and before_direction == sign and before != Phase.CV_CHARGE:
                    mean = 0.5 * (i + i0) * sign
                    s[S.HC_I_S] += mean * dt
                    s[S.HC_II_S] += mean * mean * dt
                    s[S.HC_LOAD_S] += dt
                    if volts_known:
                        _spread_inplace(hist[0 if sign > 0.0 else 1], v0, v, dq * sign)
                        if sign < 0.0:
                            _mark_inplace(s, nominal, v0, v, dq * sign)

    if direction != 0:
        s[S.HC_END] = t
        if not np.isnan(v):
            s[S.HC_V1] = v
            if phase != Phase.CV_CHARGE or before != Phase.CV_CHARGE:
                if not s[S.HC_VMIN] <= v:
                    s[S.HC_VMIN] = v
                if not s[S.HC_VMAX] >= v:
                    s[S.HC_VMAX] = v
            if (
                np.isnan(s[S.HC_R60])
                and t - s[S.HC_START] >= R60_S * 1000.0
                and not np.isnan(s[S.HC_V_REST])
            ):
                r = (v - s[S.HC_V_REST]) / i
                if 0.0 < r < 5.0:
                    s[S.HC_R60] = r
    elif phase == Phase.REST and not np.isnan(v):
        s[S.V_REST] = v
        s[S.V_REST_MS] = t

    _anchor_inplace(s, p, phase, v, i)
    s[S.PHASE] = phase
    return finished


@kernel
def _start_inplace(
    s: Floats, hist: Floats32, p: Floats, t: int, last: float, direction: int, v: float,
    bridged: bool,
) -> None:  # fmt: skip
    s[S.DIRECTION] = direction
    s[S.HC_START] = last if bridged else t
    s[S.HC_END] = t
    s[S.HC_AH] = 0.0
    s[S.HC_WH] = 0.0
    s[S.HC_V0] = v
    s[S.HC_V1] = v
    s[S.HC_VMIN] = np.nan
    s[S.HC_VMAX] = np.nan
    s[S.HC_I_S] = 0.0
    s[S.HC_II_S] = 0.0
    s[S.HC_LOAD_S] = 0.0
    s[S.HC_T_S] = 0.0
    s[S.HC_T_TIME] = 0.0
    s[S.HC_TMAX] = np.nan
    s[S.HC_R60] = np.nan
    s[S.HC_GAP] = 0.0
    s[S.HC_REACHED_END] = 0.0
    s[S.HC_FROM_END] = 1.0 if s[S.AT_END] == -direction else 0.0
    fresh = t - s[S.V_REST_MS] <= V_REST_VALID_S * 1000.0
    s[S.HC_V_REST] = s[S.V_REST] if fresh else np.nan
    from_full = direction < 0 and s[S.HC_V_REST] >= p[Param.CHARGE_V] - FULL_REST_V
    s[K.PASSED] = 0.0 if from_full else -1.0
    hist[:, :] = 0.0


@kernel
def _end_inplace(
    s: Floats, hist: Floats32, nominal: float, row: Floats, row_hist: Floats32
) -> bool:
    """Close the running half-cycle; a blip leaves no trace. True if it was written to `row`."""
    direction = s[S.DIRECTION]
    s[S.DIRECTION] = 0.0
    if s[S.HC_AH] < SMALLEST_HALF_CYCLE * nominal:
        return False
    counter = S.CHARGES if direction > 0.0 else S.DISCHARGES
    s[counter] += 1.0
    if s[S.V_REST_MS] < s[S.HC_END] - REST_SURVIVES_S * 1000.0:
        s[S.V_REST] = np.nan
        s[S.V_REST_MS] = np.nan
    row[Ended.KIND] = direction
    row[Ended.START_MS] = s[S.HC_START]
    row[Ended.END_MS] = s[S.HC_END]
    row[Ended.CHARGE_AH] = s[S.HC_AH]
    row[Ended.ENERGY_WH] = s[S.HC_WH]
    row[Ended.VOLTAGE_START_V] = s[S.HC_V0]
    row[Ended.VOLTAGE_END_V] = s[S.HC_V1]
    hours = (s[S.HC_END] - s[S.HC_START]) / 3.6e6
    row[Ended.CURRENT_MEAN_A] = direction * s[S.HC_AH] / hours if hours > 0.0 else np.nan
    known = s[S.HC_T_TIME] > 0.0
    row[Ended.TEMPERATURE_MEAN_C] = s[S.HC_T_S] / s[S.HC_T_TIME] if known else np.nan
    row[Ended.TEMPERATURE_MAX_C] = s[S.HC_TMAX]
    row[Ended.R60_OHM] = s[S.HC_R60]
    whole = s[S.HC_GAP] == 0.0 and s[S.HC_FROM_END] == 1.0 and s[S.HC_REACHED_END] == 1.0
    row[Ended.COMPLETE] = 1.0 if whole else 0.0
    row[Ended.NUMBER] = s[counter]
    side = 0 if direction > 0.0 else 1
    for b in range(BINS):
        row_hist[b] = hist[side, b]
    return True


@kernel
def _anchor_inplace(s: Floats, p: Floats, phase: int, v: float, i: float) -> None:
    """Set the state of charge where it is known: full at the end of CV, empty at the cut-off."""
    nominal = p[Param.NOMINAL_AH]
    if phase == Phase.CV_CHARGE and i < FULL_C_RATE * nominal:
        s[S.SOC] = 1.0
        s[S.SINCE_FULL] = 0.0
        s[S.AT_END] = 1.0
        s[S.AT_END_AH] = 0.0
        s[S.HC_REACHED_END] = 1.0
    elif phase == Phase.DISCHARGE and v <= p[Param.DISCHARGE_V]:
        s[S.SOC] = 0.0
        if not np.isnan(s[S.SINCE_FULL]) and s[S.SINCE_FULL] > 0.1 * nominal:
            s[S.CAPACITY] = s[S.SINCE_FULL]
        s[S.AT_END] = -1.0
        s[S.AT_END_AH] = 0.0
        s[S.HC_REACHED_END] = 1.0
    elif s[S.AT_END] != 0.0 and s[S.AT_END_AH] > 0.03 * nominal and s[S.HC_REACHED_END] == 0.0:
        s[S.AT_END] = 0.0


@kernel
def _spread_inplace(hist: Floats32, v0: float, v1: float, charge_ah: float) -> None:
    """Add charge to the bins between two voltages, in proportion to the span in each."""
    low = (min(v0, v1) - BIN_FIRST_V) / BIN_V
    high = (max(v0, v1) - BIN_FIRST_V) / BIN_V
    first = int(np.floor(low))
    final = int(np.floor(high))
    if first == final:
        if 0 <= first < BINS:
            hist[first] += charge_ah
        return
    for b in range(max(first, 0), min(final, BINS - 1) + 1):
        share = (min(high, b + 1.0) - max(low, b + 0.0)) / (high - low)
        hist[b] += charge_ah * share


@kernel
def _smooth_inplace(s: Floats, x: float, a: float, mean: int, var: int) -> None:
    if np.isnan(s[mean]):
        s[mean] = x
        s[var] = 0.0
    else:
        difference = x - s[mean]
        s[mean] += a * difference
        s[var] = (1.0 - a) * (s[var] + a * difference * difference)


@kernel
def _thermal_inplace(
    s: Floats, win: Floats32, p: Floats, t: int, i: float, temp: float, ambient: float,
    segment: bool, q: int,
) -> tuple[int, bool]:  # fmt: skip
    """The lumped heat balance and its window; returns the quality and whether it can be scored."""
    last = s[S.T_LAST_MS]
    broken = segment or np.isnan(last) or t - last > p[Param.MAX_GAP_MS]
    if np.isnan(temp):
        return q, False
    if np.isnan(ambient):
        q |= Quality.AMBIENT_ASSUMED
        if np.isnan(s[S.AMBIENT_EST]) or temp < s[S.AMBIENT_EST]:
            s[S.AMBIENT_EST] = temp
        elif not broken:
            rise = AMBIENT_RISE_C_PER_S * (t - last) / 1000.0
            s[S.AMBIENT_EST] = min(temp, s[S.AMBIENT_EST] + rise)
    else:
        s[S.AMBIENT_EST] = ambient
    rise_c = temp - s[S.AMBIENT_EST]
    if s[S.DIRECTION] != 0.0 and not s[S.HC_TMAX] >= temp:
        s[S.HC_TMAX] = temp
    if broken or np.isnan(i) or np.isnan(s[S.I]):
        s[S.HEAT_STORED] = 0.0
        s[S.HEAT_COOLED] = 0.0
        s[S.HEAT_JOULE] = 0.0
        s[S.SLOTS_FILLED] = 0.0
        s[S.SLOT_START] = t
        return q, False
    dt = (t - last) / 1000.0
    if dt <= 0.0:
        return q, False
    if s[S.DIRECTION] != 0.0:
        s[S.HC_T_S] += 0.5 * (temp + s[S.T]) * dt
        s[S.HC_T_TIME] += dt
    a = 1.0 - np.exp(-dt / TAU_S)
    mean_i = 0.5 * (i + s[S.I])
    stored = p[Param.HEAT_CAPACITY_J_PER_K] * (temp - s[S.T]) / dt
    cooled = p[Param.COOLING_W_PER_K] * (0.5 * (temp + s[S.T]) - s[S.AMBIENT_EST])
    joule = p[Param.RESISTANCE_OHM] * mean_i * mean_i
    s[S.HEAT_STORED] += a * (stored - s[S.HEAT_STORED])
    s[S.HEAT_COOLED] += a * (cooled - s[S.HEAT_COOLED])
    s[S.HEAT_JOULE] += a * (joule - s[S.HEAT_JOULE])

    steps = int((t - s[S.SLOT_START]) // SLOT_MS)
    if steps > 0 or s[S.SLOTS_FILLED] == 0.0:
        # What came before the first slot is taken to have been like it.
        shift = SLOTS if s[S.SLOTS_FILLED] == 0.0 else min(max(steps, 1), SLOTS)
        for slot in range(SLOTS - shift):
            for channel in range(4):
                win[slot, channel] = win[slot + shift, channel]
        for slot in range(SLOTS - shift, SLOTS - 1):
            _slot_inplace(win[slot], s, p, i, rise_c)
        s[S.SLOT_START] += steps * SLOT_MS
        s[S.SLOTS_FILLED] = min(s[S.SLOTS_FILLED] + shift, SLOTS)
    _slot_inplace(win[SLOTS - 1], s, p, i, rise_c)
    return q, not np.isnan(s[B.COEFFICIENT])


@kernel
def _balance_inplace(
    s: Floats, p: Floats, t: int, v: float, i: float, temp: float, ambient: float, segment: bool
) -> None:
    """Gather a sample with current and temperature into the running slot; close full slots."""
    if np.isnan(p[Param.BALANCE_MEAN]):
        return
    c = i / p[Param.NOMINAL_AH]
    last = s[B.LAST_MS]
    if not segment and t == last:
        return
    if segment or np.isnan(last) or t < last or t - last > p[Param.MAX_GAP_MS]:
        if s[B.DURATION_S] > 0.0:
            _close_slot_inplace(s, p)
        forward = not segment and not np.isnan(last) and t > last
        s[B.GAP_S] = (t - last) / 1000.0 if forward else 1e9
        s[B.ORIGIN_MS] = t
        s[B.NUMBER] = 0.0
    else:
        number = (t - s[B.ORIGIN_MS] - 1.0) // SLOT_MS
        if number != s[B.NUMBER]:
            if s[B.DURATION_S] > 0.0:
                _close_slot_inplace(s, p)
            s[B.NUMBER] = number
        dt = (t - last) / 1000.0
        before = s[B.C_RATE]
        s[B.DURATION_S] += dt
        s[B.WARMING] += temp - s[B.TEMPERATURE]
        s[B.SUM_TEMPERATURE] += 0.5 * (temp + s[B.TEMPERATURE]) * dt
        s[B.SUM_AMBIENT] += 0.5 * (ambient + s[B.AMBIENT]) * dt
        s[B.SUM_C_RATE] += 0.5 * (c + before) * dt
        s[B.SUM_SQUARE] += (c * c + c * before + before * before) / 3.0 * dt
        s[B.SUM_VOLTAGE] += 0.5 * (v + s[B.VOLTAGE]) * dt
    s[B.LAST_MS] = t
    s[B.C_RATE] = c
    s[B.TEMPERATURE] = temp
    s[B.AMBIENT] = ambient
    s[B.VOLTAGE] = v


@kernel
def _close_slot_inplace(s: Floats, p: Floats) -> None:
    dt = s[B.DURATION_S]
    balance_slot_inplace(
        s, p, s[B.GAP_S], dt, s[B.WARMING], s[B.SUM_TEMPERATURE] / dt, s[B.SUM_AMBIENT] / dt,
        s[B.SUM_C_RATE] / dt, s[B.SUM_SQUARE] / dt, s[B.SUM_VOLTAGE] / dt, True,
    )  # fmt: skip
    s[B.GAP_S] = -1.0
    for column in range(B.DURATION_S, B.JOULE):
        s[column] = 0.0


@kernel
def balance_slot_inplace(
    s: Floats, p: Floats, gap_s: float, dt: float, warming_c: float, temp: float,
    ambient: float, c: float, c2: float, v: float, adapt: bool,
) -> tuple[float, float]:  # fmt: skip
    """One slot of the adaptive heat balance; returns what is left over and the rise over ambient.

    Per nominal Ah: C dT/dt = r j(c², T) - h (T - T_ambient) + b + s c' + d q + e u + f w + g T_fix
    + what is left over. j is Joule heat with Arrhenius resistance, b an offset of an ambient that
    nobody measures, s c' reversible heat (Bernardi et al. 1985, J. Electrochem. Soc. 132, 5, eq.
    25), q the discharge rate times how far the voltage is below DEEP_V, u and w the charge and the
    discharge rate times where in its window the voltage is (the entropic coefficient and the
    resistance depend on the state of charge), T_fix the rise of what holds the cell; the heat terms
    pass a lag. The coefficients start at the prior and follow the cell as a random walk (Kalman
    1960), with an innovation that is clipped and a stop while evidence stands, so that a fault is
    not learned away. What is left over, less a share of the load's heat and clipped, goes into the
    two windows of evidence. `gap_s` is the unseen time before the slot, -1 for none; evidence fades
    through it.
    """
    if np.isnan(s[B.COEFFICIENT]):
        for j in range(TERMS):
            s[B.COEFFICIENT + j] = p[Param.BALANCE_MEAN + j]
            for n in range(TERMS):
                s[B.COVARIANCE + TERMS * j + n] = 0.0
            s[B.COVARIANCE + (TERMS + 1) * j] = p[Param.BALANCE_SPREAD + j] ** 2
    if gap_s >= 0.0:
        s[B.FAST] *= np.exp(-gap_s / EVIDENCE_FAST_S)
        s[B.SLOW] *= np.exp(-gap_s / EVIDENCE_SLOW_S)
        s[B.FIXTURE] *= np.exp(-gap_s / FIXTURE_S)
        for column in range(B.JOULE, B.FIXTURE):
            s[column] = 0.0
    if not np.isnan(ambient):
        s[B.AMBIENT_USED] = ambient
    elif s[B.AMBIENT_USED] == AMBIENT_UNKNOWN_C or temp < s[B.AMBIENT_USED]:
        s[B.AMBIENT_USED] = temp
    else:
        s[B.AMBIENT_USED] = min(temp, s[B.AMBIENT_USED] + AMBIENT_RISE_C_PER_S * dt)
    rise = temp - s[B.AMBIENT_USED]
    a = 1.0 - np.exp(-dt / BALANCE_LAG_S)
    if np.isnan(v):
        v = USUAL_V
    charging = max(c, 0.0)
    discharging = max(-c, 0.0)
    joule = c2 * np.exp(ARRHENIUS_K * (1.0 / (temp + 273.15) - 1.0 / REFERENCE_K))
    below = min(max(DEEP_V - v, 0.0), DEEP_MOST_V)
    s[B.JOULE] += a * (joule - s[B.JOULE])
    s[B.REVERSIBLE] += a * (c - s[B.REVERSIBLE])
    s[B.DEEP] += a * (discharging * below - s[B.DEEP])
    s[B.CHARGE_V] += a * (charging * min(max((v - 4.0) / 0.2, -2.0), 1.0) - s[B.CHARGE_V])
    where = min(max((v - DEEP_V) / 0.3, -1.0), 1.5)
    s[B.DISCHARGE_V] += a * (discharging * where - s[B.DISCHARGE_V])
    s[B.FIXTURE] += (1.0 - np.exp(-dt / FIXTURE_S)) * (rise - s[B.FIXTURE])
    x = (
        s[B.JOULE], -rise, 1.0, s[B.REVERSIBLE], s[B.DEEP], s[B.CHARGE_V], s[B.DISCHARGE_V],
        s[B.FIXTURE],
    )  # fmt: skip
    expected = 0.0
    for j in range(TERMS):
        expected += x[j] * s[B.COEFFICIENT + j]
    excess = HEAT_CAPACITY_J_PER_K_AH * warming_c / dt - expected
    own = x[0] * abs(s[B.COEFFICIENT])
    load = own + x[4] * abs(s[B.COEFFICIENT + 4])
    fast = _evidence(excess, FAST_MODEL_SHARE * load, FAST_MOST_W_PER_AH)
    slow = _evidence(excess, SLOW_MODEL_SHARE * own, SLOW_MOST_W_PER_AH)
    s[B.FAST] += (1.0 - np.exp(-dt / EVIDENCE_FAST_S)) * (fast - s[B.FAST])
    s[B.SLOW] += (1.0 - np.exp(-dt / EVIDENCE_SLOW_S)) * (slow - s[B.SLOW])
    s[B.FAST] = max(s[B.FAST], 0.0)
    s[B.SLOW] = max(s[B.SLOW], 0.0)
    if not adapt or s[B.SLOW] >= HOLD_W_PER_AH:
        return excess, rise
    spread = BALANCE_NOISE_W_PER_AH * BALANCE_NOISE_W_PER_AH * 30.0 / max(dt, 1.0)
    for j in range(TERMS):
        prior = p[Param.BALANCE_SPREAD + j] ** 2
        cell = B.COVARIANCE + (TERMS + 1) * j
        s[cell] = min(s[cell] + prior * dt / WALK_S, 4.0 * prior)
    gain = (
        _gain(s, x, 0), _gain(s, x, 1), _gain(s, x, 2), _gain(s, x, 3), _gain(s, x, 4),
        _gain(s, x, 5), _gain(s, x, 6), _gain(s, x, 7),
    )  # fmt: skip
    for j in range(TERMS):
        spread += x[j] * gain[j]
    innovation = min(max(excess, -INNOVATION_MOST_W_PER_AH), INNOVATION_MOST_W_PER_AH)
    for j in range(TERMS):
        s[B.COEFFICIENT + j] += gain[j] / spread * innovation
        for n in range(TERMS):
            s[B.COVARIANCE + TERMS * j + n] -= gain[j] * gain[n] / spread
    return excess, rise


@kernel
def _evidence(excess: float, margin: float, most: float) -> float:
    """What of the excess the balance's own error does not explain, clipped."""
    left: float = max(0.0, excess - margin) if excess > 0.0 else min(0.0, excess + margin)
    return float(min(max(left, EVIDENCE_LEAST_W_PER_AH), most))


@kernel
def _gain(s: Floats, x: tuple[float, ...], row: int) -> float:
    """One element of the covariance times x."""
    total = 0.0
    for n in range(TERMS):
        total += s[B.COVARIANCE + TERMS * row + n] * x[n]
    return total


@kernel
def _slot_inplace(slot: Floats32, s: Floats, p: Floats, i: float, rise_c: float) -> None:
    slot[0] = s[B.FAST]
    slot[1] = s[B.SLOW]
    slot[2] = i / p[Param.NOMINAL_AH]
    slot[3] = rise_c


@kernel
def _heating_inplace(s: Floats, p: Floats, t: int, temp: float) -> float:
    """The quick slope of the temperature, C/s; two in a row, so that one odd reading is none.

    `H.RISING` is the newest slope as far as the one before rose too: an odd reading stands on a
    steady temperature, a cell that heats has begun to.
    """
    s[H.RISING] = np.nan
    if np.isnan(temp):
        return np.nan
    last = s[S.T_LAST_MS]
    if np.isnan(last) or t < last or t - last > p[Param.MAX_GAP_MS]:
        s[H.START_MS] = t
        s[H.START_C] = temp
        s[H.NEXT_MS] = t
        s[H.NEXT_C] = temp
        s[H.SLOPE] = np.nan
        return np.nan
    if t - s[H.NEXT_MS] >= QUICK_S * 1000.0:
        s[H.START_MS] = s[H.NEXT_MS]
        s[H.START_C] = s[H.NEXT_C]
        s[H.NEXT_MS] = t
        s[H.NEXT_C] = temp
    span_ms = t - s[H.START_MS]
    if span_ms < QUICK_S * 1000.0:
        return np.nan
    before = s[H.SLOPE]
    s[H.SLOPE] = (temp - s[H.START_C]) * 1000.0 / span_ms
    if np.isnan(before):
        return np.nan
    s[H.RISING] = min(s[H.SLOPE], RISING_TIMES * before)
    if temp - s[H.START_C] < RISING_NOISES * s[G.NOISE_C]:
        s[H.RISING] = min(s[H.RISING], 0.0)
    return float(min(before, s[H.SLOPE]))


@kernel
def _remember_inplace(s: Floats, p: Floats, t: int, v: float, i: float, temp: float) -> None:
    """Means, variances and slopes; then this sample becomes the previous one."""
    last = s[S.T_MS]
    a = 1.0
    if not np.isnan(last) and t > last:
        a = 1.0 - np.exp(-(t - last) / (1000.0 * TAU_S))
    if not np.isnan(v):
        v_last = s[S.V_LAST_MS]
        _smooth_inplace(s, v, a, S.V_MEAN, S.V_VAR)
        if np.isnan(v_last) or t - v_last > p[Param.MAX_GAP_MS] or t < v_last:
            s[S.DV_DT] = np.nan
        elif v_last == last and t > last:
            slope = (v - s[S.V]) * 1000.0 / (t - last)
            before = 0.0 if np.isnan(s[S.DV_DT]) else s[S.DV_DT]
            s[S.DV_DT] = before + a * (slope - before)
        s[S.V_LAST_MS] = t
    if not np.isnan(i):
        _smooth_inplace(s, i, a, S.I_MEAN, S.I_VAR)
    if not np.isnan(temp):
        t_last = s[S.T_LAST_MS]
        _smooth_inplace(s, temp, a, S.T_MEAN, S.T_VAR)
        if np.isnan(t_last) or t - t_last > p[Param.MAX_GAP_MS] or t < t_last:
            s[S.DT_DT] = np.nan
        elif t_last == last and t > last:
            slope = (temp - s[S.T]) * 1000.0 / (t - last)
            before = 0.0 if np.isnan(s[S.DT_DT]) else s[S.DT_DT]
            s[S.DT_DT] = before + a * (slope - before)
        s[S.T_LAST_MS] = t
        s[S.T] = temp
    s[S.V] = v
    s[S.I] = i
    s[S.T_MS] = t


@kernel
def _mark_inplace(s: Floats, nominal: float, v0: float, v: float, charge_ah: float) -> None:
    """Keep the voltage's drop at each mark that a discharge's newest step has passed."""
    drawn = s[S.HC_AH] / nominal
    before = drawn - charge_ah / nominal
    passed = int(s[K.PASSED])
    while 0 <= passed < len(MARKS) and MARKS[passed] <= drawn + MARK_SLACK:
        if MARKS[passed] < before - MARK_SLACK:
            passed = -1  # it fell where the voltage was not known under load
        else:
            share = min(1.0, max(0.0, (MARKS[passed] - before) / (drawn - before)))
            s[K.DROP + passed] = s[S.HC_V_REST] - (v0 + share * (v - v0))
            passed += 1
    s[K.PASSED] = passed


@kernel
def _soh_row_inplace(s: Floats, hist: Floats32, p: Floats, v: float, x: Floats32) -> bool:
    """The SOH model's input: bins that were crossed whole, or a discharge's marks; the frame."""
    sign = s[S.DIRECTION]
    phase = int(s[S.PHASE])
    if (
        sign == 0.0
        or s[S.HC_GAP] == 1.0
        or p[Param.TABLE] < 0.0
        or np.isnan(v)
        or phase == Phase.REST
        or phase == Phase.UNKNOWN
        or s[S.HC_LOAD_S] <= 0.0
    ):
        return False
    nominal = p[Param.NOMINAL_AH]
    scale = np.float32(1.0 / nominal)
    table = p[Param.TABLE] + (0.0 if sign > 0.0 else 1.0)
    if sign > 0.0:
        first = CHARGE_FIRST_BIN
        for b in range(SOH_BINS):
            x[b] = hist[0, first + b] * scale
        start = np.ceil((s[S.HC_VMIN] - CHARGE_FIRST_V) / BIN_V)
        if s[S.HC_FROM_END] == 1.0:
            start = 0.0  # below where it began there is no charge to be had
        end = np.floor((s[S.HC_VMAX] - CHARGE_FIRST_V) / BIN_V)
    elif s[K.PASSED] >= FEWEST_MARKS and s[S.HC_AH] < MARKS_END * nominal:
        table += 1.0
        start, end = 0.0, 2.0 * s[K.PASSED]
        before = 0.0
        for b in range(SOH_BINS):
            x[b] = 0.0
        for k in range(int(s[K.PASSED])):
            drop = s[K.DROP + k]
            x[2 * k] = drop
            x[2 * k + 1] = np.log(max(drop - before, SMALLEST_STEP_V))
            before = drop
    else:
        first = DISCHARGE_FIRST_BIN
        for b in range(SOH_BINS):
            x[b] = (hist[1, first + 2 * b] + hist[1, first + 2 * b + 1]) * scale
        start = np.ceil((s[S.HC_VMIN] - DISCHARGE_FIRST_V) / (2.0 * BIN_V))
        end = np.floor((s[S.HC_VMAX] - DISCHARGE_FIRST_V) / (2.0 * BIN_V))
    start = min(max(start, 0.0), float(SOH_BINS))
    end = min(max(end, 0.0), float(SOH_BINS))
    x[SOH_BINS] = start
    x[SOH_BINS + 1] = max(end, start)
    x[SOH_BINS + 2] = table
    x[SOH_BINS + 3] = -1.0 if np.isnan(s[S.HC_R60]) else s[S.HC_R60]
    mean = s[S.HC_I_S] / s[S.HC_LOAD_S]
    x[SOH_BINS + 4] = mean / nominal
    x[SOH_BINS + 5] = np.sqrt(max(0.0, s[S.HC_II_S] / s[S.HC_LOAD_S] - mean * mean)) / nominal
    return bool(end > start)


@kernel
def _features_inplace(
    s: Floats, p: Floats, v: float, i: float, temp: float, ambient: float, heating: float, x: Floats
) -> None:
    nominal = p[Param.NOMINAL_AH] if p[Param.CONFIGURED] == 1.0 else np.nan
    x[Feature.CHARGE_IN_AH] = s[S.CHARGE_IN]
    x[Feature.CHARGE_OUT_AH] = s[S.CHARGE_OUT]
    x[Feature.ENERGY_IN_WH] = s[S.ENERGY_IN]
    x[Feature.ENERGY_OUT_WH] = s[S.ENERGY_OUT]
    x[Feature.C_RATE] = i / nominal
    x[Feature.SOC] = s[S.SOC] if p[Param.CONFIGURED] == 1.0 else np.nan
    x[Feature.DV_DT_V_PER_S] = s[S.DV_DT]
    x[Feature.DT_DT_C_PER_S] = s[S.DT_DT]
    x[Feature.VOLTAGE_MEAN_V] = s[S.V_MEAN]
    x[Feature.VOLTAGE_VAR] = s[S.V_VAR]
    x[Feature.CURRENT_MEAN_A] = s[S.I_MEAN]
    x[Feature.CURRENT_VAR] = s[S.I_VAR]
    x[Feature.TEMPERATURE_MEAN_C] = s[S.T_MEAN]
    x[Feature.TEMPERATURE_VAR] = s[S.T_VAR]
    x[Feature.RISE_C] = temp - ambient
    x[Feature.PHASE] = s[S.PHASE]
    x[Feature.RESISTANCE_OHM] = s[S.R_STEP]
    running = s[S.DIRECTION] != 0.0
    x[Feature.HALF_CYCLE_AH] = s[S.HC_AH] if running else np.nan
    x[Feature.HALF_CYCLE_S] = (s[S.HC_END] - s[S.HC_START]) / 1000.0 if running else np.nan
    known = s[S.SLOTS_FILLED] > 0.0 and not np.isnan(temp) and not np.isnan(i)
    balance = s[S.HEAT_STORED] + s[S.HEAT_COOLED] - s[S.HEAT_JOULE]
    x[Feature.EXCESS_HEAT_W] = balance if known else np.nan
    x[Feature.VOLTAGE_V] = v
    x[Feature.CURRENT_A] = i
    x[Feature.TEMPERATURE_C] = temp
    x[Feature.AMBIENT_C] = ambient
    x[Feature.DIRECTION] = s[S.DIRECTION]
    x[Feature.GLITCHES] = s[J.COUNT]
    x[Feature.HEATING_C_PER_S] = heating
    x[Feature.RISING_C_PER_S] = s[H.RISING]
