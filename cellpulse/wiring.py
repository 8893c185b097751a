"""The parts put together: the only place that knows broker, simulator, monitor and page at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import aiomqtt

from cellpulse.embedded import embedded_broker
from monitor.config import Config
from monitor.contract import Topics
from monitor.errors import ConfigurationError
from monitor.models.folder import load_models, models_folder
from monitor.mqtt.client import Client
from recordings.types import Recording
from simulator.demo_file import demo_recording
from simulator.faults_scenario import OFFERED
from simulator.replay import ReplayOptions

if TYPE_CHECKING:
    from simulator.player import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Show:
    """What `run_show` plays: recordings, how, and whether a browser is opened.

    `only` names those to begin with; the others wait to be chosen. Empty: all play.
    """

    recordings: Sequence[Recording]
    options: ReplayOptions
    open_browser: bool = False
    report: Callable[[Progress], None] = lambda progress: None
    only: Sequence[str] = ()

    def first(self) -> Sequence[Recording]:
        """Those that play at the start; raises ConfigurationError for a name that is none."""
        names = [recording.info.asset for recording in self.recordings]
        unknown = [name for name in self.only if name not in names]
        if unknown:
            raise ConfigurationError(
                f"--only {unknown[0]}: no such recording; there are {', '.join(names)}"
            )
        return [one for one in self.recordings if not self.only or one.info.asset in self.only]


def connector(
    config: Config, client_id: str | None = None
) -> Callable[[aiomqtt.Will], AbstractAsyncContextManager[aiomqtt.Client]]:
    """A factory of MQTT clients for the configured broker."""

    def connect(will: aiomqtt.Will) -> AbstractAsyncContextManager[aiomqtt.Client]:
        return Client.to(config.broker, identifier=client_id, will=will)

    return connect


async def run_monitor(
    config: Config, ready: asyncio.Event | None = None, clock: Callable[[], int] | None = None
) -> None:
    """The monitor alone, until cancelled. `clock` stands in for Unix time in ms."""
    from monitor.mqtt.link import wall_clock_ms
    from monitor.service import Monitor, load_policy

    soh, thermal = await asyncio.to_thread(load_models, config.models or models_folder())
    policy = await asyncio.to_thread(load_policy, config.models or models_folder())
    monitor = Monitor(config, soh, thermal, clock or wall_clock_ms, policy)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(monitor.run(), name="monitor")
        if ready is not None:
            waiting = asyncio.create_task(monitor.ready.wait())
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            ready.set()


async def run_dashboard(config: Config, started: asyncio.Event | None = None) -> None:
    """The page alone, until cancelled."""
    from analysis.forecast import ForecastProcess
    from analysis.process import analyse
    from analysis.report.process import ReportMaker
    from monitor.dashboard.app import Actions, make_app, serve
    from monitor.dashboard.live.feed import Feed, wall_clock_ms
    from monitor.dashboard.live.hub import Hub
    from monitor.store.influx_history import make_history
    from monitor.supervisor import Supervisor
    from monitor.web.login import Logins

    logins = None if config.login is None else Logins(config.login)
    hub = Hub()
    feed = Feed(hub, config.broker, config.root)
    reports = ReportMaker(config.store, config.models)
    forecasts = ForecastProcess(config.models or models_folder())
    actions = Actions(
        feed.request, feed.send_to_simulator, faults=OFFERED, analyse=analyse, reports=reports,
        outlook=forecasts.outlook,
    )  # fmt: skip
    supervisor = Supervisor(wall_clock_ms)
    app = make_app(hub, make_history(config), actions=actions, supervisor=supervisor)
    async with contextlib.aclosing(forecasts), asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run("feed", feed.run), name="dashboard-feed")
        tasks.create_task(
            serve(
                app,
                config.dashboard_host,
                config.dashboard_port,
                started=started,
                logins=logins,
                hosts=[name.strip() for name in config.dashboard_names.split(",") if name.strip()],
            ),
            name="dashboard-page",
        )


async def run_player(config: Config, show: Show, name: str = "simulator") -> None:
    """The replay alone; returns when the recordings have ended."""
    from simulator.player import Player

    player = Player(
        show.first(), show.options, Topics(config.root), name, show.report, show.recordings
    )
    try:
        await player.run(connector(config))
    except aiomqtt.MqttError as error:
        raise ConfigurationError(f"broker {config.broker}: {error}") from error


async def run_show(config: Config, show: Show) -> None:
    """Everything in one process: broker, monitor, page, then the replay; until cancelled.

    The store is a temporary file, since a replay's times come again at every run.
    """
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cellpulse-")))
        check_port(config.dashboard_host, config.dashboard_port)
        show.first()
        address = await stack.enter_async_context(embedded_broker())
        config = replace(config, broker=address, store=folder / "store.sqlite")
        monitoring, serving = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_monitor(config, monitoring), name="monitor")
            await monitoring.wait()
            tasks.create_task(run_dashboard(config, serving), name="dashboard")
            await serving.wait()
            url = f"http://{config.dashboard_host}:{config.dashboard_port}"
            print(f"Cellpulse is on {url} (MQTT on {address}). Stop it with Ctrl-C.", flush=True)
            if show.open_browser:
                await asyncio.to_thread(webbrowser.open, url)
            await run_player(config, show)
            print("The recording has ended; the page stays. Stop it with Ctrl-C.", flush=True)


def check_port(host: str, port: int) -> None:
    """Raise ConfigurationError now, rather than after the start, if the page's port is taken."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on {host} is not free ({error.strerror}); choose another with --port"
            ) from error


def open_sources(paths: Sequence[Path], source: str | None) -> list[Recording]:
    """The recordings in files or folders; raises RecordingError."""
    from recordings.open import open_recording

    if not paths:
        return open_recording(demo_recording())
    return [recording for path in paths for recording in open_recording(path, format=source)]
