"""Numbers that come from outside: a bad one is a missing value. Pure; nothing here raises.

Python's own `int` and `float` take the digits of every script, underscores between digits and as
many digits as there are (past 4,300 `int` raises ValueError), and `float` takes "nan" and "inf".
"""

from __future__ import annotations

import re
from typing import Any

MOST = 1e6
"""The largest magnitude of a measured value, in our units; as the contract has it."""
_WHOLE = re.compile(r"[0-9]+")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_MAX_LENGTH = 64


def whole(text: str, most: int) -> int | None:
    """The whole number, from 0 to `most`, that ASCII digits say; None for anything else."""
    if _WHOLE.fullmatch(text) is None:
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(most)):
        return None
    return value if (value := int(digits)) <= most else None


def real(value: Any) -> float | None:
    """A number, or text that says one in ASCII, as a finite float; None for anything else."""
    if isinstance(value, str):
        if len(value) > _MAX_LENGTH or _REAL.fullmatch(value) is None:
            return None
    elif not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an int past 1.8e308
        return None
    return number if abs(number) != float("inf") and number == number else None


def measured(value: Any) -> float | None:
    """As `real`, and no larger than what can be measured at a battery."""
    number = real(value)
    return None if number is None or abs(number) > MOST else number
