"""Why a command was refused: every id in both languages, and known again from the sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from monitor.dashboard.refusals import refusal
from monitor.refusals import REFUSALS, known_again
from monitor.refusals import refusal as sentence
from tests.conftest import ROOT

WHERE = (
    ("monitor/alarms/operators.py", "refusal"), ("monitor/alarms/commands.py", "_do"),
    ("monitor/alarms/commands.py", "_prepare"), ("monitor/alarms/book.py", "command"),
)  # fmt: skip


def fields(template: str) -> set[str]:
    """The values that a template names."""
    return set(re.findall(r"\{(\w+)\}", template))


def said() -> Iterator[tuple[str, str, set[str | None]]]:
    """Where a refusal is said: the place, its id, the names of its values."""
    for package in ("monitor", "simulator"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name == "refusals.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                if node.func.id != "refusal" or "dashboard" in path.parts:  # the page's own
                    continue
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                assert isinstance(node.args[0], ast.Constant), f"{where}: the id is not written out"
                yield where, str(node.args[0].value), {one.arg for one in node.keywords}


def test_every_refusal_that_is_said_has_its_id_and_its_values_and_none_is_there_in_vain() -> None:
    places = list(said())
    for where, id, given in places:
        assert id in REFUSALS, where
        assert given == fields(REFUSALS[id][0]), where
    assert {id for _, id, _ in places} == set(REFUSALS)


@pytest.mark.parametrize(("file", "function"), WHERE)
def test_a_reason_is_never_a_sentence_of_its_own(file: str, function: str) -> None:
    (body,) = (
        node
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    told = [node.value for node in ast.walk(body) if isinstance(node, ast.Return)]
    assert not [one for one in told if isinstance(one, ast.JoinedStr)]
    assert not [one for one in told if isinstance(one, ast.Constant) and one.value is not None]


@pytest.mark.parametrize("id", REFUSALS)
def test_every_reason_is_known_again_in_both_languages(id: str) -> None:
    english, chinese = REFUSALS[id]
    assert fields(english) == fields(chinese)
    values = {name: f"x-{k}" for k, name in enumerate(sorted(fields(english)))}
    reason = sentence(id, **values)
    assert known_again(reason) == (id, values)
    assert refusal(reason, "en") == reason
    told = refusal(reason, "zh")
    assert re.search("[\u4e00-\u9fff]", told), told
    assert all(value in told for value in values.values())


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("li.wei is not among the monitor's `operators`: add the name there",
         "li.wei 不在监测服务的 `operators` 名单中：请先把这个名字加入名单"),
        ("shelve is not possible while the alarm is out of service",
         "报警处于“停用”状态，不能执行“搁置”"),
        ("acknowledge is not possible for a whole asset", "不能对整个电池执行“确认”"),
        ("there is no alarm voltage_high/c001 on pack-7", "pack-7 没有报警 voltage_high/c001"),
        ("fault isc: no cell 9, pack-7 has 4", "故障 isc：没有单体 9，pack-7 共有 4 个"),
        ("something that nobody wrote", "something that nobody wrote"),
    ],
)  # fmt: skip
def test_names_and_states_are_the_pages_own(english: str, chinese: str) -> None:
    assert refusal(english, "zh") == chinese
