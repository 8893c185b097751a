"""What Prometheus scrapes, as families of its own client. Nothing is kept between two scrapes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from monitor.contract import InferenceTimes, MonitorMetrics

PREFIX = "cellpulse_"
Values = float | Sequence[tuple[dict[str, str], float]]  # labels and value of every sample


class _Families(Collector):
    """What one scrape reads."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def exposed(families: Iterable[Metric]) -> bytes:
    """The text that a scrape gets."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry)


def counter(name: str, text: str, values: Values) -> Metric:
    """A number that only grows; `_total` is added to its name."""
    return _metric(f"{PREFIX}{name}", "counter", text, values, "_total")


def gauge(name: str, text: str, values: Values) -> Metric:
    """A number that goes up and down."""
    return _metric(f"{PREFIX}{name}", "gauge", text, values)


def _metric(name: str, kind: str, text: str, values: Values, end: str = "") -> Metric:
    metric = Metric(name, text, kind)
    for labels, value in values if isinstance(values, Sequence) else [({}, values)]:
        metric.add_sample(name + end, labels, value)
    return metric


def latency(m: MonitorMetrics) -> Metric:
    """A summary of the time from arrival to commit."""
    text = "From arrival to commit, newest 10,000 messages."
    quantiles = {"0.5": m.latency_ms_p50 / 1_000, "0.99": m.latency_ms_p99 / 1_000}
    samples: Values = [({"quantile": q}, value) for q, value in quantiles.items()]
    return _metric(f"{PREFIX}latency_seconds", "summary", text, samples)


def inference(times: Mapping[str, InferenceTimes]) -> Metric:
    """A summary of each model's runs."""
    text = "Time of one run of a model; quantiles of the newest 1,000."
    metric = Metric(f"{PREFIX}inference_seconds", text, "summary")
    for model, t in times.items():
        label = {"model": model}
        metric.add_sample(metric.name, {**label, "quantile": "0.5"}, t.ms_p50 / 1_000)
        metric.add_sample(metric.name, {**label, "quantile": "0.99"}, t.ms_p99 / 1_000)
        metric.add_sample(f"{metric.name}_sum", label, t.total_s)
        metric.add_sample(f"{metric.name}_count", label, t.runs)
    return metric


def process() -> list[Metric]:
    """Memory and CPU of this process under their customary names; memory on Linux only."""
    cpu_s = time.process_time()
    families = [_metric("process_cpu_seconds", "counter", "CPU time.", cpu_s, "_total")]
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE")
        name = "process_resident_memory_bytes"
        families.append(_metric(name, "gauge", "Resident memory.", resident))
    return families
