"""Compile what Numba compiles, ahead of the first frame."""

from __future__ import annotations

from monitor.contract import VERSION, AssetConfig, Frame, encode
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn, Tick


def compile_kernels() -> None:
    """Run one frame through an engine; the machine code stays in Numba's cache on disk."""
    engine = Engine(None, None)
    frame = Frame(v=VERSION, timestamp_ms=0, current_a=0.0, voltage_v=3.7, temperature_c=25.0)
    engine.process(
        [
            ConfigIn("warm", AssetConfig(v=VERSION, nominal_capacity_ah=1.0), 0),
            FrameIn("warm", frame, 0, encode(frame)),
            Tick(0),
        ]
    )
