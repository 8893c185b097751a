"""Minutes summed up in a process of their own, behind the stream in priority.

In a thread it held up the stream: while one thread computes in Python, another that comes back from
the disk or the network waits up to 5 ms for the interpreter, and a commit comes back from the disk
a hundred times. The process answers each line on its standard input with one `Rolled`, and ends
where its input does: with the monitor, however that ends.

    python -m monitor.store.minutes_process STORE
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from pathlib import Path

import msgspec

from monitor.errors import StoreError
from monitor.store.journal import MinuteRow
from monitor.store.minutes import Rolled, roll_up

NICENESS = 10
LENGTH = struct.Struct(">I")
MOST_BYTES = 256 * 1024 * 1024
ANSWER_S = 600.0  # a chunk takes seconds; a process that was stopped never answers


class MinutesProcess:
    """Asks the process, and starts it where there is none."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._process: asyncio.subprocess.Process | None = None

    async def roll_up(self) -> Rolled:
        """As `minutes.roll_up`; raises StoreError also where the process ends."""
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", __name__, str(self._journal),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the monitor, which ends this
            )  # fmt: skip
        if process.stdin is None or process.stdout is None:
            raise StoreError(f"store {self._journal}: the process of the minutes has no pipes")
        try:
            async with asyncio.timeout(ANSWER_S):
                process.stdin.write(b"\n")
                await process.stdin.drain()
                (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
                if length > MOST_BYTES:
                    raise ValueError
                return _understood(await process.stdout.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:  # a TimeoutError is an OSError
            await self.close()
            raise StoreError(f"store {self._journal}: the process of the minutes ended") from error
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            await self.close()
            raise StoreError(
                f"store {self._journal}: the process of the minutes answers nonsense"
            ) from error

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


class _Answer(msgspec.Struct, array_like=True):
    rows: list[MinuteRow] = []
    after: int = 0
    upto: int = 0
    more: bool = False
    error: str = ""


def _understood(data: bytes) -> Rolled:
    answer = msgspec.msgpack.decode(data, type=_Answer)
    if answer.error:
        raise StoreError(answer.error)
    return Rolled(answer.rows, answer.after, answer.upto, answer.more)


def _answer(journal: Path) -> _Answer:
    try:
        rolled = roll_up(journal)
    except StoreError as error:
        return _Answer(error=str(error))
    except Exception as error:  # the monitor says it; a process that ended could not say why
        return _Answer(error=f"minutes cannot be made: {type(error).__name__}: {error}"[:1_000])
    return _Answer(rolled.rows, rolled.after, rolled.upto, rolled.more)


def main() -> None:
    """The process."""
    os.nice(NICENESS)
    journal = Path(sys.argv[1])
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as out:
        for _ in sys.stdin.buffer:
            data = msgspec.msgpack.encode(_answer(journal))
            block = memoryview(LENGTH.pack(len(data)) + data)
            try:
                while block:
                    block = block[out.write(block) :]
            except BrokenPipeError:
                return  # nobody waits for it any more


if __name__ == "__main__":
    main()
