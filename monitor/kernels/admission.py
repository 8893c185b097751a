"""Which frames of a stream are taken: identity, order and clock of every asset, O(1) a frame.

Identity is (asset, session, seq), or the timestamp where seq is absent. Duplicates are dropped,
late frames counted; a frame too far ahead of its arrival is refused unless the asset is a declared
replay; a backward step that persists starts a new segment, and so does, at once, a declared replay
that begins a new session earlier: somebody went back in it.

A frame that is a duplicate or too far ahead changes nothing, not even which session runs: the
journal does not keep it, so a recovery never sees it.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from monitor.kernels.columns import Verdict
from monitor.kernels.jit import kernel, unfit

Ints = NDArray[np.int64]

FUTURE_BOUND_MS = 60_000  # how far ahead of its arrival a frame may be
BACKWARD_FRAMES = 3  # so many frames in a row behind the newest mean that the clock was set back
WINDOW = 62  # sequence numbers remembered behind the newest
LONGEST_GAP = 2**31  # a greater step in sequence numbers is a new count, not lost frames


class A(IntEnum):
    """Columns of an asset's admission state; -1 stands for none."""

    SESSION = 0  # `session_id` of the session that runs
    SEQ = 1
    SEEN = 2  # bit k: SEQ - 1 - k has been seen
    T_MS = 3
    BEHIND = 4
    MISSED = 5  # sequence numbers never seen, in all


ADMISSION_WIDTH = len(A)


def empty_admission(assets: int) -> Ints:
    """The state of assets that nothing was seen of."""
    state = np.full((assets, ADMISSION_WIDTH), -1, np.int64)
    state[:, [A.SEEN, A.BEHIND, A.MISSED]] = 0
    return state


@lru_cache(maxsize=10_000)
def session_id(name: str | None) -> int:
    """The number of a session in admission's state: of its name alone; 0 for a frame without."""
    if name is None:
        return 0
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1 | 1


def is_ahead(timestamp_ms: int, arrival_ms: int) -> bool:
    """Whether a frame is further ahead of its arrival than a device's clock may be."""
    return timestamp_ms > arrival_ms + FUTURE_BOUND_MS


def admit_inplace(
    state: Ints, asset: Ints, session: Ints, seq: Ints, t: Ints, arrival: Ints, replay: Ints,
    verdict: Ints, missed: Ints, began: Ints,
) -> None:  # fmt: skip
    """Judge frames in order. `seq` is -1 where absent, `session` a `session_id`.

    `missed` gets the sequence numbers skipped, `began` 1 where a frame is of another session than
    the asset's last. `state` is (assets, ADMISSION_WIDTH), every other array has one entry a frame.
    Raises ValueError where they do not, or where `state` has no row of a frame's asset.
    """
    if not _admit_inplace(state, asset, session, seq, t, arrival, replay, verdict, missed, began):
        raise unfit(
            "admission: assets and frames", state=state, asset=asset, session=session, seq=seq,
            t=t, arrival=arrival, replay=replay, verdict=verdict, missed=missed, began=began,
        )  # fmt: skip


@kernel
def _admit_inplace(
    state: Ints, asset: Ints, session: Ints, seq: Ints, t: Ints, arrival: Ints, replay: Ints,
    verdict: Ints, missed: Ints, began: Ints,
) -> bool:  # fmt: skip
    """False, and nothing done, where sizes do not fit."""
    n = len(asset)
    if state.shape[1] != ADMISSION_WIDTH or not (
        n == len(session) == len(seq) == len(t) == len(arrival) == len(replay)
    ):
        return False
    if not n == len(verdict) == len(missed) == len(began):
        return False
    for k in range(n):
        if asset[k] < 0 or asset[k] >= len(state):
            return False
    for k in range(len(asset)):
        s = state[asset[k]]
        missed[k] = 0
        began[k] = 0
        if replay[k] == 0 and t[k] > arrival[k] + FUTURE_BOUND_MS:
            verdict[k] = Verdict.FUTURE
            continue
        restarted = session[k] != s[A.SESSION]
        began[k] = 1 if restarted else 0
        if seq[k] >= 0 and not restarted and s[A.SEQ] >= 0:
            behind = s[A.SEQ] - seq[k]
            if behind == 0:
                verdict[k] = Verdict.DUPLICATE
                continue
            if behind > 0:
                if t[k] > s[A.T_MS]:
                    restarted = True  # the device began to count anew without a new session
                elif behind <= WINDOW:
                    bit = np.int64(1) << (behind - 1)
                    if s[A.SEEN] & bit:
                        verdict[k] = Verdict.DUPLICATE
                    else:
                        s[A.SEEN] |= bit
                        s[A.MISSED] -= 1
                        verdict[k] = Verdict.LATE
                    continue
                else:
                    verdict[k] = Verdict.LATE
                    continue
        result = Verdict.ACCEPTED + 0
        if s[A.T_MS] >= 0 and t[k] <= s[A.T_MS]:
            if seq[k] < 0 and t[k] == s[A.T_MS]:
                verdict[k] = Verdict.DUPLICATE
                continue
            s[A.BEHIND] += 1
            persists = s[A.BEHIND] >= BACKWARD_FRAMES or (restarted and replay[k] == 1)
            result = Verdict.NEW_SEGMENT + 0 if persists else Verdict.LATE + 0
        if result != Verdict.LATE:
            s[A.BEHIND] = 0
            s[A.T_MS] = t[k]
        if restarted:
            s[A.SESSION] = session[k]
            s[A.SEQ] = seq[k]
            s[A.SEEN] = 0
        elif seq[k] >= 0:
            step = seq[k] - s[A.SEQ]
            if s[A.SEQ] < 0 or step > LONGEST_GAP:
                s[A.SEEN] = 0
            else:
                missed[k] = step - 1
                s[A.MISSED] += step - 1
                s[A.SEEN] = (
                    ((s[A.SEEN] << step) | (np.int64(1) << (step - 1))) if step <= WINDOW else 0
                )
                s[A.SEEN] &= (np.int64(1) << WINDOW) - 1
            s[A.SEQ] = seq[k]
        verdict[k] = result
    return True
