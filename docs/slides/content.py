"""What the three slides say: words of ours, numbers from the results pages as they stand now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("results-soh.md", "results-thermal.md", "results-charging.md", "results-engine.md")
ROWS = 3  # of each page on the slide


class MissingResultError(Exception):
    """A results page has no table of targets."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a results page's table of targets."""

    name: str
    reached: str
    target: str
    met: bool
    page: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence and where its numbers come from."""

    text: str
    source: str


def figures(page: str) -> list[Figure]:
    """The table of targets of a results page, in its order. Raises MissingResultError."""
    found = []
    for line in (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        verdict = cells[3].strip("*").lower() if len(cells) in (4, 5) else ""
        if line.startswith("|") and cells[0] != "figure" and verdict in ("met", "missed"):
            found.append(Figure(cells[0], cells[1], cells[2], verdict == "met", page))
    if not found:
        raise MissingResultError(f"docs/{page}: no table of targets; write it anew by its command")
    return found


def pages() -> list[str]:
    """The results pages that are there."""
    return [page for page in PAGES if (ROOT / "docs" / page).is_file()]


def facts(language: str) -> list[Fact]:
    """One sentence a results page: how many targets are met, and its first figure."""
    out = []
    for page in pages():
        found = figures(page)
        met = sum(figure.met for figure in found)
        first = found[0]
        if language == "zh":
            text = f"{met}/{len(found)} 个目标达到；{first.name}：{first.reached}"
        else:
            text = f"{met} of {len(found)} targets met; {first.name}: {first.reached}"
        out.append(Fact(text, f"docs/{page}"))
    return out


TITLES = {
    "en": (
        "Cellpulse: a battery monitor that says how sure it is",
        "One sample in, an estimate and an alarm out",
        "What was reached on cells that no fit saw, and what was missed",
    ),
    "zh": (
        "Cellpulse：会说“有多大把握”的电池监视器",
        "来一个样本，出一次估计与告警",
        "在没见过的电池上达到了什么、没达到什么",
    ),
}
PROBLEM = {
    "en": (
        "A battery does not say how much life is left, nor that it is about to overheat.",
        "Most published errors below 1 % leak: random splits, normalisation over the whole life.",
        "Cellpulse answers from a partial charge, live, with an interval, and says when it cannot.",
        "Alarms follow ISA-18.2, and nothing is lost when a process is killed.",
        "See it: make demo",
    ),
    "zh": (
        "电池不会自己说还剩多少寿命，也不会提前说它要过热。",
        "公开文献里低于 1% 的误差大多有泄漏：随机切分，或用整个寿命做归一化。",
        "Cellpulse 从不完整的一次充电实时作答，给出区间；答不了就直说。",
        "告警遵循 ISA-18.2；进程被杀，数据不丢。",
        "现场演示：make demo",
    ),
}
HEADER = {
    "en": ("Figure", "Reached", "Target", "", "Source"),
    "zh": ("指标", "达到", "目标", "", "来源"),
}
VERDICT = {"en": {True: "met", False: "missed"}, "zh": {True: "达到", False: "未达到"}}


def headline() -> list[Figure]:
    """The first rows of every results page."""
    return [figure for page in pages() for figure in figures(page)[:ROWS]]
