"""TLS and client certificates to a real mosquitto, and no secret where it can be seen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest

from bridge.settings import address_of, with_credentials
from cellpulse.process_list import without_secrets
from cellpulse.wiring import connector
from monitor.config import Config, load
from monitor.errors import ConfigurationError
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.client import Client
from monitor.mqtt.link import MqttLink, collect_retained
from tests.conftest import ROOT, need, wait_for_port


def openssl(folder: Path, *arguments: str) -> None:
    tool = shutil.which("openssl")
    need(tool is not None, "openssl")
    subprocess.run([str(tool), *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, the broker's certificate for 127.0.0.1, a client's, and a stranger's."""
    folder = tmp_path_factory.mktemp("papers")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other-ca"):
        openssl(
            folder, "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt",
            "-days", "2", "-subj", f"/CN={name}",
        )  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name, authority in (("server", "ca"), ("ann", "ca"), ("eve", "other-ca")):
        openssl(
            folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr",
            "-subj", f"/CN={name}",
        )  # fmt: skip
        extra = ("-extfile", "names") if name == "server" else ()
        openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.crt",
            "-CAkey", f"{authority}.key", "-CAcreateserial", "-out", f"{name}.crt", "-days", "2",
            *extra,
        )  # fmt: skip
    return folder


@pytest.fixture(params=["password", "certificate"])
def secured(
    request: pytest.FixtureRequest, mosquitto_binary: str, papers: Path, free_port: int,
    tmp_path: Path,
) -> Iterator[Config]:  # fmt: skip
    """A mosquitto that demands TLS and either a password or a client's certificate."""
    lines = [
        f"listener {free_port} 127.0.0.1", f"certfile {papers}/server.crt",
        f"keyfile {papers}/server.key", "persistence false", "user root",
    ]  # fmt: skip
    address = BrokerAddress("127.0.0.1", free_port, tls=True, ca=papers / "ca.crt")
    if request.param == "password":
        passwords = tmp_path / "passwords"
        tool = str(shutil.which("mosquitto_passwd"))
        subprocess.run([tool, "-b", "-c", str(passwords), "ann", "s3cret:word"], check=True)
        lines += ["allow_anonymous false", f"password_file {passwords}"]
        address = replace(address, user="ann", password="s3cret:word")
    else:
        lines += [
            f"cafile {papers}/ca.crt", "require_certificate true",
            "use_identity_as_username true", "allow_anonymous false",
        ]  # fmt: skip
        address = replace(address, cert=papers / "ann.crt", key=papers / "ann.key")
    (tmp_path / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        [mosquitto_binary, "-c", str(tmp_path / "mosquitto.conf")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_port(free_port, process)
        yield Config(broker=address, store=tmp_path / "s.sqlite")
    finally:
        process.terminate()
        process.wait(10)


async def test_every_client_of_ours_comes_in(secured: Config) -> None:
    async with connector(secured)(aiomqtt.Will("bms/x", b"")) as client:
        await client.publish("bms/p/alarm/stale/pack", b"kept", 1, True)
    found = await collect_retained(secured.broker, "bms/+/alarm/+/+")
    assert found == {"bms/p/alarm/stale/pack": b"kept"}
    link = MqttLink(secured.broker, "test")
    await asyncio.to_thread(link.open)
    assert link.connected.is_set()
    await asyncio.to_thread(link.close)
    certificate = {
        "CELLPULSE_BROKER_CERT": str(secured.broker.cert),
        "CELLPULSE_BROKER_KEY": str(secured.broker.key),
    }
    bridge = with_credentials(
        address_of(secured.broker.url(), str(secured.broker.ca)),
        certificate if secured.broker.cert else {},
    )
    assert bridge == secured.broker
    async with Client.to(bridge) as client:
        await client.publish("bms/p/status", b"online", 1)


async def test_who_is_not_known_stays_out(secured: Config, papers: Path) -> None:
    if secured.broker.cert is None:
        stranger = replace(secured.broker, password="guessed")
        with pytest.raises(ConfigurationError, match="Not authorized") as refused:
            await asyncio.to_thread(MqttLink(stranger, "eve").open)
        assert "guessed" not in str(refused.value)
    else:
        stranger = replace(secured.broker, cert=papers / "eve.crt", key=papers / "eve.key")
    client = aiomqtt.Client(
        stranger.host, stranger.port, username=stranger.user, password=stranger.password,
        tls_context=stranger.tls_context(), timeout=1,
    )  # fmt: skip
    with pytest.raises(aiomqtt.MqttError):
        await client.__aenter__()


async def test_a_false_broker_is_not_trusted(secured: Config, papers: Path) -> None:
    for address in (
        replace(secured.broker, ca=papers / "other-ca.crt"),
        replace(secured.broker, ca=None),
        replace(secured.broker, host="localhost"),  # not in the names
    ):
        link = MqttLink(address, "test")
        with pytest.raises(ConfigurationError, match="certificate verify failed"):
            await asyncio.to_thread(link.open)


def test_bad_papers_are_one_sentence(papers: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    address = BrokerAddress(tls=True)
    for ca in (empty, tmp_path / "absent"):
        with pytest.raises(ConfigurationError, match=f"broker_ca = {ca}: "):
            replace(address, ca=ca).tls_context()
    for cert, key in ((empty, None), (papers / "ann.crt", papers / "eve.key")):
        with pytest.raises(ConfigurationError, match="expected a PEM certificate and its key"):
            replace(address, cert=cert, key=key).tls_context()


def test_credentials_come_from_files_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    config = load(None, {}, broker="mqtts://ann@h", broker_password_file=file)
    assert config.broker.password == "s3cret"
    assert load(None, {}, broker="mqtts://h", broker_ca=file).broker.ca == file
    assert "s3cret" not in repr(config)
    config = load(None, {"CELLPULSE_BROKER_PASSWORD": "env"}, broker="mqtts://ann@h")
    assert config.broker.password == "env"
    assert "'env'" not in repr(config)
    config = load(None, {"CELLPULSE_BROKER_PASSWORD": "env"}, broker="mqtts://ann:url@h")
    assert config.broker.password == "url"
    bridge = with_credentials(
        address_of("mqtt://ann@h"), {"CELLPULSE_BROKER_PASSWORD_FILE": str(file)}
    )
    assert bridge.password == "s3cret"
    for flags, reason in (
        ({"broker": "mqtt://h", "broker_password": "x"}, "a password without a user"),
        ({"broker": "mqtt://h", "broker_cert": "c"}, "needs an address with mqtts"),
        ({"broker": "mqtts://h", "broker_key": "k"}, "expected broker_cert"),
        ({"broker": "mqtts://a@h", "broker_password_file": tmp_path / "no"}, "No such file"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            load(None, {}, **flags)


def test_a_secret_leaves_the_arguments() -> None:
    kept, secrets = without_secrets(
        ["python", "-m", "cellpulse", "--broker", "mqtts://ann:p%40ss@h:1/x", "mqtt://bob@h:2",
         "--broker=mqtt://ann:p%40ss@[::1]", "https://u:p@h", "mqtt://h:1883", "--webhook",
         "https://hooks.example/T/secret", "mqtt://eve:other@h"]
    )  # fmt: skip
    assert kept == [
        "python", "-m", "cellpulse", "--broker", "mqtts://ann@h:1/x", "mqtt://bob@h:2",
        "--broker=mqtt://ann@[::1]", "https://u:p@h", "mqtt://h:1883", "mqtt://eve:other@h",
    ]  # fmt: skip
    assert secrets == {
        "CELLPULSE_BROKER_PASSWORD": "p@ss",
        "CELLPULSE_WEBHOOK": "https://hooks.example/T/secret",
    }
    assert without_secrets(["x", "--webhook=https://h/s"])[1] == {
        "CELLPULSE_WEBHOOK": "https://h/s"
    }
    assert without_secrets(["x", "--webhook"]) == (["x", "--webhook"], {})


async def test_no_secret_in_the_process_list_or_the_log(
    mosquitto: BrokerAddress, tmp_path: Path
) -> None:
    """A running monitor, told its password on the command line, does not show it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cellpulse", "monitor", "--broker", mosquitto.url(),
        "--store", str(tmp_path / "s.sqlite"), "--log-level", "debug",
        "--webhook", "http://127.0.0.1:9/T/hooksecret", cwd=ROOT,
        env={"PATH": os.environ["PATH"]}, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        config = Config(broker=mosquitto)
        async with asyncio.timeout(100), connector(config)(aiomqtt.Will("b/x", b"")) as client:
            await client.subscribe("bms/_monitor/monitor/status", 1)
            async for message in client.messages:
                if message.payload == b"online":
                    break
        shown = Path(f"/proc/{process.pid}/cmdline")
        arguments = await asyncio.to_thread(shown.read_bytes)
        assert b"monitor" in arguments
        assert b"user@127.0.0.1" in arguments
        assert b"word" not in arguments
        assert b"hooksecret" not in arguments
        process.terminate()
        output, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0
    assert b"connected to" in output
    assert b"p@ss" not in output
    assert b"p%40ss" not in output
    assert b"hooksecret" not in output
