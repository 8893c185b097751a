"""A real influxd (1.x) behind a shim that speaks the v2 write API, started by the tests.

InfluxDB 2 and 3 cannot be had on the test machine. The shim maps `/api/v2/write` to `/write`,
asks for a token and an organisation, and gives 1.x's errors the bodies and statuses of 2.x;
`/query` is InfluxQL in all of them and goes through as it is, asking for the token.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.conftest import need, wait_for_port

TOKEN = "a-secret-of-the-test"
ORG = "cells"
BUCKET = "cellpulse"


@dataclass
class Answer:
    """What the shim says instead of asking the server."""

    status: int
    body: bytes = b'{"code":"unavailable","message":"made by the test"}'
    headers: dict[str, str] = field(default_factory=dict)


class InfluxWorld:
    """A running influxd and its shim; `url` is the shim's."""

    def __init__(self, folder: Path, ports: tuple[int, int]) -> None:
        self.folder = folder
        self.port, rpc_port = ports
        self.writes: list[int] = []  # bytes of each write as it came
        self.encodings: set[str | None] = set()
        self.next_answers: list[Answer] = []
        self._config = folder / "influxd.conf"
        self._config.write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc_port}"\n'
            f'[meta]\ndir = "{folder}/meta"\n'
            f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n'
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\nlog-enabled = false\n'
            "[monitor]\nstore-enabled = false\n[logging]\nlevel = \"error\"\n"
        )  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self._shim = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._shim.server_port}"
        self._thread = threading.Thread(target=self._shim.serve_forever, args=(0.02,))
        self._thread.start()

    def start(self) -> None:
        """Start influxd and make the database where it is not there."""
        binary = shutil.which("influxd")
        assert binary is not None
        self.process = subprocess.Popen(
            [binary, "-config", str(self._config)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_port(self.port, self.process)
        self.query(f'CREATE DATABASE "{BUCKET}"')

    def stop(self, *, kill: bool = False) -> None:
        """End influxd; its data stay."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            self.process.wait(20)
            self.process = None

    def close(self) -> None:
        """End everything."""
        self._shim.shutdown()
        self._thread.join()
        self._shim.server_close()
        self.stop(kill=True)

    def query(self, text: str) -> list[dict[str, Any]]:
        """The series that InfluxQL finds, times in ns; straight from influxd."""
        parameters = urllib.parse.urlencode({"db": BUCKET, "epoch": "ns", "q": text})
        url = f"http://127.0.0.1:{self.port}/query"
        with urllib.request.urlopen(url, parameters.encode(), timeout=60) as answer:
            result = json.load(answer)["results"][0]
        assert "error" not in result, result
        return list(result.get("series", []))

    def count(self, measurement: str, what: str) -> int:
        """How many points of a measurement have a field."""
        series = self.query(f'SELECT count("{what}") FROM "{measurement}"')
        return int(series[0]["values"][0][1]) if series else 0

    def write(self, lines: str) -> None:
        """Lines straight to influxd, as another program would."""
        url = f"http://127.0.0.1:{self.port}/write?db={BUCKET}"
        urllib.request.urlopen(url, lines.encode(), timeout=10).close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed while it asked is nothing to tell of."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(  # noqa: C901 - a server of several paths in one closure
    world: InfluxWorld,
) -> type[BaseHTTPRequestHandler]:
    class Shim(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            asked = dict(urllib.parse.parse_qsl(parts.query))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if parts.path == "/query":
                return self._pass(Answer(0), f"/query?{parts.query}", body)
            if parts.path != "/api/v2/write":
                return self._say(404, "not found", "path not found")
            world.writes.append(len(body))
            world.encodings.add(self.headers["Content-Encoding"])
            if world.next_answers:
                return self._answer(world.next_answers.pop(0))
            if self.headers["Authorization"] != f"Token {TOKEN}":
                return self._say(401, "unauthorized", "unauthorized access")
            if asked.get("org") != ORG:
                return self._say(404, "not found", f"organization {asked.get('org')} not found")
            query = urllib.parse.urlencode(
                {"db": asked["bucket"], "precision": {"ns": "n"}.get(asked["precision"])}
            )
            return self._pass(Answer(204), f"/write?{query}", body)

        def do_GET(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            if parts.path != "/query":
                return self._say(404, "not found", "path not found")
            return self._pass(Answer(0), self.path, None)

        def _pass(self, answer: Answer, path: str, body: bytes | None) -> None:
            if self.headers["Authorization"] != f"Token {TOKEN}":
                return self._say(401, "unauthorized", "unauthorized access")
            request = urllib.request.Request(f"http://127.0.0.1:{world.port}{path}", body)
            for name in ("Content-Encoding", "Content-Type"):
                if self.headers[name]:
                    request.add_header(name, self.headers[name])
            try:
                with urllib.request.urlopen(request, timeout=60) as found:
                    return self._answer(Answer(found.status, found.read()))
            except urllib.error.HTTPError as error:
                with error:
                    said = json.loads(error.read() or b"{}").get("error", "")
                if path.startswith("/query"):
                    return self._answer(Answer(error.code, json.dumps({"error": said}).encode()))
                if error.code == 404:
                    return self._say(404, "not found", f"bucket {BUCKET!r} not found")
                if "unable to parse" in said:
                    return self._say(400, "invalid", said)
                if error.code == 400:
                    return self._say(
                        422, "unprocessable entity", f"failure writing points to database: {said}"
                    )
                return self._say(500, "internal error", said)
            except OSError as error:
                return self._say(503, "unavailable", str(error))

        def _say(self, status: int, code: str, message: str) -> None:
            self._answer(Answer(status, json.dumps({"code": code, "message": message}).encode()))

        def _answer(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if answer.status != 204:
                self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Shim


@contextlib.contextmanager
def influx_world(folder: Path, ports: tuple[int, int]) -> Iterator[InfluxWorld]:
    """A started influxd behind its shim, gone at the end of the block."""
    need(shutil.which("influxd") is not None, "influxd")
    world = InfluxWorld(folder, ports)
    try:
        world.start()
        yield world
    finally:
        world.close()
