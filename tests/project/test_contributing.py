"""The examples of CONTRIBUTING.md run, one after another, in a folder of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "CONTRIBUTING.md"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(parts) == 5
    names: dict[str, object] = {"__name__": "contributing"}
    for number, code in enumerate(parts, 1):
        where = f"CONTRIBUTING.md, block {number}"
        exec(compile(code, where, "exec", dont_inherit=True), names)


def test_every_file_it_names_exists() -> None:
    for name in re.findall(
        r"`((?:tests|monitor|recordings|docs)/[\w/.-]+\.\w+)`", PAGE.read_text()
    ):
        assert (ROOT / name).is_file(), name
