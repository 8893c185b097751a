"""Recordings as inputs, an engine run over them, and digests of all that came of it.

    python -m tests.digest_world [FOLDER OF THE REAL DATA]

writes `tests/digest.json` anew: only where results are meant to change, and the change says why.

The module is long because the streams, what is hashed of them and the file stand together.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.contract import Command, DeviceAlarm, Frame, encode
from monitor.engine import Engine
from monitor.inputs import CommandIn, ConfigIn, DeviceAlarmIn, FrameIn, Input, StatusIn, Tick
from monitor.kernels.cell import CONFIG
from monitor.kernels.columns import SOH_BINS
from monitor.kernels.jit import kernel
from monitor.kernels.layout import VERSION_8_CELLS, of_record
from monitor.models.onnx import SohModel, ThermalModel, ThermalPrior
from monitor.results import Results
from recordings.open import open_recording
from recordings.types import Operation, Recording, RecordingInfo
from simulator.demo_recording import MadeRecording
from simulator.faults import InternalShort
from simulator.pack import StackedPack
from simulator.replay import ReplayOptions, asset_config
from simulator.twin import TwinState, load_parameters
from simulator.twin_cycler import Protocol, Rig, Sensors, cycle
from tests.conftest import ROOT
from tests.recording_files import calce_folder, nasa_mat

GOLDEN = Path(__file__).with_name("digest.json")
START_MS = 1_767_225_600_000
BATCHES = (1, 7, 64, 700, 1_500)  # inputs at once, in turn


class DigestSoh:
    """Stands for the SOH model: single additions of float32, the same on every processor."""

    def table(self, cell_type: str | None) -> int:
        return {"nasa-18650": 0, "calce-cs2": 3}.get(cell_type or "", -1)

    def run(self, x: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        soh = np.full(len(x), 0.5, np.float32)
        for column in range(SOH_BINS):
            soh = soh + x[:, column] * np.float32(0.5)
        seen = x[:, SOH_BINS + 1] - x[:, SOH_BINS]
        unlike = (soh > 0.6) & (soh < 0.64)
        state = np.where(seen < 4.0, 1, np.where(unlike, 2, 0)).astype(np.int64)
        tenth = np.float32(0.125)
        return soh, soh - tenth, soh + tenth, state


class DigestThermal:
    """Stands for the thermal model: the newest evidence, scaled."""

    prior = ThermalPrior(
        20.0,
        0.025,
        0.2,
        [0.15, 0.03, 0.04, -0.09, 0.5, 0.12, -0.03, 0.0],
        [0.08, 0.01, 0.06, 0.02, 0.15, 0.04, 0.06, 0.01],
    )

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return x[:, -4] * np.float32(8.0) + x[:, -3] * np.float32(2.0)


MODELS: dict[str, tuple[SohModel | None, ThermalModel | None]] = {
    "no models": (None, None),
    "two models": (cast(SohModel, DigestSoh()), cast(ThermalModel, DigestThermal())),
}


@kernel
def _arithmetic_inplace(x: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for k in range(len(x)):
        out[0, k] = np.exp(-x[k])
        out[1, k] = np.exp(x[k] * 1e-3)
        out[2, k] = np.log(x[k])
        out[3, k] = np.sqrt(x[k])


def arithmetic() -> str:
    """What tells one mathematical library from another: exp, log and sqrt as kernels get them."""
    x = np.linspace(1e-6, 40.0, 20_001)
    out = np.empty((4, len(x)))
    _arithmetic_inplace(x, out)
    return hashlib.sha256(out.tobytes()).hexdigest()


def recordings(data: Path | None, folder: Path) -> dict[str, Callable[[], Sequence[Input]]]:
    """Every recording by name; `data` has the real cells, `folder` is for what is made."""
    found: dict[str, Callable[[], Sequence[Input]]] = {
        "made NASA": lambda: _inputs(
            open_recording(nasa_mat(folder / "B0005.mat", 4)), wanted=12, rows=400
        ),
        "made CALCE": lambda: _inputs(
            open_recording(calce_folder(folder / "CS2_99")), wanted=20, rows=400
        ),
        "twin pack": lambda: disturbed(_inputs([twin_pack()], wanted=12, rows=3_000)),
    }
    if data is not None:
        for name, path in (
            ("NASA", "nasa/tidy/B0005.parquet"),
            ("NASA, square wave", "nasa/tidy/B0025.parquet"),
            ("CALCE", "calce/tidy/CS2_34.parquet"),
        ):
            found[name] = _real(data / path)
    return found


def _real(path: Path) -> Callable[[], Sequence[Input]]:
    return lambda: _inputs(open_recording(path), wanted=14, rows=1_500)


def twin_pack() -> Recording:
    """Four twin cells in series, one of them with an internal short circuit; 7 hours."""
    tables = load_parameters("nasa-18650-b0005").tables()
    cells: list[Recording] = []
    for number, soh in enumerate((0.95, 0.9, 0.85, 0.8)):
        rig = Rig(
            tables,
            Protocol(trip_c=70.0, sample_s=10.0),
            ambient_c=lambda time_s: 24.0,
            fault=InternalShort(150.0, 4.0, 2700.0) if number == 2 else None,
            fault_onset_s=4 * 3600.0,
        )
        state = TwinState.at(tables, soc=0.02, loss=1.0 - soh, temperature_c=24.0)
        rng = np.random.default_rng([17, number])
        made = cycle(rig, state, 7 * 3600.0, start_ms=START_MS, sensors=Sensors(), rng=rng)
        info = RecordingInfo(f"cell-{number}", "twin", 2.0, cell_type="nasa-18650", synthetic=True)
        cells.append(MadeRecording(info, tuple(_rounded(one) for one in made)))
    return StackedPack("pack", cells)


def _rounded(operation: Operation) -> Operation:
    """To what a message carries: the twin's own last bits are not what is looked at."""
    return replace(
        operation,
        current_a=operation.current_a.round(4),
        voltage_v=operation.voltage_v.round(4),
        temperature_c=operation.temperature_c.round(3),
    )


def _inputs(found: Sequence[Recording], wanted: int, rows: int) -> list[Input]:
    """The first rows of the first operations of each recording: a config, then frames."""
    inputs: list[Input] = []
    for recording in found:
        config = asset_config(recording.info, ReplayOptions(), "gateway")
        inputs.append(ConfigIn(recording.info.asset, config, 0))
        number = 0
        for operation in islice(recording.operations(), wanted):
            for k in range(min(rows, len(operation))):
                stamp = operation.start_ms + round(1000.0 * float(operation.time_s[k]))
                frame = Frame(
                    v=1, session="s", seq=number, timestamp_ms=stamp,
                    current_a=_number(operation.current_a[k]),
                    voltage_v=[_number(x) for x in operation.voltage_v[k]],
                    temperature_c=[_number(x) for x in operation.temperature_c[k]] or None,
                    ambient_c=None if operation.ambient_c is None
                    else _number(operation.ambient_c[k]),
                )  # fmt: skip
                inputs.append(_frame_in(recording.info.asset, frame))
                number += 1
    return inputs


def _number(value: np.floating) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _frame_in(asset: str, frame: Frame) -> FrameIn:
    return FrameIn(asset, frame, frame.timestamp_ms + 40, encode(frame))


def disturbed(inputs: Sequence[Input]) -> list[Input]:
    """A stream with what may befall one, by a fixed seed: nearly every branch is met."""
    rng = np.random.default_rng(29)
    frames = [item for item in inputs if type(item) is FrameIn]
    asset = frames[0].asset
    first = next(item for item in inputs if type(item) is ConfigIn)
    out: list[Input] = [
        StatusIn("gateway", True, True, 0),
        *frames[:5],  # before any config
        first,
    ]
    held: FrameIn | None = None
    for k, item in enumerate(frames[5:], 5):
        item = _spoilt(item, k, rng)
        if k % 997 == 500:
            out.append(item)
            held = item
        if held is not None and k % 997 == 520:
            out.append(held)  # late, and a duplicate
            held = None
        if k % 401 == 77:
            continue  # lost
        out.append(item)
        if k % 650 == 0:
            out.append(Tick(item.arrival_ms + 20_000))
        if k == 1_500:
            wired = msgspec.structs.replace(first.config, temperature_map=[[1, 3], [2, 4]])
            out.append(ConfigIn(asset, wired, item.arrival_ms))
        if k == 1_600:
            out.append(
                CommandIn(
                    asset, "ann", Command(v=1, id="1", action="acknowledge", code="low_soc"),
                    item.arrival_ms,
                )
            )  # fmt: skip
        if k == 1_700:
            alarm = DeviceAlarm(v=1, name="fan", active=True, timestamp_ms=item.frame.timestamp_ms)
            out.append(DeviceAlarmIn(asset, alarm, item.arrival_ms))
    return out


def _spoilt(  # noqa: C901 - one way of spoiling after another
    item: FrameIn, k: int, rng: np.random.Generator
) -> FrameIn:
    """One frame with its readings spoilt now and then; the clock is set back at two thirds."""
    frame = item.frame
    volts, temps = list(_list(frame.voltage_v)), list(_list(frame.temperature_c))
    current = frame.current_a
    dice = rng.random(3) if k > 1_000 else np.ones(3)
    cell = int(rng.integers(len(volts)))
    if dice[0] < 0.01:
        volts[cell] = None
    elif dice[0] < 0.015:
        volts[cell] = 6.5
    elif dice[0] < 0.02:
        volts[cell] = 2.1
    if dice[1] < 0.01:
        temps[cell] = None
    elif dice[1] < 0.013:
        temps[cell] = 2_000.0
    elif dice[1] < 0.018:
        temps[cell] = 60.0
    if dice[2] < 0.01:
        current = None
    elif dice[2] < 0.012:
        current = 500.0
    if 900 < k < 1_200:
        volts[1] = 3.7  # frozen
    if 600 < k < 1_350:
        temps[2] = 31.25  # frozen, through a change of the load
    if 1_200 < k < 1_260:
        temps[3] = 25.0 + 1.4 * (k - 1_200)  # heats by 0.14 K/s and is believed
    if k in (1_300, 1_301):
        volts[0] = 2.2  # a jump that the next sample confirms
    if 1_400 < k < 1_404:
        volts[2], temps[2] = 0.6, 80.0  # a collapse: the step up is believed
    if 1_900 <= k < 2_000:
        temps = temps[:2]
    stamp = frame.timestamp_ms
    session = frame.session
    if k >= 2_100:
        stamp -= 3_600_000  # the clock is set back
    if k >= 2_200:
        session = "t"
        stamp -= 1_800_000  # a replay that goes back
    if k >= 2_300:
        stamp += 900_000  # a gap
    ambient = None if k % 3 == 0 else 24.0
    known = Frame(
        v=1, session=session, seq=frame.seq, timestamp_ms=stamp, current_a=current,
        voltage_v=volts, temperature_c=temps, ambient_c=ambient,
    )  # fmt: skip
    return _frame_in(item.asset, known)


def _list(value: object) -> list[float | None]:
    return value if isinstance(value, list) else [cast(float, value)]


@dataclass(slots=True)
class Digest:
    """One hash for each kind of what an engine gives, and a few numbers to compare by."""

    hashes: dict[str, Any] = field(default_factory=dict)
    numbers: list[float] = field(default_factory=list)

    def add(self, part: str, *pieces: object) -> None:
        """Take arrays (NaN is one value, whatever its bits), and anything that is JSON."""
        sink = self.hashes.setdefault(part, hashlib.sha256())
        for piece in pieces:
            sink.update(_bytes(piece))

    def as_object(self) -> dict[str, Any]:
        return {
            "sha256": {part: sink.hexdigest() for part, sink in self.hashes.items()},
            "numbers": " ".join(f"{x:.7g}" for x in self.numbers),
        }


def _bytes(piece: object) -> bytes:
    if isinstance(piece, np.ndarray):
        values = np.ascontiguousarray(piece)
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
        return f"{values.dtype.str}{values.shape}".encode() + values.tobytes()
    return b"-" if piece is None else msgspec.json.encode(piece)


def digest(inputs: Sequence[Input], models: tuple[SohModel | None, ThermalModel | None]) -> Digest:
    """Run an engine over the inputs, cut as `BATCHES` says, and hash all that it gives."""
    engine = Engine(*models)
    found = Digest()
    for number, batch in enumerate(_batches(inputs)):
        found.add("inputs", *(list(item[:2]) for item in batch))
        results = engine.process(batch)
        _add_results(found, results)
        if number % 3 == 0:
            _add_estimates(found, engine)
    _add_estimates(found, engine)
    _add_state(found, engine)
    return found


def _batches(inputs: Sequence[Input]) -> Iterator[Sequence[Input]]:
    at = number = 0
    while at < len(inputs):
        size = BATCHES[number % len(BATCHES)]
        yield inputs[at : at + size]
        at, number = at + size, number + 1


def _add_results(found: Digest, results: Results) -> None:
    handled = results.handled
    found.add("verdicts", [one.verdict for one in handled], [one.reply for one in handled])
    found.add("rows", *results.rows)
    found.add("events", *results.events)
    for cycle_ in results.cycles:
        found.add("cycles", cycle_.summary, cycle_.histogram)
    found.numbers += [
        float(x) for row in results.rows[::701] if row is not None for x in row.ravel()
    ]


def _add_estimates(found: Digest, engine: Engine) -> None:
    for name in sorted(engine.fleet.assets):
        found.add("estimates", engine.estimate(name))


def _add_state(found: Digest, engine: Engine) -> None:
    """Every array of the state, in a form that outlives the names and places of its parts."""
    fleet = engine.fleet
    for name, asset in sorted(fleet.assets.items()):
        rows = fleet.slice(asset)
        cells = fleet.cells[rows]
        config = cells["config"]
        found.add("state", name, cell_values(cells), parameter_values(cells))
        for array in (
            cells["histogram"], cells["window"], config["sensor"], fleet.value[rows],
            fleet.value_ms[rows], (config["soh_table"] >= 0.0).astype(np.int64),
            cells["soh_unlike_bins"].astype(np.float32), config["temperature_max_c"],
            fleet.limits[rows], fleet.active[rows], fleet.since[rows],
            np.array(fleet.admission[asset.index].tolist()),
        ):  # fmt: skip
            found.add("state", array)
        numbers = (
            int(fleet.last_arrival_ms[asset.index]), int(fleet.stale_after_ms[asset.index]),
            int(asset.config.provenance.replay),
        )  # fmt: skip
        for number in numbers:
            found.add("state", np.array([number]))
    found.add("alarms", *engine.alarm_records())


def cell_values(cells: NDArray[Any]) -> NDArray[np.float64]:
    """What a kernel remembers of every cell, (rows, 205), in the order of state version 8."""
    columns = [
        np.full((len(cells), 1), np.nan)
        if name == "unused_4"  # stood for an ambient that nothing wrote
        else np.asarray(of_record(cells, name)).reshape(len(cells), -1)
        for name, _, _ in VERSION_8_CELLS["scalars"]
        if name not in ("unused_50", "unused_65")  # columns that no name stood for
    ]
    return np.hstack(columns)


def parameter_values(cells: NDArray[Any]) -> NDArray[np.float64]:
    """What a cell's config tells the kernel, (rows, 25), in the order of state version 8."""
    names = [name for name in CONFIG.names or () if name not in ("temperature_max_c", "sensor")]
    return np.hstack([cells["config"][name].reshape(len(cells), -1) for name in names])


def main() -> None:
    data = Path(
        sys.argv[1]
        if len(sys.argv) > 1
        else os.environ.get("CELLPULSE_DATA", ROOT.parent / "shared" / "data")
    )
    golden: dict[str, Any] = {"arithmetic": arithmetic(), "recordings": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in recordings(data, Path(folder)).items():
            inputs = make()
            golden["recordings"][name] = {
                which: digest(inputs, models).as_object() for which, models in MODELS.items()
            }
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {GOLDEN.name}")


if __name__ == "__main__":
    main()
