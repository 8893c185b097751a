"""What a measurement hands out: figures with their targets, as a table, as JSON, as a page."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value and what it should be."""

    name: str
    value: float
    unit: str
    target: float | None
    better: Literal["lower", "higher"]
    protocol: str

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.better == "lower" else self.value >= self.target

    def row(self) -> tuple[str, str, str, str]:
        """Name, value with unit, target, and whether it is met, for people."""
        if self.target is None:
            return self.name, f"{_number(self.value)} {self.unit}", "", ""
        sign = "at most" if self.better == "lower" else "at least"
        met = "met" if self.met else "MISSED"
        return self.name, f"{_number(self.value)} {self.unit}", f"{sign} {self.target:,g}", met


def as_object(command: str, data: dict[str, str], figures: Sequence[Figure]) -> dict[str, Any]:
    """The object that `--json` prints; `data` is the SHA-256 of every file that was used."""
    return {
        "command": command,
        "version": _version(),
        "commit": _commit(),
        "data": data,
        "figures": [asdict(figure) | {"met": figure.met} for figure in figures],
    }


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
    text = table(("figure", "value", "target", ""), [figure.row() for figure in figures])
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


def _version() -> str:
    try:
        return version("cellpulse")
    except PackageNotFoundError:
        return "unknown"


def _commit() -> str:
    """The checkout's commit, marked where files differ from it; "unknown" outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent.parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True,
            timeout=10,
        )  # fmt: skip
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "monitor", "benchmarks"],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
