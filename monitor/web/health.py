"""The monitor's own health: one snapshot for MQTT, for Prometheus and for `/healthz`.

`GET /healthz` answers 200 while every check passes and 503 with the one that fails. Its `tasks` are
what runs beside the stream; one that fails is named there and changes no status, since a restart of
the monitor would help none of them. `GET /metrics` is Prometheus' text format (version 0.0.4).
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Protocol

import msgspec
from starlette.types import Receive, Scope, Send

from monitor.contract import VERSION, MonitorMetrics
from monitor.models.timing import Stopwatch, quantile
from monitor.mqtt.link import wall_clock_ms
from monitor.pipeline import Pipeline
from monitor.supervisor import Supervisor
from monitor.web.exposition import Family, Labels, expose

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


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

    def exposition(self, now_ms: int, checks: Mapping[str, bool]) -> str:
        """The same in Prometheus' text format, with the checks of `/healthz`."""
        m = self.metrics(now_ms)
        families = [
            Family.info("build_info", "The version that runs.", version=version("cellpulse")),
            Family.gauge("start_time_seconds", "Start, Unix time.", self._started_at_s),
            Family.counter("messages", "Messages taken from the broker.", m.messages),
            Family.counter("frames", "Frames accepted.", m.frames),
            Family.counter("samples", "Samples of single cells in accepted frames.", m.samples),
            Family.counter("rejected", "Payloads refused.", m.rejected),
            Family.counter("quarantined", "Messages that raised, set aside.", m.quarantined),
            Family.counter("duplicates", "Frames that had come before.", m.duplicates),
            Family.counter("late", "Frames kept but too late for the features.", m.late),
            Family.counter("missed_frames", "Sequence numbers that never came.", m.gaps),
            Family.counter("dropped", "QoS 0 messages dropped at a full queue.", m.dropped),
            Family.counter("client_taken_over", "Client id taken by another.", m.client_taken_over),
            Family.counter("commits", "Transactions of the journal.", m.commits),
            Family.gauge("queue_messages", "Messages that wait in memory.", m.queue_messages),
            Family.gauge("queue_bytes", "Bytes of payload that wait.", m.queue_bytes),
            Family.gauge("lag_seconds", "Age of the oldest waiting message.", m.lag_ms / 1_000),
            Family.gauge("outbox_inputs", "Inputs not yet in the database.", m.outbox_inputs),
            Family.gauge("outbox_lag_seconds", "Age of the oldest of them.", m.outbox_lag_s),
            Family.counter("outbox_dropped", "Frames given up unsent.", m.outbox_dropped),
            Family.counter("set_aside_lines", "Lines that the database refused.", m.set_aside),
            Family.counter("webhook_let_go", "Events that the webhook refused.", m.webhook_let_go),
            Family.gauge("store_bytes", "Size of the journal.", m.store_bytes),
            Family.gauge("batch_mean_inputs", "Inputs a step, newest 1,000.", m.batch_mean),
            Family.summary(
                "latency_seconds", "From arrival to commit, newest 10,000 messages.",
                {"0.5": m.latency_ms_p50 / 1_000, "0.99": m.latency_ms_p99 / 1_000},
            ),
            Family.gauge(
                "alarms", "Alarms that are not normal.",
                {(("severity", str(k)),): self.alarms.get(k, 0) for k in range(1, 6)},
            ),
            Family.gauge(
                "check", "1 where a check of /healthz passes.",
                {(("check", name),): int(passed) for name, passed in checks.items()},
            ),
        ]  # fmt: skip
        if m.inference:
            families.append(Family.inference("inference_seconds", m.inference))
            rows: dict[Labels, float] = {
                (("model", name),): t.rows for name, t in m.inference.items()
            }
            families.append(Family.counter("inference_rows", "Samples inferred.", rows))
        tasks = self.supervisor.states()
        if tasks:
            up = {_task(name): int(task.state == "ok") for name, task in tasks.items()}
            failures = {_task(name): n for name, n in self.supervisor.failures().items()}
            families += [
                Family.gauge("task_up", "1 where a task beside the stream works.", up),
                Family.counter("task_failures", "How often it failed.", failures),
            ]
        families += _process()
        return expose(families)


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
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        status, kind, body = self._answer(scope["method"], scope["path"])
        headers = [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        if status == 405:
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, method: str, path: str) -> tuple[int, bytes, bytes]:
        if path not in ("/healthz", "/metrics"):
            return 404, b"text/plain", b"404: /healthz and /metrics are here\n"
        if method not in ("GET", "HEAD"):
            return 405, b"text/plain", b"405: only GET\n"
        checks = self._checks()
        if path == "/metrics":
            return 200, CONTENT_TYPE, self._health.exposition(self._now_ms(), checks).encode()
        good = all(checks.values())
        tasks = self._health.supervisor.states()
        body = {"status": "ok" if good else "failing", "checks": checks, "tasks": tasks}
        return 200 if good else 503, b"application/json", msgspec.json.encode(body) + b"\n"


def _task(name: str) -> Labels:
    return (("task", name),)


def _process() -> list[Family]:
    """Memory and CPU of this process under their customary names; memory on Linux only."""
    families = [
        Family("process_cpu_seconds_total", "counter", "CPU time.", [((), time.process_time())])
    ]
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE")
        families.append(
            Family("process_resident_memory_bytes", "gauge", "Resident memory.", [((), resident)])
        )
    return families
