"""The monitor as a service: the pipeline in the network's thread, one TaskGroup around it, a clock.

What comes is computed in the thread that reads it, between reading and writing: nothing is handed
over, and no two threads want the interpreter at once, which cost more than the work itself. What
is done now and then (ticks, checkpoints, upkeep) waits for its turn in a worker thread.

Two tasks alone end the monitor, since without them it would do nothing: the ingest and the clock.
Everything else is run by the supervisor and may fail, be late or be gone.

The module is long because everything that runs beside the pipeline is started and ended here.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import aiomqtt

from monitor.alarms.operators import Operators
from monitor.alarms.rules import CLIENT_TAKEN_OVER, DEFAULT_RULES, Rule
from monitor.alarms.rules_file import parse_rules
from monitor.charging.advice import AdviceModel
from monitor.config import Config
from monitor.contract import GROUP_ASSET, AssetConfig, Topics, encode
from monitor.drift import detector
from monitor.engine import Engine
from monitor.errors import AwayError, ConfigurationError, StoreError
from monitor.estimate_queue import ESTIMATE_EVERY_S
from monitor.models.folder import has_model, load_model
from monitor.models.onnx import SohModel, ThermalModel
from monitor.models.timing import TimedSohModel, TimedThermalModel
from monitor.mqtt.client_id import client_id
from monitor.mqtt.former_session import empty_former_session
from monitor.mqtt.link import CONNECT_TIMEOUT_S, Clock, MqttLink, collect_retained, wall_clock_ms
from monitor.notify.homeassistant import discovery
from monitor.notify.webhook import Outbox, Sender, Webhook
from monitor.pipeline import Pipeline
from monitor.store.checkpoint import write
from monitor.store.influx_sink import make_sink
from monitor.store.journal import Journal
from monitor.store.upkeep import Upkeep
from monitor.store.wal import keep_short
from monitor.supervisor import Report, Supervisor
from monitor.warm import compile_kernels
from monitor.web.health import Health, HealthPages

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH_MESSAGES = 5_000
TICK_S = 1.0
LONGEST_TICK_S = 60.0  # to the next one after one that raised
METRICS_S = 5.0
TURN_S = 0.05  # the network's thread waits so long at once for a turn
ESTIMATES_AT_ONCE = 4
HANGS_S = 60.0  # an auxiliary task that has done nothing for so long
STUCK_S = 15.0  # without a finished tick for so long, /healthz says that the pipeline stands
INGEST = (
    "+/telemetry", "+/config", "+/status", "+/device_alarm", "_gateway/+/status", "+/command/+",
)  # fmt: skip


def load_policy(folder: Path) -> AdviceModel | None:
    """The charging policy in a folder, None without one; raises ModelError for a bad one."""
    return load_model(AdviceModel, "charging", folder) if has_model("charging", folder) else None


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
        self.supervisor = Supervisor(clock)
        self.sender: Sender | None = None
        if config.webhook is not None:
            hook = Webhook(config.webhook, config.webhook_header)
            self.sender = Sender(hook, Outbox(config.store))
        had_store = config.store.exists()
        self.journal = Journal(config.store, durable=config.durable)
        self._client_id = client_id(config.store, config.monitor_id, had_store=had_store)
        knee_test = detector(config.knee_detector)
        self.engine = Engine(soh, thermal, read_rules(config.rules), knee_test)
        self.sink = make_sink(config)
        self._turn = threading.Lock()  # whoever holds it may touch engine and journal
        self._ending = False
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # One thread for all of it: what is cancelled in the middle ends before `_finish` begins.
        self._worker = ThreadPoolExecutor(1, "pipeline")
        self._saver = ThreadPoolExecutor(1, "checkpoint")
        self._store_failed = False
        self._taken_over = threading.Event()
        self._loop = asyncio.get_running_loop()
        presence = self.topics.ours("monitor", config.monitor_id, "status")
        root = config.root
        self.link = MqttLink(
            config.broker,
            self._client_id.value,
            subscriptions=[
                *((f"{root}/{topic}", 1) for topic in INGEST),
                *([] if config.homeassistant is None else [(f"{config.homeassistant}/status", 0)]),
            ],
            presence=presence,
            turn=self._after_reading,
            home_assistant=config.homeassistant,
            clock=clock,
            on_taken_over=self._taken_over.set,
        )
        self.pipeline = Pipeline(
            self.engine, self.journal, self.link, self.topics, config.monitor_id, policy,
            Operators.parse(config.operators),
        )  # fmt: skip
        timed = {"soh": soh, "thermal": thermal}
        watches = {
            name: model.watch
            for name, model in timed.items()
            if isinstance(model, TimedSohModel | TimedThermalModel)
        }
        self.upkeep = Upkeep(self.journal, config, self.sink, clock)
        self._reconciled = 0  # the connection after which retained alarms were put right
        self._rules_seen = None if config.rules is None else _stamp(config.rules)
        self._rules_good = self._rules_stored = True  # the file seen last: read, taken over
        self._discovered: dict[str, object] = {}  # what Home Assistant was told of each asset
        self.health = Health(self.pipeline, self.link, watches, self._figures, self.supervisor)
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
            if self._client_id.former is not None:
                await self._work(partial(self._leave_former_session, self._client_id.former))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ingested(), name="ingest")
                tasks.create_task(self._clock(), name="clock")
                self.journal.leave_log()
                for name, (work, within_s) in self._auxiliary().items():
                    supervised = self.supervisor.run(name, work, within_s=within_s)
                    tasks.create_task(supervised, name=name)
                self.ready.set()
        finally:
            self._ending = True
            if self.sink is not None:
                self.sink.close()
            await asyncio.shield(self._work(self._finish))
            self._worker.shutdown(wait=False)

    def _auxiliary(self) -> dict[str, tuple[Callable[[Report], Awaitable[None]], float | None]]:
        """What runs beside the stream, by name, each with how long it may be silent."""
        config = self.config
        work: dict[str, tuple[Callable[[Report], Awaitable[None]], float | None]] = {
            "metrics": (self._metrics, HANGS_S),
            "checkpoints": (self._checkpoints, HANGS_S + 2 * config.checkpoint_s),
            "reconcile": (self._reconcile, HANGS_S),
            "upkeep": (partial(self.upkeep.run, self._between), None),  # a long store takes long
            "log": (partial(keep_short, config.store, self._between), None),
        }
        if config.rules is not None:
            work["rules"] = (partial(self._rules, config.rules), HANGS_S)
        if self.sender is not None:
            work["webhook"] = (self.sender.run, HANGS_S)
        if self.sink is not None:
            work["influx"] = (self.sink.run, 2 * HANGS_S)
        if config.homeassistant is not None:
            work["homeassistant"] = (partial(self._discovery, config.homeassistant), HANGS_S)
        return work

    def _leave_former_session(self, former: str) -> None:
        """Once after an upgrade; the stream waits, so that what is older is taken before it."""
        self.link.subscribed.wait(CONNECT_TIMEOUT_S)  # from here on nothing is missed
        try:
            left = empty_former_session(
                self.config.broker, former,
                [f"{self.config.root}/{topic}" for topic in INGEST],
                lambda messages: self.pipeline.step(messages, self._clock_ms()),
                lambda: self._ending,
            )  # fmt: skip
            if left:
                self._client_id = self._client_id.without_former()
        except (ConfigurationError, StoreError, OSError) as error:
            log.error("the session %s cannot be emptied: %s; the next start tries", former, error)

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Answer /healthz and /metrics while the block runs, from before the start on."""
        if self.config.health_port is None:
            yield
            return
        from monitor.web.login import Logins
        from monitor.web.login_guard import BasicGuard
        from monitor.web.origin_guard import OriginGuard
        from monitor.web.server import LOOPBACK_NAMES, listen, serve_again

        host = self.config.health_host
        open_port = partial(listen, host, self.config.health_port, option="--health-port")
        pages = HealthPages(self.health, self.checks, self._clock_ms)
        app = pages if self.config.login is None else BasicGuard(pages, Logins(self.config.login))
        guarded = OriginGuard(app, LOOPBACK_NAMES if host in LOOPBACK_NAMES else ())
        work = serve_again(guarded, open_port(), open_port)
        serving = asyncio.create_task(self.supervisor.run("health", work), name="health")
        try:
            yield
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    def _figures(self) -> dict[str, Any]:
        """The fields of MonitorMetrics about what runs beside the stream, by name."""
        let_go = 0 if self.sender is None else self.sender.let_go
        failing = self.supervisor.failing()
        return {
            **self.upkeep.figures(),
            "webhook_let_go": let_go,
            "failing": failing,
            "quarantined": self.pipeline.quarantined,
        }

    def checks(self) -> dict[str, bool]:
        """What must hold for a healthy monitor, each with whether it does."""
        return {
            "started": self.ready.is_set(),
            "broker": self.link.connected.is_set(),
            "store": not self._store_failed,
            "pipeline": time.monotonic() - self._ticked_s < STUCK_S,
        }

    def _work(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Work on engine and journal, in the worker thread, between two micro-batches."""

        def in_turn() -> T:
            with self._turn:
                return work()

        return self._loop.run_in_executor(self._worker, in_turn)

    async def _between(self, work: Callable[[], T]) -> T:
        return await self._work(work)

    def _finish(self) -> None:
        """Take what has come, as far as the store can; what it cannot comes again next time."""
        self._saver.shutdown(wait=True)
        try:
            self.pipeline.flush()
            messages = self.link.drain(BATCH_MESSAGES)
            if messages:
                self.pipeline.step(messages, self._clock_ms())
            self.pipeline.publish_estimates(time.monotonic() + ESTIMATE_EVERY_S)
            self.pipeline.checkpoint()
        except (StoreError, OSError) as error:
            log.error("not everything could be stored at the end: %s", error)
        finally:
            self.link.close()
            self.journal.close()

    async def _ingested(self) -> None:
        """Fail where the network's thread did: a programming error ends the monitor."""
        await asyncio.shield(self._broken)

    def _after_reading(self) -> float | None:
        """In the network's thread: compute what has come. When to call again, seconds."""
        if self._ending:
            return None
        if not self._turn.acquire(timeout=TURN_S):  # the broker's pings are answered meanwhile
            return 0.0
        try:
            return self._take()
        except StoreError as error:
            self._cannot_store(error)
            return None
        except Exception as error:  # it would end this thread alone and the monitor stand
            self._ending = True
            self._loop.call_soon_threadsafe(self._broken.set_exception, error)
            return None
        finally:
            self._turn.release()

    def _take(self) -> float | None:
        """One micro-batch: alarms leave at once, then the commit where it is due, then estimates.

        Returns within how many seconds there is more to do, None for whenever something comes.
        """
        if self._store_failed:
            return None  # nothing new is taken; the clock tries again
        messages = self.link.drain(BATCH_MESSAGES)
        if messages:
            if not self._stored(partial(self.pipeline.take, messages, self._clock_ms())):
                return None
            self.link.send()
        if self.pipeline.commit_in_s(time.monotonic()) == 0.0 and not self._stored(
            self.pipeline.flush
        ):
            return None
        now_s = time.monotonic()
        waits = (
            self.pipeline.publish_estimates(now_s, most=ESTIMATES_AT_ONCE),
            self.pipeline.commit_in_s(now_s),
            0.0 if self.link.waiting else None,
        )
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    async def _clock(self) -> None:
        wait_s = TICK_S
        self._ticked_s = time.monotonic()  # compiling before this may have taken long
        while True:
            await asyncio.sleep(wait_s)
            ticked = await self._work(self._tick)
            wait_s = TICK_S if ticked else min(2 * wait_s, LONGEST_TICK_S)

    def _tick(self) -> bool:
        """What depends on the wall clock; and what the network's thread left while it connects.

        False where it raises: the engine is as before then, messages are taken as ever, and
        /healthz says that the pipeline stands.
        """
        try:
            stored = self._stored(partial(self.pipeline.tick, self._clock_ms()))
        except Exception as error:
            log.error("the clock's work fails: %s; trying again", error, exc_info=error)
            return False
        try:
            if stored:
                self._take()
                self._tell_of_takeover()
        except StoreError as error:
            self._cannot_store(error)
        self._ticked_s = time.monotonic()
        return True

    def _tell_of_takeover(self) -> None:
        if self._taken_over.is_set():
            self._taken_over.clear()
            self.pipeline.trouble(
                GROUP_ASSET, CLIENT_TAKEN_OVER.code, self.config.monitor_id,
                "the broker ended the connection in favour of another one", self._clock_ms(),
            )  # fmt: skip

    def _stored(self, work: Callable[[], object]) -> bool:
        """Do work that ends in a commit; False where the store cannot take it now."""
        try:
            work()
        except StoreError as error:
            self._cannot_store(error)
            return False
        if self._store_failed:
            log.warning("the store takes data again")
        self._store_failed = False
        return True

    def _cannot_store(self, error: StoreError) -> None:
        if not self._store_failed:
            log.error("%s; nothing is lost, trying again every second", error)
        self._store_failed = True

    async def _rules(self, path: Path, report: Report) -> None:
        """Read the rules file again when it changes; a bad one is reported and not used.

        What the store cannot take now, or what raises, is tried again.
        """
        while True:
            await asyncio.sleep(TICK_S)
            stamp = _stamp(path)
            if stamp == self._rules_seen and self._rules_stored:
                if self._rules_good:
                    report.well()
                continue
            anew = stamp != self._rules_seen
            self._rules_seen, self._rules_good, self._rules_stored = stamp, False, False
            try:
                rules = await asyncio.to_thread(read_rules, path)
            except ConfigurationError as error:
                # What cannot be read now is read again; what stands in it changes with the file.
                self._rules_stored = not isinstance(error.__cause__, OSError)
                report.trouble(f"{error}; the rules stay as they were", anew=anew)
                continue
            change = partial(self.pipeline.set_rules, rules, self._clock_ms())
            if not await self._work(partial(self._stored, change)):
                report.trouble("the store cannot take the change of the rules; trying again")
                continue
            self._rules_good = self._rules_stored = True
            log.warning("alarm rules read again from %s", path)

    async def _discovery(self, prefix: str, report: Report) -> None:
        """Make every asset known to Home Assistant, again when it comes back or more is known."""
        program = version("cellpulse")
        while True:
            if self.link.home_assistant_returned():
                self._discovered.clear()
            await self._work(partial(self._make_known, prefix, program))
            report.well()
            await asyncio.sleep(TICK_S)

    def _make_known(self, prefix: str, program: str) -> None:
        """Publish the discovery of the assets of which something has changed.

        Raises what one of them raised, once the others are told.
        """
        failed: Exception | None = None
        for asset in self.engine.fleet.by_index:
            try:
                known = (asset.config, self.engine.alarms_of(asset.name))
                if self._discovered.get(asset.name) != known:
                    self._tell(prefix, program, asset.name, *known)
                    self._discovered[asset.name] = known
            except Exception as error:
                failed = error
        groups = self.engine.alarms_of(GROUP_ASSET)
        if groups and self._discovered.get(GROUP_ASSET) != groups:
            self._tell(prefix, program, GROUP_ASSET, None, groups)
            self._discovered[GROUP_ASSET] = groups
        if failed is not None:
            raise failed

    def _tell(
        self, prefix: str, program: str, name: str, config: AssetConfig | None,
        alarms: list[tuple[str, str]],
    ) -> None:  # fmt: skip
        topic, payload = discovery(
            name, config, alarms, self.topics, self.config.monitor_id, program, prefix,
        )  # fmt: skip
        self.link.publish(topic, payload, retain=True)

    async def _reconcile(self, report: Report) -> None:
        """After every connection: a broker that was restarted may have lost what it retained."""
        topic = f"{self.config.root}/+/alarm/+/+"
        while True:
            connection = self.link.connection
            if connection != self._reconciled and self.link.connected.is_set():
                try:
                    retained = await collect_retained(self.config.broker, topic)
                except aiomqtt.MqttError as error:
                    raise AwayError(f"retained alarms cannot be read: {error}") from error
                await self._work(partial(self.pipeline.reconcile, retained))
                self._reconciled = connection
            report.well()
            await asyncio.sleep(TICK_S)

    async def _metrics(self, report: Report) -> None:
        topic = self.topics.ours("monitor", self.config.monitor_id, "metrics")
        while True:
            await asyncio.sleep(METRICS_S)
            records = await self._work(self.engine.alarm_records)
            self.health.alarms = Counter(record.severity for record in records)
            self.health.mark(time.monotonic())
            metrics = self.health.metrics(self._clock_ms())
            if self.sink is not None:
                self.sink.tell(metrics)
            self.link.publish(topic, encode(metrics), qos=0)
            report.well()

    async def _checkpoints(self, report: Report) -> None:
        """Raises StoreError, OSError where none can be written; the older ones stand."""
        while True:
            await asyncio.sleep(self.config.checkpoint_s)
            state = await self._work(self.pipeline.snapshot)
            # The disk is waited for beside the stream, not in it.
            await self._loop.run_in_executor(self._saver, write, self.config.store, state)
            report.well()


def _prepare() -> None:
    """Compile what the first samples would wait for; what is there then stays.

    A full collection of what the start has made holds the interpreter for a good part of a second:
    it is over before the first frame.
    """
    compile_kernels()
    gc.collect()
    gc.freeze()


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file does; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
