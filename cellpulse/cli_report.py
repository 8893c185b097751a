"""`cellpulse report`: the battery health report. Everything heavy is imported when it is asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

FORMATS = ("pdf", "html", "json")
NAME = "battery_health_report"


def report(
    battery: Annotated[
        str,
        typer.Argument(
            metavar="ASSET|FILE",
            help="An asset of the store, a recording, an id such as B0005, or a saved report.json.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", show_default=False,
            help=f"Where it goes, {NAME}.pdf by default; - is standard output.",
        ),
    ] = None,
    language: Annotated[str, typer.Option("--lang", help="en or zh.")] = "en",
    format: Annotated[
        str | None,
        typer.Option(help="pdf, html or json; else the output's ending says.", show_default=False),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Look in this store only; else cellpulse.sqlite.", show_default=False),
    ] = None,
    asset: Annotated[
        str | None,
        typer.Option(help="Which battery, where a file holds several.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", envvar="CELLPULSE_DATA", help="Folder with recordings.", show_default=False
        ),
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Folder with the ONNX models and cards.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file of settings.", show_default=False)
    ] = None,
) -> None:  # fmt: skip
    """Write a battery health report, a page that a person can sign, from a store or a file."""
    from monitor.config import load
    from monitor.errors import ConfigurationError
    from monitor.models.folder import models_folder

    chosen, path = _where(out, format)
    if language not in ("en", "zh"):
        raise ConfigurationError(f"--lang {language}: expected en or zh")
    settings = load(config, models=models)

    from analysis.report.make import make
    from analysis.report.record import to_json
    from analysis.report.render import to_html, to_pdf

    found = make(
        battery,
        models=settings.models or models_folder(),
        store=store,
        default_store=settings.store,
        asset=asset,
        folders=None if data is None else [data],
    )
    words = cast(Literal["en", "zh"], language)
    if chosen == "json":
        content = to_json(found)
    elif chosen == "html":
        content = to_html(found, words).encode()
    else:
        content = to_pdf(found, words)
    if path is None:
        sys.stdout.buffer.write(content)
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be written ({error.strerror}); name another file with -o"
        ) from error
    print(f"written to {path}", file=sys.stderr)


def _where(out: Path | None, format: str | None) -> tuple[str, Path | None]:
    """The form and the file, None for standard output; raises ConfigurationError."""
    from monitor.errors import ConfigurationError

    if format is not None and format not in FORMATS:
        raise ConfigurationError(f"--format {format}: expected pdf, html or json")
    if out is None:
        return format or "pdf", Path(f"{NAME}.{format or 'pdf'}")
    if str(out) == "-":
        return format or "pdf", None
    ending = out.suffix.lower().lstrip(".")
    if format is None and ending not in FORMATS:
        raise ConfigurationError(f"-o {out}: its ending says no form; end it in .pdf, or --format")
    return format or ending, out
