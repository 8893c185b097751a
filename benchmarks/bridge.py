"""`python -m benchmarks.bridge`: what a bridge costs while it polls 16 cells once a second.

The bridge runs as its user's does (`python -m bridge`, as `cellpulse bridge serial` starts it),
against a simulated board on a pseudo-terminal and the embedded broker, each in a process of its
own. CPU is the bridge's user and system time between two moments, after its start has settled;
memory is its resident set (`VmRSS`) at the end and the most it ever was (`VmHWM`). Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
from iotcore import Broker

from benchmarks.results import as_object, figure, table
from bridge.protocols import NAMES
from bridge.pty_board import Pty
from bridge.reading import Reading
from bridge.settings import SerialSettings
from bridge.simulate import Board
from training.figures import Figure

TARGET_CPU_PERCENT = 1.0
TARGET_MB = 40.0
SETTLE_S = 5.0
FULL_S = 60.0
PACK = Reading(
    cell_voltage_v=tuple(3.3 + 0.001 * cell for cell in range(16)),
    temperature_c=(21.0, 22.0, 23.0, 24.0),
    mos_temperature_c=30.0,
    current_a=-12.5,
    pack_voltage_v=52.9,
    soc=0.5,
    remaining_capacity_ah=140.0,
    nominal_capacity_ah=280.0,
    cycles=7,
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one bridge cost."""

    protocol: str
    cpu_percent: float
    resident_mb: float
    peak_mb: float
    seconds: float


async def measure(protocol: str, seconds: float, port: int) -> Cost:
    """Run one bridge for so long, after it has settled."""
    pty = Pty(Board(protocol, lambda: PACK))
    answering = asyncio.create_task(pty.run())
    settings = SerialSettings(
        broker=f"mqtt://127.0.0.1:{port}", asset="bench", port=pty.path, protocol=protocol
    )
    work = {"kind": "serial", "settings": settings, "verbose": False}
    bridge = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bridge"),
        env={**os.environ, "CELLPULSE_BRIDGE": msgspec.json.encode(work).decode()},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.sleep(SETTLE_S)
        before_s, began_s = _cpu_s(bridge.pid), time.monotonic()
        await asyncio.sleep(seconds)
        took_s = time.monotonic() - began_s
        used_s = _cpu_s(bridge.pid) - before_s
        resident_mb, peak_mb = _memory_mb(bridge.pid)
    finally:
        bridge.terminate()
        await bridge.wait()
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        pty.close()
    return Cost(protocol, 100 * used_s / took_s, resident_mb, peak_mb, took_s)


def figures(costs: list[Cost]) -> list[Figure]:
    """The figures with their targets."""
    found = []
    for cost in costs:
        how = f"16 cells at 1 Hz for {cost.seconds:.0f} s, {cost.protocol} on a pty, own process"
        found += [
            figure(
                f"bridge_cpu_{cost.protocol}",
                cost.cpu_percent,
                "% of a core",
                TARGET_CPU_PERCENT,
                "lower",
                how,
            ),
            figure(
                f"bridge_memory_{cost.protocol}",
                cost.resident_mb,
                "MB resident",
                TARGET_MB,
                "lower",
                f"{how}; {cost.peak_mb:.1f} MB at most",
            ),
        ]
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> tuple[float, float]:
    lines = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":" in line
    )
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--budget", type=float, help="seconds it may take")
    parser.add_argument("--protocol", action="append", choices=NAMES, help="jbd where left out")
    arguments = parser.parse_args()
    wanted: list[str] = arguments.protocol or ["jbd"]
    seconds = FULL_S
    if arguments.budget is not None:
        seconds = min(FULL_S, max(5.0, arguments.budget / len(wanted) - SETTLE_S - 2.0))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with Broker(port=port, listen="127.0.0.1"):
        costs = [asyncio.run(measure(protocol, seconds, port)) for protocol in wanted]
    found = figures(costs)
    if arguments.json:
        print(json.dumps(as_object("benchmarks.bridge", {}, found), indent=2))
    else:
        print(table(("figure", "value", "target", ""), [figure.row() for figure in found]))


if __name__ == "__main__":
    main()
