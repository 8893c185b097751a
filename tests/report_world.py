"""Material for reports: a cell's life of 60 cycles made up from smooth curves, and real paths."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from analysis.report.content import make_report
from analysis.report.material import Material
from analysis.report.record import Report
from analysis.report.samples import Samples
from monitor.contract import AssetConfig, CycleSummary, Frame
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn
from monitor.kernels.columns import RESULTS, Result
from monitor.models.folder import load_card, load_model, load_models, models_folder
from monitor.store.journal import Journal
from recordings.open import open_recording
from recordings.types import Recording
from simulator.demo_file import demo_recording
from simulator.replay import ReplayOptions, asset_config, messages
from training.forecast.run import ForecastModel

START_MS = 1_600_000_000_000
HOUR_MS = 3_600_000
NOMINAL_AH = 2.0


def soh_at(k: int) -> float:
    """The state of health in discharge number k + 1: 0.5 % lost in each."""
    return 0.95 - 0.005 * k


def cycle(number: int, kind: str, cell: str = "c001", lag: float = 0.0) -> CycleSummary:
    """A complete half-cycle; energy out is 0.9 of energy in, charge out 0.99 of charge in."""
    k = number - 1
    start = START_MS + (4 * k + (2 if kind == "discharge" else 0)) * HOUR_MS
    out_ah = NOMINAL_AH * (soh_at(k) - lag)
    discharge = kind == "discharge"
    return CycleSummary(
        v=1, asset="made-up", cell=cell, number=number,
        kind="discharge" if discharge else "charge",
        start_ms=start, end_ms=start + HOUR_MS, complete=True,
        capacity_ah=out_ah if discharge else out_ah / 0.99,
        energy_wh=3.6 * out_ah if discharge else 4.0 * out_ah,
        duration_s=3_600.0, voltage_start_v=4.1, voltage_end_v=2.75 if discharge else 4.2,
        current_mean_a=-out_ah if discharge else out_ah / 0.99,
        temperature_mean_c=27.0, temperature_max_c=31.0,
        resistance_ohm=0.1 + 0.001 * k,
        soh=soh_at(k) - lag, soh_low=soh_at(k) - lag - 0.02, soh_high=soh_at(k) - lag + 0.02,
        soh_state="ok",
    )  # fmt: skip


def result_row(quality: int = 0, phase: int = 1, score: float = 0.2, cells: int = 1) -> np.ndarray:
    """One frame's result matrix as the engine gives it."""
    row = np.full((cells, RESULTS), np.nan, np.float32)
    row[:, Result.PHASE] = phase
    row[:, Result.THERMAL_SCORE] = score
    row[:, Result.QUALITY] = quality
    return row


def material(cycles: int = 60, *, cell_type: str | None = "nasa-18650", cells: int = 1) -> Material:
    """A life of so many cycles, with an hourly frame."""
    config = AssetConfig(
        v=1, nominal_capacity_ah=NOMINAL_AH, cell_type=cell_type, cells=cells, max_gap_ms=HOUR_MS
    )
    samples = Samples(config)
    frames = [
        Frame(
            v=1, timestamp_ms=START_MS + k * HOUR_MS, current_a=0.0,
            voltage_v=[3.7] * cells, temperature_c=25.0 + k % 5, seq=k, session="s",
        )
        for k in range(4 * cycles)
    ]  # fmt: skip
    samples.take(frames, [result_row(cells=cells) for _ in frames])
    made = Material("file", "made-up.parquet", "ab" * 32, "made-up", config, samples)
    histogram = np.zeros(160, np.float32)
    histogram[90:150] = 0.02
    for number in range(1, cycles + 1):
        for kind in ("charge", "discharge"):
            for c in range(cells):
                lag = 0.04 if c == 1 else 0.0
                made.cycles.append((cycle(number, kind, f"c{c + 1:03d}", lag), histogram))
    made.rejected, made.duplicates = [], 0
    return made


def report_of(found: Material) -> Report:
    """The report with the shipped models' cards and forecast."""
    models = models_folder()
    cards = [load_card(name, models) for name in ("soh", "thermal", "forecast")]
    return make_report(found, cards, load_model(ForecastModel, "forecast", models))


def shorting() -> Recording:
    """The cell of the bundled recording in which an internal short grows."""
    recordings = open_recording(demo_recording())
    return next(one for one in recordings if one.info.asset == "twin-shorting")


def write_store(path: Path, recording: Recording) -> None:
    """A monitor's store of one recording: its frames through the engine into the journal."""
    options = ReplayOptions(speed=None)
    asset = recording.info.asset
    engine = Engine(*load_models(models_folder()))
    journal = Journal(path)
    config = [ConfigIn(asset, asset_config(recording.info, options, "report"), 0)]
    journal.commit(engine.process(config))
    frames = [t.message for t in messages(recording, options) if isinstance(t.message, Frame)]
    for k in range(0, len(frames), 1_000):
        batch = [
            FrameIn(asset, f, f.timestamp_ms, msgspec.json.encode(f)) for f in frames[k : k + 1_000]
        ]
        journal.commit(engine.process(batch))
    journal.close()
