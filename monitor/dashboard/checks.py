"""What a message must hold beyond its types before the page takes it; pure.

Whoever may write to the broker may write what a monitor never would. The types of the contract say
nothing of lists that belong together, and a number that no browser can count to, or show as a time,
would stop every page that it is on.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from monitor.contract import MAX_CELLS, MAX_TIMESTAMP_MS, Estimate
from monitor.errors import PayloadError

LARGEST = 2**53  # the integers that a browser counts exactly
MAX_NAMES = 1_000  # of recordings, places, tasks
_NAMED = ("places", "recordings", "playing", "failing")


def check_estimate(estimate: Estimate) -> None:
    """Raises PayloadError where not every list has one entry a cell, or the time is none."""
    cells = len(estimate.phase)
    if cells > MAX_CELLS:
        raise PayloadError(f"Estimate: phase has {cells} entries, at most {MAX_CELLS} cells")
    _check_int("timestamp_ms", estimate.timestamp_ms)
    if len(estimate.quality) != cells:
        raise PayloadError(f"Estimate: quality has {len(estimate.quality)} entries, phase {cells}")
    for name in ("soc", "soh", "resistance_ohm", "thermal_score", "excess_heat_w", "risk", "fade"):
        reading = getattr(estimate, name)
        if reading is None:
            continue
        for part in reading.__struct_fields__:
            found = len(getattr(reading, part))
            if found != cells:
                raise PayloadError(f"Estimate: {name}.{part} has {found} entries, phase {cells}")


def check_numbers(message: Struct) -> None:
    """Raises PayloadError where an integer of a message is beyond what a browser can show.

    A field that ends in `_ms` is a time between 1970 and the year 9999.
    """
    for name, value in msgspec.structs.asdict(message).items():
        if isinstance(value, int):
            _check_int(name, value)
        elif isinstance(value, Struct):
            check_numbers(value)
        elif name in _NAMED and value is not None and len(value) > MAX_NAMES:
            raise PayloadError(f"{name} has {len(value)} entries: at most {MAX_NAMES}")


def _check_int(name: str, value: int) -> None:
    low, high = (0, MAX_TIMESTAMP_MS) if name.endswith("_ms") else (-LARGEST, LARGEST)
    if not low <= value <= high:
        shown = str(value) if abs(value) < 10**20 else "a number of more than 20 digits"
        raise PayloadError(f"{name}: {shown}, expected {low} to {high}")
