"""What an answer of the SOH model is worth, and when a cell's answers are accepted again."""

from __future__ import annotations

from enum import IntEnum

from monitor.kernels.jit import kernel


class SohCode(IntEnum):
    """The state of an SOH as the model and the results hold it, named by `contract.SOH_STATES`.

    Beside floats in a kernel a member is a number only with `+ 0`.
    """

    OK = 0
    NOT_ENOUGH_SEEN = 1
    UNLIKE_TRAINING = 2
    NO_MODEL = 3


@kernel
def accepted(state: int, bins: int, unlike_bins: float) -> tuple[int, float]:
    """The state of an answer for the cell that it is of, and the cell's next `unlike_bins`.

    `state` is the model's own (a `SohCode`) and `bins` the number of those that had been seen. A
    cell that was found unlike the training data at `unlike_bins` bins (0: it was not) is not
    accepted again on fewer.
    """
    if state == SohCode.UNLIKE_TRAINING:
        return state, max(unlike_bins, bins)
    if state != SohCode.OK:
        return state, unlike_bins
    if bins < unlike_bins:
        return SohCode.UNLIKE_TRAINING + 0, unlike_bins
    return state, 0.0
