"""The engine brought to where its journal ends: a checkpoint, then the inputs behind it.

Nothing in a file ends a start. A checkpoint that cannot be used is kept under another name, and the
one before it, or the whole journal, is replayed. An input that the engine cannot take is left out,
of this recovery and of every later one; its row stays in the journal.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from monitor.delivery import InputLog
from monitor.engine import Engine
from monitor.errors import StoreError, reason_of
from monitor.inputs import Stored
from monitor.store.checkpoint import candidates, set_aside

log = logging.getLogger(__name__)

BATCH = 2_000


class Recovered(NamedTuple):
    """How many inputs were run again, and which could not be, each with its reason."""

    inputs: int
    left_out: list[Stored]


class _Stuck(NamedTuple):
    """A batch that raised; the reason where it is of one input alone."""

    batch: list[Stored]
    reason: str | None


def recover(engine: Engine, journal: InputLog) -> Recovered:
    """Bring a cleared or dirty engine to where its journal ends.

    Raises StoreError where the journal cannot be read or written.
    """
    left_out: list[Stored] = []
    singly = range(0)
    while True:
        engine.clear()
        after = _take_checkpoint(engine, journal)
        unreadable: list[Stored] = []
        ended = _replay(engine, journal, after, singly, unreadable)
        if isinstance(ended, int):
            if unreadable:
                journal.leave_out(unreadable)
            engine.continue_numbers(journal.alarm_numbers())
            return Recovered(ended, left_out + unreadable)
        if ended.reason is None:
            # The state is half changed: again, and these one by one.
            singly = range(ended.batch[0].id, ended.batch[-1].id + 1)
        else:
            raised = [stored._replace(reason=ended.reason) for stored in ended.batch]
            journal.leave_out(raised)
            left_out += raised
            singly = range(0)


def _replay(
    engine: Engine, journal: InputLog, after: int, singly: range, unreadable: list[Stored]
) -> int | _Stuck:
    """Run the inputs behind `after`, some of them singly; how many, or where it does not go on.

    `unreadable` gets those that no engine ever sees: they have changed nothing.
    """
    count = 0
    batch: list[Stored] = []
    for stored in journal.inputs_after(after):
        if stored.item is None:
            unreadable.append(stored)
            continue
        if len(batch) == BATCH or (batch and stored.id in singly):
            stuck = _process(engine, batch)
            if stuck is not None:
                return stuck
            count += len(batch)
            batch = []
        batch.append(stored)
    stuck = _process(engine, batch)
    return count + len(batch) if stuck is None else stuck


def _process(engine: Engine, batch: list[Stored]) -> _Stuck | None:
    try:
        engine.process([stored.item for stored in batch if stored.item is not None])
    except MemoryError:
        raise  # of the machine, not of an input
    except Exception as error:  # whatever it is, it is of one input, and the others go on
        return _Stuck(batch, reason_of(error) if len(batch) == 1 else None)
    return None


def _take_checkpoint(engine: Engine, journal: InputLog) -> int:
    """Take the newest usable checkpoint over; the input that it stands behind, 0 without one."""
    try:
        for path, checkpoint in candidates(journal.path, journal.last_id):
            try:
                for state in checkpoint.assets:
                    engine.put_asset_state(state)
                if checkpoint.groups:
                    engine.put_shared_state(checkpoint.groups)
            except MemoryError:
                raise  # of the machine, not of a file
            except Exception as error:  # of another version, or damaged where no checksum tells
                engine.clear()
                log.error(
                    "checkpoint %s cannot be used (%s): it is kept as %s, and more of the journal "
                    "is replayed instead; only what was learnt from telemetry that the journal "
                    "does not hold any more (keep_raw_days) is lost. Nothing is to be done; to "
                    "have that back, stop the monitor, give the file its name again and start the "
                    "version that wrote it, else delete it",
                    path, reason_of(error), set_aside(path),
                )  # fmt: skip
            else:
                return checkpoint.input_id
    except OSError as error:
        raise StoreError(f"checkpoints of {journal.path}: {error}") from error
    return 0
