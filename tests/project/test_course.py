"""The course runs: every week's notebook from top to bottom, warnings as errors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jupytext
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.alone

WEEKS = range(1, 17)


def notebook(language: str, week: int) -> Path:
    return ROOT / "docs" / "course" / language / f"week-{week:02d}.md"


def run(week: int, language: str, data: Path, folder: Path) -> None:
    result = subprocess.run(
        [
            sys.executable, "docs/course/execute.py", "--lang", language, "--week", str(week),
            "--out", str(folder),
        ],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "CELLPULSE_DATA": str(data)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    text = (folder / f"week-{week:02d}.md").read_text(encoding="utf-8")
    assert "```text\n" in text or "![](" in text, "it printed and drew nothing"


Week = tuple[str, int]  # language, number


@pytest.fixture(scope="module")
def finished(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Week], None]]:
    """Waits for a week's run; of the weeks that are tested two run at once, a processor each."""
    asked = [
        week
        for item in request.session.items
        if isinstance(item, pytest.Function) and (week := _week_of(item)) is not None
    ]
    with ThreadPoolExecutor(2) as pool:
        runs: dict[Week, Future[None]] = {}

        def wait_for(week: Week) -> None:
            at = asked.index(week)
            for language, number in asked[at : at + 2]:
                if (language, number) not in runs:
                    folder = tmp_path_factory.mktemp(f"{language}-{number}")
                    runs[language, number] = pool.submit(run, number, language, shared_data, folder)
            runs[week].result()

        yield wait_for


def _week_of(item: pytest.Function) -> Week | None:
    language = {test_a_week_in_chinese_runs: "zh", test_a_week_in_english_runs: "en"}.get(
        item.function
    )
    if language is None:
        return None
    week = item.callspec.params["week"]
    assert isinstance(week, int)
    return language, week


@pytest.mark.timeout(300)
@pytest.mark.parametrize("week", WEEKS)
def test_a_week_in_chinese_runs(week: int, finished: Callable[[Week], None]) -> None:
    finished(("zh", week))


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("week", WEEKS)
def test_a_week_in_english_runs(week: int, finished: Callable[[Week], None]) -> None:
    finished(("en", week))


@pytest.mark.parametrize("week", WEEKS)
def test_the_twins_run_the_same_code(week: int) -> None:
    code = [
        [cell.source for cell in jupytext.read(notebook(language, week)).cells
         if cell.cell_type == "code"]
        for language in ("zh", "en")
    ]  # fmt: skip
    assert code[0] == code[1]
    assert len(code[0]) >= 2


@pytest.mark.parametrize("language", ["zh", "en"])
def test_shell_commands_are_shown_not_run(language: str) -> None:
    for week in WEEKS:
        for cell in jupytext.read(notebook(language, week)).cells:
            assert not (cell.cell_type == "code" and cell.source.startswith("%%")), week
