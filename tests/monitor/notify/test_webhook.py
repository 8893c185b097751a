"""The webhook against real little servers: what waits, what is let go, and what harms nobody.

The module is long because its kinds of receiver share the way in which they are started.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from monitor.contract import AssetConfig, Frame, encode
from monitor.engine import Engine
from monitor.errors import AwayError, ConfigurationError, StoreError
from monitor.inputs import ConfigIn, FrameIn, Input
from monitor.mqtt.link import wall_clock_ms
from monitor.notify import webhook
from monitor.notify.webhook import LET_GO, Outbox, Sender, Webhook
from monitor.store.journal import Journal
from monitor.supervisor import Supervisor, TaskState

SECRET = "T00-path-secret"
TOKEN = "header-secret"
TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
HEAD = b"HTTP/1.1 200 OK\r\n"
NO_HTTP = {
    "mail": b"* OK IMAP4 ready\r\n",
    "tls": TLS_ALERT,
    "nothing": b"",
    "long header": HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
    "many headers": HEAD + b"".join(b"X-%d: 1\r\n" % k for k in range(150)) + b"\r\n",
    "long status": b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n",
    "no status": b"HTTP/1.1 abc\r\n\r\n",
    "status of 5,000 digits": b"HTTP/1.1 " + b"2" * 5_000 + b" OK\r\n\r\n",
    "binary": bytes(range(256)) * 10,
    "http 2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18),
}


class Receiver:
    """A server that answers with the given statuses, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.bodies: list[dict[str, object]] = []
        self.headers: list[str | None] = []
        self.changed = threading.Event()

    def answer(self, body: bytes, header: str | None) -> int:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == 200:
            self.bodies.append(json.loads(body))
            self.headers.append(header)
        self.changed.set()
        return status


@contextmanager
def serving(receiver: Receiver) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(receiver.answer(body, self.headers.get("Authorization")))
            self.send_header("Content-Length", "0")
            self.send_header("Location", "/elsewhere")  # heeded with 3xx only
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def hot(
    engine: Engine, journal: Journal, start_s: int, temperature_c: float, slope_c_per_s: float = 0.0
) -> None:
    """A minute of frames from a temperature on, committed."""
    inputs: list[Input] = []
    for k in range(start_s, start_s + 60):
        frame = Frame(
            v=1, timestamp_ms=1_000 * k, seq=k, current_a=1.0, voltage_v=3.7,
            temperature_c=temperature_c + slope_c_per_s * (k - start_s),
        )  # fmt: skip
        inputs.append(FrameIn("pack", frame, 1_000 * k, encode(frame)))
    journal.commit(engine.process(inputs))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Engine, Journal]]:
    engine = Engine(None, None)
    journal = Journal(tmp_path / "store.sqlite")
    config: list[Input] = [ConfigIn("pack", AssetConfig(v=1, nominal_capacity_ah=2.0), 0)]
    journal.commit(engine.process(config))
    yield engine, journal
    journal.close()


async def until(condition: Callable[[], bool]) -> None:
    """Return once something in another thread is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another thread
            await asyncio.sleep(0.01)


@contextmanager
def saying(words: bytes) -> Iterator[str]:
    """A server that answers each request with some bytes and hangs up; its address."""
    with hostile(lambda one: one.sendall(words)) as url:
        yield url


@contextmanager
def hostile(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server of no protocol: `answer` is called for each request that has come."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            one, _ = listener.accept()
            with one, suppress(OSError):
                one.settimeout(10)
                one.recv(65_536)
                answer(one)
                one.shutdown(socket.SHUT_WR)
                while one.recv(65_536):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/{SECRET}"
    finally:
        ended.set()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as last:
            last.shutdown(socket.SHUT_WR)
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


@contextlib.asynccontextmanager
async def sending(url: str, journal: Journal) -> AsyncIterator[tuple[Supervisor, Sender]]:
    """A sender under a supervisor that hardly waits; it sends what comes from now on."""
    outbox = Outbox(journal.path)
    outbox.position()
    sender = Sender(Webhook(url, f"Authorization: {TOKEN}"), outbox, poll_s=0.01)
    supervisor = Supervisor(wall_clock_ms, first_wait_s=0.01, longest_wait_s=0.02)
    task: asyncio.Task[None] = asyncio.create_task(supervisor.run("webhook", sender.run))
    try:
        yield supervisor, sender
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def state(supervisor: Supervisor) -> TaskState:
    return supervisor.states()["webhook"]


def is_failing(supervisor: Supervisor) -> bool:
    return supervisor.failing() == ["webhook"]


async def test_every_transition_arrives_once_it_can(store: tuple[Engine, Journal]) -> None:
    engine, journal = store
    receiver = Receiver(503, 500, 429, 200)
    with serving(receiver) as url:
        async with sending(url, journal):
            hot(engine, journal, 0, 70.0)
            hot(engine, journal, 60, 70.0, slope_c_per_s=-0.5)
            await until(lambda: len(receiver.bodies) == 2)
    assert [body["cause"] for body in receiver.bodies] == ["raise", "clear"]
    assert receiver.headers == [TOKEN] * 2


async def test_after_a_restart_it_goes_on_where_it_stopped(store: tuple[Engine, Journal]) -> None:
    engine, journal = store
    outbox = Outbox(journal.path)
    outbox.position()
    hot(engine, journal, 0, 70.0)
    ((event, _),) = outbox.waiting(outbox.position())
    assert len(Outbox(journal.path).waiting(Outbox(journal.path).position())) == 1
    outbox.confirm(event)
    assert Outbox(journal.path).waiting(Outbox(journal.path).position()) == []


@pytest.mark.parametrize("words", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_waits(words: bytes) -> None:
    with saying(words) as url, pytest.raises(AwayError, match="does not answer") as caught:
        webhook.send(Webhook(url, f"Authorization: {TOKEN}"), "{}")
    assert SECRET not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_who_speaks_a_byte_at_a_time_is_cut_off() -> None:
    """Each byte comes in time, the answer never does."""
    stopped = threading.Event()

    def drip(one: socket.socket) -> None:
        one.sendall(b"H")
        while not stopped.wait(0.02):
            one.sendall(b"x")

    def talk(one: socket.socket) -> None:
        while not stopped.wait(0.02):
            one.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    for answer in (drip, talk):
        with hostile(answer) as url:
            with pytest.raises(AwayError, match="does not answer"):
                webhook.send(Webhook(url, timeout_s=0.5), "{}")
            stopped.set()
        stopped.clear()


def test_nobody_there_and_no_such_host(free_port: int) -> None:
    with pytest.raises(AwayError, match="Connection refused"):
        webhook.send(Webhook(f"http://127.0.0.1:{free_port}/{SECRET}"), "{}")
    with pytest.raises(AwayError, match="does not answer"):
        webhook.send(Webhook(f"http://no-such-host.invalid/{SECRET}"), "{}")


def test_a_plain_server_behind_https_is_said_to_be_none() -> None:
    with saying(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        hook = Webhook(url.replace("http://", "https://"))
        with pytest.raises(AwayError, match="TLS"):
            webhook.send(hook, "{}")


@pytest.mark.parametrize(
    "status",
    [300, 302, 304, 307, 401, 402, 403, 404, 405, 406, 407, 408, 410, 411, 415, 423, 425, 429, 431,
     451, 500, 502, 503, 504, 599],
)  # fmt: skip
def test_what_is_wrong_with_the_receiver_or_with_us_waits(status: int) -> None:
    receiver = Receiver(status)
    with serving(receiver) as url, pytest.raises(AwayError, match=f"answers {status}"):
        webhook.send(Webhook(url, "Authorization: Bearer x"), "{}")


@pytest.mark.parametrize("status", sorted(LET_GO))
def test_what_is_wrong_with_the_event_does_not_block_the_rest(status: int) -> None:
    with serving(Receiver(status)) as url:
        assert webhook.send(Webhook(url), "{}") == status


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_confirms(status: int) -> None:
    with serving(Receiver(status)) as url:
        assert webhook.send(Webhook(url), "{}") is None


def test_a_redirect_is_not_followed() -> None:
    receiver = Receiver(302, 200)
    with serving(receiver) as url, pytest.raises(AwayError, match="answers 302"):
        webhook.send(Webhook(url, "Authorization: Bearer x"), "{}")
    assert receiver.bodies == []


async def test_a_rotated_token_loses_no_alarm(
    store: tuple[Engine, Journal], caplog: pytest.LogCaptureFixture
) -> None:
    engine, journal = store
    receiver = Receiver(401)
    with serving(receiver) as url:
        async with sending(url + SECRET, journal) as (supervisor, _):
            hot(engine, journal, 0, 70.0)
            await until(lambda: is_failing(supervisor))
            reason = state(supervisor).reason
            assert reason is not None
            assert reason.endswith("answers 401; is the token in webhook_header right?")
            await until(lambda: supervisor.failures()["webhook"] > 3)
            assert receiver.bodies == []
            receiver.statuses = [200]
            await until(lambda: len(receiver.bodies) == 1)
            await until(lambda: not is_failing(supervisor))
    said = [r.getMessage() for r in caplog.records if r.name.startswith("monitor.")]
    assert len(said) == 2  # its beginning and its end
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text


async def test_what_is_let_go_is_counted_and_shown_until_one_is_taken(
    store: tuple[Engine, Journal],
) -> None:
    engine, journal = store
    receiver = Receiver(422)
    with serving(receiver) as url:
        async with sending(url, journal) as (supervisor, sender):
            hot(engine, journal, 0, 70.0)
            await until(lambda: sender.let_go == 1)
            await until(lambda: is_failing(supervisor))
            reason = state(supervisor).reason
            assert reason is not None
            assert reason.endswith("refuses event 1 with 422; it is let go")
            receiver.statuses = [200]
            hot(engine, journal, 60, 70.0, slope_c_per_s=-0.5)
            await until(lambda: len(receiver.bodies) == 1)
            await until(lambda: not is_failing(supervisor))
            assert sender.let_go == 1


async def test_a_full_disk_under_the_cursor_stops_no_notice_and_sends_none_twice(
    store: tuple[Engine, Journal],
) -> None:
    engine, journal = store
    receiver = Receiver(200)
    fresh = journal.path.with_name(f"{journal.path.name}.webhook.new")
    cursor = journal.path.with_name(f"{journal.path.name}.webhook")
    with serving(receiver) as url:
        async with sending(url, journal) as (supervisor, _):
            fresh.symlink_to("/dev/full")  # each write to it is answered with ENOSPC
            hot(engine, journal, 0, 70.0)
            await until(lambda: is_failing(supervisor))
            reason = state(supervisor).reason
            assert reason is not None
            assert "webhook cannot be written: No space left on device; what is sent" in reason
            hot(engine, journal, 60, 70.0, slope_c_per_s=-0.5)
            await until(lambda: len(receiver.bodies) == 2)
            failures = supervisor.failures()["webhook"]
            await until(lambda: supervisor.failures()["webhook"] > failures + 3)
            assert is_failing(supervisor)
            assert cursor.read_text() == "0"
            fresh.unlink()
            await until(lambda: not is_failing(supervisor))
            assert cursor.read_text() == "2"
    assert [body["cause"] for body in receiver.bodies] == ["raise", "clear"]


async def test_what_was_sent_under_a_full_disk_is_sent_again_after_a_restart(
    store: tuple[Engine, Journal],
) -> None:
    """At least once, in order: from the last cursor that was written."""
    engine, journal = store
    receiver = Receiver(200)
    fresh = journal.path.with_name(f"{journal.path.name}.webhook.new")
    with serving(receiver) as url:
        async with sending(url, journal):
            fresh.symlink_to("/dev/full")
            hot(engine, journal, 0, 70.0)
            hot(engine, journal, 60, 70.0, slope_c_per_s=-0.5)
            await until(lambda: len(receiver.bodies) == 2)
        fresh.unlink()
        async with sending(url, journal) as (supervisor, _):
            await until(lambda: len(receiver.bodies) == 4)
            await until(lambda: supervisor.states()["webhook"].state == "ok")
    assert [body["cause"] for body in receiver.bodies] == ["raise", "clear"] * 2


async def test_a_refusal_under_a_full_disk_is_let_go(
    store: tuple[Engine, Journal], caplog: pytest.LogCaptureFixture
) -> None:
    engine, journal = store
    receiver = Receiver(422, 200)
    fresh = journal.path.with_name(f"{journal.path.name}.webhook.new")
    with serving(receiver) as url:
        async with sending(url, journal) as (supervisor, sender):
            fresh.symlink_to("/dev/full")
            hot(engine, journal, 0, 70.0)
            hot(engine, journal, 60, 70.0, slope_c_per_s=-0.5)
            await until(lambda: len(receiver.bodies) == 1)
            assert sender.let_go == 1
            assert "refuses event 1 with 422" in caplog.text
            fresh.unlink()
            await until(lambda: not is_failing(supervisor))


async def test_what_is_answered_while_the_monitor_ends_is_written_down(
    store: tuple[Engine, Journal],
) -> None:
    engine, journal = store
    asked, may = threading.Event(), threading.Event()

    def answer(one: socket.socket) -> None:
        asked.set()
        may.wait(20)
        one.sendall(HEAD + b"Content-Length: 0\r\n\r\n")

    with hostile(answer) as url:
        async with sending(url, journal):
            hot(engine, journal, 0, 70.0)
            await until(asked.is_set)
        may.set()
        cursor = journal.path.with_name(f"{journal.path.name}.webhook")
        await until(lambda: cursor.read_text() == "1")


def test_a_journal_that_cannot_be_read_is_a_store_error(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "none.sqlite")
    for ask in (outbox.position, lambda: outbox.waiting(0)):
        with pytest.raises(StoreError, match="the journal cannot be read"):
            ask()


@pytest.mark.parametrize("text", ["", "x", "-5", "9" * 5_000, "\u0667", "1e3"])
def test_a_damaged_cursor_is_said_and_begins_at_the_newest(
    store: tuple[Engine, Journal], caplog: pytest.LogCaptureFixture, text: str
) -> None:
    engine, journal = store
    hot(engine, journal, 0, 70.0)
    cursor = journal.path.with_name(f"{journal.path.name}.webhook")
    cursor.write_text(text, encoding="utf-8")
    assert Outbox(journal.path).position() == 1
    assert "is damaged" in caplog.text
    assert cursor.read_text() == "1"


def test_a_cursor_beyond_the_journal_s_end_skips_nothing_that_comes(
    store: tuple[Engine, Journal],
) -> None:
    """A power loss took the journal's last commits; what comes with their numbers is new."""
    engine, journal = store
    cursor = journal.path.with_name(f"{journal.path.name}.webhook")
    cursor.write_text("7")
    outbox = Outbox(journal.path)
    assert outbox.position() == 0
    hot(engine, journal, 0, 70.0)
    assert len(outbox.waiting(outbox.position())) == 1


def test_a_cursor_that_cannot_be_read_now_skips_nothing(store: tuple[Engine, Journal]) -> None:
    engine, journal = store
    hot(engine, journal, 0, 70.0)
    cursor = journal.path.with_name(f"{journal.path.name}.webhook")
    cursor.mkdir()  # reading it is an OSError for any user
    with pytest.raises(StoreError, match="cannot be read"):
        Outbox(journal.path).position()
    cursor.rmdir()
    cursor.write_text("0")
    outbox = Outbox(journal.path)
    assert len(outbox.waiting(outbox.position())) == 1


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("ftp://x", "http"),
        ("http://", "http://host"),
        ("http:///path", "http://host"),
        ("http://x:99999/path-secret", "http://host"),
        ("http://x:port/path-secret", "http://host"),
        ("http://[::1/path-secret", "http://host"),
        (f"http://{'a' * 64}.example/path-secret", "http://host"),
        ("http://a..b/path-secret", "http://host"),
        ("http://me:path-secret@x/", "webhook_header"),
        ("http://x/path-secret with blanks", "%XX"),
        ("http://x/path-secret\r\nX: y", "%XX"),
        ("http://x/path-secret\x00", "%XX"),
        ("http://x/path-secret/\u00fc", "%XX"),
        ("http://x\n/path-secret", "%XX"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_secret(url: str, right: str) -> None:
    with pytest.raises(ConfigurationError, match=right) as caught:
        Webhook(url)
    assert "path-secret" not in str(caught.value)


def test_a_host_of_other_letters_is_one() -> None:
    assert str(Webhook("https://b\u00fccher.example:8443/x")) == "https://b\u00fccher.example:8443"


@pytest.mark.parametrize(
    "header",
    ["header-secret", "Name: header-secret\r\nOther: x", "Name: header-secret\n", ": header-secret",
     "Na me: header-secret", "Name\u00fc: header-secret", "Name: \u957fheader-secret",
     "Name: header-secret\x00", "Content-Length: 5", "transfer-encoding: chunked", "Name:"],
)  # fmt: skip
def test_a_header_that_is_none_is_refused_without_its_secret(header: str) -> None:
    with pytest.raises(ConfigurationError, match="webhook_header") as caught:
        Webhook("http://x", header)
    assert "header-secret" not in str(caught.value)


@pytest.mark.parametrize("header", ["Authorization: Bearer x", "X-Key:y", "X: caf\u00e9"])
def test_a_header_that_is_one_is_sent(header: str) -> None:
    got: list[bytes] = []
    name, _, value = header.partition(":")

    def answer(one: socket.socket) -> None:
        one.sendall(HEAD + b"Content-Length: 0\r\n\r\n")

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        one, _ = listener.accept()
        with one:
            one.settimeout(10)
            got.append(one.recv(65_536))
            answer(one)

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    assert webhook.send(Webhook(url, header), "{}") is None
    thread.join(20)
    listener.close()
    wanted = f"{name.capitalize()}: {value.strip()}".encode("latin-1").lower()
    assert wanted in got[0].lower()
