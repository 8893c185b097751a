"""The monitor as a service: one TaskGroup around the pipeline, a link to the broker, a clock.

The pipeline's step runs in a worker thread, one at a time; the loop only waits and hands over.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import aiomqtt

from monitor.advice import AdviceModel
from monitor.config import Config
from monitor.contract import GROUP_ASSET, Topics, encode
from monitor.engine import Engine
from monitor.errors import ConfigurationError, ModelError, StoreError
from monitor.fade import warm
from monitor.health import Health, HealthPages
from monitor.homeassistant import discovery
from monitor.models import SohModel, ThermalModel, read_card
from monitor.mqtt import Clock, MqttLink, collect_retained, wall_clock_ms
from monitor.pipeline import Pipeline
from monitor.rules import DEFAULT_RULES, Rule
from monitor.rules_file import parse_rules
from monitor.store.checkpoint import write
from monitor.store.influx_sink import make_sink
from monitor.store.journal import Journal
from monitor.store.upkeep import Upkeep
from monitor.store.wal import keep_short
from monitor.timing import TimedSohModel, TimedThermalModel
from monitor.warming import compile_kernels
from monitor.webhook import Outbox, Webhook
from monitor.webhook import run as run_webhook

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH_MESSAGES = 5_000
TICK_S = 1.0
METRICS_S = 5.0
STUCK_S = 15.0  # without a finished tick for so long, /healthz says that the pipeline stands
INGEST = ("+/telemetry", "+/config", "+/status", "+/device_alarm", "_gateway/+/status")


def load_models(folder: Path) -> tuple[SohModel, ThermalModel]:
    """The SOH and thermal models in a folder; raises ModelError naming the file."""

    def read(name: str) -> bytes:
        path = folder / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise ModelError(
                f"model {path}: {error.strerror}; reinstall, or name a folder with --models"
            ) from error

    return (
        TimedSohModel(read("soh.onnx"), read_card(read("soh.json"), "soh.json")),
        TimedThermalModel(read("thermal.onnx"), read_card(read("thermal.json"), "thermal.json")),
    )


def load_policy(folder: Path) -> AdviceModel | None:
    """The charging policy in a folder, None without one; raises ModelError for a bad one."""
    onnx = folder / "charging.onnx"
    if not onnx.is_file():
        return None
    try:
        card = read_card((folder / "charging.json").read_bytes(), "charging.json")
        return AdviceModel(onnx.read_bytes(), card)
    except OSError as error:
        raise ModelError(f"charging policy in {folder}: {error.strerror}") from error


def read_rules(path: Path | None) -> tuple[Rule, ...]:
    """The alarm rules of a file, the built-in ones for None; raises ConfigurationError."""
    if path is None:
        return DEFAULT_RULES
    try:
        return parse_rules(path.read_text(encoding="utf-8"), DEFAULT_RULES)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"rules file {path}: {error}") from error


class Monitor:
    """A running monitor; `ready` is set once it is subscribed and recovered."""

    def __init__(
        self,
        config: Config,
        soh: SohModel | None,
        thermal: ThermalModel | None,
        clock: Clock = wall_clock_ms,
        policy: AdviceModel | None = None,
    ) -> None:
        """`clock` tells Unix time in milliseconds; tests and `cellpulse chaos` give their own."""
        self.config = config
        self._clock_ms = clock
        self.ready = asyncio.Event()
        self.topics = Topics(config.root)
        self.journal = Journal(config.store, durable=config.durable)
        self.engine = Engine(soh, thermal, read_rules(config.rules))
        self.sink = make_sink(config)
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        # One thread for all of it: what is cancelled in the middle ends before `_finish` begins.
        self._worker = ThreadPoolExecutor(1, "pipeline")
        self._saver = ThreadPoolExecutor(1, "checkpoint")
        self._store_failed = False
        self._loop = asyncio.get_running_loop()
        presence = self.topics.ours("monitor", config.monitor_id, "status")
        root = config.root
        self.link = MqttLink(
            config.broker,
            f"cellpulse-{config.monitor_id}",
            subscriptions=[
                *((f"{root}/{topic}", 1) for topic in INGEST),
                (f"{root}/+/command/+", 1),
                *([] if config.homeassistant is None else [(f"{config.homeassistant}/status", 0)]),
            ],
            presence=presence,
            ca=config.broker_ca,
            wake=lambda: self._loop.call_soon_threadsafe(self._wake.set),
            home_assistant=config.homeassistant,
            clock=clock,
        )
        self.pipeline = Pipeline(
            self.engine, self.journal, self.link, self.topics, config.monitor_id, policy
        )
        timed = {"soh": soh, "thermal": thermal}
        watches = {
            name: model.watch
            for name, model in timed.items()
            if isinstance(model, TimedSohModel | TimedThermalModel)
        }
        self.upkeep = Upkeep(self.journal, config, self.sink, clock)
        self.health = Health(self.pipeline, self.link, watches, self.upkeep.figures)
        self._ticked_s = time.monotonic()

    async def run(self) -> None:
        """Recover, connect, and work until cancelled; then drain, checkpoint and say goodbye.

        Raises ConfigurationError where the broker does not answer or a port is taken.
        """
        async with self._watched():
            await self._run()

    async def _run(self) -> None:
        await asyncio.to_thread(_prepare)  # not while the first frame waits for it
        again = await self._work(self.pipeline.recover)
        if again:
            log.info("recovered: %d inputs run again", again)
        try:
            await asyncio.to_thread(self.link.open)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ingest(), name="ingest")
                tasks.create_task(self._clock(), name="clock")
                tasks.create_task(self._estimates(), name="estimates")
                tasks.create_task(self._health(), name="health")
                tasks.create_task(self._checkpoints(), name="checkpoints")
                tasks.create_task(self._reconcile(), name="reconcile")
                if self.config.rules is not None:
                    tasks.create_task(self._rules(self.config.rules), name="rules")
                if self.config.webhook is not None:
                    hook = Webhook(self.config.webhook, self.config.webhook_header)
                    tasks.create_task(run_webhook(hook, Outbox(self.config.store)), name="webhook")
                tasks.create_task(self.upkeep.run(self._between), name="upkeep")
                self.journal.leave_log()
                tasks.create_task(keep_short(self.config.store, self._between), name="log")
                if self.sink is not None:
                    tasks.create_task(self.sink.run(), name="influx")
                if self.config.homeassistant is not None:
                    tasks.create_task(self._discovery(self.config.homeassistant), name="discovery")
                self.ready.set()
        finally:
            await asyncio.shield(self._work(self._finish))
            self._worker.shutdown(wait=False)

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Answer /healthz and /metrics while the block runs, from before the start on."""
        if self.config.health_port is None:
            yield
            return
        from monitor.dashboard.guard import OriginGuard
        from monitor.dashboard.login_guard import BasicGuard
        from monitor.http_server import LOOPBACK_NAMES, listen, serving
        from monitor.login import Logins

        host = self.config.health_host
        pages = HealthPages(self.health, self.checks, self._clock_ms)
        app = pages if self.config.login is None else BasicGuard(pages, Logins(self.config.login))
        guarded = OriginGuard(app, LOOPBACK_NAMES if host in LOOPBACK_NAMES else ())
        async with serving(guarded, listen(host, self.config.health_port, option="--health-port")):
            yield

    def checks(self) -> dict[str, bool]:
        """What must hold for a healthy monitor, each with whether it does."""
        return {
            "started": self.ready.is_set(),
            "broker": self.link.connected.is_set(),
            "store": not self._store_failed,
            "pipeline": time.monotonic() - self._ticked_s < STUCK_S,
        }

    def _work(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._worker, work)

    async def _between(self, work: Callable[[], T]) -> T:
        """Work on the pipeline's thread between two micro-batches."""
        async with self._lock:
            return await self._work(work)

    def _finish(self) -> None:
        """Take what has come, as far as the store can; what it cannot comes again next time."""
        self._saver.shutdown(wait=True)
        try:
            self.pipeline.flush()
            messages = self.link.drain(BATCH_MESSAGES)
            if messages:
                self.pipeline.step(messages, self._clock_ms())
            self.pipeline.publish_estimates(time.monotonic(), force=True)
            self.pipeline.checkpoint()
        except (StoreError, OSError) as error:
            log.error("not everything could be stored at the end: %s", error)
        finally:
            self.link.close()
            self.journal.close()

    async def _ingest(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.link.waiting:
                async with self._lock:
                    if not await self._stored(self._take):
                        break

    def _take(self) -> None:
        """One micro-batch: whatever has come. Raises StoreError; nothing new is taken then."""
        self.pipeline.flush()
        self.pipeline.step(self.link.drain(BATCH_MESSAGES), self._clock_ms())

    async def _clock(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            async with self._lock:
                if await self._stored(partial(self.pipeline.tick, self._clock_ms())):
                    self._wake.set()  # what waited for the store may go on
            self._ticked_s = time.monotonic()

    async def _stored(self, work: Callable[[], object]) -> bool:
        """Run work that ends in a commit; False where the store cannot take it now."""
        try:
            await self._work(work)
        except StoreError as error:
            if not self._store_failed:
                log.error("%s; nothing is lost, trying again every second", error)
            self._store_failed = True
            return False
        if self._store_failed:
            log.warning("the store takes data again")
        self._store_failed = False
        return True

    async def _rules(self, path: Path) -> None:
        """Read the rules file again when it changes; a bad one is reported and not used."""
        seen = _stamp(path)
        while True:
            await asyncio.sleep(TICK_S)
            stamp = _stamp(path)
            if stamp == seen:
                continue
            seen = stamp
            try:
                rules = await asyncio.to_thread(read_rules, path)
            except ConfigurationError as error:
                log.error("%s; the rules stay as they were", error)
                continue
            async with self._lock:
                await self._stored(partial(self.pipeline.set_rules, rules, self._clock_ms()))
            log.warning("alarm rules read again from %s", path)

    async def _discovery(self, prefix: str) -> None:
        """Make every asset known to Home Assistant, again when it comes back or more is known."""
        published: dict[str, bytes] = {}
        while True:
            if self.link.home_assistant_returned():
                published.clear()
            async with self._lock:
                wanted = [
                    discovery(
                        asset.name, asset.config, self.engine.alarms_of(asset.name), self.topics,
                        self.config.monitor_id, version("cellpulse"),
                        self.engine.stale_after_s(asset.name), prefix,
                    )
                    for asset in self.engine.fleet.by_index
                ]  # fmt: skip
                groups = self.engine.alarms_of(GROUP_ASSET)
            if groups:
                wanted.append(
                    discovery(
                        GROUP_ASSET, None, groups, self.topics, self.config.monitor_id,
                        version("cellpulse"), 0.0, prefix,
                    )
                )  # fmt: skip
            for topic, payload in wanted:
                if published.get(topic) != payload:
                    published[topic] = payload
                    self.link.publish(topic, payload, retain=True)
            await asyncio.sleep(TICK_S)

    async def _reconcile(self) -> None:
        """After every connection: a broker that was restarted may have lost what it retained."""
        done = 0
        topic = f"{self.config.root}/+/alarm/+/+"
        while True:
            connection = self.link.connection
            if connection != done and self.link.connected.is_set():
                try:
                    retained = await collect_retained(
                        self.config.broker, topic, self.config.broker_ca
                    )
                except (aiomqtt.MqttError, OSError) as error:
                    log.info("retained alarms cannot be read now: %s", error)
                else:
                    async with self._lock:
                        await self._work(partial(self.pipeline.reconcile, retained))
                    done = connection
            await asyncio.sleep(TICK_S)

    async def _estimates(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            async with self._lock:
                await self._work(partial(self.pipeline.publish_estimates, time.monotonic()))

    async def _health(self) -> None:
        topic = self.topics.ours("monitor", self.config.monitor_id, "metrics")
        while True:
            await asyncio.sleep(METRICS_S)
            async with self._lock:
                records = await self._work(self.engine.alarm_records)
            self.health.alarms = Counter(record.severity for record in records)
            self.health.mark(time.monotonic())
            metrics = self.health.metrics(self._clock_ms())
            if self.sink is not None:
                self.sink.tell(metrics)
            self.link.publish(topic, encode(metrics), qos=0)

    async def _checkpoints(self) -> None:
        failed = False
        while True:
            await asyncio.sleep(self.config.checkpoint_s)
            try:
                async with self._lock:
                    state = await self._work(self.pipeline.snapshot)
                if state is not None:  # the disk is waited for beside the stream, not in it
                    await self._loop.run_in_executor(self._saver, write, self.config.store, state)
            except (StoreError, OSError) as error:
                if not failed:
                    log.error("no checkpoint can be written: %s; the older ones stand", error)
                failed = True
            else:
                failed = False


def _prepare() -> None:
    """Compile and import what the first samples would wait for; what is there then stays.

    River's import holds the interpreter for most of a second, and a full collection of what the
    start has made for a good part of one: both are over before the first frame.
    """
    compile_kernels()
    warm()
    gc.collect()
    gc.freeze()


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file does; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
