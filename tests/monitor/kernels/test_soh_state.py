"""The states of an SOH, and when a cell that was unlike the training data is accepted again."""

from __future__ import annotations

import pytest

from monitor.contract import SOH_STATES
from monitor.kernels.soh_state import SohCode, accepted

OK, NOT_ENOUGH, UNLIKE = SohCode.OK, SohCode.NOT_ENOUGH_SEEN, SohCode.UNLIKE_TRAINING


def test_the_codes_have_the_names_on_the_wire() -> None:
    assert [code.name.lower() for code in SohCode] == list(SOH_STATES)


@pytest.mark.parametrize(
    ("state", "bins", "unlike_bins", "expected"),
    [
        (OK, 5, 0.0, (OK, 0.0)),
        (UNLIKE, 5, 0.0, (UNLIKE, 5.0)),
        (UNLIKE, 5, 9.0, (UNLIKE, 9.0)),
        (OK, 8, 9.0, (UNLIKE, 9.0)),
        (OK, 9, 9.0, (OK, 0.0)),
        (NOT_ENOUGH, 20, 9.0, (NOT_ENOUGH, 9.0)),
    ],
)
def test_an_unlike_cell_is_accepted_again_on_as_many_bins(
    state: SohCode, bins: int, unlike_bins: float, expected: tuple[SohCode, float]
) -> None:
    assert accepted(int(state), bins, unlike_bins) == expected
