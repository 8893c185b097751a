"""What keeps a journal in shape beside the stream: its figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from monitor.store.influx_sink import Sink, SinkState
from monitor.store.journal import used_bytes


class Upkeep:
    """The store and its outbox, looked after."""

    def __init__(self, journal: Path, sink: Sink | None, now_ms: Callable[[], int]) -> None:
        self._journal = journal
        self._sink = sink
        self._now_ms = now_ms

    def figures(self) -> dict[str, Any]:
        """The fields of MonitorMetrics about the store and the outbox, by name."""
        state = SinkState() if self._sink is None else self._sink.state
        lag_ms = 0 if state.oldest_ms is None else max(0, self._now_ms() - state.oldest_ms)
        return {
            "store_bytes": used_bytes(self._journal),
            "outbox_inputs": state.inputs,
            "outbox_lag_s": lag_ms / 1000.0,
            "set_aside": state.set_aside,
        }
