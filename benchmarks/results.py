"""What a measurement hands out: figures with their targets, as a table, as JSON, as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from training import figures as all_figures
from training.figures import Figure, report

figure = partial(all_figures.figure, digits=None)


def as_object(command: str, data: dict[str, str], figures: Sequence[Figure]) -> dict[str, Any]:
    """The object that `--json` prints; `data` is the SHA-256 of every file that was used."""
    result = report(command, data, figures, ("monitor", "benchmarks"))
    return result | {"figures": [asdict(one) for one in figures]}


@dataclass(frozen=True, slots=True)
class Page:
    """A results page: its title, the command that writes it, and what it says of the way."""

    title: str
    command: str  # as it is typed, without `cellpulse`
    about: str = ""


def below_headline(docstring: str | None) -> str:
    """A module's docstring without its first sentence, which names the command."""
    return (docstring or "").partition("\n")[2].strip()


def hand_out(
    page: Page,
    figures: Sequence[Figure],
    *,
    json_out: bool,
    file: Path | None,
    data: dict[str, str] | None = None,
) -> None:
    """Print a table, or with `json_out` one object; where a `file` is named, write the page too."""
    result = as_object(page.command, data or {}, figures)
    text = table(("figure", "value", "target", ""), [one.row() for one in figures])
    if file is not None:
        protocols = "\n".join(f"- {words}" for words in dict.fromkeys(f.protocol for f in figures))
        parts = (
            f"# {page.title}",
            f"Written by `cellpulse {page.command}` at commit {result['commit']}.",
            page.about,
            text,
            protocols,
        )
        file.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1) if json_out else text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns, as readable in a terminal as on a page."""
    lines = [header, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    text = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    return "\n".join([text[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *text[1:]])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
