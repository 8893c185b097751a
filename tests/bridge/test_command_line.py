"""The commands as a user runs them: simulate, serial, play, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cellpulse.bridge_pack import RecordedPack, TwinPack
from cellpulse.cli_bridge import app
from monitor.contract import AssetConfig, decode, decode_telemetry
from monitor.errors import ConfigurationError
from simulator.demo_file import demo_recording
from tests.bridge_brokers import ear, embedded
from tests.conftest import ROOT

COMMAND = (sys.executable, "-c", "from cellpulse.cli_bridge import app; app()")


@contextlib.asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that ends with the block, by SIGTERM if it has not ended yet."""
    running = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.send_signal(signal.SIGTERM)
        await running.communicate()


async def test_simulate_serial_record_play(free_port: int, tmp_path: Path) -> None:
    broker, record, link = f"mqtt://127.0.0.1:{free_port}", tmp_path / "a.frames", tmp_path / "bms"
    with embedded(free_port):
        async with asyncio.timeout(90), ear(free_port, "bms/#") as heard:
            async with process(
                *("simulate", "--cells", "4", "--capacity-ah", "50", "--link", str(link)),
                *("--recording", str(demo_recording()), "--speed", "60"),
            ) as board:
                assert board.stdout is not None
                assert (await board.stdout.readline()).decode().startswith("/dev/")
                async with process(
                    *("serial", "--port", str(link), "--protocol", "jbd", "--broker", broker),
                    *("--asset", "pack1", "--interval-s", "0.05", "--record", str(record)),
                ) as bridge:
                    await heard.until(lambda: len(heard.on("bms/pack1/telemetry")) > 4, 60)
                    bridge.send_signal(signal.SIGTERM)
                    assert await bridge.wait() == 0
            await heard.until(lambda: heard.on("bms/pack1/status")[-1] == b"offline")
            await heard.until(lambda: heard.on("bms/_gateway/pack1/status")[-1] == b"offline")
            config = decode(AssetConfig, heard.on("bms/pack1/config")[0])
            assert (config.nominal_capacity_ah, config.cells) == (2.0, 1)
            assert not config.provenance.replay
            first = [f for p in heard.on("bms/pack1/telemetry") for f in decode_telemetry(p)]
            assert len(record.read_text().splitlines()) > 20
            # `cellpulse play` knows what it is given; the asset is named after the file.
            again_file = record.rename(tmp_path / "again.frames")
            play = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cellpulse", "play", str(again_file)),
                *("--broker", broker, "--speed", "0"),
                cwd=ROOT,
            )
            assert await play.wait() == 0
            await heard.until(lambda: heard.on("bms/again/status")[-1:] == [b"offline"])
            again = [f for p in heard.on("bms/again/telemetry") for f in decode_telemetry(p)]
            assert decode(AssetConfig, heard.on("bms/again/config")[0]).provenance.replay
            assert [f.voltage_v for f in again] == [f.voltage_v for f in first]
            assert [f.timestamp_ms for f in again] == [f.timestamp_ms for f in first]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("serial", "--port", "gopher://x"), "port 'gopher://x'"),
        (("serial", "--port", "x", "--asset", "a/b"), "asset name 'a/b'"),
        (("translate",), "either --from or --mapping"),
        (("serial", "--port", "x", "--record", "no/where"), "--record no/where"),
        (("play", "no.frames"), "no.frames"),
    ],
)
async def test_one_sentence_and_status_1(
    arguments: tuple[str, ...], sentence: str, free_port: int
) -> None:
    async with process(*arguments) as running:
        _, errors = await running.communicate()
        said = errors.decode().splitlines()
        assert running.returncode == 1, said
        assert said[-1].startswith("cellpulse: ")
        assert sentence in said[-1]
        assert "Traceback" not in errors.decode()


def test_help_names_every_command() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    for name in ("serial", "play", "translate", "modbus", "can", "ble", "simulate"):
        assert name in shown


async def test_the_lean_process_is_no_command_of_its_own() -> None:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge"), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await running.communicate()
    assert running.returncode == 2
    assert b"cellpulse bridge" in errors


def test_twin_pack_moves_and_shows_a_hot_cell() -> None:
    pack = TwinPack(8, 50.0, hot_cell=6)
    before = pack()
    pack.advance(900.0)
    after = pack()
    assert len(after.cell_voltage_v) == 8
    assert len(after.temperature_c) == 2
    assert before.soc is not None
    assert after.soc is not None
    assert after.soc < before.soc
    cells = [v for v in after.cell_voltage_v if v is not None]
    assert cells[5] == min(cells)
    assert after.temperature_c[1] is not None
    assert after.temperature_c[0] is not None
    assert after.temperature_c[1] > after.temperature_c[0] + 1.0
    with pytest.raises(ConfigurationError, match="1 to 8"):
        TwinPack(8, 50.0, hot_cell=9)


def test_twin_pack_turns_round_at_both_ends() -> None:
    pack = TwinPack(2, 10.0)
    currents = set()
    for _ in range(90):
        pack.advance(300.0)
        currents.add(pack().current_a)
    assert currents == {-5.0, 5.0}
    assert (pack().cycles or 0) >= 1


def test_recorded_pack_follows_its_recording() -> None:
    pack = RecordedPack(demo_recording())
    first = pack()
    pack.advance(3_600.0)
    assert pack() != first
    assert pack().nominal_capacity_ah == 2.0
