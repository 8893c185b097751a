"""The polling loop: open, identify, ask once an interval; re-open what went away.

A poll that fails costs that poll, whatever it raises; what is no plain silence is set aside. After
`offline_after` failures in a row the asset is told offline; after `reopen_after` the port is closed
and opened again, because an adapter that was unplugged and came back may be silent rather than
gone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from bridge.backoff import Backoff
from bridge.clock import Clock
from bridge.conversation import Protocol
from bridge.errors import BridgeError, LinkError, MappingError, NoAnswerError
from bridge.gateway import Sink
from bridge.link import Link, Opener
from bridge.protocols import NAMES, Choices, protocol
from bridge.quarantine import Quarantine
from bridge.session import Counters, Patience, Session, Tap

_log = logging.getLogger("cellpulse.bridge")


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often and how patiently a board is asked. Seconds."""

    interval_s: float = 1.0
    patience: Patience = field(default_factory=Patience)
    offline_after: int = 3
    reopen_after: int = 10
    first_backoff_s: float = 0.5
    most_backoff_s: float = 30.0


class Poller:
    """Reads one board on one port for as long as it runs.

    `name` is a protocol's or `auto`, which asks in each protocol in turn until one answers.
    `baud` overrides the protocol's own. Answers that cannot be used go to the `quarantine`, as
    those of `asset`.
    """

    def __init__(  # noqa: PLR0913 - parts that are handed in, most with a default
        self,
        opener: Opener,
        name: str,
        sink: Sink,
        clock: Clock,
        *,
        choices: Choices | None = None,
        rhythm: Rhythm | None = None,
        baud: int | None = None,
        tap: Callable[[Protocol], Tap] | None = None,
        quarantine: Quarantine | None = None,
        asset: str | None = None,
    ) -> None:
        self._opener = opener
        self._choices = choices or Choices()
        self._protocol = None if name == "auto" else protocol(name, self._choices)
        self._sink = sink
        self._clock = clock
        self._rhythm = rhythm or Rhythm()
        self._baud = baud
        self._tap = tap
        self._quarantine = quarantine or Quarantine()
        self._asset = asset
        self.counters = Counters()

    async def run(self) -> None:
        """Poll until cancelled; raises MappingError for a port that can never be opened."""
        backoff = Backoff(self._rhythm.first_backoff_s, self._rhythm.most_backoff_s)
        while True:
            try:
                spoken = self._protocol or await self._detect()
                self._protocol = spoken
                link = await self._opener(self._baud or spoken.baud)
                try:
                    await self._talk(link, spoken, backoff)
                finally:
                    await link.close()
            except (LinkError, NoAnswerError) as error:
                self._sink.offline(str(error))
            self.counters.reopened += 1
            await self._clock.sleep(backoff.wait_s())

    async def _detect(self) -> Protocol:
        """The first protocol that the board answers in; raises NoAnswerError for none."""
        for name in NAMES:
            candidate = protocol(name, self._choices)
            link = await self._opener(self._baud or candidate.baud)
            session = Session(link, candidate, self._clock, self.counters)
            try:
                await session.hold(candidate.identify(), Patience(1.0, retries=1))
            except LinkError:
                raise
            except Exception as error:
                _log.debug("not %s: %s", name, error)
                if not isinstance(error, BridgeError):
                    self._quarantine.set_aside(error, name, session.heard)
            else:
                _log.info("the board answers in %s at %d baud", name, candidate.baud)
                return candidate
            finally:
                await link.close()
        raise NoAnswerError(f"no board answers in any of {', '.join(NAMES)}")

    async def _talk(self, link: Link, spoken: Protocol, backoff: Backoff) -> None:
        tap = self._tap(spoken) if self._tap is not None else None
        session = Session(link, spoken, self._clock, self.counters, tap)
        identified = False
        failures = 0
        next_s = self._clock.monotonic_s()
        while True:
            try:
                if not identified:
                    identity = await session.hold(spoken.identify(), self._rhythm.patience)
                    self._sink.identified(identity)
                    identified = True
                reading = await session.hold(spoken.poll(), self._rhythm.patience)
                self._sink.reading(reading, session.answered_ms)
            except (LinkError, MappingError):
                raise
            except Exception as error:
                if not isinstance(error, NoAnswerError):
                    self.counters.bad_frames += 1
                    self._quarantine.set_aside(error, spoken.name, session.heard, self._asset)
                failures += 1
                if failures == self._rhythm.offline_after:
                    self._sink.offline(str(error))
                if failures >= self._rhythm.reopen_after:
                    raise NoAnswerError(f"{failures} polls failed, the last: {error}") from error
            else:
                failures = 0
                backoff.reset()
                self.counters.polls += 1
            # A poll that took longer than the interval loses its turn: no burst follows it.
            late_s = self._clock.monotonic_s() - next_s
            next_s += self._rhythm.interval_s * max(1, math.ceil(late_s / self._rhythm.interval_s))
            await self._clock.sleep(next_s - self._clock.monotonic_s())
