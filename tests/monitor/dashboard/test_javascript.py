"""The page's own scripts: their types by `tsc`, their functions under node, and what they share
with the server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import Struct

from monitor.dashboard.app import PageSettings, page_settings
from monitor.dashboard.live.rows import Row
from monitor.dashboard.pages.outlook import Outlook
from monitor.dashboard.texts import LANGUAGES, table
from monitor.store.thinning import gaps, keep_extremes
from tests.conftest import ROOT, need

DASHBOARD = ROOT / "monitor" / "dashboard"
HERE = Path(__file__).parent / "javascript"
TESTS = sorted(HERE.glob("*.test.mjs"))
SECONDS = 100


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A zone east of UTC, and where the words and settings are that the server sends."""
    sent = {"texts": {one: table(one) for one in LANGUAGES}, "settings": page_settings()}
    path = tmp_path_factory.mktemp("page") / "page.json"
    path.write_bytes(msgspec.json.encode(sent))
    return {**os.environ, "CELLPULSE_PAGE": str(path), "TZ": "Asia/Shanghai"}


@pytest.fixture(scope="module")
def node() -> str:
    """The path of node."""
    found = shutil.which("node")
    need(found is not None, "node")
    assert found is not None
    return found


def test_there_are_tests_of_the_scripts() -> None:
    assert len(TESTS) >= 6


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name.partition(".")[0])
def test_a_script_does_what_its_tests_say(
    path: Path, node: str, environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", str(path)],
        env=environment, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^\S* ?pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed is not None, done.stdout
    assert int(passed[1]) >= 5, done.stdout
    assert re.search(r"^\S* ?skipped 0$", done.stdout, re.MULTILINE), done.stdout


def test_the_scripts_types_agree() -> None:
    tsc = shutil.which("tsc")
    need(tsc is not None, "tsc (Debian: node-typescript)")
    assert tsc is not None
    done = subprocess.run(
        [tsc, "-p", str(DASHBOARD / "jsconfig.json")],
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def random_cases() -> dict[str, list[dict[str, Any]]]:
    """Columns with missing values, ties and empty rows; steps that are often a gap's edge."""
    rng = np.random.default_rng(18)
    kept = []
    for _ in range(300):
        rows, wide = int(rng.integers(0, 400)), int(rng.integers(1, 4))
        values = np.round(rng.normal(size=(wide, rows)), int(rng.integers(0, 4)))
        values[rng.random((wide, rows)) < rng.choice([0.0, 0.1, 0.9])] = np.nan
        values[:, rng.random(rows) < rng.choice([0.0, 0.02, 0.3])] = np.nan
        columns = [[None if np.isnan(one) else float(one) for one in column] for column in values]
        kept.append({"columns": columns, "points": int(rng.integers(4, 200))})
    gap = []
    for _ in range(300):
        steps = rng.choice([1, 1_000, 30_000, 31_000, 60_000, 600_001], int(rng.integers(0, 9)))
        times = np.cumsum(steps).tolist()
        ahead = int(rng.choice([1_000, 600_000, 600_001, 610_000, 620_001, 1_200_001, 12_000_021]))
        gap.append({"times": times, "next": (times[-1] if times else 0) + ahead})
    return {"kept": kept, "gap": gap}


def test_the_page_thins_and_breaks_lines_as_the_server_does(
    node: str, environment: dict[str, str]
) -> None:
    cases = random_cases()
    done = subprocess.run(
        [node, str(HERE / "twin.mjs")],
        env=environment, input=json.dumps(cases), capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    for case, kept in zip(cases["kept"], theirs["kept"], strict=True):
        columns = [np.array(column, np.float64) for column in case["columns"]]
        assert keep_extremes(columns, case["points"]).tolist() == kept, case
    for case, gap in zip(cases["gap"], theirs["gap"], strict=True):
        times = np.array([*case["times"], case["next"]], np.int64)
        assert (len(times) - 1 in gaps(times, len(times))) == gap, case
    assert 50 < sum(theirs["gap"]) < 250


@pytest.mark.parametrize("record", [Row, PageSettings, Outlook])
def test_the_scripts_know_every_field_that_they_are_sent(record: type[Struct]) -> None:
    declared = (DASHBOARD / "page.d.ts").read_text(encoding="utf-8")
    body = re.search(rf"^interface {record.__name__} {{\n(.*?)^}}", declared, re.M | re.S)
    assert body is not None
    assert set(re.findall(r"^  (\w+)\??:", body[1], re.M)) == set(record.__struct_fields__)


def test_a_row_always_says_after_how_long_it_is_stale() -> None:
    assert msgspec.to_builtins(Row("a", limit=3_000)) == {"id": "a", "limit": 3_000}
