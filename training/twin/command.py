"""Calibrate the digital twin and check it.

    python -m training.twin calibrate --data DIR [--out FILE]
    python -m training.twin cell --data DIR [--cell B0005] [--out FILE] [--check NAME]
    python -m training.twin evaluate --data DIR [--json] [--parameters FILE]

DIR holds the tidy recordings (`nasa/tidy/*.parquet`). `calibrate` fits the general set of
parameters, `cell` one cell's own, and `evaluate` checks a set on cells that it was not fitted to.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from training.twin import calibrate, calibrate_cell, evaluate


def main(argv: Sequence[str] | None = None) -> None:
    """Run. Raises RecordingError or ParameterError where something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m training.twin", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", type=Path, required=True, help="folder that holds nasa/tidy")
    out = argparse.ArgumentParser(add_help=False)
    out.add_argument(
        "--out", type=Path, default=Path(str(resources.files("simulator"))) / "parameters"
    )
    parts = parser.add_subparsers(dest="what", required=True)

    part = parts.add_parser("calibrate", parents=[common, out])
    part.add_argument("--cells", nargs="+", default=list(calibrate.CALIBRATION_CELLS))
    part.add_argument("--evaluations", type=int, default=40)

    part = parts.add_parser("cell", parents=[common, out])
    part.add_argument("--cell", default=calibrate_cell.CELL)
    part.add_argument("--check", metavar="NAME", help="a set's name or .json file: no fit")
    part.add_argument("--iterations", type=int, default=40)

    part = parts.add_parser("evaluate", parents=[common])
    part.add_argument("--parameters", default="nasa-18650", help="a name or a .json file")
    part.add_argument("--cells", nargs="+", default=list(evaluate.HELD_OUT))
    part.add_argument("--every", type=int, default=5, help="evaluate every so many cycles")
    part.add_argument("--json", action="store_true", help="one object on standard output")

    given = parser.parse_args(argv)
    if given.what == "calibrate":
        calibrate.run(given.data, given.out, given.cells, given.evaluations)
    elif given.what == "cell":
        calibrate_cell.run(given.data, given.cell, given.out, given.check, given.iterations)
    else:
        evaluate.run(
            given.data, as_json=given.json, parameters=given.parameters, cells=given.cells,
            every=given.every,
        )  # fmt: skip
