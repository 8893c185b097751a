"""The ONNX models as the engine runs them: bytes and a card in, whole micro-batches through.

A card is refused where it does not fit: another hash, other inputs or outputs, an unknown version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.kernels.columns import SOH_INPUTS, THERMAL_INPUTS

if TYPE_CHECKING:
    import onnxruntime as ort

Floats32 = NDArray[np.float32]
CARD_VERSION = 1


class Family(Struct, frozen=True):
    """A family of cells that the SOH model was trained on, and its first table in the model."""

    cell_type: str
    table: int
    nominal_capacity_ah: float
    chemistry: str | None = None


class ThermalPrior(Struct, frozen=True):
    """The heat balances' parameters before anything is known of a cell.

    Heat capacity and cooling scale with nominal capacity, resistance with its inverse.
    `balance_mean` and `balance_spread` are the eight coefficients of the adaptive balance, in the
    order of `monitor.kernels.columns.BALANCE_TERMS`, and their standard deviations over groups
    of cells.
    """

    heat_capacity_j_per_k_ah: float
    cooling_w_per_k_ah: float
    resistance_ohm_ah: float
    balance_mean: Annotated[list[float], Meta(min_length=8, max_length=8)]
    balance_spread: Annotated[list[float], Meta(min_length=8, max_length=8)]


class Card(Struct, frozen=True):
    """What stands in `models/<name>.json` beside `<name>.onnx`."""

    card_version: int
    name: str
    description: str
    onnx_sha256: str
    opset: int
    inputs: list[tuple[str, str]]  # ordered: name, unit
    outputs: list[tuple[str, str]]
    training_data: dict[str, str]  # recording: sha256
    protocol: str
    metrics: dict[str, Any]  # per held-out cell
    seed: int
    versions: dict[str, str]
    command: str
    limits: list[str]  # where it must not be believed
    families: list[Family] = []
    thermal_prior: ThermalPrior | None = None
    threshold: dict[str, Any] = {}


class SohModel:
    """State of health from the incremental-capacity window; (n, SOH_WIDTH) float32 in."""

    OUTPUTS = ("soh", "low", "high", "state")

    def __init__(self, onnx: bytes, card: Card) -> None:
        self.card = card
        self._session = open_session(onnx, card, SOH_INPUTS, self.OUTPUTS)
        self._tables = {family.cell_type: family.table for family in card.families}

    def table(self, cell_type: str | None) -> int:
        """The first table for a family of cells, -1 where the model knows none."""
        return -1 if cell_type is None else self._tables.get(cell_type, -1)

    def run(self, x: Floats32) -> tuple[Floats32, Floats32, Floats32, NDArray[np.int64]]:
        """SOH, the ends of its 90 % interval (fractions), a SohCode; a row each."""
        soh, low, high, state = self._session.run(None, {"x": x})
        return soh, low, high, state


class ThermalModel:
    """How unlike healthy heat a thermal window is; (n, THERMAL_WIDTH) float32 in, 1 = threshold."""

    OUTPUTS = ("score",)

    def __init__(self, onnx: bytes, card: Card) -> None:
        if card.thermal_prior is None:
            raise ModelError(f"model card {card.name}: thermal_prior is missing")
        self.card = card
        self.prior = card.thermal_prior
        self._session = open_session(onnx, card, THERMAL_INPUTS, self.OUTPUTS)

    def run(self, x: Floats32) -> Floats32:
        """The score of every row."""
        score: Floats32 = self._session.run(None, {"x": x})[0]
        return score


def read_card(data: bytes, name: str) -> Card:
    """The card in `data`; raises ModelError that names the field which is wrong."""
    try:
        card = msgspec.json.decode(data, type=Card)
    except msgspec.DecodeError as error:
        raise ModelError(f"model card {name}: {error}") from error
    if card.card_version != CARD_VERSION:
        raise ModelError(
            f"model card {name}: card_version {card.card_version}, expected {CARD_VERSION}"
        )
    return card


def open_session(
    onnx: bytes, card: Card, inputs: Sequence[tuple[str, str]], outputs: Sequence[str]
) -> ort.InferenceSession:
    """A session of one thread; raises ModelError where file, card and features do not agree."""
    digest = hashlib.sha256(onnx).hexdigest()
    if digest != card.onnx_sha256:
        raise ModelError(
            f"model {card.name}: the file's sha256 is {digest[:12]}..., its card says "
            f"{card.onnx_sha256[:12]}...; train it again or restore both files"
        )
    if [tuple(entry) for entry in card.inputs] != [tuple(entry) for entry in inputs]:
        raise ModelError(
            f"model {card.name}: its card's inputs are not this version's features; train it again"
        )
    session = single_threaded(onnx, card.name)
    names = [output.name for output in session.get_outputs()]
    if names != list(outputs):
        raise ModelError(f"model {card.name}: outputs {names}, expected {list(outputs)}")
    return session


def single_threaded(onnx: bytes, name: str) -> ort.InferenceSession:
    """A session of one thread; raises ModelError. ONNX Runtime is loaded with the first one."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no exception class of its own
        raise ModelError(f"model {name}: onnxruntime cannot open it: {error}") from error
