"""The whole way: a simulated BMS on a pty, the bridge, a real broker, the monitor, an alarm."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from bridge.pty_board import Faults, Pty
from bridge.run import run_serial
from bridge.settings import SerialSettings
from bridge.simulate import Board
from cellpulse.embedded import embedded_broker
from cellpulse.wiring import run_monitor
from monitor.config import Config
from monitor.contract import AlarmRecord, Estimate, decode
from tests.bridge.test_poller import PACK
from tests.bridge_brokers import Ear, ear


def raised(heard: Ear, code: str) -> list[AlarmRecord]:
    """The records of an alarm of the whole pack or any cell, while it stands."""
    return [
        decode(AlarmRecord, payload)
        for topic, payload, _ in heard.heard
        if topic.startswith(f"bms/pack1/alarm/{code}/") and payload
    ]


async def test_from_the_wire_to_the_alarm(tmp_path: Path) -> None:
    pack = PACK
    board = Pty(Board("jbd", lambda: pack), Faults(piece_bytes=11, piece_gap_s=0.001, noise=0.3))
    async with asyncio.timeout(100), embedded_broker() as broker:
        address = f"127.0.0.1:{broker.port}"
        settings = SerialSettings(
            broker=f"mqtt://{address}",
            asset="pack1",
            port=board.path,
            protocol="auto",
            interval_s=0.1,
            chemistry="LFP",
        )
        ready = asyncio.Event()
        async with ear(broker.port, "bms/#") as heard:
            tasks = [
                asyncio.create_task(
                    run_monitor(Config(broker=broker, store=tmp_path / "s.sqlite"), ready)
                ),
                asyncio.create_task(board.run()),
            ]
            await ready.wait()
            bridge = asyncio.create_task(run_serial(settings))
            # A healthy pack: the monitor estimates it, and nothing is raised.
            await heard.until(lambda: len(heard.on("bms/pack1/estimate")) > 0, 60)
            estimate = decode(Estimate, heard.on("bms/pack1/estimate")[-1])
            assert len(estimate.soc.value) == 4
            assert not raised(heard, "device_cell_overvoltage")
            # The third cell goes past its limit, and the BMS says so itself.
            pack = replace(
                PACK,
                cell_voltage_v=(3.301, 3.302, 3.9, 3.304),
                alarms=("cell_overvoltage",),
            )
            await heard.until(lambda: bool(raised(heard, "device_cell_overvoltage")), 60)
            await heard.until(lambda: bool(raised(heard, "over_voltage")), 60)
            assert raised(heard, "over_voltage")[0].source == "c003"
            assert raised(heard, "over_voltage")[0].limit == 3.65
            # It clears, at the BMS and with us.
            pack = PACK
            code = "bms/pack1/alarm/device_cell_overvoltage/pack"
            await heard.until(
                lambda: decode(AlarmRecord, heard.on(code)[-1]).state == "returned-unacknowledged",
                60,
            )
            # The bridge stops: its asset is off line, and that is an alarm too.
            bridge.cancel()
            await asyncio.gather(bridge, return_exceptions=True)
            await heard.until(lambda: bool(raised(heard, "offline")), 60)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    board.close()
