"""Prometheus' text exposition format, version 0.0.4: families of samples as lines of text.

Source: Prometheus documentation, "Exposition formats". Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from monitor.contract import InferenceTimes

PREFIX = "cellpulse_"
Labels = tuple[tuple[str, str], ...]
Values = float | Mapping[Labels, float]
Sample = tuple[Labels, float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its full name, type, a line of help, and its samples.

    `tails` holds samples under the name with an ending: a summary's `_sum` and `_count`.
    """

    name: str
    kind: Literal["counter", "gauge", "summary"]
    text: str
    samples: list[Sample]
    tails: tuple[tuple[str, Labels, float], ...] = ()

    @staticmethod
    def counter(name: str, text: str, values: Values) -> Family:
        """A number that only grows; `_total` is added to its name."""
        return Family(f"{PREFIX}{name}_total", "counter", text, _samples(values))

    @staticmethod
    def gauge(name: str, text: str, values: Values) -> Family:
        """A number that goes up and down."""
        return Family(f"{PREFIX}{name}", "gauge", text, _samples(values))

    @staticmethod
    def info(name: str, text: str, **labels: str) -> Family:
        """A constant 1 whose labels say something."""
        return Family(f"{PREFIX}{name}", "gauge", text, [(tuple(labels.items()), 1.0)])

    @staticmethod
    def summary(name: str, text: str, quantiles: Mapping[str, float]) -> Family:
        """Quantiles of one distribution."""
        samples = [((("quantile", q),), value) for q, value in quantiles.items()]
        return Family(f"{PREFIX}{name}", "summary", text, list(samples))

    @staticmethod
    def inference(name: str, times: Mapping[str, InferenceTimes]) -> Family:
        """A summary of each model's runs."""
        samples: list[Sample] = []
        tails: list[tuple[str, Labels, float]] = []
        for model, t in times.items():
            label = ("model", model)
            samples.append(((label, ("quantile", "0.5")), t.ms_p50 / 1_000))
            samples.append(((label, ("quantile", "0.99")), t.ms_p99 / 1_000))
            tails.append(("_sum", (label,), t.total_s))
            tails.append(("_count", (label,), t.runs))
        text = "Time of one run of a model; quantiles of the newest 1,000."
        return Family(f"{PREFIX}{name}", "summary", text, samples, tuple(tails))


def expose(families: Iterable[Family]) -> str:
    """The text that a scrape gets."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.text, quotes=False)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [_line(family.name, labels, value) for labels, value in family.samples]
        lines += [_line(family.name + end, labels, value) for end, labels, value in family.tails]
    return "\n".join(lines) + "\n"


def _samples(values: Values) -> list[Sample]:
    if isinstance(values, Mapping):
        return list(values.items())
    return [((), values)]


def _line(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}"


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text
