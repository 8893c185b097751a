"""What several tests share: where the real data are, and a free loopback port."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
