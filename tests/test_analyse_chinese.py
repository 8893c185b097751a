"""What the readers say, in Chinese: nothing that they can say is left in English."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from cellpulse.chinese import in_chinese

ROOT = Path(__file__).resolve().parent.parent
READERS = (
    "arbin", "archive", "bundle", "calce", "checking", "generic", "mapping", "mat5", "nasa", "open",
    "parquet", "segmenting", "tables", "tidy",
)  # fmt: skip
ERRORS = {"RecordingError", "Mat5Error", "NotTextError", "AnalysisError", "_refused"}
HAN = re.compile("[\u4e00-\u9fff]")


def said_in(path: Path) -> list[str]:
    """The sentences that a module raises, `X1` in place of each value."""

    def words(node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return str(node.value)
        if isinstance(node, ast.JoinedStr):
            return "".join(
                str(v.value) if isinstance(v, ast.Constant) else "X1" for v in node.values
            )
        return "X1"

    return [
        words(node.args[0])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ERRORS
        and node.args
    ]


@pytest.mark.parametrize("name", READERS)
def test_every_sentence_of_a_reader_is_known(name: str) -> None:
    for sentence in said_in(ROOT / "recordings" / f"{name}.py"):
        passed_on = re.sub(r"X1|, dataset|, after record|, after row|[:, ]", "", sentence) == ""
        assert passed_on or HAN.search(in_chinese(sentence)), sentence


def test_every_sentence_of_an_analysis_is_known() -> None:
    found = said_in(ROOT / "cellpulse" / "analysing.py")
    assert len(found) > 5
    for sentence in found:
        assert set(sentence) <= set("X1") or HAN.search(in_chinese(sentence)), sentence


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("a.csv: the file is empty", "a.csv：文件为空"),
        (
            "x.xlsx, sheet Channel_1-008, row 5: Current(A) is '', not a number",
            "x.xlsx，工作表 Channel_1-008，第 5 行：Current(A) 的值 '' 不是数字",
        ),
        (
            "b.mat, after record 21: the compressed data are damaged (Error -3)",
            "b.mat，记录 21 之后：压缩数据已损坏（Error -3）",
        ),
        ("d.mat: not a NASA battery .mat file: too short for a MAT file",
         "d.mat：不是 NASA 电池 .mat 文件：太短，不是 MAT 文件"),
        ("something that nobody wrote", "something that nobody wrote"),
    ],
)  # fmt: skip
def test_names_numbers_and_places_stay(english: str, chinese: str) -> None:
    assert in_chinese(english) == chinese
