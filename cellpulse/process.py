"""How a command ends: its task run until done or Ctrl-C, its failure said in one sentence."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

from bridge.interrupt import until_signal
from cellpulse.logs import start_logging
from monitor.config import Config
from monitor.errors import CellpulseError
from recordings.types import RecordingError


def run(work: Coroutine[Any, Any, None], config: Config | None = None) -> None:
    """Run `work` until it ends or SIGINT or SIGTERM comes; a failure of ours is one sentence.

    Exits with status 1 on a failure, 0 after a signal. Logs go to standard error, as `config` says.
    """
    start_logging(config or Config())
    try:
        asyncio.run(until_signal(work))
    except BaseException as error:
        ours = first_of_ours(error)
        if ours is None:
            raise
        fail(ours)


def fail(error: BaseException) -> NoReturn:
    """Print the sentence and leave with status 1."""
    print(f"cellpulse: {error}", file=sys.stderr)
    sys.exit(1)


def first_of_ours(error: BaseException) -> BaseException | None:
    """The first error in a group that was raised on purpose, if every one of them was."""
    if isinstance(error, BaseExceptionGroup):
        found = [first_of_ours(inner) for inner in error.exceptions]
        return None if None in found else found[0]
    return error if isinstance(error, CellpulseError | RecordingError) else None
