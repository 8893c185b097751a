"""Where the files that came with the package are, in a checkout and in an installed wheel."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import simulator


def models_folder() -> Path:
    """The folder with the shipped models: `models/` of a checkout, else the wheel's copy."""
    package = Path(str(importlib.resources.files("cellpulse")))
    checkout = package.parent / "models"
    return checkout if (checkout / "soh.json").is_file() else package / "models"


def demo_recording() -> Path:
    """The bundled recording that the demonstration replays."""
    return Path(str(importlib.resources.files(simulator))) / "bundled" / "demo.parquet"
