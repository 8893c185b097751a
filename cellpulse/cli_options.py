"""Options that several commands have, and the configuration that they are put into."""

from __future__ import annotations

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


def configured(file: Path | None, **flags: Any) -> Config:
    """The configuration of file, environment and flags; a flag that is None was not given."""
    from monitor.config import load  # heavy, and `--help` needs none of it

    return load(file, **flags)
