"""What readers and analysis say: each id in both languages, with its values, and none in vain."""

from __future__ import annotations

import ast
import pickle
import re
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import bridge.errors
import monitor.errors
from analysis.messages import AnalysisMessage, both, refusal
from recordings import errors
from recordings.errors import FormatError, RecordingError, SamplesError, TooLargeError
from recordings.messages import Language, Message, Place, at_columns, at_row, counted, known_again
from recordings.open import FORMATS, open_recording
from tests.conftest import ROOT

SAYING = {"Message": Message, "AnalysisMessage": AnalysisMessage}
PACKAGES = ("recordings", "analysis", "simulator")
KNOWS_AGAIN = ROOT / "recordings" / "messages.py"  # it makes messages of what the table has
ANALYSIS = (
    "file.py", "process.py", "thermal.py", "messages.py", "material.py", "replayed.py",
)  # fmt: skip
AS_IT_STANDS = {"passed_on"}  # what another library says
HAN = re.compile("[\u4e00-\u9fff]")
KINDS = pytest.mark.parametrize("kind", SAYING.values(), ids=SAYING)
IDS = [(kind, id) for kind in SAYING.values() for id in kind.TABLES["en"]]


def fields(template: str) -> dict[str, str]:
    """The values that a template names, with how each is written."""
    return {
        name: f"{conversion or ''}{spec}"
        for _, name, spec, conversion in string.Formatter().parse(template)
        if name is not None
    }


def made_up(template: str) -> dict[str, object]:
    """Values that fit the template."""
    return {name: 5 if how and how != "r" else "X1" for name, how in fields(template).items()}


def calls(package: str) -> Iterator[tuple[Path, ast.Call, str]]:
    """Every call of a plain name in a package."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield path, node, node.func.id


def said() -> Iterator[tuple[str, type[Message], str, set[str | None]]]:
    """Where something is said: its place, its kind, its id, and the names of the values."""
    for package in PACKAGES:
        for path, call, name in calls(package):
            first = call.args[0] if call.args else None
            if name not in SAYING or (isinstance(first, ast.Name) and path == KNOWS_AGAIN):
                continue
            where = f"{path.relative_to(ROOT)}:{call.lineno}"
            chosen = (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,)
            given = {keyword.arg for keyword in call.keywords}
            for one in chosen:
                assert isinstance(one, ast.Constant), f"{where}: the id is not written out"
                yield where, SAYING[name], str(one.value), given


@KINDS
def test_both_languages_have_the_same_ids(kind: type[Message]) -> None:
    assert list(kind.TABLES["en"]) == list(kind.TABLES["zh"])


@pytest.mark.parametrize(("kind", "id"), IDS, ids=[id for _, id in IDS])
def test_both_languages_name_the_same_values_in_the_same_way(kind: type[Message], id: str) -> None:
    assert fields(kind.TABLES["en"][id]) == fields(kind.TABLES["zh"][id])


@pytest.mark.parametrize(("kind", "id"), IDS, ids=[id for _, id in IDS])
def test_nothing_is_left_in_english(kind: type[Message], id: str) -> None:
    """No two English words in a row but in brackets and quotes, where programs' own words are."""
    message = kind(id, **made_up(kind.TABLES["en"][id]))
    assert str(message)
    if id in AS_IT_STANDS:
        return
    chinese = message.sentence("zh")
    bare = re.sub("（.*?）|`.*?`|pip install '.*?'", "", chinese)
    assert re.search("[a-z]{2,} [a-z]+", bare) is None, chinese
    words = re.sub("\\{.*?\\}", "", kind.TABLES["zh"][id])
    assert HAN.search(words) or not words.strip("：:"), chinese


def test_every_place_that_says_something_has_its_id_and_its_values() -> None:
    places = list(said())
    assert len(places) > 200
    for where, kind, id, given in places:
        assert id in kind.TABLES["en"], f"{where}: {id}"
        assert given == set(fields(kind.TABLES["en"][id])), f"{where}: {id}"


@KINDS
def test_no_sentence_is_there_in_vain(kind: type[Message]) -> None:
    used = {id for _, of, id, _ in said() if of is kind}
    assert set(kind.TABLES["en"]) - used == set()


def test_no_reader_says_a_sentence_of_its_own() -> None:
    tree = {name for name in vars(errors) if name.endswith("Error")}
    tree |= {"Mat5Error", "FetchError", "ValueError", "_CutError", "AnalysisError", "refusal"}
    for package in ("recordings", "analysis"):
        for path, call, name in calls(package):
            if name not in tree or not call.args:
                continue
            if package == "analysis" and path.name not in ANALYSIS:
                continue
            plain = isinstance(call.args[0], ast.JoinedStr | ast.Constant)
            assert not plain, f"{path.relative_to(ROOT)}:{call.lineno}"


CASES: list[tuple[RecordingError, str, str]] = [
    (
        FormatError(Message("nothing.empty"), Place("a.csv")),
        "a.csv: the file is empty",
        "a.csv：文件为空",
    ),
    (
        SamplesError(
            Message("table.not_a_number", column="Current(A)", found=""),
            Place("x.xlsx").at(Message("at.sheet", sheet="Channel_1-008"), at_row(5)),
        ),
        "x.xlsx, sheet Channel_1-008, row 5: Current(A) is '', not a number",
        "x.xlsx，工作表 Channel_1-008，第 5 行：Current(A) 的值 '' 不是数字",
    ),
    (
        FormatError(
            Message("mat.data_damaged", reason="Error -3"),
            Place("b.mat").at(Message("at.after_record", record=21)),
        ),
        "b.mat, after record 21: the compressed data are damaged (Error -3)",
        "b.mat，记录 21 之后：压缩数据已损坏（Error -3）",
    ),
    (
        FormatError(Message("nasa.not_one", reason=Message("mat.too_short")), Place("d.mat")),
        "d.mat: not a NASA battery .mat file: too short for a MAT file",
        "d.mat：不是 NASA 电池 .mat 文件：太短，不是 MAT 文件",
    ),
    (
        TooLargeError(Message("workbook.sheets", found=1600.0, most=512), Place("x.xlsx")),
        "x.xlsx: its sheets are 1,600 MiB when inflated; at most 512 MiB are read",
        "x.xlsx：其中的工作表解压后为 1,600 MiB；最多读取 512 MiB",
    ),
    (
        FormatError(Message("tidy.no_column", column="cell_id"), Place("t.parquet")),
        "t.parquet: not a tidy recording: no column cell_id",
        "t.parquet：不是整理格式的记录：缺少列 cell_id",
    ),
    (
        TooLargeError(
            Message("limit.cells", found=5000, most=4096),
            Place("p.csv").at(at_columns(["v1", "v2"])),
        ),
        "p.csv, columns v1, v2: 5,000 cells; a pack has at most 4,096",
        "p.csv，列 v1, v2：5,000 个单体；一个电池组最多 4,096 个",
    ),
    (
        SamplesError(
            Message("samples.shape_list", name="voltage_v", found=(5,)),
            Place().at(Message("at.operation", operation=3)),
        ),
        "operation 3: voltage_v has the shape (5,); a list of values a row belongs there",
        "第 3 段：voltage_v 的形状为 (5,)；每行应为一组值",
    ),
    (
        RecordingError(
            Message(
                "info.range", key="nominal_capacity_ah", found=float("inf"), low=1e-6, high=1e6
            ),
            Place("c.csv"),
        ),
        "c.csv: nominal_capacity_ah is inf, not a number over 1e-06 and up to 1e+06",
        "c.csv：nominal_capacity_ah 的值 inf 不是大于 1e-06 且不超过 1e+06 的数",
    ),
    (
        FormatError(
            Message("parquet.damaged", reason=Message("parquet.rows", expected=10, found=8)),
            Place("r.parquet").at(Message("at.after_row", row=8)),
        ),
        "r.parquet, after row 8: not a readable Parquet file: 10 rows announced, 8 found",
        "r.parquet，第 8 行之后：Parquet 文件无法读取：声明有 10 行，实有 8 行",
    ),
    (
        FormatError(
            Message("hdf5.not_there", rows=9_000_000, stored=12),
            Place("h.h5").at(Message("at.dataset", dataset="log/v")),
        ),
        "h.h5, dataset 'log/v': 9,000,000 rows claimed and 12 bytes stored: most of it is not "
        "there",
        "h.h5，数据集 'log/v'：声明有 9,000,000 行，只存有 12 字节：大部分数据不存在",
    ),
    (
        RecordingError("something that has no id"),
        "something that has no id",
        "something that has no id",
    ),
]


@pytest.mark.parametrize(("error", "english", "chinese"), CASES, ids=[c[1][:30] for c in CASES])
def test_a_sentence_is_place_and_words(error: RecordingError, english: str, chinese: str) -> None:
    assert str(error) == english
    assert error.sentence("zh") == chinese
    assert both(error) == (english, chinese)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.sentence("zh")) == (type(error), english, chinese)


def test_an_error_is_known_by_kind_and_values_without_its_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Time [s],Voltage [V],Current [A]\n0,3.7,1\n1,3.7,1\n-5,3.7,1\n")
    (recording,) = open_recording(path, nominal_capacity_ah=2.0)
    with pytest.raises(SamplesError) as caught:
        list(recording.operations())
    error = caught.value
    assert isinstance(error.message, Message)
    assert error.message.id == "samples.time_backwards"
    assert (error.file, error.operation, error.row, error.found) == ("a.csv", 0, 2, -5.0)
    assert (error.sheet, error.column, error.expected) == (None, None, None)
    path.write_text("Time [s],Voltage [V],Current [A]\n0,3.7,1\n1,low,1\n")
    (recording,) = open_recording(path, nominal_capacity_ah=2.0)
    with pytest.raises(SamplesError) as caught:
        list(recording.operations())
    assert (caught.value.column, caught.value.row) == ("Voltage [V]", 3)


def test_a_refusal_of_the_analysis_has_both_languages() -> None:
    told = refusal(AnalysisMessage("rows", found=3_000, most=2_000), "a.csv")
    assert str(told) == "a.csv: 3,000 rows; at most 2,000 samples are analysed"
    assert told.zh == "a.csv：共 3,000 行；最多分析 2,000 个采样"


@pytest.mark.parametrize(
    "id", [id for id in Message.TABLES["en"] if id.startswith(("problem.", "note."))]
)
def test_what_a_file_keeps_as_a_sentence_is_known_again(id: str) -> None:
    message = Message(id, **made_up(Message.TABLES["en"][id]))
    again = known_again(str(message))
    assert isinstance(again, Message)
    for language in ("en", "zh"):
        known: Language = "en" if language == "en" else "zh"
        assert again.sentence(known) == message.sentence(known)


@pytest.mark.parametrize("words", ["", "odd", "no temperature was recorded here", "x" * 10_000])
def test_other_words_are_not_taken_for_ours(words: str) -> None:
    assert known_again(words) == words


def test_kinds_of_notes_are_counted_without_their_numbers() -> None:
    cut = [Message("note.cut_short", lowest_v=3.0 + k, moved_ah=0.1) for k in range(3)]
    assert counted([*cut, "odd 7"]) == [
        "discharge cut short at … V after … Ah: no capacity (3 times)",
        "odd … (1 times)",
    ]


def test_the_formats_that_are_named_are_those_that_are_read() -> None:
    listed: Mapping[str, str] = FORMATS
    assert str(Message("formats")) == "; ".join(f"{name} ({what})" for name, what in listed.items())


def test_the_exception_trees_are_shown_whole() -> None:
    """Each error that derives from a root stands in the picture of the root's module."""
    bases: dict[str, set[str]] = {}
    for package in ("monitor", "bridge", "simulator", "analysis", "cellpulse", "recordings"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    of = {base.id for base in node.bases if isinstance(base, ast.Name)}
                    bases[f"{package}.{node.name}"] = of
    shown = f"{monitor.errors.__doc__}{bridge.errors.__doc__}{errors.__doc__}"
    known = {"CellpulseError", "RecordingError", "UnplacedError"}
    while more := {name.split(".")[1] for name, of in bases.items() if of & known} - known:
        known |= more
    assert len(known) > 20
    assert {name for name in known if not re.search(rf"\b{name}\b", shown)} == set()
