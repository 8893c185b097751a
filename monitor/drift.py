"""Whether the mean of a stream of residuals has risen: Page-Hinkley, or one of River's detectors.

Page-Hinkley (Page 1954, "Continuous inspection schemes", Biometrika 41) is our own and equals
River's bit for bit (tests/monitor/test_drift.py). River's detectors are chosen by name and need
the extra `river`; they take most of a second to import.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

from monitor.errors import ConfigurationError

CLIP = 0.01  # a residual counts at most so much, in fractions of nominal
ALLOWED = 0.003  # of SOH: a residual so small is no sign
THRESHOLD = 0.5  # sum of residuals, in fractions of nominal, that makes a knee


class RiseTest(Protocol):
    """A test of one stream."""

    def update_inplace(self, x: float) -> bool:
        """One more residual; whether the mean has risen by now."""
        ...


NewTest = Callable[[], RiseTest]


class PageHinkley(Struct, array_like=True):
    """Page-Hinkley for a rise, as a checkpoint keeps it; without forgetting.

    >>> test = PageHinkley()
    >>> next(k for k in range(1_000) if test.update_inplace(0.0 if k < 100 else 0.01))
    322
    """

    n: float = 0.0
    mean: float = 0.0
    sum_increase: float = 0.0
    sum_decrease: float = 0.0  # of the test for a fall, which River keeps in the same state
    min_increase: float = math.inf
    max_decrease: float = -1.0

    def update_inplace(self, x: float) -> bool:
        """One more residual; whether the mean has risen by now."""
        self.n += 1.0
        self.mean += (1.0 / self.n) * (x - self.mean)
        deviation = x - self.mean
        self.sum_increase = self.sum_increase + deviation - ALLOWED
        self.sum_decrease = self.sum_decrease + deviation + ALLOWED
        self.min_increase = min(self.min_increase, self.sum_increase)
        self.max_decrease = max(self.max_decrease, self.sum_decrease)
        return self.sum_increase - self.min_increase > THRESHOLD


class RiverTest:
    """A detector of River; it has risen where it says that it drifts, at a residual above zero.

    River has no way to save a detector but pickle, which a checkpoint must not need to trust: what
    it was given is kept instead, and given again to a new one.
    """

    def __init__(self, test: Any, scale: float = 1.0) -> None:
        """`scale` brings residuals to what the detector takes for a stream's range."""
        self.given: list[float] = []
        self._test = test
        self._scale = scale

    def update_inplace(self, x: float) -> bool:
        """One more residual; whether the mean has risen by now."""
        self.given.append(x)
        self._test.update(self._scale * x)
        return bool(self._test.drift_detected) and x > 0.0


OWN = "page-hinkley"
_RIVERS: dict[str, Callable[[Any], RiverTest]] = {  # of the module river.drift
    "river:PageHinkley": lambda drift: RiverTest(
        drift.PageHinkley(min_instances=1, delta=ALLOWED, threshold=THRESHOLD, alpha=1.0, mode="up")
    ),
    "river:ADWIN": lambda drift: RiverTest(drift.ADWIN(clock=1), 1.0 / CLIP),
    "river:KSWIN": lambda drift: RiverTest(drift.KSWIN(seed=0)),
}
DETECTORS = (OWN, *_RIVERS)


def detector(name: str) -> NewTest:
    """What makes a test of `DETECTORS`; raises ConfigurationError where River is not installed."""
    if name == OWN:
        return PageHinkley
    try:
        from river import drift
    except ImportError as error:
        raise ConfigurationError(
            f"knee_detector = {name!r}: River is not installed; "
            f"pip install 'cellpulse[river]', or choose {OWN!r}"
        ) from error
    make = _RIVERS[name]
    return lambda: make(drift)
