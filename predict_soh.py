"""State of health of every cycle of a recording: python predict_soh.py FILE.

Loads models/soh.onnx, feeds the recording to the features that also run live, and prints SOH with
its 90 % interval for every charge and discharge; writes a CSV, and a plot where matplotlib is.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.contract import SOH_STATES
from monitor.errors import CellpulseError
from monitor.kernels.columns import SOH_BINS
from monitor.kernels.soh_state import SohCode, accepted
from monitor.models.folder import load_model, models_folder
from monitor.models.onnx import SohModel
from recordings.open import open_recording
from recordings.types import Recording, RecordingError
from training.dataset import read_half_cycles

COLUMNS = ("battery", "cycle", "kind", "soh", "low", "high", "state", "published_soh")


def predict(model: SohModel, recording: Recording) -> list[dict[str, object]]:
    """One row a charge or discharge: the newest that was told in it. Raises RecordingError."""
    families = {family.cell_type: family.table for family in model.card.families}
    known = model.table(recording.info.cell_type) >= 0
    rows: list[dict[str, object]] = []
    for half in read_half_cycles(recording, families):
        row: dict[str, object] = {"battery": half.cell, "cycle": half.cycle, "kind": half.kind}
        state = "no_model"
        told: tuple[float | None, float | None, float | None] = (None, None, None)
        if known and not len(half.inputs):
            state = "not_enough_seen"
        elif known:
            soh, low, high, states = model.run(half.inputs)
            k, code = newest(half.inputs, states)
            state = SOH_STATES[code]
            if code != SohCode.NOT_ENOUGH_SEEN:
                told = (float(soh[k]), float(low[k]), float(high[k]))
        row |= dict(zip(("soh", "low", "high"), told, strict=True))
        row |= {"state": state, "published_soh": half.soh if np.isfinite(half.soh) else None}
        rows.append(row)
    return rows


def newest(inputs: NDArray[np.float32], states: NDArray[np.int64]) -> tuple[int, SohCode]:
    """The row and state of the newest answer in (n, SOH_WIDTH) rows of one charge or discharge.

    As in the monitor, too little seen does not displace what was told before.
    """
    bins = (inputs[:, :SOH_BINS] > 0.0).sum(axis=1)
    told, code, unlike_bins = 0, SohCode.NOT_ENOUGH_SEEN, 0.0
    for k, own in enumerate(states):
        state, unlike_bins = accepted(own, bins[k], unlike_bins)
        if state != SohCode.NOT_ENOUGH_SEEN:
            told, code = k, SohCode(state)
    return told, code


def write_csv(rows: list[dict[str, object]], path: Path) -> None:
    """All rows; empty where there is no value."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def plot(rows: list[dict[str, object]], path: Path) -> None:
    """Estimates with intervals over the cycle, flagged ones hollow, and the published values."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    truth = [(r["cycle"], r["published_soh"]) for r in rows
             if r["kind"] == "discharge" and r["published_soh"] is not None]  # fmt: skip
    if truth:
        at, values = np.array(truth, dtype=float).T
        axes.plot(at, 100 * values, color="#666666", linewidth=1, label="published capacity")
    for kind, colour in (("charge", "#0072B2"), ("discharge", "#D55E00")):
        for state, face in (("ok", colour), ("unlike_training", "none")):
            own = [(r["cycle"], r["soh"], r["low"], r["high"]) for r in rows
                   if r["kind"] == kind and r["state"] == state]  # fmt: skip
            if own:
                at, soh, low, high = 100 * np.array(own, dtype=float).T
                axes.errorbar(
                    at / 100, soh, np.array([soh - low, high - soh]), fmt="o", markersize=3,
                    color=colour, markerfacecolor=face, elinewidth=0.5,
                    label=f"from the {kind}" + ("" if state == "ok" else ", unlike training"),
                )  # fmt: skip
    axes.set(xlabel="cycle", ylabel="state of health, %", title=str(rows[0]["battery"]))
    axes.legend()
    figure.savefig(path, dpi=150)


def main(argv: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path, help="a recording in any format that the readers know")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the CSV and the plot")
    parser.add_argument("--models", type=Path, default=None, help="folder with soh.onnx, soh.json")
    arguments = parser.parse_args(argv)
    models = arguments.models or models_folder()
    try:
        model = load_model(SohModel, "soh", models)
        arguments.out.mkdir(parents=True, exist_ok=True)
        for recording in open_recording(arguments.file):
            rows = predict(model, recording)
            if not rows:
                print(f"{recording.info.asset}: no charge or discharge", file=sys.stderr)
                continue
            _print(rows)
            stem = arguments.out / f"{recording.info.asset}-soh"
            write_csv(rows, stem.with_suffix(".csv"))
            try:
                plot(rows, stem.with_suffix(".png"))
            except ImportError:
                print("no plot: matplotlib is not installed", file=sys.stderr)
    except (CellpulseError, RecordingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _print(rows: list[dict[str, object]]) -> None:
    print(f"{rows[0]['battery']}\ncycle  from        SOH %  90 % interval  published %")
    for row in rows:
        soh, low, high, truth = (
            None if row[name] is None else 100.0 * float(str(row[name]))
            for name in ("soh", "low", "high", "published_soh")
        )
        told = str(row["state"]).replace("_", " ")
        if soh is not None and low is not None and high is not None:
            told = f"{soh:5.1f}  {low:5.1f} to {high:5.1f}"
            if row["state"] != "ok":
                told += "  (unlike the training data)"
        known = "" if truth is None else f"  {truth:.1f}"
        print(f"{row['cycle']!s:>5}  {row['kind']!s:<10}  {told}{known}")


if __name__ == "__main__":
    sys.exit(main())
