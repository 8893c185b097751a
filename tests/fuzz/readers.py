"""A fuzz of every reader of recordings: nothing but a sentence may come of a file.

    python -m tests.fuzz readers --seconds 60 --seed 7
    python -m tests.fuzz readers --seed 7 --case 1234

Each case makes one file, opens it and reads every operation; one in five, and every very wide one,
goes through the whole analysis too, so that the kernels see what the readers let pass. A case fails
if anything else than the readers' own errors is raised, if it takes more than `LONGEST_S` of CPU
time, or if the process has grown by more than `MOST_GROWTH`.
"""

from __future__ import annotations

import random
import resource
import signal
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from analysis import file as analysing
from analysis.messages import both
from monitor.dashboard.analysis import AnalysisError
from monitor.warm import compile_kernels
from recordings.open import open_recording
from recordings.types import MAX_CELLS, RecordingError
from tests.fuzz.recordings import MAKERS

LONGEST_S = 10.0
MOST_GROWTH = 1 << 30  # bytes over what the process took when the fuzz began
ANALYSED = 0.2
FIRST_OPERATIONS = 20_000


class _TooLongError(BaseException):
    """A case takes too long; no reader may catch it."""


def run(seconds: float, seed: int) -> str:
    """Fuzz the readers for so much CPU time; one line of what was tried.

    Raises AssertionError naming the seed and the case that can be repeated with them.
    """
    tried: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    compile_kernels()  # which is no file's time
    before = _peak_bytes()
    began = time.process_time()
    case = 0
    while case == 0 or time.process_time() - began < seconds:
        kind, end = one(seed, case)
        tried[kind] += 1
        ends[end] += 1
        grown = _peak_bytes() - before
        assert grown <= MOST_GROWTH, f"seed {seed}, case {case} ({kind}): grown by {grown:,} bytes"
        case += 1
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tried.items()))
    how = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    return f"{case} files ({kinds}): {how}"


def one(seed: int, case: int) -> tuple[str, str]:
    """One case: the kind of its file, and how it ended. Raises AssertionError."""
    rng = random.Random(f"readers {seed} {case}")
    kind = rng.choice(list(MAKERS))
    with tempfile.TemporaryDirectory() as name:
        path = MAKERS[kind](rng, Path(name))
        analysed = kind == "wide" or rng.random() < ANALYSED
        before = signal.signal(signal.SIGVTALRM, _too_long)
        signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_S)
        began = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                end = _read(path, analysed)
        except (Exception, _TooLongError) as error:
            raise AssertionError(
                f"seed {seed}, case {case} ({kind}, {'analysed' if analysed else 'read'}): "
                f"{type(error).__name__}: {error}"
            ) from error
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
            signal.signal(signal.SIGVTALRM, before)
        took = time.process_time() - began
        assert took <= LONGEST_S, f"seed {seed}, case {case} ({kind}): {took:.1f} s of CPU time"
    return kind, end


def _read(path: Path, analysed: bool) -> str:
    try:
        for recording in open_recording(path):
            info = recording.info
            assert 1 <= info.cells <= MAX_CELLS
            assert 0 <= info.sensors <= MAX_CELLS
            for count, operation in enumerate(recording.operations()):
                n = len(operation)
                assert n > 0
                assert operation.voltage_v.shape == (n, info.cells)
                assert operation.temperature_c.shape == (n, info.sensors)
                if count >= FIRST_OPERATIONS:
                    break
        if analysed:
            analysing.read(path, lambda share: None)
    except (RecordingError, AnalysisError) as error:
        for words in both(error):  # English and Chinese
            assert words.isprintable(), f"not one plain sentence: {words!r}"
        return "refused"
    return "analysed" if analysed else "read"


def _too_long(signum: int, frame: object) -> None:
    raise _TooLongError(f"more than {LONGEST_S:g} s of CPU time")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
