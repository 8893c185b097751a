"""The built wheel: what is in it, and that it works outside a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, as an installation lays it out."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), "."],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = out.glob("*.whl")
    target = out / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    environment.pop("CELLPULSE_MODELS", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=installed.parent, env=environment, text=True,
        capture_output=True, timeout=90,
    )  # fmt: skip


def test_the_wheel_has_everything_but_tests_and_benchmarks(installed: Path) -> None:
    for part in (
        "cellpulse/models/soh.onnx", "cellpulse/models/thermal.json", "monitor/py.typed",
        "simulator/bundled/demo.parquet", "monitor/dashboard/assets",
    ):  # fmt: skip
        assert (installed / part).exists(), part
    assert not (installed / "tests").exists()
    assert not (installed / "benchmarks").exists()


def test_it_finds_its_models_and_its_recording(installed: Path) -> None:
    code = (
        "import monitor.models.folder as p\n"
        "from recordings.open import open_recording\n"
        "from simulator.demo_file import demo_recording\n"
        "assert 'site' in str(p.models_folder()), p.models_folder()\n"
        "p.load_models(p.models_folder())\n"
        "print(len(open_recording(demo_recording())))\n"
    )
    result = run(installed, "-c", code)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 4


def test_its_commands_run_and_bench_says_what_it_needs(installed: Path) -> None:
    assert "demo" in run(installed, "-m", "cellpulse", "--help").stdout
    code = (
        "import os, sys\n"  # without any checkout, such as the one installed as editable
        "sys.path = [p for p in sys.path if p and not os.path.isdir(p + '/benchmarks')]\n"
        "sys.argv = ['cellpulse', 'bench', 'engine']\n"
        "from cellpulse.cli import main; main()\n"
    )
    result = run(installed, "-c", code)
    assert result.returncode == 1
    assert "checkout" in result.stderr
