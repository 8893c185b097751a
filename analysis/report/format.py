"""Numbers, times and lengths as the report writes them; a missing one is `–`."""

from __future__ import annotations

from datetime import UTC, datetime

from monitor.dashboard.texts import Language

NONE = "–"
GAP = "\N{NO-BREAK SPACE}"


def percent(fraction: float | None, language: Language, digits: int = 1) -> str:
    """A fraction as per cent; Chinese has no space before the sign."""
    if fraction is None:
        return NONE
    return f"{100 * fraction:.{digits}f}{'' if language == 'zh' else GAP}%"


def quantity(value: float | None, unit: str, digits: int = 1) -> str:
    """A number with its unit, thousands parted by a narrow space."""
    if value is None:
        return NONE
    text = f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    text = text.replace("-", "\N{MINUS SIGN}")
    return f"{text}{GAP}{unit}" if unit else text


def celsius(value: float | None, digits: int = 1) -> str:
    """A temperature."""
    return quantity(value, "°C", digits)


def milliohm(ohm: float | None) -> str:
    """A resistance in ohm, written in milliohm."""
    return quantity(None if ohm is None else 1_000 * ohm, "mΩ")


def count(value: int) -> str:
    """A whole number."""
    return quantity(float(value), "", 0)


def time(ms: int) -> str:
    """Event time in UTC to the minute."""
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")


def length(seconds: float, language: Language) -> str:
    """A duration in the unit that suits it."""
    names = ("秒", "分", "小时", "天") if language == "zh" else ("s", "min", "h", "d")
    for size, name in ((86_400.0, names[3]), (3_600.0, names[2]), (60.0, names[1])):
        if seconds >= 2 * size:
            return quantity(seconds / size, name, 0 if seconds >= 20 * size else 1)
    return quantity(seconds, names[0], 0)
