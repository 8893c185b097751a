"""The examples in docs/data.md run: its Python, its TOML, and each command line parses."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cellpulse.cli_data import app
from recordings.nasa_cells import CELLS
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_python_examples_run(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for code in blocks("python"):
        exec(compile(code, "data.md", "exec"), {"data": shared_data})
    told = capsys.readouterr().out
    assert told.startswith("B0025 2.0 (")
    assert "charge 3733 None ()" in told


def test_toml_example_is_a_mapping() -> None:
    [mapping] = [tomllib.loads(text) for text in blocks("toml")]
    assert set(mapping) == {"info", "columns", "units", "options"}


def commands() -> list[list[str]]:
    lines = re.findall(r"^\$ cellpulse data (.*)$", TEXT, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_command_lines_parse(arguments: list[str]) -> None:
    told = CliRunner().invoke(app, [*arguments, "--help"])
    assert told.exit_code == 0, told.output


def test_the_cut_offs_are_those_of_the_reader() -> None:
    rows = re.findall(r"^\| (B00[^|]*)\|[^|]*\| ([\d., ]+)\|[^|]*\|$", TEXT, flags=re.MULTILINE)
    found: dict[str, float] = {}
    for names, voltages in rows:
        numbers: list[int] = []
        for part in names.replace("B00", "").split(","):
            first, _, last = part.strip().partition("-")
            numbers += range(int(first), int(last or first) + 1)
        cells = [f"B{number:04d}" for number in numbers]
        cutoffs = [float(voltage) for voltage in voltages.split(",")]
        found |= dict(zip(cells, cutoffs, strict=True))
    assert found == {name: cell.discharge_voltage_v for name, cell in CELLS.items()}
    assert len(found) == 34
