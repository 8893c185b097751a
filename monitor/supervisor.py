"""What runs beside the stream, kept running: one supervisor for every auxiliary task of a process.

A task that raises, or ends, is said with its reason, again where the reason becomes another one,
waits with back-off and jitter, and is begun again; it ends nothing else. A task that can go on says
by itself that it is in trouble. Only the task's own word (`Report.well`, after a round of its work)
ends a trouble, so that one which fails each time is not called well in between. How each does can
be read at any time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Literal, NoReturn

from msgspec import Struct

from monitor.errors import AwayError, CellpulseError

log = logging.getLogger(__name__)

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
REASON_CHARACTERS = 200
REASONS_LOGGED = 10  # at most, of one trouble


class TaskState(Struct, frozen=True):
    """How one task does; `since_ms` is when that began, Unix time in ms."""

    state: Literal["ok", "failing"]
    since_ms: int
    reason: str | None = None  # holds no secret; None while all is well


class Report:
    """What one task says of itself; a trouble's reasons and its end are logged, each once."""

    def __init__(
        self,
        name: str,
        clock_ms: Callable[[], int],
        *,
        within_s: float | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`within_s`: silent for longer, the task is taken to hang."""
        self.name = name
        self.failures = 0  # since the start
        self.in_a_row = 0
        self._clock_ms = clock_ms
        self._within_s = within_s
        self._now_s = now_s
        self._said = (now_s(), clock_ms())
        self._reason: str | None = None
        self._logged: set[str] = set()  # the reasons of this trouble
        self._since_ms = self._said[1]

    def well(self) -> None:
        """A round of the work is done."""
        self._said = (self._now_s(), self._clock_ms())
        self.in_a_row = 0
        if self._reason is not None:
            log.warning("%s works again", self.name)
            self._reason, self._since_ms = None, self._said[1]
            self._logged.clear()

    def trouble(self, error: Exception | str, *, anew: bool = False) -> None:
        """It does not work now; logged if the reason is new to this trouble, or `anew`.

        Of one trouble so many reasons are logged, `REASONS_LOGGED`, and those that are `anew`.
        Of an error that is not ours the log has the traceback and the state the kind alone, since
        its text may hold anything.
        """
        known = isinstance(error, CellpulseError | OSError | str)
        reason = _plain(str(error)) if known else f"{type(error).__name__}, see the log"
        self._said = (self._now_s(), self._clock_ms())
        self.failures += 1
        self.in_a_row += 1
        if anew:
            log.error("%s: %s", self.name, reason)
        elif reason not in self._logged and len(self._logged) < REASONS_LOGGED:
            if known or isinstance(error, str):
                log.warning("%s: %s; trying again", self.name, reason)
            else:
                log.error("%s: %s; trying again", self.name, reason, exc_info=error)
        if len(self._logged) < REASONS_LOGGED:
            self._logged.add(reason)
        if self._reason is None:
            self._since_ms = self._said[1]
        self._reason = reason

    def state(self) -> TaskState:
        """How it does now."""
        if self._reason is not None:
            return TaskState("failing", self._since_ms, self._reason)
        silent_s = self._now_s() - self._said[0]
        if self._within_s is not None and silent_s > self._within_s:
            reason = f"it hangs: nothing done for {silent_s:.0f} s"
            return TaskState("failing", self._said[1], reason)
        return TaskState("ok", self._since_ms)


class Supervisor:
    """The auxiliary tasks of one process."""

    def __init__(
        self,
        clock_ms: Callable[[], int],
        *,
        first_wait_s: float = FIRST_WAIT_S,
        longest_wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        """`clock_ms` tells Unix time; a failed task waits from the first to the longest wait."""
        self._clock_ms = clock_ms
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        self._reports: dict[str, Report] = {}

    async def run(
        self,
        name: str,
        work: Callable[[Report], Awaitable[object]],
        *,
        within_s: float | None = None,
        longest_wait_s: float | None = None,
    ) -> NoReturn:
        """Run `work` until cancelled, again after each end of it.

        `work` is to say `well` after each round; with `within_s` at least so often.
        """
        report = self._reports[name] = Report(name, self._clock_ms, within_s=within_s)
        longest_s = self._longest_wait_s if longest_wait_s is None else longest_wait_s
        while True:
            failed = await _failure(work, report)
            report.trouble(failed)
            asked_s = failed.wait_s if isinstance(failed, AwayError) else 0.0
            wait_s = back_off_s(report.in_a_row, self._first_wait_s, longest_s)
            await asyncio.sleep(max(asked_s, wait_s))

    def states(self) -> dict[str, TaskState]:
        """How each task does now, by its name."""
        return {name: report.state() for name, report in self._reports.items()}

    def failures(self) -> dict[str, int]:
        """How often each task has failed since the start, by its name."""
        return {name: report.failures for name, report in self._reports.items()}

    def failing(self) -> list[str]:
        """The names of the tasks that do not work now."""
        return [name for name, task in self.states().items() if task.state == "failing"]


def back_off_s(failures: int, first_s: float, longest_s: float) -> float:
    """How long to wait after so many failures in a row: twice as long each time, with jitter."""
    return min(first_s * 2.0 ** min(failures - 1, 30), longest_s) * random.uniform(0.5, 1.0)


async def _failure(work: Callable[[Report], Awaitable[object]], report: Report) -> Exception:
    """What ended the work; raises CancelledError where the task itself was cancelled."""
    failed: Exception
    try:
        await work(report)
        failed = CellpulseError("it ended, which it should not")
    except asyncio.CancelledError:
        failed = CellpulseError("what it waited for was cancelled")
    except Exception as error:
        failed = error
    task = asyncio.current_task()
    if task is not None and task.cancelling():  # whatever the work made of it
        raise asyncio.CancelledError
    return failed


def _plain(text: str) -> str:
    """One line without control characters: some of it came from a peer."""
    return "".join(sign if sign.isprintable() else " " for sign in text)[:REASON_CHARACTERS]
