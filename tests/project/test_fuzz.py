"""Every fuzz for a minute of CPU, with the kernels' bounds checked; all of them at once.

For longer: `python -m tests.fuzz NAME --seconds 3600`, see `tests/fuzz/__main__.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.fuzz.__main__ import NAMES

pytestmark = pytest.mark.alone

SECONDS = 60


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All of them, started together: they take a processor each."""
    environment = os.environ | {
        "NUMBA_BOUNDSCHECK": "1",
        "PYTHONPATH": str(ROOT),
    }
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(SECONDS)],
            cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for name in NAMES
    }  # fmt: skip
    yield processes
    for process in processes.values():
        process.kill()
        process.wait()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_hostile_raises(name: str, running: dict[str, subprocess.Popen[str]]) -> None:
    output, _ = running[name].communicate()
    assert running[name].returncode == 0, output[-5_000:]
    assert f"{name}: " in output
