"""What a message must hold beyond the contract before the page takes it; pure.

Whoever may write to the broker may write what a monitor never would. The contract's types bound
every number; they say nothing of lists that belong together, and bound no list that only the
monitor makes. One of these would stop every page that it is on.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from monitor.contract import MAX_CELLS, Estimate
from monitor.errors import PayloadError

MAX_NAMES = 1_000  # of places, tasks
_NAMED = ("places", "failing")


def check_estimate(estimate: Estimate) -> None:
    """Raises PayloadError where not every list has one entry a cell."""
    cells = len(estimate.phase)
    if cells > MAX_CELLS:
        raise PayloadError(f"Estimate: phase has {cells} entries, at most {MAX_CELLS} cells")
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


def check_names(message: Struct) -> None:
    """Raises PayloadError where a message, or one in it, names more than `MAX_NAMES` things."""
    for name, value in msgspec.structs.asdict(message).items():
        if isinstance(value, Struct):
            check_names(value)
        elif name in _NAMED and value is not None and len(value) > MAX_NAMES:
            raise PayloadError(f"{name} has {len(value)} entries: at most {MAX_NAMES}")
