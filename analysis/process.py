"""The analysis of a file as a process of its own, with bounds on memory and time.

So a hostile or huge file can neither stop nor slow the page. The process prints JSON lines: the
share done, then the result or a sentence that says why there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from analysis.messages import AnalysisMessage, both, refusal
from monitor.dashboard.analysis import Analysis, AnalysisError

log = logging.getLogger(__name__)

MEMORY_BYTES = 4 * 2**30  # of address space: models and Numba map a good part of it
TIME_S = 1_800.0
LAST_WORDS_BYTES = 2_000
LONGEST_WORDS = 1_000
NICE = 5  # the live page and the monitor come first


async def analyse(path: Path, progress: Callable[[float], None]) -> list[Analysis]:
    """What is in the file at `path`; raises AnalysisError saying why it cannot be told."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "analysis.process", str(path),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, limit=256 * 2**20,
    )  # fmt: skip
    last_words = asyncio.ensure_future(_last_words(process.stderr))
    try:
        if process.stdout is None:
            raise refusal(AnalysisMessage("not_started"))
        async with asyncio.timeout(TIME_S):
            async for line in process.stdout:
                said = msgspec.json.decode(line)
                if "progress" in said:
                    progress(said["progress"])
                elif "result" in said:
                    return msgspec.convert(said["result"], list[Analysis])
                else:
                    raise AnalysisError(said["error"], said["error_zh"])
    except TimeoutError as error:
        message = AnalysisMessage("too_long", most=TIME_S / 60)
        raise refusal(message, path.name) from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        words = await last_words
    log.error("an analysis ended without an answer: %s", words.decode(errors="replace"))
    raise refusal(AnalysisMessage("memory_or_damaged"), path.name)


async def _last_words(stream: asyncio.StreamReader | None) -> bytes:
    """The end of what a process complains of; all of it is read, so that it never waits."""
    kept = b""
    while stream is not None and (block := await stream.read(1 << 16)):
        kept = (kept + block)[-LAST_WORDS_BYTES:]
    return kept


def main(path: Path) -> None:
    """The process: bounded, one line of JSON at a time on standard output."""
    from monitor.errors import CellpulseError
    from recordings.types import RecordingError

    with contextlib.suppress(ImportError):  # Windows has no such bound; the time's remains
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        os.nice(NICE)
    from analysis.file import read  # heavy: within the bounds

    def say(**words: object) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(words) + b"\n")
        sys.stdout.buffer.flush()

    def refuse(error: Exception) -> None:
        english, chinese = (
            words.replace(f"{path.parent}/", "")[:LONGEST_WORDS] for words in both(error)
        )
        say(error=english, error_zh=chinese)

    try:
        say(result=read(path, lambda share: say(progress=share)))
    except (RecordingError, CellpulseError) as error:
        refuse(error)
    except MemoryError:
        refuse(refusal(AnalysisMessage("memory"), path.name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
