"""How a bridge begins and ends: what it was handed, where its broker is, and its last sentence."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge import entry
from bridge.errors import LinkError, MappingError
from bridge.interrupt import until_signal
from bridge.settings import (
    BleSettings,
    CanSettings,
    Common,
    ModbusSettings,
    SerialSettings,
    TranslateSettings,
    address_of,
    with_credentials,
)
from monitor.errors import ConfigurationError

HANDED = "CELLPULSE_BRIDGE"
EACH: dict[str, Common] = {
    "serial": SerialSettings(asset="a", port="/dev/null"),
    "translate": TranslateSettings(asset="a", preset="p"),
    "modbus": ModbusSettings(asset="a", port="tcp://h", map="m.toml"),
    "can": CanSettings(asset="a", dbc="d.dbc", mapping="m.toml"),
    "ble": BleSettings(asset="a", address_or_name="x"),
}


@pytest.mark.parametrize("kind", EACH)
def test_what_was_handed_over_reaches_its_runner(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"serial": "run"}.get(kind, f"run_{kind}")
    given: list[Common] = []

    async def run(settings: Common) -> None:
        given.append(settings)

    monkeypatch.setattr(f"bridge.{module}.run_{kind}", run)
    work = {"kind": kind, "settings": EACH[kind], "verbose": False}
    monkeypatch.setenv(HANDED, msgspec.json.encode(work).decode())
    entry.main()
    assert given == [EACH[kind]]
    assert HANDED not in os.environ  # it may hold a password, and children inherit it


def test_a_kind_that_is_none_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    work = {"kind": "pigeon", "settings": {}, "verbose": False}
    monkeypatch.setenv(HANDED, msgspec.json.encode(work).decode())
    with pytest.raises(ValueError, match="no bridge of the kind 'pigeon'"):
        entry.main()


def test_without_anything_handed_over_it_says_how_to_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(HANDED, raising=False)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "cellpulse: start a bridge with `cellpulse bridge`\n"


def test_the_process_becomes_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, words: became.append([path, *words]))
    monkeypatch.setenv(HANDED, "")
    entry.hand_over("ble", EACH["ble"], verbose=True)
    assert became == [[sys.executable, sys.executable, "-m", "bridge"]]
    work = msgspec.json.decode(os.environ[HANDED])
    assert work["kind"] == "ble"
    assert work["verbose"] is True
    assert work["settings"]["address_or_name"] == "x"


def test_where_a_process_cannot_become_another_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(entry, "main", lambda: ran.append(os.environ[HANDED]))
    monkeypatch.setenv(HANDED, "")
    monkeypatch.setattr(os, "name", "nt")
    entry.hand_over("ble", EACH["ble"], verbose=False)
    monkeypatch.undo()
    assert msgspec.json.decode(ran[0])["kind"] == "ble"


async def failing(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        LinkError("no such port"),
        ExceptionGroup("tasks", [ExceptionGroup("more", [LinkError("no such port")])]),
    ],
)
def test_a_failure_of_ours_is_one_sentence(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        entry.execute(failing(error))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "cellpulse: no such port\n"


def test_a_fault_in_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError, match="injected"):
        entry.execute(failing(ZeroDivisionError("injected")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(number: signal.Signals) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            ended.append("drained")

    before = signal.getsignal(number)
    entry.execute(work())
    signal.signal(number, before)
    assert ended == ["drained"]


def test_a_cancellation_that_no_signal_asked_for_is_not_an_end() -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(until_signal(failing(asyncio.CancelledError())))


# Where the broker is


@pytest.mark.parametrize(
    "url",
    ["http://h", "mqtt://", "mqtt://h:0", "mqtt://h:99999", "mqtt://[h", f"mqtt://{'x' * 99}"],
)
def test_an_address_that_is_none_does_not_repeat_its_password(url: str) -> None:
    with_password = url.replace("://", "://ann:secret@")
    with pytest.raises(ConfigurationError) as raised:
        address_of(with_password)
    assert "expected mqtt://[user" in str(raised.value)
    assert "secret" not in str(raised.value)


def empty(folder: Path) -> Path:
    path = folder / "empty.pem"
    path.write_text("")
    return path


@pytest.mark.parametrize("make", [lambda folder: folder / "none.pem", empty])
def test_a_certificate_that_cannot_be_used_is_named(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    address = address_of("mqtts://h", str(path))
    with pytest.raises(ConfigurationError, match=f"broker_ca = {path}: "):
        address.tls_context()
    environment = {"CELLPULSE_BROKER_CERT": str(path), "CELLPULSE_BROKER_KEY": str(path)}
    with pytest.raises(ConfigurationError, match=f"broker_cert = {path}, broker_key = {path}: "):
        with_credentials(address_of("mqtts://h"), environment).tls_context()
    plain = with_credentials(address_of("mqtt://h"), environment)
    assert (plain.cert, plain.key, plain.tls_context()) == (None, None, None)


def test_a_password_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret\n", encoding="utf-8")
    environment = {"CELLPULSE_BROKER_PASSWORD_FILE": str(file)}

    def password(url: str, **more: str) -> str | None:
        return with_credentials(address_of(url), environment | more).password

    assert password("mqtt://ann@h") == "s3cret"
    assert password("mqtt://ann:other@h") == "other"
    assert password("mqtt://ann@h", CELLPULSE_BROKER_PASSWORD="first") == "first"
    assert password("mqtt://h") is None
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigurationError, match=f"CELLPULSE_BROKER_PASSWORD_FILE {file}: "):
        password("mqtt://ann@h")
    file.unlink()
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        password("mqtt://ann@h")


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e10])
def test_an_interval_that_is_no_time(seconds: float) -> None:
    settings: Any = BleSettings(asset="a", address_or_name="x", interval_s=seconds)
    with pytest.raises(MappingError, match=r"interval .* s: expected a number of seconds from 0"):
        settings.told("Bluetooth x")
