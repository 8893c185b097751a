"""Which frames of a stream are taken: identity, order and clock of every asset, O(1) a frame.

Identity is (asset, session, seq), or the timestamp where seq is absent. Duplicates are dropped,
late frames counted; a frame too far ahead of its arrival is refused unless the asset is a declared
replay; a backward step that persists starts a new segment, and so does, at once, a declared replay
that begins a new session earlier: somebody went back in it.

A frame that is a duplicate or too far ahead changes nothing, not even which session runs: the
journal does not keep it, so a recovery never sees it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import numpy as np

from monitor.kernels.columns import Record, Records, Verdict
from monitor.kernels.jit import kernel, unfit

FUTURE_BOUND_MS = 60_000  # how far ahead of its arrival a frame may be
BACKWARD_FRAMES = 3  # so many frames in a row behind the newest mean that the clock was set back
WINDOW = 62  # sequence numbers remembered behind the newest
LONGEST_GAP = 2**31  # a greater step in sequence numbers is a new count, not lost frames

# What is known of an asset's stream; -1 stands for none.
ADMISSION = np.dtype(
    [
        ("session", "i8"),  # `session_id` of the session that runs
        ("seq", "i8"),
        ("seen", "i8"),  # bit k: seq - 1 - k has been seen
        ("timestamp_ms", "i8"),
        ("behind", "i8"),  # frames in a row that were not newer than the newest
        ("missed", "i8"),  # sequence numbers never seen, in all
    ],
    align=True,
)
ARRIVAL = np.dtype(
    [
        ("asset", "i8"),  # its row of the admission
        ("session", "i8"),  # a `session_id`
        ("seq", "i8"),  # -1 where absent
        ("timestamp_ms", "i8"),
        ("arrival_ms", "i8"),
        ("replay", "i8"),  # 1 of a declared replay
    ],
    align=True,
)
JUDGED = np.dtype(
    [
        ("verdict", "i8"),  # of `Verdict`
        ("missed", "i8"),  # sequence numbers skipped before the frame
        ("began", "i8"),  # 1 where it is of another session than the asset's last
    ],
    align=True,
)


def empty_admission(assets: int) -> Records:
    """(assets,) of ADMISSION: assets that nothing was seen of."""
    state = np.full(assets, -1, ADMISSION)
    for name in ("seen", "behind", "missed"):
        state[name] = 0
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


def admit_inplace(state: Records, arrivals: Records, judged: Records) -> None:
    """Judge n frames in order: `arrivals` is (n,) of ARRIVAL, `judged` (n,) of JUDGED.

    `state` is (assets,) of ADMISSION. Raises ValueError where they are not, or where `state` has
    no row of a frame's asset.
    """
    fits = (state.dtype, arrivals.dtype, judged.dtype) == (ADMISSION, ARRIVAL, JUDGED)
    if not fits or not _admit_inplace(state, arrivals, judged):
        raise unfit("admission: assets and frames", state=state, arrivals=arrivals, judged=judged)


@kernel
def _admit_inplace(state: Records, arrivals: Records, judged: Records) -> bool:
    """As above; False, and nothing done, where sizes do not fit."""
    n = len(arrivals)
    if len(judged) != n:
        return False
    for k in range(n):
        if arrivals[k].asset < 0 or arrivals[k].asset >= len(state):
            return False
    for k in range(n):
        out = judged[k]
        out.missed = 0
        out.began = 0
        out.verdict = _verdict_inplace(state[arrivals[k].asset], arrivals[k], out)
    return True


@kernel
def _verdict_inplace(s: Record, frame: Record, out: Record) -> int:
    """The verdict on one frame of an asset; what it changes of `out` is all but the verdict."""
    t = frame.timestamp_ms
    if frame.replay == 0 and t > frame.arrival_ms + FUTURE_BOUND_MS:
        return Verdict.FUTURE + 0
    restarted = frame.session != s.session
    out.began = 1 if restarted else 0
    if frame.seq >= 0 and not restarted and s.seq >= 0:
        behind = s.seq - frame.seq
        if behind == 0:
            return Verdict.DUPLICATE + 0
        if behind > 0:
            if not t > s.timestamp_ms:
                return _late_inplace(s, behind)
            restarted = True  # the device began to count anew without a new session
    result = Verdict.ACCEPTED + 0
    if s.timestamp_ms >= 0 and t <= s.timestamp_ms:
        if frame.seq < 0 and t == s.timestamp_ms:
            return Verdict.DUPLICATE + 0
        s.behind += 1
        persists = s.behind >= BACKWARD_FRAMES or (restarted and frame.replay == 1)
        result = Verdict.NEW_SEGMENT + 0 if persists else Verdict.LATE + 0
    if result != Verdict.LATE:
        s.behind = 0
        s.timestamp_ms = t
    if restarted:
        s.session = frame.session
        s.seq = frame.seq
        s.seen = 0
    elif frame.seq >= 0:
        out.missed = _advance_inplace(s, frame.seq)
    return result


@kernel
def _late_inplace(s: Record, behind: int) -> int:
    """A sequence number behind the newest: a late frame, or one that has been seen."""
    if behind > WINDOW:
        return Verdict.LATE + 0
    bit = np.int64(1) << (behind - 1)
    if s.seen & bit:
        return Verdict.DUPLICATE + 0
    s.seen |= bit
    s.missed -= 1
    return Verdict.LATE + 0


@kernel
def _advance_inplace(s: Record, seq: int) -> int:
    """Take a newer sequence number; returns how many were skipped."""
    step = seq - s.seq
    skipped = 0
    if s.seq < 0 or step > LONGEST_GAP:
        s.seen = 0
    else:
        skipped = step - 1
        s.missed += skipped
        s.seen = ((s.seen << step) | (np.int64(1) << (step - 1))) if step <= WINDOW else 0
        s.seen &= (np.int64(1) << WINDOW) - 1
    s.seq = seq
    return skipped
