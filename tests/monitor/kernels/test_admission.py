"""Which frames are taken: identity, order and clock of each asset, in every way they go wrong."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.kernels.admission import (
    ARRIVAL,
    BACKWARD_FRAMES,
    FUTURE_BOUND_MS,
    JUDGED,
    LONGEST_GAP,
    WINDOW,
    admit_inplace,
    empty_admission,
)
from monitor.kernels.columns import Verdict

OK, SEGMENT, TWICE, LATE, FUTURE = Verdict
Row = tuple[int, int, int, int]  # asset, session, seq, time
T0 = 1_000_000


def admit(
    rows: list[Row],
    state: np.ndarray | None = None,
    arrival: int | None = None,
    replay: bool = False,
) -> tuple[list[int], list[int], np.ndarray]:
    """Verdicts, skipped numbers and the state after; frames arrive when they were made."""
    state = empty_admission(4) if state is None else state
    n = len(rows)
    arrivals = np.zeros(n, ARRIVAL)
    judged = np.array([(-9, -9, -9)] * n, JUDGED)
    for k, name in enumerate(("asset", "session", "seq", "timestamp_ms")):
        arrivals[name] = [row[k] for row in rows]
    arrivals["arrival_ms"] = arrivals["timestamp_ms"] if arrival is None else arrival
    arrivals["replay"] = int(replay)
    admit_inplace(state, arrivals, judged)
    assert set(judged["began"].tolist()) <= {0, 1}
    return judged["verdict"].tolist(), judged["missed"].tolist(), state


def one(*frames: tuple[int, int], session: int = 1) -> list[Row]:
    """Frames of asset 0 as (seq, seconds)."""
    return [(0, session, seq, T0 + 1000 * s) for seq, s in frames]


def test_a_plain_stream_is_taken_whole() -> None:
    verdicts, missed, state = admit(one((5, 0), (6, 1), (7, 2)))
    assert verdicts == [OK] * 3
    assert missed == [0, 0, 0]  # a stream may begin at any number
    assert state["seq"][0] == 7
    assert state["timestamp_ms"][0] == T0 + 2000
    assert (state[1:] == empty_admission(3)).all()


def test_duplicates_by_number() -> None:
    verdicts, _, _ = admit(one((1, 0), (1, 0), (2, 1), (1, 0), (2, 1), (3, 2)))
    assert verdicts == [OK, TWICE, OK, TWICE, TWICE, OK]


def test_duplicates_by_time_where_no_number_is() -> None:
    verdicts, _, _ = admit(one((-1, 0), (-1, 0), (-1, 1), (-1, 1), (-1, 2)))
    assert verdicts == [OK, TWICE, OK, TWICE, OK]


def test_two_numbers_at_one_time_are_two_frames_but_only_one_can_be_used() -> None:
    verdicts, _, _ = admit(one((1, 0), (2, 0), (3, 1)))
    assert verdicts == [OK, LATE, OK]


def test_gaps_and_late_frames() -> None:
    verdicts, missed, state = admit(one((1, 0), (5, 4), (3, 2), (3, 2), (2, 1), (5, 4), (6, 5)))
    assert verdicts == [OK, OK, LATE, TWICE, LATE, TWICE, OK]
    assert missed == [0, 3, 0, 0, 0, 0, 0]
    assert state["missed"][0] == 1  # only number 4 never came


def test_far_behind_is_late_without_memory() -> None:
    n = WINDOW + 5
    verdicts, _, _ = admit([*one((1, 0), (n, n)), *one((2, 2), (2, 2), (n - WINDOW, 10))])
    assert verdicts == [OK, OK, LATE, LATE, LATE]
    # A step past the window forgets what was seen before it, and never calls it a duplicate.
    far = 2 + LONGEST_GAP
    verdicts, missed, _ = admit(one((1, 0), (2, 1), (far, 5), (far + 1, 6), (far, 5)))
    assert verdicts == [OK, OK, OK, OK, TWICE]
    assert missed[2] == LONGEST_GAP - 1


def test_a_step_that_no_outage_makes_is_a_new_count() -> None:
    """Counted as lost frames, a few of them overflow the count."""
    verdicts, missed, state = admit(one((1, 0), (2, 1), (2**53, 5), (2**53, 5), (2**53 - 1, 6)))
    assert verdicts == [OK, OK, OK, TWICE, OK]
    assert missed == [0] * 5
    assert state["missed"][0] == 0
    assert state["seq"][0] == 2**53 - 1


def test_the_window_remembers_exactly_its_width() -> None:
    last = 2 * WINDOW
    stream = one(*((k, k) for k in range(last + 1)))
    for behind in (1, 2, WINDOW - 1, WINDOW):
        again = one((last - behind, last - behind))
        assert admit([*stream, *again])[0][-1] == TWICE
    assert admit([*stream, *one((last - WINDOW - 1, last - WINDOW - 1))])[0][-1] == LATE


def test_future_frames_are_refused_and_leave_no_trace() -> None:
    _, _, before = admit(one((1, 0)))
    after = before.copy()
    verdicts, missed, _ = admit(
        [(0, 1, 2, T0 + FUTURE_BOUND_MS + 1), (0, 1, 3, T0 + FUTURE_BOUND_MS)], after, arrival=T0
    )
    assert verdicts == [FUTURE, OK]  # the bound itself is allowed
    assert missed == [0, 1]
    verdicts, _, after = admit([(0, 1, 2, 10**12)], before.copy(), arrival=T0)
    assert verdicts == [FUTURE]
    assert (after == before).all()
    verdicts, _, _ = admit([(0, 1, 2, 10**12)], before.copy(), arrival=T0, replay=True)
    assert verdicts == [OK]


def test_a_backward_step_that_persists_starts_a_segment() -> None:
    """Two late readings are late; the third in a row says that the clock was set back."""
    back = one((11, 40), (12, 41), (13, 42), (14, 43))
    verdicts, missed, state = admit([*one((10, 100)), *back])
    assert BACKWARD_FRAMES == 3
    assert verdicts == [OK, LATE, LATE, SEGMENT, OK]
    assert missed == [0] * 5
    assert state["timestamp_ms"][0] == T0 + 43_000
    # Without numbers it is the same.
    verdicts, _, _ = admit([*one((-1, 100)), *one((-1, 40), (-1, 41), (-1, 42), (-1, 43))])
    assert verdicts == [OK, LATE, LATE, SEGMENT, OK]


def test_a_replay_that_begins_a_session_earlier_is_taken_from_its_first_frame() -> None:
    back = one((0, 40), (1, 41), session=2)
    assert admit([*one((10, 100)), *back], replay=True)[0] == [OK, SEGMENT, OK]
    # A device that restarts with a clock that lags is not believed so soon.
    assert admit([*one((10, 100)), *back])[0] == [OK, LATE, LATE]
    # Nor is a replay whose clock goes wrong: it goes on in its session.
    assert admit([*one((10, 100), (11, 40), (12, 41))], replay=True)[0] == [OK, LATE, LATE]


def test_a_backward_step_that_does_not_persist_is_only_late() -> None:
    verdicts, _, state = admit(
        one((1, 100), (2, 40), (3, 41), (4, 101), (5, 42), (6, 43), (7, 102), (8, 103))
    )
    assert verdicts == [OK, LATE, LATE, OK, LATE, LATE, OK, OK]
    assert state["behind"][0] == 0


def test_a_restarted_device_with_a_new_session() -> None:
    verdicts, missed, _ = admit(
        [*one((50, 0), (51, 1)), *one((0, 2), (1, 3), (0, 2), (3, 5), session=2)]
    )
    assert verdicts == [OK, OK, OK, OK, TWICE, OK]
    assert missed == [0, 0, 0, 0, 0, 1]


def test_a_restarted_device_that_counts_anew_in_its_session() -> None:
    """Its number falls while its clock goes on: a new count, not a late frame."""
    verdicts, missed, _ = admit(one((500, 0), (501, 1), (0, 2), (1, 3), (1, 3), (2, 4)))
    assert verdicts == [OK, OK, OK, OK, TWICE, OK]
    assert missed == [0] * 6


def test_a_stream_that_starts_and_stops_numbering() -> None:
    verdicts, missed, _ = admit(one((-1, 0), (7, 1), (8, 2), (-1, 3), (10, 4), (10, 4)))
    assert verdicts == [OK, OK, OK, OK, OK, TWICE]
    assert missed == [0, 0, 0, 0, 1, 0]


ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(1, 2),
        st.sampled_from([-1, 0, 1, 2, 3, 4, 5, 70, 140]),
        st.integers(T0, T0 + 30_000) | st.integers(T0, T0 + 10),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(ROWS, st.data())
def test_no_verdict_depends_on_where_the_stream_is_cut(
    rows: list[Row], data: st.DataObject
) -> None:
    whole, missed, state = admit(rows, arrival=T0)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    pieces = empty_admission(4)
    verdicts: list[int] = []
    skipped: list[int] = []
    for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        part, part_missed, _ = admit(rows[start:end], pieces, arrival=T0)
        verdicts += part
        skipped += part_missed
    assert (verdicts, skipped) == (whole, missed)
    assert (pieces == state).all()


@settings(deadline=None)
@given(ROWS, st.data())
def test_assets_do_not_meet(rows: list[Row], data: st.DataObject) -> None:
    """In whatever order the batches of several assets come, each asset's verdicts are its own."""
    expected = {
        asset: admit([row for row in rows if row[0] == asset], arrival=T0)[0] for asset in range(3)
    }
    order = data.draw(st.permutations([row[0] for row in rows]))
    queues = {asset: [row for row in rows if row[0] == asset] for asset in range(3)}
    shuffled = [queues[asset].pop(0) for asset in order]
    verdicts, _, _ = admit(shuffled, arrival=T0)
    for asset in range(3):
        own = [v for row, v in zip(shuffled, verdicts, strict=True) if row[0] == asset]
        assert own == expected[asset]


@settings(deadline=None)
@given(st.integers(1, 3 * WINDOW))
def test_a_second_delivery_changes_nothing(length: int) -> None:
    """What was delivered at least once is taken at most once: a redelivered tail adds nothing."""
    stream = [(0, 1, k, T0 + 1000 * k) for k in range(length)]
    _, _, once = admit(stream)
    verdicts, _, twice = admit([*stream, *stream[-WINDOW:]])
    assert set(verdicts[len(stream) :]) <= {TWICE}
    assert (once == twice).all()
