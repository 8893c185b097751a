"""How many frames of a recording go through the engine at once; pure."""

BATCH = 4_000
BATCH_VALUES = 400_000  # of the cells of a batch, so that one of many cells is short


def frames_at_once(cells: int) -> int:
    """The frames of a batch of an asset of so many cells, at least one."""
    return max(1, min(BATCH, BATCH_VALUES // cells))
