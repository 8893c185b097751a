"""What runs beside the stream: failures said once, waited out, shown, and no harm to others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from monitor.errors import AwayError, StoreError
from monitor.supervisor import (
    REASON_CHARACTERS,
    REASONS_LOGGED,
    Report,
    Supervisor,
    back_off_s,
)
from monitor.web.server import listen, serve_again

NOW_MS = 1_800_000_000_000


@contextlib.asynccontextmanager
async def supervised(
    work: Callable[[Report], Awaitable[object]],
) -> AsyncIterator[tuple[Supervisor, asyncio.Task[None]]]:
    """`work` under a supervisor that hardly waits, until the block ends."""
    supervisor = Supervisor(lambda: NOW_MS, first_wait_s=0.001, longest_wait_s=0.002)
    task: asyncio.Task[None] = asyncio.create_task(supervisor.run("helper", work))
    try:
        yield supervisor, task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "monitor.supervisor"]


async def test_a_failure_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    tries = 0
    again = asyncio.Event()

    async def work(report: Report) -> None:
        nonlocal tries
        tries += 1
        if tries < 6:
            raise StoreError("the disk is full")
        report.well()
        again.set()
        await asyncio.Event().wait()

    async with supervised(work) as (supervisor, _):
        await again.wait()
        assert supervisor.states()["helper"].state == "ok"
        assert supervisor.states()["helper"].reason is None
        assert supervisor.failures() == {"helper": 5}
        assert supervisor.failing() == []
    assert told(caplog) == ["helper: the disk is full; trying again", "helper works again"]


async def test_what_fails_each_time_it_runs_is_not_called_well_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries = 0
    enough = asyncio.Event()

    async def work(report: Report) -> None:
        nonlocal tries
        tries += 1
        if tries == 20:
            enough.set()
        await asyncio.sleep(0)
        raise OSError(28, "No space left on device")

    async with supervised(work) as (supervisor, _):
        await enough.wait()
        assert supervisor.failing() == ["helper"]
        assert supervisor.states()["helper"].reason == "[Errno 28] No space left on device"
    assert len(told(caplog)) == 1


async def test_an_end_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    ended = asyncio.Event()

    async def work(report: Report) -> None:
        if ended.is_set():
            await asyncio.Event().wait()
        ended.set()

    async with supervised(work) as (supervisor, _):
        await ended.wait()
        while not supervisor.failing():  # noqa: ASYNC110 - it says so a moment later
            await asyncio.sleep(0)
    assert told(caplog) == ["helper: it ended, which it should not; trying again"]


async def test_a_programming_error_is_told_with_its_traceback_and_shown_by_its_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its text may hold anything, and /healthz is open to all."""
    begun = asyncio.Event()

    async def work(report: Report) -> None:
        if begun.is_set():
            await asyncio.Event().wait()
        begun.set()
        raise KeyError("a-secret")

    async with supervised(work) as (supervisor, _):
        await begun.wait()
        while not supervisor.failing():  # noqa: ASYNC110 - it says so a moment later
            await asyncio.sleep(0)
        assert supervisor.states()["helper"].reason == "KeyError, see the log"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


async def test_a_cancellation_ends_it_whatever_the_work_makes_of_it() -> None:
    async def raises(report: Report) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("while it was told to end")

    async def swallows(report: Report) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def waits(report: Report) -> None:
        await asyncio.Event().wait()

    async def fails(report: Report) -> None:
        raise AwayError("a pause is asked for", 3_600.0)

    for work in (raises, swallows, waits, fails):
        async with supervised(work) as (_, task):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            async with asyncio.timeout(5):
                with pytest.raises(asyncio.CancelledError):
                    await task


async def test_a_call_that_was_cancelled_inside_is_a_failure_and_no_end() -> None:
    """Else the task would be gone without a word: nobody cancelled it."""
    again = asyncio.Event()
    tries = 0

    async def work(report: Report) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            again.set()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async with supervised(work) as (supervisor, task):
        await again.wait()
        assert supervisor.states()["helper"].reason == "what it waited for was cancelled"
        assert not task.done()


async def test_no_task_is_in_the_way_of_another() -> None:
    rounds = 0
    enough = asyncio.Event()

    async def bad(report: Report) -> None:
        raise RecursionError

    async def good(report: Report) -> None:
        nonlocal rounds
        while True:
            await asyncio.sleep(0)
            rounds += 1
            report.well()
            if rounds == 50:
                enough.set()

    async with supervised(bad) as (supervisor, _):
        async with asyncio.TaskGroup() as tasks:
            other = tasks.create_task(supervisor.run("other", good))
            await enough.wait()
            other.cancel()
        assert supervisor.failing() == ["helper"]


def test_a_task_may_be_in_trouble_without_ending(caplog: pytest.LogCaptureFixture) -> None:
    now_ms = NOW_MS
    report = Report("rules", lambda: now_ms)
    now_ms += 1_000
    report.trouble("line 3 is wrong", anew=True)
    now_ms += 1_000
    report.trouble("line 4 is wrong", anew=True)
    report.trouble("line 4 is wrong")
    state = report.state()
    assert (state.state, state.reason, state.since_ms) == (
        "failing", "line 4 is wrong", NOW_MS + 1_000,
    )  # fmt: skip
    now_ms += 1_000
    report.well()
    assert (report.state().state, report.state().since_ms) == ("ok", NOW_MS + 3_000)
    assert told(caplog) == [
        "rules: line 3 is wrong", "rules: line 4 is wrong", "rules works again",
    ]  # fmt: skip


def test_a_reason_that_becomes_another_is_told_each_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A receiver that speaks another protocol, and then wants a token, is two things to mend."""
    report = Report("webhook", lambda: NOW_MS)
    host = "http://a-host-with-a-name-longer-than-any-beginning-that-one-would-compare.example"
    for _ in range(3):
        report.trouble(AwayError(f"{host} does not answer as HTTP"))
        report.trouble(AwayError(f"{host} answers 401"))
        report.trouble(KeyError("a-secret"))
    assert told(caplog) == [
        f"webhook: {host} does not answer as HTTP; trying again",
        f"webhook: {host} answers 401; trying again",
        "webhook: KeyError, see the log; trying again",
    ]
    assert caplog.records[-1].exc_info is not None
    report.well()
    report.trouble(AwayError(f"{host} answers 401"))  # another trouble
    assert told(caplog)[3:] == [
        "webhook works again", f"webhook: {host} answers 401; trying again",
    ]  # fmt: skip


def test_reasons_without_end_are_logged_to_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    report = Report("webhook", lambda: NOW_MS)
    for number in range(1_000):
        report.trouble(f"it fails in the {number}th way")
    assert len(told(caplog)) == REASONS_LOGGED
    assert report.state().reason == "it fails in the 999th way"
    report.trouble("this one is to be told", anew=True)
    assert told(caplog)[-1] == "webhook: this one is to be told"


def test_what_says_nothing_for_too_long_hangs() -> None:
    now_s = 0.0
    report = Report("webhook", lambda: NOW_MS, within_s=60.0, now_s=lambda: now_s)
    now_s = 59.0
    assert report.state().state == "ok"
    now_s = 75.0
    assert report.state().reason == "it hangs: nothing done for 75 s"
    report.well()
    assert report.state().state == "ok"


def test_a_reason_is_one_short_line() -> None:
    report = Report("x", lambda: NOW_MS)
    report.trouble("a\x1b]0;title\x07\nsecond" + "x" * 5_000)
    reason = report.state().reason
    assert reason is not None
    assert reason.isprintable()
    assert len(reason) == REASON_CHARACTERS


def test_waits_grow_to_their_bound_with_jitter() -> None:
    for failures, most_s in ((1, 1.0), (2, 2.0), (6, 32.0), (7, 60.0), (10**9, 60.0)):
        waits = [back_off_s(failures, 1.0, 60.0) for _ in range(50)]
        assert most_s / 2 <= min(waits) < max(waits) <= most_s


async def test_a_server_that_crashed_listens_again(free_port: int) -> None:
    async def app(scope: object, receive: object, send: Callable[..., Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def opened() -> socket.socket:
        return listen("127.0.0.1", free_port, option="--health-port")

    lost = opened()
    lost.close()  # uvicorn fails on it
    async with supervised(serve_again(app, lost, opened)) as (supervisor, _):
        async with asyncio.timeout(20):
            while not supervisor.failures().get("helper") or supervisor.failing():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        assert b" 204 " in await reader.readline()
        writer.close()
