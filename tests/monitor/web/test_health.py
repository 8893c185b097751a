"""The monitor's own health: what a scrape, a probe and a subscriber are told, and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cellpulse.questions import UnhealthyError, ask_health
from cellpulse.wiring import connector
from monitor.config import Config
from monitor.contract import AssetConfig, Frame, MonitorMetrics, Topics, decode, encode
from monitor.errors import ConfigurationError
from monitor.models.folder import load_models, models_folder
from monitor.models.timing import Stopwatch, quantile
from monitor.mqtt.address import BrokerAddress
from monitor.service import Monitor
from monitor.store.checkpoint import newest
from monitor.web.health import Health
from monitor.web.scrape import exposed, gauge
from tests.conftest import ROOT
from tests.engine_world import T0
from tests.monitor.test_pipeline import World, hot

TOPICS = Topics()


class Queue:
    """A queue that stands still."""

    dropped = 5
    taken_over = 2
    waiting = 7
    waiting_bytes = 800

    def oldest_ms(self) -> int | None:
        return T0 - 1_500


@pytest.fixture
def health(tmp_path: Path) -> Health:
    world = World(tmp_path / "store.sqlite")
    world.configure()
    world.pipeline.step([hot(0), hot(1), hot(1), hot(5), hot(3)], T0)
    watch = Stopwatch()
    for k in range(1, 101):
        watch.add(4, k / 1_000)
    return Health(world.pipeline, Queue(), {"soh": watch}, lambda: {"outbox_inputs": 42})


def parsed(text: str) -> dict[str, float]:
    """Every sample of an exposition, `name{label=value}` to value, read by Prometheus' parser."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_the_message_holds_what_is_known(health: Health) -> None:
    metrics = decode(MonitorMetrics, encode(health.metrics(T0)))
    assert (metrics.messages, metrics.frames, metrics.samples, metrics.commits) == (6, 3, 3, 2)
    assert (metrics.duplicates, metrics.late, metrics.gaps) == (1, 1, 3)
    assert (metrics.dropped, metrics.queue_messages, metrics.queue_bytes) == (5, 7, 800)
    assert metrics.client_taken_over == 2
    assert (metrics.lag_ms, metrics.outbox_inputs) == (1_500, 42)
    assert metrics.latency_ms_p99 >= metrics.latency_ms_p50 >= 0
    soh = metrics.inference["soh"]
    assert (soh.runs, soh.rows) == (100, 400)
    assert soh.total_s == pytest.approx(5.05)
    assert (soh.ms_p50, soh.ms_p99) == pytest.approx((51, 100))


def test_rates_are_of_the_time_between_marks(health: Health) -> None:
    health.mark(1e9)
    assert health.metrics(T0).frames_per_s == pytest.approx(3 / 1e9, rel=0.1)
    health.mark(1e9 + 5)
    assert health.metrics(T0).frames_per_s == 0.0
    assert health.metrics(T0).samples_per_s == 0.0


def test_prometheus_reads_the_same(health: Health) -> None:
    health.alarms[5] = 2
    found = parsed(health.exposition(T0, {"broker": True, "store": False}).decode())
    assert found["cellpulse_frames_total"] == 3
    assert found["cellpulse_dropped_total"] == 5
    assert found["cellpulse_client_taken_over_total"] == 2
    assert found["cellpulse_outbox_inputs"] == 42
    assert found["cellpulse_lag_seconds"] == 1.5
    assert found["cellpulse_alarms{severity=5}"] == 2
    assert found["cellpulse_check{check=broker}"] == 1
    assert found["cellpulse_check{check=store}"] == 0
    assert found["cellpulse_inference_seconds{model=soh,quantile=0.99}"] == pytest.approx(0.1)
    assert found["cellpulse_inference_seconds_count{model=soh}"] == 100
    assert found["process_resident_memory_bytes"] > 1e6


def test_a_label_may_hold_anything() -> None:
    hostile = 'a"} 1\nevil_total 9 \\'
    text = exposed([gauge("x", "One\nline.", [({"name": hostile}, 1.0)])]).decode()
    (family,) = text_string_to_metric_families(text)
    (sample,) = family.samples
    assert sample.labels == {"name": hostile}


def test_quantile_of_nothing_is_zero() -> None:
    assert quantile(Stopwatch()._recent_s, 0.5) == 0.0


class Running:
    """A monitor with its models and its health page."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.url = f"http://127.0.0.1:{config.health_port}"
        self.monitor = Monitor(config, *load_models(models_folder()))
        self.task = asyncio.create_task(self.monitor.run())

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        def fetch() -> tuple[int, str]:
            request = urllib.request.Request(self.url + path, headers=headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(fetch)


@pytest.fixture
async def running(
    mosquitto: BrokerAddress, tmp_path: Path, unused_tcp_port: int
) -> AsyncIterator[Running]:
    one = Running(
        Config(broker=mosquitto, store=tmp_path / "store.sqlite", health_port=unused_tcp_port)
    )
    await one.monitor.ready.wait()
    yield one
    one.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await one.task


def frame(k: int) -> bytes:
    return encode(
        Frame(
            v=1, timestamp_ms=T0 + 1_000 * k, session="s", seq=k, current_a=-2.0,
            voltage_v=4.0 - 0.001 * k, temperature_c=25.0 + 0.01 * k,
        )
    )  # fmt: skip


async def send(config: Config, numbers: range) -> None:
    """Publish a config and frames at QoS 1; all of them are with the broker when this returns."""
    async with connector(config)(aiomqtt.Will("unused/will", b"")) as client:
        device = AssetConfig(v=1, nominal_capacity_ah=2.0)
        await client.publish("bms/p/config", encode(device), 1, True)
        for k in numbers:
            await client.publish("bms/p/telemetry", frame(k), 1)


async def test_a_running_monitor_answers(running: Running) -> None:
    config = running.config
    await send(config, range(50))
    async with connector(config)(aiomqtt.Will("unused/will", b"")) as client, asyncio.timeout(30):
        await client.subscribe("bms/_monitor/monitor/metrics")
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            metrics = decode(MonitorMetrics, message.payload)
            if metrics.frames == 50:
                break
    assert metrics.samples == 50
    assert 1 <= metrics.inference["thermal"].rows <= 50  # those that the features suffice for
    status, text = await running.get("/metrics")
    found = parsed(text)
    assert (status, found["cellpulse_frames_total"]) == (200, 50)
    assert found["cellpulse_inference_seconds_count{model=thermal}"] >= 1
    status, text = await running.get("/healthz")
    assert status == 200
    checks = {"started": True, "broker": True, "store": True, "pipeline": True}
    told = json.loads(text)
    assert (told["status"], told["checks"]) == ("ok", checks)
    assert {name: task["state"] for name, task in told["tasks"].items()} == dict.fromkeys(
        ("health", "metrics", "checkpoints", "reconcile", "upkeep", "log"), "ok"
    )
    assert found["cellpulse_task_up{task=checkpoints}"] == 1
    assert found["cellpulse_task_failures_total{task=checkpoints}"] == 0
    assert "ok" in await asyncio.to_thread(ask_health, running.url + "/healthz")
    assert (await running.get("/"))[0] == 404
    assert (await running.get("/metrics", method="POST"))[0] == 405
    assert (await running.get("/metrics", Host="evil.example"))[0] == 403
    assert (await running.get("/metrics", Origin="http://evil.example"))[0] == 403


async def test_health_says_what_fails(running: Running) -> None:
    running.monitor.link.connected.clear()
    status, text = await running.get("/healthz")
    assert status == 503
    assert json.loads(text)["checks"]["broker"] is False
    with pytest.raises(UnhealthyError, match=r'503.*"broker":false'):
        await asyncio.to_thread(ask_health, running.url + "/healthz")


async def test_a_taken_port_is_one_sentence(running: Running) -> None:
    with pytest.raises(ConfigurationError, match=r"is taken by another program.*--health-port"):
        await Running(running.config).task


def test_who_does_not_answer_is_not_healthy(free_port: int) -> None:
    with pytest.raises(UnhealthyError, match="does not answer"):
        ask_health(f"http://127.0.0.1:{free_port}/healthz")
    with pytest.raises(ConfigurationError, match="expected http"):
        ask_health("file:///etc/passwd")


async def test_sigterm_drains(mosquitto: BrokerAddress, tmp_path: Path) -> None:
    """What had come is committed, the checkpoint is whole, `offline` is said, the status is 0."""
    config = Config(broker=mosquitto, store=tmp_path / "store.sqlite")
    environment = {
        "PATH": os.environ["PATH"],
        "CELLPULSE_BROKER": mosquitto.url(),
        "CELLPULSE_STORE": str(config.store),
        "CELLPULSE_CHECKPOINT_S": "3600",
        "CELLPULSE_LOG_FORMAT": "json",
        "CELLPULSE_LOG_LEVEL": "info",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cellpulse", "monitor", cwd=ROOT, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with (
            connector(config)(aiomqtt.Will("unused/will", b"")) as client,
            asyncio.timeout(100),
        ):
            await client.subscribe("bms/_monitor/monitor/status", 1)
            statuses = aiter(client.messages)
            while (await anext(statuses)).payload != b"online":
                pass
            await send(config, range(500))
            process.send_signal(signal.SIGTERM)
            assert (await anext(statuses)).payload == b"offline"
            output, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, output
    with contextlib.closing(sqlite3.connect(config.store)) as store:
        kept, last = store.execute("SELECT count(*), max(id) FROM input WHERE kind = 0").fetchone()
    checkpoint = newest(config.store)
    assert checkpoint is not None
    assert checkpoint.input_id >= last
    lines = [json.loads(line) for line in output.splitlines()]
    assert any("connected to" in line["message"] for line in lines)
    assert [line for line in lines if line["level"] != "info"] == []
    assert b"p%40ss" not in output
    # What had not come yet waits with the broker: the next start has all of it.
    again = Monitor(config, None, None)
    assert again.pipeline.recover() == 0
    task = asyncio.create_task(again.run())
    async with asyncio.timeout(30):
        while kept < 500:
            await asyncio.sleep(0.05)
            with contextlib.closing(sqlite3.connect(config.store)) as store:
                (kept,) = store.execute("SELECT count(*) FROM input WHERE kind = 0").fetchone()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert kept == 500
