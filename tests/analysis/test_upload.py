"""A file that a user sends: the endpoint that takes it, and what is made of it.

The module is long because the hostile files are made where they are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.process import analyse
from analysis.replayed import Noting, batches
from analysis.thermal import Heat
from monitor.dashboard import analysis
from monitor.dashboard.analysis import Analysis, AnalysisError, safe_name
from monitor.dashboard.app import Actions, make_app, serve
from monitor.dashboard.live.hub import Hub
from monitor.kernels.columns import RESULTS, Result
from monitor.risk import Cause, Risk
from recordings.open import open_recording
from simulator.demo_file import demo_recording
from tests import hostile_files as hostile
from tests.dashboard_world import make_config, make_frame
from tests.recording_files import (
    bdf_columns,
    calce_folder,
    csv,
    life,
    nasa_mat,
    tidy_parquet,
)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("B0005.mat", "B0005.mat"),
        ("C:\\data\\CS2_35.zip", "CS2_35.zip"),
        ("../../etc/passwd", "passwd"),
        ("循环.parquet", "循环.parquet"),
        ("..", None),
        (".hidden", None),
        ("", None),
        ("a/", "a"),
        ("x" * 121, None),
        ("a\nb", None),
        ("a\0b", None),
        ("-rf", None),
        ("容" * 78 + ".csv", "容" * 78 + ".csv"),
        ("容" * 100 + ".csv", None),  # 304 bytes: no file system takes it
    ],
)
def test_only_the_last_part_of_a_name_is_used(name: str, safe: str | None) -> None:
    assert safe_name(name) == safe


class Sender:
    """Posts a body to the endpoint and reads the whole answer, over a plain socket."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def send(self, body: bytes, name: str = "a.csv", length: int | None = None) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        size = len(body) if length is None else length
        head = (
            f"POST /analyse/upload?name={name} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Length: {size}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        answer = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        top, _, rest = answer.partition(b"\r\n\r\n")
        lines = [json.loads(line) for line in rest.splitlines() if line.startswith(b"{")]
        return int(top.split()[1]), lines


@pytest.fixture
async def sender(free_port: int) -> AsyncIterator[Sender]:
    seen: list[Path] = []

    async def read(path: Path, progress: Callable[[float], None]) -> list[Analysis]:
        seen.append(path)
        progress(0.5)
        await asyncio.sleep(0)
        content = await asyncio.to_thread(path.read_bytes)
        raise AnalysisError(f"{path.name} holds {len(content)} bytes")

    app = make_app(Hub(), None, actions=Actions(analyse=read))
    started = asyncio.Event()
    task = asyncio.create_task(serve(app, "127.0.0.1", free_port, started=started))
    await started.wait()
    yield Sender(free_port)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not any(path.exists() for path in seen)


async def test_a_file_streams_in_and_its_answer_streams_out(sender: Sender) -> None:
    status, lines = await sender.send(b"x" * 300_000)
    assert status == 200
    said = "a.csv holds 300000 bytes"
    assert lines == [{"progress": 0.5}, {"error": said, "error_zh": said}]


async def test_a_file_that_is_too_large_or_badly_named_is_refused(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await sender.send(b"", length=5 * 10**9))[0] == 413
    assert (await sender.send(b"x", name=".."))[0] == 400
    monkeypatch.setattr(analysis, "MAX_UPLOAD_BYTES", 1_000)
    assert (await sender.send(b"x" * 2_000)) == (413, [{"error": "too_large"}])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda path: hostile.wide_hdf5(path.with_suffix(".h5"), 5_200),
            "a.h5, column voltage_v: 5,200 cells; a pack has at most 4,096",
        ),
        (
            lambda path: hostile.far_cell_workbook(path.with_suffix(".xlsx")),
            "a.xlsx, xl/worksheets/sheet2.xml: cells up to row 1,048,576 and column 16,384; "
            "a sheet of 20,202 bytes has at most 100,000 places",
        ),
        (
            lambda path: hostile.nameless_zip(path.with_suffix(".zip")),
            "a.zip: neither a NASA .mat nor an Arbin .xlsx workbook in it",
        ),
    ],
)
async def test_a_hostile_file_that_is_sent_ends_in_a_sentence(
    tmp_path: Path, free_port: int, make: Callable[[Path], Path], words: str
) -> None:
    path = make(tmp_path / "a")
    app = make_app(Hub(), None, actions=Actions(analyse=analyse))
    started = asyncio.Event()
    task = asyncio.create_task(serve(app, "127.0.0.1", free_port, started=started))
    await started.wait()
    name = f"{path.name}&nominal=2"
    status, lines = await Sender(free_port).send(path.read_bytes(), name)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert status == 200
    assert lines[-1]["error"] == words


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  (a folder and a process tell nobody)
            await asyncio.sleep(0.01)


async def begun(port: int, body: bytes, length: int) -> tuple[Any, Any]:
    """An upload of which only `body` has been sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /analyse/upload?name=a.csv HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


def left_over() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("upload-*"))


@pytest.fixture
def own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


async def test_a_sender_that_drips_loses_its_place(
    own_temp: None, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "SLOW_START_S", 0.3)
    both = [await begun(sender.port, b"x", 1_000_000) for _ in range(analysis.MAX_AT_ONCE)]
    await until(lambda: len(left_over()) == analysis.MAX_AT_ONCE)
    assert (await sender.send(b"x"))[0] == 503
    for reader, writer in both:
        answer = await reader.read()
        assert answer.split()[1] == b"408"
        assert b'"slow"' in answer
        writer.close()
    assert left_over() == []
    assert (await sender.send(b"x"))[0] == 200


async def test_who_goes_away_while_sending_leaves_nothing(own_temp: None, sender: Sender) -> None:
    _, writer = await begun(sender.port, b"x" * 10_000, 1_000_000)
    await until(lambda: len(left_over()) == 1)
    writer.transport.abort()
    await until(lambda: left_over() == [])
    assert (await sender.send(b"x"))[0] == 200


async def test_who_cancels_ends_the_work(own_temp: None, free_port: int) -> None:
    running: list[Path] = []
    ended: list[Path] = []

    async def endless(path: Path, progress: Callable[[float], None]) -> list[Analysis]:
        running.append(path)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(path)
        return []

    app = make_app(Hub(), None, actions=Actions(analyse=endless))
    started = asyncio.Event()
    task = asyncio.create_task(serve(app, "127.0.0.1", free_port, started=started))
    await started.wait()
    for count in range(1, 4):  # more than there are places
        _, writer = await begun(free_port, b"xyz", 3)
        await until(lambda count=count: len(running) == count)  # type: ignore[misc]  # a default binds the loop's value
        writer.transport.abort()
        await until(lambda: ended == running and left_over() == [])
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("text", "value"),
    [("", 0.0), (" ", 0.0), ("2.6", 2.6), ("2,6", 2.6), ("0", None), ("-1", None), ("x", None),
     ("nan", None), ("inf", None), ("1e9", None)],
)  # fmt: skip
def test_a_capacity_is_a_number_of_ampere_hours(text: str, value: float | None) -> None:
    assert analysis.capacity(text) == value


async def test_the_bundled_recording_is_analysed_with_its_fault() -> None:
    shares: list[float] = []
    found = await analyse(demo_recording(), shares.append)
    assert shares == sorted(shares)
    names = {one.asset for one in found}
    assert "twin-shorting" in names
    for one in found:
        assert len(one.trace.ts) == len(one.trace.v) == len(one.trace.score)
        assert one.cycles
        if one.asset == "twin-shorting":
            assert one.risk == "danger"
            assert one.segments
            assert max(segment.peak_score or 0 for segment in one.segments) > 1
            assert all(segment.risk in ("warning", "danger") for segment in one.segments)
            assert all(segment.why and segment.why_zh for segment in one.segments)
            assert one.why in [segment.why for segment in one.segments]
            gravest = max(one.segments, key=lambda segment: segment.peak_score or 0)
            inside = [t for t in one.trace.ts if gravest.start_ms <= t <= gravest.end_ms]
            assert len(inside) > 50  # enough to look into it
        elif one.asset == "twin-fresh":
            assert one.risk == "ok"
            assert one.segments == []


async def test_a_real_cell_gets_its_state_of_health(shared_data: Path) -> None:
    """B0005 was trained on: this shows that the page's way is the model's, not how good that is."""
    (one,) = await analyse(shared_data / "nasa" / "mat" / "B0005.reconstructed.mat", lambda s: None)
    estimated = [cycle.soh for cycle in one.cycles if cycle.soh is not None]
    assert len(estimated) > 100
    assert estimated[0] == pytest.approx(one.truths[0][1], abs=0.05)
    assert estimated[-1] == pytest.approx(one.truths[-1][1], abs=0.05)


async def test_formula_cells_are_not_run_and_not_read(tmp_path: Path) -> None:
    """A workbook whose cells are formulas has no values: it is refused, nothing is computed."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Channel_1-008"
    sheet.append(
        ["Data_Point", "Test_Time(s)", "Date_Time", "Cycle_Index", "Current(A)", "Voltage(V)"]
    )
    for row in range(2, 40):
        sheet.append([row, f"=A{row}", '=HYPERLINK("http://127.0.0.1/","x")', 1, "=1/0", "=RAND()"])
    book.save(tmp_path / "CS2_35_1_1_10.xlsx")
    with pytest.raises(AnalysisError) as refused:
        await analyse(tmp_path / "CS2_35_1_1_10.xlsx", lambda share: None)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("of", ["table", "column"])
async def test_pickled_metadata_in_a_parquet_file_are_refused_and_never_loaded(
    tmp_path: Path, of: str
) -> None:
    """pandas keeps metadata beside the columns, Arrow those of Python's extension types."""
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (touched,)  # type: ignore[return-value]  # as pickle takes it

    table = pa.table({"time_s": [0.0, 1.0, 2.0], "current_a": [1.0] * 3, "voltage_v": [3.7] * 3})
    evil = pickle.dumps(Evil())
    if of == "table":
        schema = table.schema.with_metadata({b"pandas": evil})
    else:
        kind = {
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": evil,
        }
        schema = table.schema.set(2, table.schema.field(2).with_metadata(kind))
    pq.write_table(table.cast(schema), tmp_path / "a.parquet")
    with pytest.raises(AnalysisError, match="pickled Python object"):
        await analyse(tmp_path / "a.parquet", lambda share: None)
    assert not touched.exists()


@pytest.mark.parametrize("kind", ["text", "empty", "torn", "bomb"])
async def test_a_hostile_file_is_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / {"text": "a.mat", "empty": "b.xlsx", "torn": "c.parquet"}.get(kind, "d.zip")
    if kind == "bomb":
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("B0005.mat", "w") as member,
        ):
            for _ in range(700):
                member.write(bytes(2**20))
    else:
        torn = demo_recording().read_bytes()[:20_000]
        path.write_bytes({"text": b"hello", "empty": b"", "torn": torn}[kind])
    with pytest.raises(AnalysisError) as refused:
        await analyse(path, lambda share: None)
    assert str(tmp_path) not in str(refused.value)


async def test_without_a_thermometer_the_lamp_says_that_heat_cannot_be_judged(
    tmp_path: Path,
) -> None:
    table = life()
    columns = {name: table[name].tolist() for name in ("time_s", "voltage_v", "current_a")}
    path = csv(tmp_path / "bench.csv", columns)
    (tmp_path / "bench.csv.toml").write_text("[info]\nnominal_capacity_ah = 2.0\n")
    (one,) = await analyse(path, lambda share: None)
    assert one.risk == "watch"
    assert one.segments == []
    assert "cannot be judged" in one.why
    assert "无法判断发热" in one.why_zh
    assert one.problems_zh[1] == "没有记录日期：从 1970-01-01 起排列"


async def test_a_refusal_is_said_in_both_languages_with_the_row(tmp_path: Path) -> None:
    path = tmp_path / "循环.csv"
    path.write_text("Time [s],Voltage [V],Current [A]\n0,3.7,1\n1,3.7,1\n-5,3.7,1\n")
    path.with_suffix(".csv.toml").write_text("[info]\nnominal_capacity_ah = 2.0\n")
    with pytest.raises(AnalysisError) as refused:
        await analyse(path, lambda share: None)
    assert str(refused.value) == (
        "循环.csv, operation 0 (charge), row 2: time runs backwards, from 1 s to -5 s"
    )
    assert refused.value.zh == "循环.csv，第 0 段（充电），第 2 行：时间倒退：从 1 s 到 -5 s"


async def test_more_batteries_than_are_analysed_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for number in range(10):
            name = f"B0{number + 100}"
            archive.write(nasa_mat(tmp_path / f"{name}.mat", 1, name=name), f"{name}.mat")
    found = await analyse(tmp_path / "all.zip", lambda share: None)
    assert [one.asset for one in found] == [f"B0{number}" for number in range(100, 108)]
    assert found[0].problems[0].endswith("left out: B0108, B0109")
    assert found[0].problems_zh[0].startswith("文件中有 10 个电池，只分析了前 8 个")


class Counted:
    """A recording that counts how often it is read."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.reads, self.info = inner, 0, inner.info

    @property
    def share(self) -> float:
        return float(self.inner.share)

    def operations(self, start: int = 0) -> Iterator[Any]:
        self.reads += 1
        yield from self.inner.operations(start)


@pytest.mark.parametrize("kind", ["mat", "zip", "tidy", "bundle", "csv"])
def test_progress_is_steady_and_the_file_is_read_once(tmp_path: Path, kind: str) -> None:
    if kind == "mat":
        path = nasa_mat(tmp_path / "B0005.mat", 8)
    elif kind == "tidy":
        path = tidy_parquet(tmp_path / "B0005.parquet", 8)
    elif kind == "bundle":
        path = demo_recording()
    elif kind == "zip":
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for book in calce_folder(tmp_path / "books").iterdir():
                archive.write(book, book.name)
        path = tmp_path / "x.zip"
    else:
        path = csv(tmp_path / "a.bdf.csv", bdf_columns())
    counted = Counted(open_recording(path, nominal_capacity_ah=2.0)[0])
    shares: list[float] = []
    for _ in batches(Noting(counted), [], shares.append):
        pass
    assert counted.reads == 1
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert 0.5 < shares[-1] <= 1.0
    assert np.diff([*shares, 1.0]).max() <= 0.55


def test_heat_is_found_in_every_cell_of_a_pack() -> None:
    config = make_config(3)
    heat = Heat(config)
    frames = [make_frame(k, k * 10_000, 3) for k in range(40)]
    rows = [np.full((3, RESULTS), np.nan, np.float32) for _ in frames]
    for row in rows:
        row[:, Result.RISK] = row[:, Result.RISK_CAUSE] = 0
    for k in (20, 21, 22):
        rows[k][1, Result.THERMAL_SCORE] = 3.5
        rows[k][1, Result.RISK] = Risk.DANGER
        rows[k][1, Result.RISK_CAUSE] = Cause.UNEXPLAINED_HEAT
    rows[30][2, Result.THERMAL_SCORE] = 0.7
    rows[30][2, Result.RISK] = Risk.WATCH
    rows[30][2, Result.RISK_CAUSE] = Cause.UNEXPLAINED_HEAT
    assert heat.take(frames, rows) == [20, 21, 22, 30]
    (segment,) = heat.segments()  # at danger a look is not listed
    assert (segment.start_ms, segment.end_ms) == (200_000, 220_000)
    assert (segment.risk, segment.peak_score) == ("danger", 3.5)
    assert "3.5 times the limit" in segment.why
    assert heat.reason() == (segment.why, segment.why_zh)
