"""The public datasets that can be fetched: where from, under what terms, how to cite them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from recordings import calce, nasa_cells

DATA_VARIABLE = "CELLPULSE_DATA"


@dataclass(frozen=True, slots=True)
class Download:
    """One file of a publisher. `size` (bytes) and `sha256` are checked where they are known."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: its files, by what they hold."""

    name: str
    title: str
    home: str
    citation: str
    terms: str
    downloads: tuple[Download, ...]
    default: tuple[str, ...]  # names of the downloads that are fetched unless others are named


NASA = Dataset(
    name="nasa",
    title="NASA PCoE Li-ion battery ageing, 34 cells",
    home="https://www.nasa.gov/intelligent-systems-division/discovery-and-systems-health/pcoe/pcoe-data-set-repository/",
    citation=nasa_cells.CITATION,
    terms=(
        "Published by NASA Ames for research; publications are asked to acknowledge the authors "
        "and the repository. Confirm the terms before you redistribute the files."
    ),
    downloads=(
        Download(
            "5.+Battery+Data+Set.zip",
            "https://phm-datasets.s3.amazonaws.com/NASA/5.+Battery+Data+Set.zip",
        ),
    ),
    default=("5.+Battery+Data+Set.zip",),
)

_CALCE_CELLS = (
    *("CS2_33", "CS2_34", "CS2_35", "CS2_36", "CS2_37", "CS2_38"),
    *("CX2_16", "CX2_33", "CX2_34", "CX2_35", "CX2_36", "CX2_37", "CX2_38"),
)

CALCE = Dataset(
    name="calce",
    title="CALCE CS2 and CX2 cells, one zip of Arbin workbooks a cell",
    home="https://calce.umd.edu/data",
    citation=calce.CITATION,
    terms=(
        "Open access; publications that use the data are asked to cite the CALCE articles that "
        "describe the tests. Confirm the terms before you redistribute the files."
    ),
    downloads=tuple(
        Download(f"{cell}.zip", f"https://web.calce.umd.edu/batteries/data/{cell}.zip")
        for cell in _CALCE_CELLS
    ),
    default=("CS2_35.zip", "CS2_36.zip", "CS2_37.zip", "CS2_38.zip"),
)

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (NASA, CALCE)}


def cache_dir() -> Path:
    """Where fetched data are kept: `$XDG_CACHE_HOME/cellpulse`, by default `~/.cache/cellpulse`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "cellpulse"


def search_path() -> list[Path]:
    """Folders in which recordings are looked for: `CELLPULSE_DATA`, then the cache."""
    named = os.environ.get(DATA_VARIABLE, "")
    return [*(Path(part) for part in named.split(os.pathsep) if part), cache_dir()]
