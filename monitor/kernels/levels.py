"""The levels of risk that thermal signals give: plain Python, for the page as for a kernel.

The physical limits stand beside the model and need no model. A sensor that is missing or faulty
never reads as safe: without a believable temperature the level is at least `watch`, and not below
what it was when the sensor was lost.
"""

from __future__ import annotations

WATCH_SCORE = 0.6
WARNING_SCORE = 1.0
DANGER_SCORE = 3.0
NEAR_LIMIT_C = 5.0  # this close under the maximum temperature is worth a look
WARNING_SLOPE_C_PER_S = 0.1  # no healthy cell of 11,000 recorded hours was steeper than 0.2
DANGER_SLOPE_C_PER_S = 0.5
DANGER_OVER_LIMIT_C = 10.0


def levels(
    temperature_c: float, temperature_max_c: float, slope_c_per_s: float, heating_c_per_s: float,
    rising_c_per_s: float, score: float, lost: bool, held: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """The level that each of `Cause` 1 to 4 gives; NaN is unknown, `lost` without temperature.

    A reading that stepped up further than a cell can may be a broken sensor or a runaway: until it
    is known which, that is a warning. A steep reading is a warning at once where the one before
    rose too, and a danger when the next one is as steep.
    """
    hot = 0
    over = temperature_c - temperature_max_c
    if over > DANGER_OVER_LIMIT_C:
        hot = 3
    elif over > 0.0:
        hot = 2
    elif over > -NEAR_LIMIT_C:
        hot = 1
    steep = 0
    if slope_c_per_s > DANGER_SLOPE_C_PER_S or heating_c_per_s > DANGER_SLOPE_C_PER_S:
        steep = 3
    elif slope_c_per_s > WARNING_SLOPE_C_PER_S or rising_c_per_s > DANGER_SLOPE_C_PER_S:
        steep = 2
    unexplained = 0
    if score > DANGER_SCORE:
        unexplained = 3
    elif score > WARNING_SCORE:
        unexplained = 2
    elif score > WATCH_SCORE:
        unexplained = 1
    blind = 0
    if lost:
        stepped_up = heating_c_per_s > 0.0
        blind = max(2 if stepped_up else 1, held)
        steep = 0
    return hot, steep, unexplained, blind
