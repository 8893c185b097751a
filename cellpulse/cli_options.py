"""Options that several commands have, and the configuration that they are put into."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from monitor.config import Config

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file of settings.", show_default=False)
]
Broker = Annotated[
    str | None,
    typer.Option(help="mqtt://[user:password@]host[:port], mqtts:// for TLS.", show_default=False),
]
Root = Annotated[str | None, typer.Option(help="Root topic, `bms` by default.", show_default=False)]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="CELLPULSE_DATA", help="Folder with the recordings.", show_default=False
    ),
]
ModelsOut = Annotated[Path, typer.Option(help="Where the model and its card go.")]
Seed = Annotated[int, typer.Option(help="Everything random comes from it.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def configured(file: Path | None, **flags: Any) -> Config:
    """The configuration of file, environment and flags; a flag that is None was not given."""
    from monitor.config import load  # heavy, and `--help` needs none of it

    return load(file, **flags)


def data_folder(folder: Path | None) -> Path:
    """The folder of `--data`; raises ConfigurationError where there is none."""
    from monitor.errors import ConfigurationError

    if folder is None or not folder.is_dir():
        raise ConfigurationError(
            f"recordings: {folder or 'no folder given'}; name one with --data or CELLPULSE_DATA"
        )
    return folder


def say(text: str) -> None:
    """Print how far a long command is, on standard error."""
    print(text, file=sys.stderr, flush=True)
