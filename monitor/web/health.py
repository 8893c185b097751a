"""The monitor's own health: one snapshot for MQTT, for Prometheus and for `/healthz`.

`GET /healthz` answers 200 while every check passes and 503 with the one that fails. Its `tasks` are
what runs beside the stream; one that fails is named there and changes no status, since a restart of
the monitor would help none of them. `GET /metrics` is Prometheus' text format (version 0.0.4).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Protocol

import msgspec
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from monitor.contract import VERSION, MonitorMetrics
from monitor.models.timing import Stopwatch, quantile
from monitor.mqtt.link import wall_clock_ms
from monitor.pipeline import Pipeline
from monitor.supervisor import Supervisor
from monitor.web.scrape import counter, exposed, gauge, inference, latency, process

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Waiting(Protocol):
    """The queue between the broker and the pipeline."""

    dropped: int

    @property
    def taken_over(self) -> int:
        """How often another client took our id."""

    @property
    def waiting(self) -> int:
        """How many messages wait to be taken."""

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of them."""

    def oldest_ms(self) -> int | None:
        """Arrival of the oldest that waits, ms; None where none does."""


class Health:
    """What is known of a running monitor. `mark` every few seconds makes the rates."""

    def __init__(
        self,
        pipeline: Pipeline,
        link: Waiting,
        watches: Mapping[str, Stopwatch],
        figures: Callable[[], Mapping[str, Any]] = dict,
        supervisor: Supervisor | None = None,
    ) -> None:
        """`figures` gives the fields of MonitorMetrics that others know, by name."""
        self.supervisor = supervisor or Supervisor(wall_clock_ms)
        self.alarms: Counter[int] = Counter()  # not normal, by severity
        self._pipeline = pipeline
        self._link = link
        self._watches = dict(watches)
        self._figures = figures
        self._started_s = time.monotonic()
        self._started_at_s = time.time()
        self._marked = (self._started_s, 0, 0)
        self._rates = (0.0, 0.0)

    def mark(self, now_s: float) -> None:
        """Take the rates anew: what came since the last mark, by the monotonic clock."""
        since_s, frames, samples = self._marked
        counters = self._pipeline.engine.counters
        span_s = max(1e-9, now_s - since_s)
        self._rates = ((counters.frames - frames) / span_s, (counters.samples - samples) / span_s)
        self._marked = (now_s, counters.frames, counters.samples)

    def metrics(self, now_ms: int) -> MonitorMetrics:
        """Counters, queues, latencies and the rates of the last mark."""
        pipeline, link = self._pipeline, self._link
        counters = pipeline.engine.counters
        oldest_ms = link.oldest_ms()
        batches = list(pipeline.batches)
        return MonitorMetrics(
            v=VERSION,
            timestamp_ms=now_ms,
            uptime_s=time.monotonic() - self._started_s,
            messages=pipeline.messages,
            frames=counters.frames,
            samples=counters.samples,
            rejected=pipeline.rejected,
            duplicates=counters.duplicates,
            late=counters.late,
            gaps=counters.missed,
            glitches=counters.glitches,
            dropped=link.dropped,
            client_taken_over=link.taken_over,
            commits=pipeline.commits,
            queue_messages=link.waiting,
            queue_bytes=link.waiting_bytes,
            lag_ms=0 if oldest_ms is None else max(0, now_ms - oldest_ms),
            frames_per_s=self._rates[0],
            samples_per_s=self._rates[1],
            batch_mean=sum(batches) / max(1, len(batches)),
            latency_ms_p50=quantile(pipeline.latencies_ms, 0.50),
            latency_ms_p99=quantile(pipeline.latencies_ms, 0.99),
            inference={name: watch.read() for name, watch in self._watches.items()},
            **self._figures(),
        )

    def exposition(self, now_ms: int, checks: Mapping[str, bool]) -> bytes:
        """The same in Prometheus' text format, with the checks of `/healthz`."""
        m = self.metrics(now_ms)
        families = [
            gauge("build_info", "The version that runs.", [({"version": version("cellpulse")}, 1)]),
            gauge("start_time_seconds", "Start, Unix time.", self._started_at_s),
            counter("messages", "Messages taken from the broker.", m.messages),
            counter("frames", "Frames accepted.", m.frames),
            counter("samples", "Samples of single cells in accepted frames.", m.samples),
            counter("rejected", "Payloads refused.", m.rejected),
            counter("quarantined", "Messages that raised, set aside.", m.quarantined),
            counter("duplicates", "Frames that had come before.", m.duplicates),
            counter("late", "Frames kept but too late for the features.", m.late),
            counter("missed_frames", "Sequence numbers that never came.", m.gaps),
            counter("dropped", "QoS 0 messages dropped at a full queue.", m.dropped),
            counter("client_taken_over", "Client id taken by another.", m.client_taken_over),
            counter("commits", "Transactions of the journal.", m.commits),
            gauge("queue_messages", "Messages that wait in memory.", m.queue_messages),
            gauge("queue_bytes", "Bytes of payload that wait.", m.queue_bytes),
            gauge("lag_seconds", "Age of the oldest waiting message.", m.lag_ms / 1_000),
            gauge("outbox_inputs", "Inputs not yet in the database.", m.outbox_inputs),
            gauge("outbox_lag_seconds", "Age of the oldest of them.", m.outbox_lag_s),
            counter("outbox_dropped", "Frames given up unsent.", m.outbox_dropped),
            counter("set_aside_lines", "Lines that the database refused.", m.set_aside),
            counter("webhook_let_go", "Events that the webhook refused.", m.webhook_let_go),
            gauge("store_bytes", "Size of the journal.", m.store_bytes),
            gauge("batch_mean_inputs", "Inputs a step, newest 1,000.", m.batch_mean),
            latency(m),
            gauge(
                "alarms", "Alarms that are not normal.",
                [({"severity": str(k)}, self.alarms.get(k, 0)) for k in range(1, 6)],
            ),
            gauge(
                "check", "1 where a check of /healthz passes.",
                [({"check": name}, int(passed)) for name, passed in checks.items()],
            ),
        ]  # fmt: skip
        if m.inference:
            families.append(inference(m.inference))
            rows = [({"model": name}, t.rows) for name, t in m.inference.items()]
            families.append(counter("inference_rows", "Samples inferred.", rows))
        tasks = self.supervisor.states()
        if tasks:
            up = [({"task": name}, int(task.state == "ok")) for name, task in tasks.items()]
            failures = [({"task": name}, n) for name, n in self.supervisor.failures().items()]
            families += [
                gauge("task_up", "1 where a task beside the stream works.", up),
                counter("task_failures", "How often it failed.", failures),
            ]
        families += process()
        return exposed(families)


class HealthPages:
    """The ASGI app of `/healthz` and `/metrics`."""

    def __init__(
        self, health: Health, checks: Callable[[], dict[str, bool]], now_ms: Callable[[], int]
    ) -> None:
        self._health = health
        self._checks = checks
        self._now_ms = now_ms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await WebSocketClose(1008)(scope, receive, send)
            return
        await self._answer(scope["method"], scope["path"])(scope, receive, send)

    def _answer(self, method: str, path: str) -> Response:
        headers = {"cache-control": "no-store"}
        if path not in ("/healthz", "/metrics"):
            return PlainTextResponse("404: /healthz and /metrics are here\n", 404, headers)
        if method not in ("GET", "HEAD"):
            return PlainTextResponse("405: only GET\n", 405, {**headers, "allow": "GET, HEAD"})
        checks = self._checks()
        if path == "/metrics":
            text = self._health.exposition(self._now_ms(), checks)
            return Response(text, headers=headers, media_type=CONTENT_TYPE)
        good = all(checks.values())
        tasks = self._health.supervisor.states()
        body = {"status": "ok" if good else "failing", "checks": checks, "tasks": tasks}
        words = msgspec.json.encode(body) + b"\n"
        return Response(words, 200 if good else 503, headers, "application/json")
