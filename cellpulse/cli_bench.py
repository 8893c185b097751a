"""`cellpulse bench ...` and `cellpulse chaos`: what measures the monitor, in a checkout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cellpulse.cli_options import Seed
from monitor.errors import ConfigurationError

app = typer.Typer(help="Measure speed.", no_args_is_help=True, rich_markup_mode=None)

JsonOut = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Budget = Annotated[float | None, typer.Option(help="Seconds it may take.")]
Page = Annotated[Path | None, typer.Option(help="Markdown page to write as well.")]


@app.command()
def engine(json_out: JsonOut = False, budget: Budget = None, page: Page = None) -> None:
    """Samples a second on one core, beside the obvious way in the same run."""
    with _checkout():
        from benchmarks.engine import main
    main(json_out, budget, page)


@app.command()
def stream(json_out: JsonOut = False, budget: Budget = None, page: Page = None) -> None:
    """From a publish to the durable row through mosquitto, beside the obvious way."""
    with _checkout():
        from benchmarks.streaming import main
    main(json_out, budget, page)


@app.command()
def alarm(
    json_out: JsonOut = False, budget: Budget = None, page: Page = None, seed: Seed = 0
) -> None:
    """From a frame's arrival to its alarm on the wire, at 10,000 samples a second."""
    with _checkout():
        from benchmarks.alarm import main
    main(json_out, budget, page, seed)


@app.command()
def storage(
    json_out: JsonOut = False,
    budget: Budget = None,
    page: Page = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder for the stores; those that are there are not built again."),
    ] = None,
) -> None:
    """How quickly a month of 100 cells answers, and how fast the database is fed."""
    with _checkout():
        from benchmarks.storage import main
    main(json_out, budget, page, keep)


@app.command()
def dashboard(json_out: JsonOut = False, budget: Budget = None, page: Page = None) -> None:
    """From an MQTT publish to the painted page, and how many browsers at once."""
    with _checkout():
        from benchmarks.dashboard import main
    main(json_out, budget, page)


def chaos(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Recordings, several times; the bundled one if none.", show_default=False
        ),
    ] = None,
    kills: Annotated[
        int | None, typer.Option(min=1, help="Kills of the monitor, 50 by default.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=100, help="Frames to replay, 60,000 at most by default.")
    ] = None,
    seed: Seed = 0,
    budget: Annotated[float | None, typer.Option(help="Seconds it may take, about.")] = None,
    json_out: JsonOut = False,
    page: Page = None,
) -> None:
    """Break everything around the monitor and compare its record with a calm run's."""
    with _checkout():
        from benchmarks.chaos import main
    main(
        data or [], kills=kills, frames=frames, seed=seed, budget_s=budget, json_out=json_out,
        page=page,
    )  # fmt: skip


@contextmanager
def _checkout() -> Iterator[None]:
    """Say what is missing where a benchmark, or a package that it alone needs, is not here."""
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"this needs a checkout with `make test`'s packages: {error}"
        ) from error
