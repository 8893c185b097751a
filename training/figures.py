"""Measured figures in one form, for people and for machines; the results pages are made of them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct


class Figure(Struct, frozen=True):
    """One number with its target. `met` is None where there is no target."""

    name: str
    value: float | None
    unit: str
    target: float | None
    better: Literal["lower", "higher"]
    met: bool | None
    protocol: str

    def row(self) -> tuple[str, str, str, str]:
        """Name, value with unit, target, and whether it is met, for people."""
        value = "not measured" if self.value is None else f"{_number(self.value)} {self.unit}"
        if self.target is None:
            return self.name, value, "", ""
        sign = "at most" if self.better == "lower" else "at least"
        return self.name, value, f"{sign} {self.target:,g}", "met" if self.met else "MISSED"


def figure(
    name: str,
    value: float | None,
    unit: str,
    target: float | None,
    better: Literal["lower", "higher"],
    protocol: str,
    digits: int | None = 4,
) -> Figure:
    """A figure, `met` worked out. A value that is missing meets no target."""
    met = None
    if target is not None:
        met = value is not None and bool(value <= target if better == "lower" else value >= target)
    rounded = value if value is None or digits is None else round(float(value), digits)
    return Figure(name, rounded, unit, target, better, met, protocol)


def report(
    command: str, data: Mapping[str, str], figures: Sequence[Figure], watched: Sequence[str] = ()
) -> dict[str, Any]:
    """The object that `--json` prints; `data` is the SHA-256 of every file that was used."""
    try:
        release = version("cellpulse")
    except PackageNotFoundError:
        release = "unknown"
    return {
        "command": command,
        "version": release,
        "commit": _commit(watched),
        "data": dict(data),
        "figures": list(figures),
    }


def _commit(watched: Sequence[str]) -> str:
    """The checkout's commit, marked where files of the `watched` folders differ from it.

    "unknown" outside a checkout.
    """
    try:
        changed = watched and _git("status", "--porcelain", "--untracked-files=no", *watched)
        return _git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent.parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def figures_table(figures: Sequence[Figure], *, protocol: bool = False) -> str:
    """All figures as columns for a terminal, with their protocols where these are wanted."""
    rows = [
        (f.name, f.value, f.unit, f.target, "" if f.met is None else "met" if f.met else "missed",
         f.protocol)
        for f in figures
    ]  # fmt: skip
    header = ("figure", "value", "unit", "target", "", "protocol")
    most = len(header) if protocol else len(header) - 1
    return text_table(header[:most], [row[:most] for row in rows])


def targets_table(figures: Sequence[Figure]) -> str:
    """Figures with a target as a Markdown table."""
    lines = ["| figure | reached | target | | protocol |", "|---|---|---|---|---|"]
    for one in figures:
        if one.target is None:
            continue
        sign = "≤" if one.better == "lower" else "≥"
        value = "not measured" if one.value is None else f"{one.value:.2f} {one.unit}"
        verdict = "met" if one.met else "missed"
        lines.append(
            f"| {one.name} | {value} | {sign} {one.target:g} {one.unit} | {verdict} "
            f"| {one.protocol} |"
        )
    return "\n".join(lines)


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """Aligned columns for a terminal; the first `left` columns are text."""
    lines = [tuple(header), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            value.ljust(width) if i < left else value.rjust(width)
            for i, (value, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The same as Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
