"""Why a command was refused, as the page says it in Chinese: nothing is left in English."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from monitor.dashboard.refusals import refusal
from tests.conftest import ROOT

ALARMS = ROOT / "monitor" / "alarms"
WHERE = (
    ("operators.py", "refusal"), ("commands.py", "_do"), ("commands.py", "_prepare"),
    ("book.py", "command"),
)  # fmt: skip


def said_in(path: Path, function: str) -> list[str]:
    """The sentences that a function returns, `X1` in place of each value."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (body,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    found = []
    for node in ast.walk(body):
        if not isinstance(node, ast.Return):
            continue
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.append(node.value.value)
        elif isinstance(node.value, ast.JoinedStr):
            parts = node.value.values
            found.append(
                "".join(str(v.value) if isinstance(v, ast.Constant) else "X1" for v in parts)
            )
    return found


@pytest.mark.parametrize(("file", "function"), WHERE)
def test_every_reason_is_known(file: str, function: str) -> None:
    reasons = said_in(ALARMS / file, function)
    assert len(reasons) >= 2
    for reason in reasons:
        assert refusal(reason, "en") == reason
        assert re.search("[\u4e00-\u9fff]", refusal(reason, "zh")), reason


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("li.wei is not among the monitor's `operators`: add the name there",
         "li.wei 不在监测服务的 `operators` 名单中：请先把这个名字加入名单"),
        ("shelve is not possible while the alarm is out of service",
         "报警处于“停用”状态，不能执行“搁置”"),
        ("acknowledge is not possible for a whole asset", "不能对整个电池执行“确认”"),
        ("there is no alarm voltage_high/c001 on pack-7", "pack-7 没有报警 voltage_high/c001"),
        ("something that nobody wrote", "something that nobody wrote"),
    ],
)  # fmt: skip
def test_names_and_states_are_the_pages_own(english: str, chinese: str) -> None:
    assert refusal(english, "zh") == chinese
