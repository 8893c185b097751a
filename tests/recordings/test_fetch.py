"""Downloads against a local server that cuts connections, changes its mind, and lies."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cellpulse.cli_data import app
from recordings.catalogue import CALCE, DATASETS, NASA, Dataset, Download, cache_dir, search_path
from recordings.fetch import ATTEMPTS, FetchError, fetch, verify
from recordings.open import open_recording
from tests import recording_files as made


@dataclass
class Server:
    """What the local publisher serves, how it behaves, and what it was asked."""

    content: bytes = b""
    mark: str | None = '"v1"'
    cut_after: list[int | None] = field(default_factory=list)  # bytes sent a request; None: all
    honours_range: bool = True
    says_length: bool = True
    status: int = 200
    asked: list[str | None] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/data.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.status != 200:
                self.send_error(state.status)
                return
            first = 0
            same = state.mark is not None and self.headers.get("If-Range") == state.mark
            if wanted is not None and state.honours_range and same:
                first = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{last + 1}")
            else:
                self.send_response(200)
            body = state.content[first:]
            if state.says_length:
                self.send_header("Content-Length", str(len(body)))
            if state.mark is not None:
                self.send_header("ETag", state.mark)
            self.end_headers()
            cut = state.cut_after.pop(0) if state.cut_after else None
            self.wfile.write(body if cut is None else body[:cut])
            self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            http.shutdown()
            thread.join()


def dataset(server: Server, **changed: Any) -> Dataset:
    download = Download("data.zip", server.url, **changed)
    return replace(CALCE, downloads=(download,), default=("data.zip",))


@pytest.fixture
def zipped(tmp_path: Path) -> bytes:
    """A zip of about 600 kB that does not compress."""
    noise = np.random.default_rng(0).bytes(600_000)
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr("noise.bin", noise)
    return (tmp_path / "made.zip").read_bytes()


def test_a_download_is_recorded_with_its_citation(
    server: Server, zipped: bytes, tmp_path: Path
) -> None:
    server.content = zipped
    seen: list[tuple[str, int, int | None]] = []
    [path] = fetch(dataset(server), tmp_path / "c", progress=lambda *step: seen.append(step))
    assert path.read_bytes() == zipped
    record = verify(path)
    assert record.sha256 == hashlib.sha256(zipped).hexdigest()
    assert (record.url, record.size) == (server.url, len(zipped))
    assert "CALCE" in record.citation
    assert "cite" in record.terms
    assert seen[-1] == ("data.zip", len(zipped), len(zipped))
    assert [now for _, now, _ in seen] == sorted(now for _, now, _ in seen)
    assert sorted(p.name for p in path.parent.iterdir()) == ["data.zip", "data.zip.json"]


def test_a_second_fetch_asks_nobody(server: Server, zipped: bytes, tmp_path: Path) -> None:
    server.content = zipped
    fetch(dataset(server), tmp_path)
    fetch(dataset(server), tmp_path)
    assert len(server.asked) == 1


def test_a_cut_connection_is_resumed_where_it_broke(
    server: Server, zipped: bytes, tmp_path: Path
) -> None:
    server.content = zipped
    server.cut_after = [100_000, 50_000, 0, 200_000]
    waits: list[float] = []
    [path] = fetch(dataset(server), tmp_path, wait=waits.append)
    assert path.read_bytes() == zipped
    assert server.asked == [
        None,
        "bytes=100000-",
        "bytes=150000-",
        "bytes=150000-",
        "bytes=350000-",
    ]
    assert waits == [0.5, 0.5, 1.0, 0.5]  # it backs off only while nothing is gained


def test_the_next_process_goes_on_too(server: Server, zipped: bytes, tmp_path: Path) -> None:
    server.content = zipped
    server.cut_after = [100_000, *[0] * ATTEMPTS]
    with pytest.raises(FetchError, match="cut; 100000 bytes are kept, fetch again to go on"):
        fetch(dataset(server), tmp_path, wait=lambda _: None)
    assert not (tmp_path / "data.zip").exists()
    server.cut_after = []
    [path] = fetch(dataset(server), tmp_path, wait=lambda _: None)
    assert server.asked[-1] == "bytes=100000-"
    assert path.read_bytes() == zipped


def test_a_file_that_changed_meanwhile_is_read_from_the_start(
    server: Server, zipped: bytes, tmp_path: Path
) -> None:
    server.content = zipped[::-1]
    server.cut_after = [100_000, *[0] * ATTEMPTS]
    with pytest.raises(FetchError):
        fetch(dataset(server), tmp_path, wait=lambda _: None)
    server.content, server.mark, server.cut_after = zipped, '"v2"', []
    [path] = fetch(dataset(server), tmp_path, wait=lambda _: None)
    assert path.read_bytes() == zipped


@pytest.mark.parametrize("mark", [None, 'W/"weak"'])
def test_without_a_firm_mark_nothing_is_resumed(
    server: Server, zipped: bytes, tmp_path: Path, mark: str | None
) -> None:
    server.content, server.mark, server.cut_after = zipped, mark, [100_000]
    [path] = fetch(dataset(server), tmp_path, wait=lambda _: None)
    assert server.asked == [None, None]
    assert path.read_bytes() == zipped


def test_a_server_that_ignores_ranges(server: Server, zipped: bytes, tmp_path: Path) -> None:
    server.content, server.honours_range, server.cut_after = zipped, False, [100_000]
    [path] = fetch(dataset(server), tmp_path, wait=lambda _: None)
    assert path.read_bytes() == zipped


def test_no_length_and_cut_is_seen_by_the_zip(
    server: Server, zipped: bytes, tmp_path: Path
) -> None:
    server.content, server.says_length, server.cut_after = zipped, False, [100_000]
    with pytest.raises(FetchError, match=r"not a zip; the publisher may have moved it"):
        fetch(dataset(server), tmp_path, wait=lambda _: None)
    assert not (tmp_path / "data.zip").exists()


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (503, ATTEMPTS)])
def test_http_errors(server: Server, tmp_path: Path, status: int, tries: int) -> None:
    server.status = status
    with pytest.raises(FetchError, match=f"HTTP {status}"):
        fetch(dataset(server), tmp_path, wait=lambda _: None)
    assert len(server.asked) == tries


def test_nobody_there(free_port: int, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="refused; 0 bytes are kept"):
        fetch(dataset(Server(port=free_port)), tmp_path, wait=lambda _: None)


def test_wrong_checksum_and_size(server: Server, zipped: bytes, tmp_path: Path) -> None:
    server.content = zipped
    with pytest.raises(FetchError, match=r"its SHA-256 is .*, not 00"):
        fetch(dataset(server, sha256="00" * 32), tmp_path)
    with pytest.raises(FetchError, match=f"{len(zipped)} bytes, 7 were expected"):
        fetch(dataset(server, size=7), tmp_path)
    assert not list(tmp_path.glob("data*"))


def test_a_file_damaged_later_is_noticed(server: Server, zipped: bytes, tmp_path: Path) -> None:
    server.content = zipped
    [path] = fetch(dataset(server), tmp_path)
    path.write_bytes(zipped[:-1] + b"?")
    with pytest.raises(FetchError, match="delete the file and fetch it again"):
        fetch(dataset(server), tmp_path)
    path.with_name("data.zip.json").write_text("{}")
    with pytest.raises(FetchError, match="not a readable record"):
        verify(path)


def test_nasa_zip_of_zips_becomes_mat_files(server: Server, tmp_path: Path) -> None:
    made.nasa_mat(tmp_path / "B0005.mat", cycles=2)
    made.nasa_mat(tmp_path / "short.mat", cycles=1)
    for inner, files in (
        ("1.zip", {"B0005.mat": "short.mat"}),
        ("2.zip", {"B0005.mat": "B0005.mat"}),
    ):
        with zipfile.ZipFile(tmp_path / inner, "w") as archive:
            for name, source in files.items():
                archive.write(tmp_path / source, name)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as outer:
        outer.write(tmp_path / "1.zip", "5. Battery Data Set/1.zip")
        outer.write(tmp_path / "2.zip", "5. Battery Data Set/2.zip")
    server.content = (tmp_path / "all.zip").read_bytes()
    one = replace(NASA, downloads=(Download("data.zip", server.url),), default=("data",))
    [path] = fetch(one, tmp_path / "cache")
    assert path.name == "B0005.mat"
    [recording] = open_recording(path)
    assert len(list(recording.operations())) == 4  # the longer of the two


def test_the_command_shows_progress_terms_and_citation(
    server: Server, zipped: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = zipped
    monkeypatch.setitem(DATASETS, "calce", dataset(server))
    told = CliRunner().invoke(app, ["fetch", "calce", "data", "--into", str(tmp_path / "c")])
    assert told.exit_code == 0
    assert told.stdout == f"{tmp_path / 'c' / 'data.zip'}\n"
    assert "data.zip  0.6 MB of 0.6 MB  100 %" in told.stderr
    assert "terms Open access" in told.stderr
    assert "Please cite: Center for Advanced Life Cycle Engineering" in told.stderr


def test_unknown_names_are_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="calce has no 'CS2_99'; it has CS2_33, CS2_34"):
        fetch(CALCE, tmp_path, only=("CS2_99",))


def test_a_place_that_cannot_be_written(server: Server, zipped: bytes, tmp_path: Path) -> None:
    server.content = zipped
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match=r"file/cache: "):
        fetch(dataset(server), tmp_path / "file" / "cache")


def test_official_addresses() -> None:
    assert set(DATASETS) == {"nasa", "calce"}
    assert NASA.downloads[0].url == (
        "https://phm-datasets.s3.amazonaws.com/NASA/5.+Battery+Data+Set.zip"
    )
    for one in DATASETS.values():
        assert all(download.url.startswith("https://") for download in one.downloads)
        assert one.citation
        assert one.terms
        names = {download.name for download in one.downloads}
        assert set(one.default) <= names
    json.dumps([one.title for one in DATASETS.values()])


def test_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "cellpulse"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == Path.home() / ".cache" / "cellpulse"
    monkeypatch.setenv("CELLPULSE_DATA", "/a:/b")
    assert search_path()[:2] == [Path("/a"), Path("/b")]
