"""Where the bundled recording is, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path


def demo_recording() -> Path:
    """The bundled recording that the demonstration replays."""
    return Path(__file__).parent / "bundled" / "demo.parquet"
