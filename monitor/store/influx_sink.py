"""From the journal to InfluxDB, for ever: a batch, its confirmation, the cursor; then the next.

Nothing here is on the way of a frame: the journal is read by a connection of its own, in a thread
of its own, and what goes wrong is waited out (`monitor.supervisor`). Encoding lines costs the
interpreter, so after each batch the thread rests as long as the encoding took. After a failure the
next batch is half as large, and twice as large after each success: a database too slow for a whole
one in the time that it has to answer gets on all the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from monitor.config import Config
from monitor.contract import MonitorMetrics
from monitor.errors import ConfigurationError, StoreError
from monitor.store.influx import InfluxWriter, Writer, deliver, make_target
from monitor.store.lines import metrics_lines
from monitor.store.outbox import BATCH_LINES, Outbox
from monitor.supervisor import Report

log = logging.getLogger(__name__)

POLL_S = 1.0
FEWEST_LINES = 100


@dataclass(frozen=True, slots=True)
class SinkState:
    """What metrics tell of the outbox."""

    inputs: int = 0  # journalled and not confirmed
    oldest_ms: int | None = None  # arrival of the oldest of them
    set_aside: int = 0
    position: int = 0  # the last input confirmed


class Sink:
    """Feeds one target from one journal."""

    def __init__(
        self,
        journal: Path,
        target: str,
        writer: Callable[[], Writer],
        monitor_id: str,
        *,
        max_assets: int = 10_000,
        poll_s: float = POLL_S,
    ) -> None:
        """Opens the outbox and raises StoreError where it cannot; `writer` is called later."""
        self._outbox = Outbox(journal, target, max_assets)
        self._make_writer = writer
        self._writer: Writer | None = None
        self._id = monitor_id
        self._poll_s = poll_s
        self._metrics: MonitorMetrics | None = None
        self._worker = ThreadPoolExecutor(1, "influx")
        self._lines = BATCH_LINES
        self.state = SinkState(
            set_aside=self._outbox.set_aside, position=self._outbox.position.input
        )

    def tell(self, metrics: MonitorMetrics) -> None:
        """The monitor's newest counters; they go with the next batch."""
        self._metrics = metrics

    async def run(self, report: Report) -> None:
        """Feed for ever; raises AwayError, StoreError where that cannot be done now."""
        loop = asyncio.get_running_loop()
        while True:
            rest_s = await loop.run_in_executor(self._worker, self._round)
            report.well()
            await asyncio.sleep(rest_s)

    def close(self) -> None:
        """Close the files. A request under way is left to its own bound in time."""
        self._worker.submit(self._outbox.close)
        self._worker.shutdown(wait=False)

    def _round(self) -> float:
        """One step; the batch of the next is smaller after a failure, larger after a success."""
        try:
            rest_s = self.step()
        except Exception:
            self._lines = max(FEWEST_LINES, self._lines // 2)
            self._look()
            raise
        self._lines = min(BATCH_LINES, 2 * self._lines)
        return rest_s

    def step(self) -> float:
        """Write one batch and move the cursor; returns the seconds to rest before the next.

        Raises AwayError, StoreError where the server or a file cannot be used now.
        """
        began = time.monotonic()
        batch = self._outbox.next_batch(self._lines - 1)  # one more for the counters
        lines = list(batch.lines)
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            lines += metrics_lines(self._id, metrics)
        encoded_s = time.monotonic() - began
        if self._writer is None:
            self._writer = self._make_writer()
        refused = [*batch.broken, *deliver(self._writer, lines)]
        if refused:
            line, reason = refused[0]
            log.warning(
                "InfluxDB set aside %d lines, the first %.80s: %s", len(refused), line, reason
            )
        if batch.after != self._outbox.position or refused:
            self._outbox.confirm(batch.after, refused, time.time_ns() // 1_000_000)
        self._look()
        return encoded_s if batch.more else self._poll_s

    def _look(self) -> None:
        """Bring `state` up to date, as far as the journal can be read."""
        try:
            inputs, oldest_ms = self._outbox.waiting()
        except StoreError:
            return
        self.state = SinkState(
            inputs, oldest_ms, self._outbox.set_aside, self._outbox.position.input
        )


def make_sink(config: Config) -> Sink | None:
    """The sink that a configuration asks for, None where it asks for none.

    Raises ConfigurationError, for a missing package too, and StoreError.
    """
    target = make_target(config)
    if target is None:
        return None
    if find_spec("influxdb_client") is None:
        raise ConfigurationError(
            "influx_url needs the package influxdb-client; install cellpulse[influx]"
        )
    return Sink(
        config.store, target.key, partial(InfluxWriter, target), config.monitor_id,
        max_assets=config.influx_max_assets,
    )  # fmt: skip
