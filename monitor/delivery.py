"""The delivery contract: what holds after each call returns, after a kill, and on a retry.

    take                compute, announce the alarm transitions        `Publisher.publish`
    flush               one transaction: inputs, results, transitions  `InputLog.commit`
                        tell the broker                                `Publisher.acknowledge`
                        cycles, replies, estimates                     `Publisher.publish`
    now and then        the engine's state beside the log              `store.checkpoint.write`
    behind the log      webhook, InfluxDB, each with its own cursor    `notify`, `store.outbox`

What a user may rely on, and the order that gives it:

* A message that was acknowledged is in the log. It is acknowledged after the commit, never before,
  so a kill anywhere loses nothing that the broker still has: it comes again, and admission drops
  what the log has already (`Verdict.DUPLICATE`).
* A row of the log is there once. Inputs and all that came of them are one transaction; a
  transition's identity is its alarm and its number, counted in the log itself.
* An alarm does not wait for the disk: its transition is published before the commit. After a kill
  between the two it is computed again from the message that comes again, with the same identity.
  So: exactly once in the log, at least once on the wire.
* The state is what the inputs make it. A checkpoint only saves time: without one, or with one that
  cannot be used, more of the log is run again.
* Whoever is fed from the log (webhook, InfluxDB) gets it in order, at least once. Its cursor moves
  after it has confirmed: a kill between the two sends the last part again, in which a point of
  InfluxDB is its own identity and a transition carries its `event_id`. While it is away the cursor
  stands, the log keeps what is behind it, and nobody else waits.

Estimates, metrics and retained records are the newest state, not history: they may be skipped, and
the next one says all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from monitor.inputs import Stored
    from monitor.mqtt.link import Message
    from monitor.results import Results


class Publisher(Protocol):
    """The broker's edge, as the pipeline sees it (`mqtt.link.MqttLink`)."""

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False,
        expiry_s: int | None = None,
    ) -> None:  # fmt: skip
        """Hand a message over; with `expiry_s` the broker drops it after so many seconds.

        After the return: it is queued in this process, in order, and nothing more. While the broker
        is away QoS 0 (estimates, metrics) is dropped past a bound, and counted. After a kill: what
        was queued is gone; a transition comes again with its message, retained alarm records are
        compared at the next start and made right.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these need not come again; call it after their commit alone.

        After the return: the broker will be told. After a kill before it was: they come again and
        are dropped as duplicates. Twice is once. Messages of a connection that has ended are passed
        over: the broker sends those again by itself.
        """


class InputLog(Protocol):
    """Every input in order, and what came of it (`store.journal.Journal`). One writer."""

    @property
    def path(self) -> Path:
        """Where it is; the checkpoints lie beside it."""

    @property
    def last_id(self) -> int:
        """The newest committed input's number; numbers only grow."""

    def commit(self, results: Results) -> None:
        """Write a batch's inputs and all that came of them; all of it or nothing.

        After the return: it survives a kill of this process, and with `durable` the loss of power.
        After a kill during it: it is there whole or not at all. Raises StoreError where it cannot
        be written now; calling it again with the same results writes them once.
        """

    def inputs_after(self, input_id: int) -> Iterator[Stored]:
        """The inputs behind a number, in order, for a recovery; raises StoreError.

        The same ones at every call: a recovery that is killed begins again and ends the same.
        """

    def leave_out(self, inputs: Sequence[Stored]) -> None:
        """Have no later recovery run these; their rows stay. Raises StoreError. Twice is once."""

    def alarm_numbers(self) -> dict[tuple[str, str, str], int]:
        """How many transitions of each alarm are written: the next one's number follows."""
