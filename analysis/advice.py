"""What is known of an asset now, from a file or from the store, for charging advice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.newest import Newest
from analysis.replayed import Replayed
from monitor.charging.advice import AdviceModel, ChargeState, Style, advise, charge_state
from monitor.config import load
from monitor.contract import Advice
from monitor.errors import ConfigurationError
from monitor.models.folder import has_model, load_model, models_folder
from monitor.store.sqlite_history import SqliteHistory
from recordings.open import open_recording
from recordings.types import Recording

Floats = NDArray[np.float64]

RECENT_MS = 600_000  # how far back in the store the newest value of a cell may lie


def advice_model(folder: Path | None = None) -> AdviceModel:
    """The installed policy; raises ModelError where there is none."""
    return load_model(AdviceModel, "charging", folder or models_folder())


def advice_of(state: ChargeState, folder: Path, style: Style = "normal") -> Advice | None:
    """Advice where the policy is installed in `folder`, else None."""
    return advise(advice_model(folder), state, style) if has_model("charging", folder) else None


def state_of_asset(asset: str, store: Path | None) -> ChargeState:
    """An asset's newest state in the store; raises ConfigurationError where it is not there."""
    path = load(None, store=store).store
    if not path.is_file():
        raise ConfigurationError(f"{asset}: no such file, and no store {path} to find an asset in")
    history = SqliteHistory(path)
    known = {stored.name: stored for stored in history.assets()}
    if asset not in known:
        names = ", ".join(sorted(known)) or "none"
        raise ConfigurationError(f"{asset}: neither a file nor an asset in {path} (there: {names})")
    stored = known[asset]
    if stored.config is None:
        raise ConfigurationError(f"{asset}: the store has no config of it, so no nominal capacity")
    traces = [
        history.trace(asset, cell, stored.last_ms - RECENT_MS, stored.last_ms)
        for cell in range(stored.config.cells)
    ]
    return charge_state(
        stored.config,
        soc=np.array([_newest(trace.soc) for trace in traces]),
        soh=np.array([_newest(trace.soh) for trace in traces]),
        voltage_v=np.array([_newest(trace.voltage_v) for trace in traces]),
        temperature_c=np.array([_newest(trace.temperature_c) for trace in traces]),
        current_a=_newest(traces[0].current_a),
        ambient_c=_newest(traces[0].ambient_c),
    )


def state_of_file(path: Path) -> dict[str, ChargeState]:
    """Every asset in a recording as it stands at its end.

    Raises RecordingError where the file cannot be read.
    """
    return {recording.info.asset: _at_end(recording) for recording in open_recording(path)}


def _at_end(recording: Recording) -> ChargeState:
    """The recording through the monitor's engine; what is known of it after its last sample."""
    replayed = Replayed(recording, "advice", models_folder())
    newest = Newest(replayed.config.cells)
    for frames, results in replayed.results():
        newest.take(frames, results.rows)
    return newest.state(replayed.config)


def _newest(values: Floats) -> float:
    """The last value that is one, NaN where there is none."""
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else float("nan")
