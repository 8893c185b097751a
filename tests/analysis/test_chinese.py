"""What the readers say, in Chinese: nothing that they can say is left in English."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from analysis.chinese import in_chinese
from tests.conftest import ROOT

READERS = (
    "arbin", "archive", "bundle", "calce", "checking", "generic", "mapping", "mat5", "nasa", "open",
    "parquet", "segmenting", "sheets", "tables", "tidy", "types",
)  # fmt: skip
ERRORS = {"RecordingError", "Mat5Error", "NotTextError", "AnalysisError", "ValueError", "_refused"}
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


def is_wholly_chinese(sentence: str) -> bool:
    """Said in Chinese, with no two English words left but in brackets, where structures are."""
    said = in_chinese(re.sub("(record|row) X1", r"\1 1", sentence))
    bare = re.sub("（.*?）|`.*?`", "", said)
    return HAN.search(said) is not None and re.search("[a-z]{2,} [a-z]+", bare) is None


@pytest.mark.parametrize("name", READERS)
def test_every_sentence_of_a_reader_is_known(name: str) -> None:
    for sentence in said_in(ROOT / "recordings" / f"{name}.py"):
        passed_on = re.sub(r"X1|, dataset|, after record|, after row|[:, ]", "", sentence) == ""
        assert passed_on or is_wholly_chinese(sentence), sentence


def test_every_sentence_of_an_analysis_is_known() -> None:
    found = [s for name in ("file", "process") for s in said_in(ROOT / "analysis" / f"{name}.py")]
    assert len(found) > 5
    for sentence in found:
        assert set(sentence) <= set("X1") or is_wholly_chinese(sentence), sentence


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
        ("x.xlsx: its sheets are 1,600 MiB when inflated; at most 512 MiB are read",
         "x.xlsx：其中的工作表解压后为 1,600 MiB；最多读取 512 MiB"),
        ("t.parquet: not a tidy recording: no column cell_id",
         "t.parquet：不是整理格式的记录：缺少列 cell_id"),
        ("p.csv, columns 'v1', 'v2': 5,000 cells; a pack has at most 4,096",
         "p.csv，列 'v1', 'v2'：5,000 个单体；一个电池组最多 4,096 个"),
        ("operation 3: 5,000 sensors; a pack has at most 4,096",
         "第 3 段：5,000 个温度传感器；一个电池组最多 4,096 个"),
        ("operation 3: voltage_v has the shape (5,); a list of values a row belongs there",
         "第 3 段：voltage_v 的形状为 (5,)；每行应为一组值"),
        ("operation 3: time_s has the shape (5, 1); one value a row belongs there",
         "第 3 段：time_s 的形状为 (5, 1)；每行应为一个值"),
        ("c.csv: nominal_capacity_ah is inf, not a number over 1e-06 and up to 1e+06",
         "c.csv：nominal_capacity_ah 的值 inf 不是大于 1e-06 且不超过 1e+06 的数"),
        ("r.parquet, after row 8: not a readable Parquet file: 10 rows announced, 8 found",
         "r.parquet，第 8 行之后：Parquet 文件无法读取：声明有 10 行，实有 8 行"),
        ("b.mat, after record 2: an element of 5,000 bytes where at most 128 belong",
         "b.mat，记录 2 之后：MAT 元素声明有 5,000 字节；最多 128 字节"),
        ("p.parquet: column 'soc [%]' for `current` holds lists; one value a row belongs there",
         "p.parquet：用于 `current` 的列 'soc [%]' 存放的是列表；每行应为一个值"),
        ("h.h5, dataset 'log/v': 9,000,000 rows claimed and 12 bytes stored: most of it is not "
         "there", "h.h5，数据集 'log/v'：声明有 9,000,000 行，只存有 12 字节：大部分数据不存在"),
        ("something that nobody wrote", "something that nobody wrote"),
    ],
)  # fmt: skip
def test_names_numbers_and_places_stay(english: str, chinese: str) -> None:
    assert in_chinese(english) == chinese
