"""A process that answers: it comes back, and what was half asked answers nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from monitor.worker import Worker, serve


def answer(request: bytes) -> bytes:
    print("words that are no answer")
    if request == b"end":
        os._exit(3)
    if request == b"sleep":
        signal.pause()
    return request * 2


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker(__name__, answer_s=60.0)
    yield worker
    await worker.close()


async def test_it_answers_one_after_another(worker: Worker) -> None:
    assert await worker.ask() == b""
    first = worker.pid
    big = b"x" * 1_000_000
    assert await asyncio.gather(*(worker.ask(part) for part in (b"a", big, b"c"))) == [
        b"aa", 2 * big, b"cc",
    ]  # fmt: skip
    assert worker.pid == first


async def test_one_that_ended_is_begun_again(worker: Worker) -> None:
    with pytest.raises(EOFError):
        await worker.ask(b"end")
    assert await worker.ask(b"a") == b"aa"
    running = worker.pid
    assert running is not None
    os.kill(running, signal.SIGKILL)
    with pytest.raises((EOFError, OSError)):
        await worker.ask(b"a")
    assert await worker.ask(b"a") == b"aa"


async def test_who_waits_no_more_gets_nobody_elses_answer(worker: Worker) -> None:
    await worker.ask()
    asking = asyncio.create_task(worker.ask(b"sleep"))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await worker.ask(b"b") == b"bb"


async def test_one_that_is_too_slow_is_ended() -> None:
    worker = Worker(__name__, answer_s=0.0)
    with pytest.raises(TimeoutError):
        await worker.ask(b"sleep")
    assert worker.pid is None


if __name__ == "__main__":
    serve(answer, 0)
    sys.exit()
