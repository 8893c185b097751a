"""Numba's decorator, typed once for the whole project.

A kernel checks no index: with a wrong size it would read or write other memory. So each stands
behind a plain function that raises where sizes or indices do not fit. On the hot path a kernel
compares them itself before it touches anything (about a nanosecond a sample, where Python would
take microseconds a batch) and says that they do not fit. `NUMBA_BOUNDSCHECK=1` makes the kernels
check every index too, for tests (a cache of its own: see `cache`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from monitor.kernels.cache import keep_on_disk

F = TypeVar("F", bound=Callable[..., Any])


def njit(function: F) -> F:
    """Compile on first call, keep the machine code on disk, release the GIL, follow IEEE 754.

    What is compiled may use constants and jitted functions of its own file and of `monitor.kernels`
    and no others: by these the cache knows it again (see `cache`).
    """
    return _kept(cast(F, numba.njit(nogil=True, error_model="numpy")(function)))


def kernel(function: F) -> F:
    """`njit` for a function that allocates nothing and keeps no array.

    Its arrays are not reference-counted: with a view or two a sample, the atomic counting took a
    third of the features' time. One that does allocate is refused when it is compiled. What it
    calls must be a kernel too.
    """
    uncounted: dict[str, Any] = {"_nrt": False}
    return _kept(cast(F, numba.njit(nogil=True, error_model="numpy", **uncounted)(function)))


def _kept(compiled: F) -> F:
    keep_on_disk(compiled)
    return compiled


def unfit(what: str, **arrays: NDArray[np.generic]) -> ValueError:
    """The error of a kernel's sizes or indices, with the arrays' shapes."""
    found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    return ValueError(f"{what} do not fit: {found}")
