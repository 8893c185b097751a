"""What an analysed file shows, and the endpoint that takes one in.

The reading itself is passed in by the wiring, which knows the readers; see `Analyse`. The file
streams to disk, bounded; the answer streams back as JSON lines: progress, then result or error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path, PurePosixPath

import msgspec
from fastapi import FastAPI
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from monitor.contract import CycleSummary, Event, Readings
from monitor.dashboard.live.rows import RiskName
from monitor.dashboard.pages.outlook import Outlook
from monitor.errors import CellpulseError

log = logging.getLogger(__name__)

MAX_UPLOAD_BYTES = 256 * 1024 * 1024
MAX_AT_ONCE = 2
CHUNKS_AHEAD = 16
SLOW_START_S = 30.0
LEAST_BYTES_PER_S = 32 * 1024
MAX_NAME, MAX_NAME_BYTES = 120, 240


class AnalysisError(CellpulseError):
    """The file cannot be analysed; the text says why, for the person who sent it."""

    def __init__(self, words: str, words_zh: str = "") -> None:
        super().__init__(words)
        self.zh = words_zh or words


class AnalysisCurve(Struct, frozen=True):
    """dQ/dV of one charge: Ah/V over V."""

    number: int
    age: str  # "first" or "newest"
    v: Readings
    q: Readings


class Segment(Struct, frozen=True):
    """A stretch of time at one level of thermal risk or over; the reason is its worst sample's."""

    start_ms: int
    end_ms: int
    peak_score: float | None
    peak_temperature_c: float | None
    risk: RiskName
    why: str = ""
    why_zh: str = ""


class AnalysedTrace(Struct, frozen=True):
    """The life of the cell, thinned with its peaks kept; equally long columns."""

    ts: list[int]
    v: Readings
    i: Readings
    t: Readings
    score: Readings


class Analysis(Struct, frozen=True):
    """What was found in one recording."""

    asset: str
    dataset: str
    nominal_capacity_ah: float
    cells: int
    samples: int
    start_ms: int
    end_ms: int
    risk: RiskName
    problems: list[str]
    problems_zh: list[str]
    cycles: list[CycleSummary]
    truths: list[tuple[int, float]]  # event time and the recording's own SOH
    curves: list[AnalysisCurve]
    trace: AnalysedTrace
    segments: list[Segment]
    events: list[Event]
    report: str | None = None  # its health report as JSON; the browser gets a token instead
    outlook: Outlook | None = None
    advice: str | None = None  # how to charge it as it is at the end, in words
    advice_zh: str | None = None
    why: str = ""  # the reason for the risk lamp
    why_zh: str = ""


# Path of the file, its own name, and a callable for the share done (0..1).
Analyse = Callable[[Path, Callable[[float], None]], Awaitable[list[Analysis]]]


def mount_upload(
    server: FastAPI, analyse: Analyse, finish: Callable[[list[Analysis]], list[Analysis]]
) -> None:
    """Add `POST /analyse/upload?name=FILE` with the file as the body.

    `finish` makes of the analysis what the browser gets. With `&nominal=AH` a mapping file that
    says the nominal capacity is put beside the upload, for the formats that do not know it; the
    others do not look at it.
    """
    places = asyncio.Semaphore(MAX_AT_ONCE)

    async def upload(request: Request) -> Response:
        name = safe_name(request.query_params.get("name", ""))
        if name is None:
            return JSONResponse({"error": "name"}, 400)
        nominal_ah = capacity(request.query_params.get("nominal", ""))
        if nominal_ah is None:
            return JSONResponse({"error": "nominal"}, 400)
        if int(request.headers.get("content-length") or 0) > MAX_UPLOAD_BYTES:
            return JSONResponse({"error": "too_large"}, 413)
        if places.locked():
            return JSONResponse({"error": "busy"}, 503)
        await places.acquire()
        with contextlib.ExitStack() as stack:
            stack.callback(places.release)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="upload-")))
            path = folder / name
            try:
                await _receive(request, path)
            except _RefusedError as refused:
                return JSONResponse({"error": refused.args[0]}, refused.args[1])
            except ClientDisconnect:
                return Response(status_code=400)
            if nominal_ah:
                said = f"[info]\nnominal_capacity_ah = {nominal_ah!r}\n"
                (folder / f"{name}.toml").write_text(said, encoding="utf-8")
            return _Streamed(_answer(analyse, finish, path), stack.pop_all())

    server.add_api_route("/analyse/upload", upload, methods=["POST"], include_in_schema=False)


class _RefusedError(Exception):
    """The upload is not taken: the key of the reason and the status."""


class _Streamed(StreamingResponse):
    """JSON lines; what the analysis held is let go however the answer ends, even unbegun."""

    def __init__(self, lines: AsyncIterator[bytes], held: contextlib.ExitStack) -> None:
        super().__init__(lines, media_type="application/x-ndjson")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


def safe_name(name: str) -> str | None:
    """The last part of a file's name where it can be one, else None."""
    base = PurePosixPath(name.replace("\\", "/")).name
    good = base not in ("", ".", "..") and base.isprintable() and len(base) <= MAX_NAME
    if not good or base.startswith((".", "~", "-")):
        return None
    # A file system counts bytes, and `.toml` is put behind it.
    return base if len(base.encode()) <= MAX_NAME_BYTES else None


def capacity(text: str) -> float | None:
    """A nominal capacity in Ah as a person typed it; 0 for an empty text, None for a wrong one."""
    if not text.strip():
        return 0.0
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if 0.0 < value <= 100_000.0 else None


async def _receive(request: Request, path: Path) -> None:
    """Write the body to `path`; raises _RefusedError where it is too long or comes too slowly."""
    size = 0
    loop = asyncio.get_running_loop()
    began = loop.time()
    chunks = aiter(request.stream())
    file = await asyncio.to_thread(path.open, "wb")
    try:
        while True:
            # A sender that holds a place must send: this much a second, but for its first ones.
            due = began + SLOW_START_S + size / LEAST_BYTES_PER_S
            try:
                async with asyncio.timeout_at(due):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise _RefusedError("slow", 408) from None
            size += len(chunk)
            if size > MAX_UPLOAD_BYTES:
                raise _RefusedError("too_large", 413)
            await asyncio.to_thread(file.write, chunk)
    finally:
        await asyncio.to_thread(file.close)


async def _answer(
    analyse: Analyse,
    finish: Callable[[list[Analysis]], list[Analysis]],
    path: Path,
) -> AsyncIterator[bytes]:
    """Progress lines while the analysis runs, then its result."""
    lines: asyncio.Queue[float] = asyncio.Queue(CHUNKS_AHEAD)

    def progress(share: float) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # the next one says more
            lines.put_nowait(share)

    work = asyncio.ensure_future(analyse(path, progress))
    try:
        while not work.done():
            line = asyncio.ensure_future(lines.get())
            await asyncio.wait({work, line}, return_when=asyncio.FIRST_COMPLETED)
            if line.done():
                yield msgspec.json.encode({"progress": line.result()}) + b"\n"
            else:
                line.cancel()
        yield msgspec.json.encode({"result": finish(work.result())}) + b"\n"
    except AnalysisError as error:
        yield msgspec.json.encode({"error": str(error), "error_zh": error.zh}) + b"\n"
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError, AnalysisError):
            await work
