"""Numba's cache on disk, with files named by the sources that a kernel may have been compiled from.

Numba's own cache notices a change of the one file that a function stands in, while its machine code
also holds the callees and constants of other files. Here the name of every cached file ends in a
hash of all modules of this folder, of the function's own file, of Numba's version and of whether
indices are checked. What was compiled from anything else is therefore never loaded, and monitors
of two versions may share one folder.

Where the files lie is Numba's choice as ever: NUMBA_CACHE_DIR where it is set, else `__pycache__`
beside the source, else, in a read-only installation, the user's own cache.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config
from numba.core.caching import FunctionCache, IndexDataCacheFile

FOLDER = Path(__file__).parent


class SourcesCache(FunctionCache):
    """A function's cache; `_cache_file` and `_impl` are Numba's private names, held by a test."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]  # Numba has few types
        key = sources_key(function.__code__.co_filename)
        name = f"{self._impl.filename_base}-{key}"
        self._cache_file = IndexDataCacheFile(  # type: ignore[no-untyped-call]
            self.cache_path, name, key
        )


def keep_on_disk(dispatcher: Any) -> None:
    """Give a jitted function this cache; a plain one, where Numba is switched off, stays as it is.

    Raises AttributeError where Numba has no `_cache` any more.
    """
    if hasattr(dispatcher, "py_func"):
        dispatcher._cache  # noqa: B018, SLF001 - it must be there
        dispatcher._cache = SourcesCache(dispatcher.py_func)  # noqa: SLF001 - see above


@functools.cache
def sources_key(file: str) -> str:
    """Sixteen hexadecimal digits that change with any source of a kernel which stands in `file`."""
    digest = hashlib.sha256(f"{numba.__version__} {vars(config)['BOUNDSCHECK']}".encode())
    for path in sorted({*FOLDER.glob("*.py"), Path(file).resolve()}):
        source = path.read_bytes()
        digest.update(f"\n{path.name} {len(source)}\n".encode() + source)
    return digest.hexdigest()[:16]
