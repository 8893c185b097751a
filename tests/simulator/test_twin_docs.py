"""The examples in docs/twin.md run, and its table names every fault."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from simulator.faults_scenario import KINDS, parse_fault, read_scenario
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "twin.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    for code in _blocks("python"):
        exec(compile(code, "twin.md", "exec"), {})
    told = capsys.readouterr().out
    assert "discharge isc" in told
    assert "charge None" not in told.split("charge isc", 1)[1]


def test_the_scenario_is_read(tmp_path: Path) -> None:
    [text] = _blocks("toml")
    path = tmp_path / "faults.toml"
    path.write_text(text, encoding="utf-8")
    scenario = read_scenario(path)
    assert scenario.seed == 7
    assert [fault.label for fault in scenario.faults] == ["isc", "bias-temperature"]


def test_the_command_lines_name_faults_that_exist() -> None:
    lines = [shlex.split(line) for line in re.findall(r"^\$ (cellpulse .*)$", TEXT, re.MULTILINE)]
    faults = [words[words.index("--fault") + 1] for words in lines if "--fault" in words]
    assert len(faults) == 2
    for fault in faults:
        parse_fault(fault)


def test_the_table_names_every_fault() -> None:
    table = {
        name
        for row in re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
        for name in re.findall(r"`([a-z-]+)`", row)
    }
    assert table == set(KINDS)
