"""What the tests of engine, journal and pipeline share: streams, a fake publisher, tiny models."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from monitor.contract import AssetConfig, Frame, Limits, Provenance, encode
from monitor.inputs import FrameIn
from monitor.kernels.columns import SOH_INPUTS, SOH_WIDTH, THERMAL_INPUTS, THERMAL_WIDTH
from monitor.kernels.layout import VERSION_8_CELLS, of_record
from monitor.models.onnx import CARD_VERSION, Card, Family, SohModel, ThermalModel, ThermalPrior
from monitor.mqtt.link import Message

T0 = 1_700_000_000_000


def _card(name: str, data: bytes, inputs: Sequence[tuple[str, str]], **more: Any) -> Card:
    return Card(
        card_version=CARD_VERSION, name=name, description="made by a test",
        onnx_sha256=hashlib.sha256(data).hexdigest(), opset=17, inputs=list(inputs),
        outputs=[], training_data={}, protocol="none", metrics={}, seed=0, versions={},
        command="none", limits=[], **more,
    )  # fmt: skip


def _model(nodes: list[onnx.NodeProto], width: int, outputs: dict[str, int]) -> bytes:
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info(name, kind, ["n"]) for name, kind in outputs.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _constant(name: str, value: object, kind: type = np.float32) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.array(value, kind), name)
    return helper.make_node("Constant", [], [name], value=tensor)


@cache
def soh_model() -> SohModel:
    """SOH = 0.5 + the charge in all bins; too little seen under 5 whole bins."""
    weights = np.zeros((SOH_WIDTH, 1), np.float32)
    weights[:60] = 1.0
    extent = np.zeros((SOH_WIDTH, 1), np.float32)
    extent[60], extent[61] = -1.0, 1.0
    node = helper.make_node
    data = _model(
        [
            _constant("w", weights), _constant("e", extent), _constant("half", 0.5),
            _constant("five", 5.0), _constant("tenth", 0.1), _constant("axis", [1], np.int64),
            node("MatMul", ["x", "w"], ["charge"]), node("Add", ["charge", "half"], ["raw"]),
            node("Squeeze", ["raw", "axis"], ["soh"]),
            node("Sub", ["soh", "tenth"], ["low"]), node("Add", ["soh", "tenth"], ["high"]),
            node("MatMul", ["x", "e"], ["bins"]), node("Less", ["bins", "five"], ["few"]),
            node("Squeeze", ["few", "axis"], ["flat"]),
            node("Cast", ["flat"], ["state"], to=TensorProto.INT64),
        ],
        SOH_WIDTH,
        {
            "soh": TensorProto.FLOAT, "low": TensorProto.FLOAT, "high": TensorProto.FLOAT,
            "state": TensorProto.INT64,
        },
    )  # fmt: skip
    card = _card("soh", data, SOH_INPUTS, families=[Family("tiny", 0, 2.0)])
    return SohModel(data, card)


@cache
def thermal_model() -> ThermalModel:
    """The newest excess heat, W per Ah, over 0.2."""
    weights = np.zeros((THERMAL_WIDTH, 1), np.float32)
    weights[-4] = 5.0
    data = _model(
        [
            _constant("w", weights), _constant("axis", [1], np.int64),
            helper.make_node("MatMul", ["x", "w"], ["raw"]),
            helper.make_node("Squeeze", ["raw", "axis"], ["score"]),
        ],
        THERMAL_WIDTH,
        {"score": TensorProto.FLOAT},
    )  # fmt: skip
    prior = ThermalPrior(
        20.0,
        0.025,
        0.2,
        [0.15, 0.03, 0.04, -0.09, 0.5, 0.12, -0.03, 0.0],
        [0.08, 0.01, 0.06, 0.02, 0.15, 0.04, 0.06, 0.01],
    )
    card = _card("thermal", data, THERMAL_INPUTS, thermal_prior=prior)
    return ThermalModel(data, card)


def make_config(cells: int = 1, **more: object) -> AssetConfig:
    settings: dict[str, Any] = {
        "nominal_capacity_ah": 2.0,
        "cell_type": "tiny",
        "limits": Limits(temperature_max_c=45.0),
        "provenance": Provenance(replay=True),
    }
    return AssetConfig(v=1, cells=cells, **(settings | more))


def frame_in(asset: str, frame: Frame, arrival_ms: int | None = None) -> FrameIn:
    return FrameIn(
        asset, frame, frame.timestamp_ms if arrival_ms is None else arrival_ms, encode(frame)
    )


def cycling(
    asset: str, n: int, cells: int = 1, *, seed: int = 0, dt_s: float = 30.0, sensors: int = 1,
    start_s: float = 0.0,
) -> list[FrameIn]:  # fmt: skip
    """Charge and discharge between the limits, with warm stretches, nulls and lost frames."""
    rng = np.random.default_rng(seed)
    frames = []
    level, current = 0.4, 1.5
    for k in range(n):
        level += current * dt_s / 3600 / 1.9
        if not 0.02 < level < 0.98:
            current = -current
            level = min(0.98, max(0.02, level))
        volts = 2.65 + 1.55 * level + rng.normal(0, 0.004, cells)
        warm = np.clip(min(k % 150 - 60, 110 - k % 150) / 3, 0, 1)  # no cell steps by 18 K
        heat = 24 + 4 * abs(current) + 18 * warm
        temps = heat + rng.normal(0, 0.1, sensors)
        lost = rng.random()
        if lost < 0.02:
            continue
        frames.append(
            frame_in(
                asset,
                Frame(
                    v=1, session="s", seq=k,
                    timestamp_ms=T0 + round(1000 * (start_s + k * dt_s)),
                    current_a=None if lost < 0.04 else round(float(current), 3),
                    voltage_v=[None if rng.random() < 0.01 else round(float(v), 4) for v in volts],
                    temperature_c=[round(float(x), 2) for x in temps],
                    ambient_c=24.0 if k % 5 else None,
                ),
            )
        )  # fmt: skip
    return frames


@dataclass
class FakePublisher:
    """Keeps what is published and acknowledged, in order, and refuses what a broker would."""

    log: list[tuple[Any, ...]] = field(default_factory=list)

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False,
        expiry_s: int | None = None,
    ) -> None:  # fmt: skip
        assert not set(topic) & set("+#\0\n"), topic
        assert len(topic.encode()) < 65_536
        self.log.append(("publish", topic, payload, qos, retain, expiry_s))

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.log.append(("acknowledge", *(message.mid for message in messages)))

    def published(self, end: str) -> list[tuple[str, bytes]]:
        """What went to topics that end so."""
        return [
            (str(entry[1]), bytes(entry[2]))
            for entry in self.log
            if entry[0] == "publish" and str(entry[1]).endswith(end)
        ]


def version_8_arrays(cells: NDArray[Any]) -> dict[str, bytes]:
    """What versions 7 and 8 wrote of cells: four arrays instead of records of CELL."""
    arrays = {}
    for array, layout in VERSION_8_CELLS.items():
        packed = np.zeros(
            len(cells), np.dtype([(name, kind, shape) for name, kind, shape in layout])
        )
        for name, _, _ in layout:
            unused = name.startswith("unused_")
            packed[name] = np.nan if unused else of_record(cells, name)
        arrays[array] = packed.tobytes()
    return arrays
