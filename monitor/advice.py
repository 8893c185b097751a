"""Charging advice for one asset: how fast now, how long still, what it costs, and why.

In shadow: nothing here or elsewhere in the monitor commands a charger. The policy comes as ONNX
bytes with a card; what it wishes goes through `charging.allowed_c` and is never above it.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from monitor.models import Card, Floats32, open_session

# What the policy sees, ordered: name, unit. C is of nominal capacity.
ADVICE_INPUTS = (
    ("soc", "1"),
    ("voltage_v", "V a cell"),
    ("current_c", "C, positive charges"),
    ("temperature_c", "degC"),
    ("ambient_c", "degC"),
    ("soh", "1"),
    ("allowed_c", "C"),
    ("wear_weight", "1"),
)
ADVICE_OUTPUTS = ("current_c", "minutes", "loss")
SEEN = {name: column for column, (name, _) in enumerate(ADVICE_INPUTS)}
END_SOC = 0.8
WEIGHTS = {"fast": 0.5, "normal": 6.0, "gentle": 25.0}  # on wear

Floats = NDArray[np.float64]


class Advice(Struct, frozen=True):
    """How to charge one asset now. Currents are of a whole cell string."""

    current_a: float
    current_c: float
    allowed_a: float  # the shield's bound
    minutes: float | None  # to 80 %, if the advice is followed
    loss: float | None  # of nominal capacity until then, as a fraction
    why: str
    style: str


class AdviceModel:
    """The policy; (n, len(ADVICE_INPUTS)) float32 in."""

    def __init__(self, onnx: bytes, card: Card) -> None:
        """Raises ModelError where card and file do not belong together."""
        self.card = card
        self._session = open_session(onnx, card, ADVICE_INPUTS, ADVICE_OUTPUTS)

    def run(self, seen: Floats32) -> tuple[Floats32, Floats32, Floats32]:
        """Current in C before the shield, minutes and loss left, a row each."""
        current_c, minutes, loss = self._session.run(None, {"x": seen})
        return current_c, minutes, loss
