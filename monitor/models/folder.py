"""Where the shipped models are, in a checkout and in an installed wheel."""

from __future__ import annotations

import importlib.resources
from pathlib import Path


def models_folder() -> Path:
    """The folder with the shipped models: `models/` of a checkout, else the wheel's copy."""
    package = Path(str(importlib.resources.files("cellpulse")))
    checkout = package.parent / "models"
    return checkout if (checkout / "soh.json").is_file() else package / "models"
