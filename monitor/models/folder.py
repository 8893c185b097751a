"""Where the shipped models are, in a checkout and in an installed wheel, and how one is read."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from monitor.errors import ModelError

if TYPE_CHECKING:
    from monitor.models.onnx import Card
    from monitor.models.timing import TimedSohModel, TimedThermalModel

M = TypeVar("M")


def models_folder() -> Path:
    """The folder with the shipped models: `models/` of a checkout, else the wheel's copy."""
    package = Path(str(importlib.resources.files("cellpulse")))
    checkout = package.parent / "models"
    return checkout if (checkout / "soh.json").is_file() else package / "models"


def load_model(kind: Callable[[bytes, Card], M], name: str, folder: Path) -> M:
    """The model `name` of a folder as a `kind`.

    Raises ModelError naming the file where one is missing, or where model and card do not fit.
    """
    return kind(_bytes(folder / f"{name}.onnx"), load_card(name, folder))


def load_card(name: str, folder: Path) -> Card:
    """The card of the model `name` of a folder; raises ModelError naming the file."""
    from monitor.models.onnx import read_card  # ONNX Runtime, which who asks for a path needs not

    path = folder / f"{name}.json"
    return read_card(_bytes(path), path.name)


def load_models(folder: Path) -> tuple[TimedSohModel, TimedThermalModel]:
    """What the engine runs, with stopwatches; raises ModelError naming the file."""
    from monitor.models.timing import TimedSohModel, TimedThermalModel

    return (
        load_model(TimedSohModel, "soh", folder),
        load_model(TimedThermalModel, "thermal", folder),
    )


def has_model(name: str, folder: Path) -> bool:
    """Whether the model `name` is installed in a folder."""
    return (folder / f"{name}.onnx").is_file()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"model {path}: {error.strerror}; reinstall, name a folder with --models, "
            f"or run `cellpulse train {path.stem}`"
        ) from error
