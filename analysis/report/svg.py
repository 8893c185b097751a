"""Small plots as SVG text: axes with round ticks, lines, dots, bands and bars. Pure, no library.

Coordinates are written with one decimal, so the same numbers give the same bytes. Colours are
Okabe and Ito's, which the colour-blind can tell; no series is told by its colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

BLUE, ORANGE, GREEN, RED, PURPLE, GREY, INK, LINE = (
    "#0072B2", "#E69F00", "#009E73", "#B34700", "#CC79A7", "#595959", "#1d2b36", "#dde3e8",
)  # fmt: skip
FONTS = "'Noto Sans', 'DejaVu Sans', 'Liberation Sans', 'Noto Sans CJK SC', sans-serif"
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 26.0, 40.0
SIZE = 10.5


@dataclass(slots=True)
class Plot:
    """A plot in the making. Ranges are data units; `x_ticks` names ticks that are no numbers."""

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    x_ticks: Sequence[tuple[float, str]] | None = None
    marks: list[str] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)

    def at(self, x: float, y: float) -> str:
        """A point of data as SVG coordinates."""
        return f"{self._x(x):.1f},{self._y(y):.1f}"

    def line(
        self, xs: Sequence[float], ys: Sequence[float], colour: str, label: str = "",
        dash: str = "", width: float = 1.4,
    ) -> None:  # fmt: skip
        """A line through the points."""
        points = " ".join(self.at(x, y) for x, y in zip(xs, ys, strict=True))
        style = f'fill="none" stroke="{colour}" stroke-width="{width:g}"'
        if dash:
            style += f' stroke-dasharray="{dash}"'
        self.marks.append(f'<polyline points="{points}" {style} stroke-linejoin="round"/>')
        if label:
            self.legend.append((label, f'<line x1="0" y1="-3.5" x2="20" y2="-3.5" {style}/>'))

    def dots(
        self, xs: Sequence[float], ys: Sequence[float], colour: str, label: str = "",
        radius: float = 1.7,
    ) -> None:  # fmt: skip
        """A dot at each point."""
        self.marks += [
            f'<circle cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="{radius:g}" fill="{colour}"/>'
            for x, y in zip(xs, ys, strict=True)
        ]
        if label:
            self.legend.append((label, f'<circle cx="10" cy="-3.5" r="2.4" fill="{colour}"/>'))

    def band(
        self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], colour: str,
        label: str = "",
    ) -> None:  # fmt: skip
        """The area between two lines."""
        there = [self.at(x, y) for x, y in zip(xs, highs, strict=True)]
        back = [self.at(x, y) for x, y in zip(xs, lows, strict=True)][::-1]
        style = f'fill="{colour}" fill-opacity="0.22"'
        self.marks.append(f'<polygon points="{" ".join([*there, *back])}" {style}/>')
        if label:
            self.legend.append((label, f'<rect x="0" y="-8" width="20" height="9" {style}/>'))

    def level(self, y: float, label: str) -> None:
        """A dashed line across at a limit."""
        if self.y[0] <= y <= self.y[1]:
            self.line(self.x, (y, y), GREY, label, dash="5 3", width=1.1)

    def stretch(self, first: float, last: float, colour: str, label: str = "") -> None:
        """The time from `first` to `last` marked from top to bottom, at least 2 units wide."""
        left, right = self._x(first), self._x(last)
        style = f'fill="{colour}" fill-opacity="0.25"'
        self.marks.append(
            f'<rect x="{left:.1f}" y="{TOP:g}" width="{max(2.0, right - left):.1f}" '
            f'height="{self.height - TOP - BOTTOM:g}" {style}/>'
        )
        if label:
            self.legend.append((label, f'<rect x="0" y="-8" width="20" height="9" {style}/>'))

    def errors(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> None:
        """An upright bar at each point from low to high."""
        for x, low, high in zip(xs, lows, highs, strict=True):
            self.line((x, x), (low, high), ORANGE, width=2.5)

    def bars(self, values: Sequence[float], names: Sequence[str], colour: str) -> None:
        """A bar at 0, 1, 2, ... with its value above it."""
        for k, value in enumerate(values):
            left, right, top = self._x(k - 0.36), self._x(k + 0.36), self._y(value)
            self.marks.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
                f'height="{self._y(0.0) - top:.1f}" fill="{colour}"/>'
            )
            self.marks.append(_text((left + right) / 2, top - 4, names[k], "middle"))

    def svg(self, title: str) -> str:
        """The whole plot; `title` says what it shows to who cannot see it."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" role="img" '
            f'font-family="{FONTS}" font-size="{SIZE:g}" fill="{INK}">',
            f"<title>{escape(title)}</title>",
            *self._grid(),
            *self.marks,
            *self._frame(),
            *self._legend(),
            "</svg>",
        ]
        return "".join(parts)

    def _x(self, x: float) -> float:
        share = (x - self.x[0]) / (self.x[1] - self.x[0])
        return LEFT + share * (self.width - LEFT - RIGHT)

    def _y(self, y: float) -> float:
        share = (min(max(y, self.y[0]), self.y[1]) - self.y[0]) / (self.y[1] - self.y[0])
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)

    def _grid(self) -> list[str]:
        left, right = LEFT, self.width - RIGHT
        parts = []
        for value in ticks(*self.y, 5):
            y = self._y(value)
            parts.append(
                f'<line x1="{left:g}" y1="{y:.1f}" x2="{right:g}" y2="{y:.1f}" stroke="{LINE}"/>'
            )
            parts.append(_text(left - 6, y + 3.5, number(value), "end"))
        named = self.x_ticks
        if named is None:
            named = [(value, number(value)) for value in ticks(*self.x, 8)]
        parts += [
            _text(self._x(value), self.height - BOTTOM + 15, name, "middle")
            for value, name in named
        ]
        return parts

    def _frame(self) -> list[str]:
        base = self.height - BOTTOM
        middle = (TOP + base) / 2
        return [
            f'<line x1="{LEFT:g}" y1="{base:g}" x2="{self.width - RIGHT:g}" y2="{base:g}" '
            f'stroke="{GREY}"/>',
            _text((LEFT + self.width - RIGHT) / 2, self.height - 7, self.x_label, "middle"),
            f'<text transform="translate(12,{middle:g}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y_label)}</text>",
        ]

    def _legend(self) -> list[str]:
        parts = []
        x = LEFT
        for label, sign in self.legend:
            parts.append(f'<g transform="translate({x:.1f},14)">{sign}{_text(25, 0, label)}</g>')
            x += 25 + 22 + sum(0.60 if ord(c) < 0x2E80 else 1.0 for c in label) * SIZE
        return parts


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values from `low` to `high`, about so many: steps of 1, 2 or 5 times a power of 10."""
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def span(values: Sequence[float], margin: float = 0.06, least: float = 1e-6) -> tuple[float, float]:
    """The range of the values, widened a little, never empty."""
    low, high = min(values), max(values)
    room = max(margin * (high - low), least)
    return low - room, high + room


def number(value: float) -> str:
    """A tick's number without needless digits."""
    return f"{value:.10g}"


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
