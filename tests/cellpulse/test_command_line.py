"""The command line as a user meets it: help, failures in one sentence, parts that start alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from monitor.mqtt.address import BrokerAddress
from simulator.demo_file import demo_recording
from tests.conftest import ROOT

CELLPULSE = [sys.executable, "-m", "cellpulse"]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CELLPULSE, *arguments], capture_output=True, text=True, timeout=60, cwd=cwd
    )


@contextmanager
def running(*arguments: str, cwd: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*CELLPULSE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=cwd,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def failure(result: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a command that failed as it should."""
    assert result.returncode == 1, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize("command", ["", "demo", "play", "monitor", "dashboard", "bench engine"])
def test_help_is_there(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout


def test_a_busy_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = failure(run("demo", "--no-browser", "--port", port))
    assert port in said
    assert "--port" in said


def test_a_missing_model_is_one_sentence(tmp_path: Path) -> None:
    said = failure(run("demo", "--no-browser", "--port", "0", "--models", str(tmp_path)))
    assert str(tmp_path / "soh.onnx") in said


@pytest.mark.parametrize("content", [b"", b"not a recording", b"PAR1 broken"])
def test_an_unreadable_recording_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cell.mat"
    path.write_bytes(content)
    assert "cell.mat" in failure(run("demo", "--no-browser", "--path", str(path)))


def test_a_recording_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    assert "gone.mat" in failure(run("play", str(tmp_path / "gone.mat")))


def test_no_broker_is_one_sentence(free_port: int, tmp_path: Path) -> None:
    store = str(tmp_path / "store.sqlite")
    address = f"mqtt://user:secret@127.0.0.1:{free_port}"
    for arguments in (["monitor", "--store", store], ["play"]):
        said = failure(run(*arguments, "--broker", address))
        assert str(free_port) in said
        assert "secret" not in said


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("brokr = 'x'", "brokr"),
        ("broker = 'http://x'", "mqtt://"),
        ("dashboard_port = 99999", "dashboard_port"),
        ("root = 'a/#'", "root"),
        ("checkpoint_s = 'soon'", "checkpoint_s"),
        ("= broken", "configuration file"),
    ],
)
def test_a_bad_configuration_names_the_key(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "cellpulse.toml"
    file.write_text(text)
    assert word in failure(run("monitor", "--config", str(file)))


def test_the_parts_work_alone_against_mosquitto(
    mosquitto: BrokerAddress, free_port: int, tmp_path: Path
) -> None:
    """`monitor`, `dashboard` and `play` as processes, with a password and a config file."""
    page = socket.socket()
    page.bind(("127.0.0.1", 0))
    page_port = page.getsockname()[1]
    page.close()
    file = tmp_path / "cellpulse.toml"
    file.write_text(
        f"broker = '{mosquitto.url()}'\nstore = '{tmp_path / 'store.sqlite'}'\n"
        f"dashboard_port = {page_port}\n"
    )
    seen: dict[str, bytes] = {}
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(mosquitto.user, mosquitto.password)
    client.on_message = lambda _c, _d, message: seen.update({message.topic: bytes(message.payload)})
    client.connect(mosquitto.host, mosquitto.port)
    client.subscribe("bms/#", 1)
    client.loop_start()

    def until(condition: str, processes: Sequence[subprocess.Popen[str]]) -> None:
        deadline = time.monotonic() + 60
        while condition not in seen:
            for process in processes:
                assert process.poll() in (None, 0), process.communicate()[0]
            assert time.monotonic() < deadline, f"no {condition} among {sorted(seen)}"
            time.sleep(0.05)

    config = ("--config", str(file))
    with running("monitor", *config) as monitor, running("dashboard", *config) as dashboard:
        until("bms/_monitor/monitor/status", [monitor, dashboard])
        recording = str(demo_recording())
        with running("play", recording, "--speed", "0", "--batch", "50", *config) as player:
            until("bms/twin-shorting/alarm/over_temperature/t01", [monitor, dashboard, player])
            assert player.wait(60) == 0
        until("bms/twin-fresh/cycle", [monitor, dashboard])
        cycle = msgspec.json.decode(seen["bms/twin-fresh/cycle"])
        assert cycle["asset"] == "twin-fresh"
        for process in (monitor, dashboard):
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=10)
            assert process.returncode == 0, said
            assert "Traceback" not in said
    deadline = time.monotonic() + 5
    while seen["bms/_monitor/monitor/status"] != b"offline":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    client.disconnect()
    client.loop_stop()


def test_an_interrupted_demo_leaves_nothing(free_port: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "run_dashboard.py", "--no-browser", "--port", str(free_port)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert "Cellpulse is on" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=5)
    assert process.returncode == 0
    assert "Traceback" not in rest
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
