"""How a bridge's process begins and ends.

`hand_over` replaces the command line's process by `python -m bridge`: the libraries that read the
command line are a third of a bridge's memory, and a bridge runs for years on a small computer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from bridge.interrupt import until_signal
from bridge.settings import Common
from monitor.errors import CellpulseError

_SETTINGS = "CELLPULSE_BRIDGE"  # in the environment, not in argv: it may hold a password
Runner = Callable[[Any], Coroutine[Any, Any, None]]


def hand_over(kind: str, settings: Common, verbose: bool) -> None:
    """Become `python -m bridge` with these settings; in this process where that cannot be."""
    work = {"kind": kind, "settings": settings, "verbose": verbose}
    os.environ[_SETTINGS] = msgspec.json.encode(work).decode()
    if os.name != "posix":
        main()
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "bridge"])


def main() -> None:
    """`python -m bridge`: run what was handed over; it is no command line of its own."""
    raw = os.environ.pop(_SETTINGS, None)
    if raw is None:
        print("cellpulse: start a bridge with `cellpulse bridge`", file=sys.stderr)
        sys.exit(2)
    work = msgspec.json.decode(raw)
    kind, run = _runner(work["kind"])
    execute(run(msgspec.convert(work["settings"], kind)), work["verbose"])


def _runner(name: str) -> tuple[type[Common], Runner]:
    """The settings' type and the runner; each imports only what it needs."""
    if name == "serial":
        from bridge.run import run_serial
        from bridge.settings import SerialSettings

        return SerialSettings, run_serial
    if name == "translate":
        from bridge.run_translate import run_translate
        from bridge.settings import TranslateSettings

        return TranslateSettings, run_translate
    if name == "modbus":
        from bridge.run_modbus import run_modbus
        from bridge.settings import ModbusSettings

        return ModbusSettings, run_modbus
    if name == "can":
        from bridge.run_can import run_can
        from bridge.settings import CanSettings

        return CanSettings, run_can
    if name == "ble":
        from bridge.run_ble import run_ble
        from bridge.settings import BleSettings

        return BleSettings, run_ble
    raise ValueError(f"no bridge of the kind {name!r}")


def execute(work: Coroutine[Any, Any, None], verbose: bool = False) -> None:
    """Run until it ends or SIGINT or SIGTERM comes; a failure of ours is one sentence, status 1."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    try:
        asyncio.run(until_signal(work))
    except* CellpulseError as errors:
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        print(f"cellpulse: {error}", file=sys.stderr)
        sys.exit(1)
