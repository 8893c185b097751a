"""A file that a user sends: the endpoint that takes it, and what is made of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellpulse.analysing import analyse
from cellpulse.paths import demo_recording
from monitor.dashboard import analysis
from monitor.dashboard.analysis import Analysis, AnalysisError, safe_name
from monitor.dashboard.app import Actions, make_app, serve
from monitor.dashboard.hub import Hub


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
    assert lines == [{"progress": 0.5}, {"error": "a.csv holds 300000 bytes"}]


async def test_a_file_that_is_too_large_or_badly_named_is_refused(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await sender.send(b"", length=5 * 10**9))[0] == 413
    assert (await sender.send(b"x", name=".."))[0] == 400
    monkeypatch.setattr(analysis, "MAX_UPLOAD_BYTES", 1_000)
    assert (await sender.send(b"x" * 2_000)) == (413, [{"error": "too_large"}])


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
            assert one.segments[0].peak_score > 1
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


async def test_pickled_metadata_in_a_parquet_file_is_never_loaded(tmp_path: Path) -> None:
    """pandas keeps metadata beside the columns; a pickle in it must stay bytes."""
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (touched,)  # type: ignore[return-value]

    table = pa.table({"time_s": [0.0, 1.0, 2.0], "current_a": [1.0] * 3, "voltage_v": [3.7] * 3})
    evil = pickle.dumps(Evil())
    schema = table.schema.with_metadata({b"pandas": evil, b"ARROW:extension:metadata": evil})
    pq.write_table(table.cast(schema), tmp_path / "a.parquet")
    with suppress(AnalysisError):
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
