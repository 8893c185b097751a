"""The command line. Everything heavy is imported inside the command that needs it.

The module is long because every command names its options here; what a command does is elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cellpulse import (
    cli_alarms,
    cli_bench,
    cli_bridge,
    cli_charging,
    cli_data,
    cli_report,
    cli_soh,
)
from cellpulse.cli_options import (
    Broker,
    ConfigFile,
    DataFolder,
    ModelsOut,
    Root,
    Seed,
    configured,
    data_folder,
)

app = typer.Typer(
    name="cellpulse",
    help="A streaming, real-time battery monitor. `cellpulse demo` shows it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
train_app = typer.Typer(help="Train the models.", no_args_is_help=True, rich_markup_mode=None)
evaluate_app = typer.Typer(help="Measure the models.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(cli_bench.app, name="bench")
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_alarms.app, name="alarms")
cli_soh.add_commands(app, train_app, evaluate_app)
cli_charging.add_commands(app, train_app, evaluate_app)
app.add_typer(cli_bridge.app, name="bridge")
app.command("report")(cli_report.report)

Store = Annotated[
    Path | None,
    typer.Option(help="SQLite file, cellpulse.sqlite by default.", show_default=False),
]
Models = Annotated[
    Path | None, typer.Option(help="Folder with the ONNX models and cards.", show_default=False)
]
Host = Annotated[str | None, typer.Option(help="Address of the page.", show_default=False)]
Port = Annotated[int | None, typer.Option(help="Port of the page, 8050 by default.")]
LogFormat = Annotated[
    str | None, typer.Option(help="text or json, one object a line.", show_default=False)
]
LogLevel = Annotated[
    str | None, typer.Option(help="debug, info, warning or error.", show_default=False)
]
Source = Annotated[
    str | None,
    typer.Option(help="Format: nasa, calce, tidy, bundle, bdf, generic; else guessed."),
]
Paths = Annotated[
    list[Path] | None,
    typer.Option("--path", help="A file or folder; may be given several times."),
]
Speed = Annotated[
    float, typer.Option(help="Event seconds a second; 0 is as fast as the broker takes it.")
]
Pack = Annotated[
    str | None,
    typer.Option(
        help="Stack the recordings into one pack of this name, cells in series.",
        show_default=False,
    ),
]
LongestGap = Annotated[
    float | None,
    typer.Option(help="Shorten gaps in the recording to so many seconds.", show_default=False),
]
Faults = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        help="Inject a synthetic fault, such as isc:asset=B0005,at=cycle:3,severity=0.2; "
        "may be given several times. docs/twin.md lists them.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        help="Begin with this recording alone; the others can be chosen from the page. "
        "May be given several times.",
        show_default=False,
    ),
]
Scenario = Annotated[
    Path | None,
    typer.Option(help="TOML or JSON file of many faults and a seed.", show_default=False),
]


def main() -> None:
    """Run the command line; a failure of ours is one sentence and status 1."""
    from cellpulse.process_list import hide_secrets

    hide_secrets()
    from monitor.errors import CellpulseError
    from recordings.types import RecordingError

    try:
        app()
    except (CellpulseError, RecordingError) as error:
        from cellpulse.process import fail

        fail(error)


@app.command()
def demo(
    source: Source = None,
    path: Paths = None,
    speed: Speed = 120.0,
    longest_gap: LongestGap = 600.0,
    loop: Annotated[bool, typer.Option(help="Start again at the end.")] = False,
    cycle: Annotated[int, typer.Option(min=1, help="The cycle to begin with.")] = 1,
    host: Host = None,
    port: Port = None,
    models: Models = None,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
    fault: Faults = None,
    scenario: Scenario = None,
    pack: Pack = None,
    only: Only = None,
    config: ConfigFile = None,
) -> None:
    """Everything at once on this machine: broker, replay, monitor and page."""
    from cellpulse.process import run
    from cellpulse.wiring import Show, open_sources, run_show

    settings = configured(config, dashboard_host=host, dashboard_port=port, models=models)
    recordings = _stacked(_faulty(open_sources(path or [], source), fault, scenario), pack)
    run(
        run_show(
            settings,
            Show(
                recordings,
                _options(recordings, speed, longest_gap, loop, cycle, 1),
                browser,
                only=only or (),
            ),
        ),
        settings,
    )


@app.command()
def play(
    path: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders; the bundled one if none.")
    ] = None,
    source: Source = None,
    speed: Speed = 1.0,
    longest_gap: LongestGap = None,
    loop: Annotated[bool, typer.Option(help="Start again at the end.")] = False,
    cycle: Annotated[int, typer.Option(min=1, help="The cycle to begin with.")] = 1,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Frames a message.")] = 1,
    name: Annotated[str, typer.Option(help="This simulator's name.")] = "simulator",
    json_lines: Annotated[bool, typer.Option("--json", help="Progress as JSON lines.")] = False,
    fault: Faults = None,
    scenario: Scenario = None,
    pack: Pack = None,
    only: Only = None,
    broker: Broker = None,
    root: Root = None,
    config: ConfigFile = None,
) -> None:
    """Replay recordings to a broker as telemetry."""
    from cellpulse.process import run
    from cellpulse.progress import reporter
    from cellpulse.wiring import Show, open_sources, run_player

    settings = configured(config, broker=broker, root=root)
    if path is not None and len(path) == 1 and cli_bridge.is_recording(path[0]):
        # What `bridge serial --record` wrote has its own player: raw frames through the decoder.
        authority = settings.broker_ca
        cli_bridge.play(path[0], settings.broker.url(), authority, root=settings.root, speed=speed)
        return
    recordings = _stacked(_faulty(open_sources(path or [], source), fault, scenario), pack)
    options = _options(recordings, speed, longest_gap, loop, cycle, batch)
    show = Show(recordings, options, report=reporter(json_lines), only=only or ())
    run(run_player(settings, show, name), settings)


@app.command()
def monitor(
    broker: Broker = None,
    root: Root = None,
    store: Store = None,
    models: Models = None,
    name: Annotated[str | None, typer.Option(help="This monitor's name.")] = None,
    rules: Annotated[
        Path | None, typer.Option(help="TOML file of alarm rules, read again when it changes.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="URL that alarm transitions go to.")] = None,
    homeassistant: Annotated[
        str | None, typer.Option(help="Home Assistant's discovery prefix; off where left out.")
    ] = None,
    health_port: Annotated[
        int | None,
        typer.Option(help="Port of /healthz and /metrics (Prometheus); off where left out."),
    ] = None,
    health_host: Annotated[
        str | None, typer.Option(help="Address of it, loopback by default.", show_default=False)
    ] = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    config: ConfigFile = None,
) -> None:
    """Run the monitor: telemetry in; estimates, cycles and alarms out."""
    from cellpulse.process import run
    from cellpulse.wiring import run_monitor

    settings = configured(
        config, broker=broker, root=root, store=store, models=models, monitor_id=name,
        rules=rules, webhook=webhook, homeassistant=homeassistant, health_port=health_port,
        health_host=health_host, log_format=log_format, log_level=log_level,
    )  # fmt: skip
    run(run_monitor(settings), settings)


@app.command()
def dashboard(
    broker: Broker = None,
    root: Root = None,
    store: Store = None,
    host: Host = None,
    port: Port = None,
    login: Annotated[
        Path | None,
        typer.Option(help="Demand a login; the file that `cellpulse password` writes."),
    ] = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    config: ConfigFile = None,
) -> None:
    """Serve the live page."""
    from cellpulse.process import run
    from cellpulse.wiring import run_dashboard

    settings = configured(
        config, broker=broker, root=root, store=store, dashboard_host=host, dashboard_port=port,
        login=login, log_format=log_format, log_level=log_level,
    )  # fmt: skip
    run(run_dashboard(settings), settings)


@app.command()
def password(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    file: Annotated[Path, typer.Option(help="The login file; its other users stay.")] = Path(
        "cellpulse.logins"
    ),
) -> None:
    """Set a user's password for the page and /metrics; it is asked for, or read from a pipe."""
    from cellpulse.questions import ask_password
    from monitor.web.login import set_password

    set_password(file, name, ask_password())
    print(f"{file}: {name} is set; give it to the page with the setting login = {str(file)!r}")


@app.command()
def health(
    what: Annotated[
        str, typer.Argument(help="The URL of a /healthz, or gateway/NAME: is it online?")
    ] = "http://127.0.0.1:9464/healthz",
    broker: Broker = None,
    root: Root = None,
    config: ConfigFile = None,
) -> None:
    """Ask a running part whether it is healthy; status 0 where it is, else 1."""
    from cellpulse.questions import ask_health

    print(ask_health(what, lambda: configured(config, broker=broker, root=root)))


@app.command()
def secrets(
    folder: Annotated[Path, typer.Argument(help="Where to, a new folder.")] = Path(
        "deploy/secrets"
    ),
    user: Annotated[str, typer.Option(help="The first user of the page.")] = "operator",
) -> None:
    """Make the passwords of the stack in docker-compose.yml, each a file."""
    from cellpulse.stack_secrets import make_secrets

    print(make_secrets(folder, user))


@app.command("broker-password")
def broker_password(
    name: Annotated[str, typer.Argument(help="A device's asset, a gateway, or an operator.")],
    folder: Annotated[Path, typer.Option(help="Where `cellpulse secrets` wrote.")] = Path(
        "deploy/secrets"
    ),
) -> None:
    """Give one more user of the broker a password: a device, a gateway or an operator."""
    from cellpulse.stack_secrets import add_broker_user

    print(add_broker_user(folder, name))


@app.command()
def schema(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path("docs/schema"),
) -> None:
    """Write the JSON Schema of every message and of the health report."""
    import json

    from analysis.report.record import json_schema
    from monitor.contract import json_schemas

    (folder / "report").mkdir(parents=True, exist_ok=True)
    schemas = {**json_schemas(), "report/battery_health_report": json_schema()}
    for name, content in schemas.items():
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


@app.command()
def warm() -> None:
    """Compile the engine's kernels once, so that the first start is quick."""
    from monitor.warm import compile_kernels

    compile_kernels()


app.command("chaos")(cli_bench.chaos)


@train_app.command("thermal")
def train_thermal(
    data: DataFolder = None,
    out: ModelsOut = Path("models"),
    seed: Seed = 0,
    course: Annotated[
        Path | None,
        typer.Option(help="Instead: mark three segments in this recording, train on the rest."),
    ] = None,
    plot: Annotated[Path, typer.Option(help="With --course: the picture.")] = Path("warnings.png"),
) -> None:
    """Fit the thermal model and measure it leaving one group out."""
    if course is not None:
        from training.thermal.course import run

        typer.echo(run(course, plot))
        return
    from training.thermal.command import train

    train(data_folder(data), out, seed)


@evaluate_app.command("twin")
def evaluate_twin(
    data: DataFolder = None,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check the digital twin on cells that it was not calibrated with."""
    from training.twin.evaluate import run

    run(data_folder(data), as_json=json_out)


@evaluate_app.command("thermal")
def evaluate_thermal(
    data: DataFolder = None,
    json_out: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    page: Annotated[Path | None, typer.Option(help="Markdown page to write as well.")] = None,
    sites: Annotated[int | None, typer.Option(help="Faults a group; fewer is quicker.")] = None,
    detector: Annotated[
        list[str] | None, typer.Option(help="Only detectors whose names begin so.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Seconds it may take, about.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for results, so that a run can go on later.")
    ] = None,
) -> None:
    """The thermal benchmark: false alarms, detection, lead times, crush tests."""
    from training.thermal.command import print_evaluation

    print_evaluation(
        data_folder(data), as_json=json_out, write=page, keep_in=keep, detectors=detector or None,
        sites=sites, budget_s=budget,
    )  # fmt: skip


def _stacked(recordings: Any, pack: str | None) -> Any:
    from monitor.contract import ASSET_PATTERN, is_asset_name
    from monitor.errors import ConfigurationError
    from simulator.pack import StackedPack

    if pack is None:
        return recordings
    if not is_asset_name(pack):
        raise ConfigurationError(f"--pack {pack!r}: expected {ASSET_PATTERN}")
    return [StackedPack(pack, recordings)]


def _faulty(recordings: Any, fault: list[str] | None, scenario: Path | None) -> Any:
    """The recordings with the faults that were asked for."""
    if not fault and scenario is None:
        return recordings
    from simulator.faults_inject import inject
    from simulator.faults_scenario import Scenario as Faulty
    from simulator.faults_scenario import parse_fault, read_scenario
    from simulator.twin import load_parameters

    asked = Faulty(()) if scenario is None else read_scenario(scenario)
    specs = (*asked.faults, *(parse_fault(text) for text in fault or []))
    return inject(recordings, specs, load_parameters("nasa-18650"), asked.seed)


def _options(
    recordings: Any, speed: float, longest_gap: float | None, loop: bool, cycle: int, batch: int
) -> Any:
    from itertools import takewhile

    from monitor.errors import ConfigurationError
    from simulator.replay import ReplayOptions

    if speed < 0:
        raise ConfigurationError(f"--speed {speed}: expected 0 (as fast as possible) or more")
    start = 0
    if cycle > 1:
        earlier = takewhile(lambda op: op.cycle < cycle, recordings[0].operations())
        start = sum(1 for _ in earlier)
    return ReplayOptions(
        speed=speed or None,
        longest_gap_s=longest_gap,
        loop=loop,
        start_operation=start,
        batch=batch,
    )
