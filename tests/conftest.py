"""What several tests share: where the real data are, and a free loopback port."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from monitor.mqtt.address import BrokerAddress

if TYPE_CHECKING:
    from tests.influx_world import InfluxWorld

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"
if "PYTEST_XDIST_WORKER" in os.environ:  # it is measured, and what its tests start is not
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def need(present: bool, what: str) -> None:
    """Skip the test where its real counterpart is absent; in CI that is a failure."""
    if not present:
        if IN_CI:
            pytest.fail(f"{what} is missing, and in CI nothing is skipped")
        pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real recordings: CELLPULSE_DATA or ../shared/data."""
    path = Path(os.environ.get("CELLPULSE_DATA", ROOT.parent / "shared" / "data"))
    need(path.is_dir(), f"the real data ({path})")
    return path


@pytest.fixture(scope="session")
def mosquitto_binary() -> str:
    """The path of Debian's mosquitto."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    need(found is not None, "mosquitto")
    assert found is not None
    return found


@pytest.fixture
def free_port() -> int:
    """A loopback port that was free a moment ago."""
    return free_ports(1)[0]


@pytest.fixture
def mosquitto(mosquitto_binary: str, free_port: int, tmp_path: Path) -> Iterator[BrokerAddress]:
    """A real mosquitto with our queue settings and a password, on loopback."""
    passwords = tmp_path / "passwords"
    tool = shutil.which("mosquitto_passwd")
    need(tool is not None, "mosquitto_passwd")
    subprocess.run([str(tool), "-b", "-c", str(passwords), "user", "p@ss:word"], check=True)
    passwords.chmod(0o644)
    tmp_path.chmod(0o755)
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {free_port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
        "max_queued_messages 0\nmax_inflight_messages 0\nmax_queued_bytes 1073741824\n"
        "persistence false\nuser root\n"
    )
    process = subprocess.Popen(
        [mosquitto_binary, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(free_port, process)
        yield BrokerAddress("127.0.0.1", free_port, user="user", password="p@ss:word")
    finally:
        process.terminate()
        process.wait(10)


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago, all different.

    Below those that the system gives to clients, so that no connection takes one before its server
    is there; drawn, so that two test runs at once do not meet.
    """
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port = random.SystemRandom().randrange(10_000, 32_000)
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # taken
                probe.bind(("127.0.0.1", port))
                found.append(port)
        return found


@pytest.fixture
def influx(tmp_path: Path) -> Iterator[InfluxWorld]:
    """A real influxd behind a shim that speaks the v2 write API (`tests/influx_world.py`)."""
    from tests.influx_world import influx_world

    first, second = free_ports(2)
    folder = tmp_path / "influxd"
    folder.mkdir()
    with influx_world(folder, (first, second)) as world:
        yield world


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once something listens on a loopback port; fail if the process ends first."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on {port}")
