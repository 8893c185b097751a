"""Numba's decorator, typed once for the whole project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def njit(function: F) -> F:
    """Compile on first call, keep the machine code on disk, release the GIL, follow IEEE 754.

    The cache does not notice a change in a jitted callee of another file, so a kernel and what it
    calls stand in one module.
    """
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def kernel(function: F) -> F:
    """`njit` for a function that allocates nothing and keeps no array.

    Its arrays are not reference-counted: with a view or two a sample, the atomic counting took a
    third of the features' time. One that does allocate is refused when it is compiled. What it
    calls must be a kernel too.
    """
    uncounted: dict[str, Any] = {"_nrt": False}
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", **uncounted)(function))


def plain(function: F) -> F:
    """The Python function that was compiled: for one call in a program that has no need of Numba.

    To load the machine code of a kernel takes a second and more.
    """
    return cast(F, getattr(function, "py_func", function))
