"""What the kernels write about a sample, a half-cycle and a cell: names, units and widths.

Enumerations here are columns of matrices, or bits. Positive current charges; time is event time.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Records = NDArray[Any]  # of a structured dtype; its rows are `Record`
Record = Any

# The incremental-capacity histogram: charge moved per bin of voltage.
BINS = 160
BIN_V = 0.01
BIN_FIRST_V = 2.7

CV_BAND_V = 0.01  # this close to the charge voltage, a charge is in its CV phase

SOH_BINS = 60
CHARGE_FIRST_V = 3.6  # the model's view of a charge: 60 bins of 10 mV, 3.60 to 4.20 V
DISCHARGE_FIRST_V = 3.0  # and of a discharge: 60 bins of 20 mV, 3.00 to 4.20 V

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
CHANNELS = len(SLOT_CHANNELS)
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


VOLTAGE_BAD = Quality.VOLTAGE_IMPOSSIBLE | Quality.VOLTAGE_FROZEN
TEMPERATURE_BAD = (
    Quality.TEMPERATURE_IMPOSSIBLE
    | Quality.TEMPERATURE_FROZEN
    | Quality.TEMPERATURE_SPIKE
    | Quality.TEMPERATURE_JUMP
)


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


FEATURES = len(Feature)


class Extra(IntEnum):
    """What limits watch beside the features, numbered on from them."""

    THERMAL_SCORE = FEATURES
    SOH_HIGH = FEATURES + 1  # the upper end of SOH's interval
    VOLTAGE_FAULT = FEATURES + 2  # 1 where the voltage is impossible or frozen
    TEMPERATURE_FAULT = FEATURES + 3
    IMBALANCE_V = FEATURES + 4  # highest less lowest cell of a frame, on its first cell
    KNEE_CYCLE = FEATURES + 5  # of a half-cycle's end: where a knee was noticed, 0 for none
    FADE_ACCELERATION = FEATURES + 6  # of a half-cycle's end: fade now over the long run's
    CURRENT_FAULT = FEATURES + 7  # 1 where the current is impossible


EXTRAS = len(Extra)


class Verdict(IntEnum):
    """What became of a frame."""

    ACCEPTED = 0
    NEW_SEGMENT = 1  # accepted, and the clock was set back: nothing is bridged
    DUPLICATE = 2
    LATE = 3
    FUTURE = 4


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


ENDED_WIDTH = len(Ended)


class Result(IntEnum):
    """Columns of a sample's result, as stored (float32) and as kept for the newest (float64)."""

    SOC = 0
    SOH = 1
    SOH_LOW = 2
    SOH_HIGH = 3
    SOH_STATE = 4  # a SohCode
    RESISTANCE_OHM = 5
    THERMAL_SCORE = 6
    EXCESS_HEAT_W = 7
    PHASE = 8
    QUALITY = 9
    DT_DT_C_PER_S = 10
    C_RATE = 11
    RISK = 12  # monitor.risk.Risk; written by `risk.judge_inplace`
    RISK_CAUSE = 13  # monitor.risk.Cause


RESULTS = len(Result)
RESULTS_BEFORE_RISK = 12  # what rows written by earlier versions have


def stored_rows(result: bytes, cells: int) -> Floats32:
    """A stored frame's result as (cells, RESULTS); what was not judged then is NaN.

    `cells` tells a row of an earlier version from one of today's.
    """
    flat = np.frombuffer(result, np.float32)
    if len(flat) != RESULTS_BEFORE_RISK * cells and len(flat) % RESULTS == 0:
        return flat.reshape(-1, RESULTS)
    old = flat.reshape(-1, RESULTS_BEFORE_RISK)
    return np.pad(old, ((0, 0), (0, RESULTS - RESULTS_BEFORE_RISK)), constant_values=np.nan)
