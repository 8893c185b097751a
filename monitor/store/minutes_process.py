"""Minutes summed up in a process of their own, behind the stream in priority.

In a thread it held up the stream: while one thread computes in Python, another that comes back from
the disk or the network waits up to 5 ms for the interpreter, and a commit comes back from the disk
a hundred times. The process answers each request with one `Rolled`.

    python -m monitor.store.minutes_process STORE
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from monitor.errors import StoreError
from monitor.store.journal import MinuteRow
from monitor.store.minutes import Rolled, roll_up
from monitor.worker import Worker, serve

NICENESS = 10
ANSWER_S = 600.0  # a chunk takes seconds; a process that was stopped never answers


class MinutesProcess:
    """Asks the process, and starts it where there is none."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._worker = Worker(__name__, str(journal), answer_s=ANSWER_S)

    async def roll_up(self) -> Rolled:
        """As `minutes.roll_up`; raises StoreError also where the process ends."""
        try:
            return _understood(await self._worker.ask())
        except (OSError, EOFError) as error:
            raise StoreError(f"store {self._journal}: the process of the minutes ended") from error
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            await self.close()
            raise StoreError(
                f"store {self._journal}: the process of the minutes answers nonsense"
            ) from error

    async def close(self) -> None:
        """End the process."""
        await self._worker.close()


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
    journal = Path(sys.argv[1])
    serve(lambda request: msgspec.msgpack.encode(_answer(journal)), NICENESS)


if __name__ == "__main__":
    main()
