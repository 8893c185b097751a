"""The shipped mosquitto configuration and ACL, in a real mosquitto."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest

from tests.conftest import ROOT, need, wait_for_port


@pytest.fixture
def guarded(mosquitto_binary: str, free_port: int, tmp_path: Path) -> Iterator[int]:
    """mosquitto with our files, only the folders and the port moved."""
    tool = shutil.which("mosquitto_passwd")
    need(tool is not None, "mosquitto_passwd")
    passwords = tmp_path / "passwords"
    for k, user in enumerate(("monitor", "device", "dashboard", "ann", "bob", "homeassistant")):
        create = ["-c"] if k == 0 else []
        subprocess.run([str(tool), "-b", *create, str(passwords), user, user], check=True)
    text = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text()
    acl = tmp_path / "acl"
    acl.write_text((ROOT / "deploy/mosquitto/acl").read_text())
    acl.chmod(0o700)
    passwords.chmod(0o700)
    text = text.replace("listener 1883", f"listener {free_port} 127.0.0.1")
    text = text.replace("/mosquitto/data/", f"{tmp_path}/")
    text = text.replace("/mosquitto/config/", f"{tmp_path}/")
    (tmp_path / "mosquitto.conf").write_text(text + "user root\n")
    process = subprocess.Popen(
        [mosquitto_binary, "-c", str(tmp_path / "mosquitto.conf")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_port(free_port, process)
        yield free_port
    finally:
        process.terminate()
        process.wait(10)


async def arrives(port: int, user: str, topic: str) -> bool:
    """Whether what `user` publishes on a topic reaches the monitor."""

    def client(name: str) -> aiomqtt.Client:
        return aiomqtt.Client("127.0.0.1", port, username=name, password=name)

    async with client("monitor") as monitor, client(user) as sender:
        await monitor.subscribe("bms/#", 1)
        await sender.publish(topic, b"from the user", 1)
        await monitor.publish("bms/fence", b"", 1)  # arrives behind whatever was let through
        async with asyncio.timeout(10):
            async for message in monitor.messages:
                if str(message.topic) == topic:
                    return True
                if str(message.topic) == "bms/fence":
                    return False
    return False


@pytest.mark.parametrize(
    ("user", "topic", "allowed"),
    [
        ("ann", "bms/pack/command/ann", True),
        ("ann", "bms/pack/command/bob", False),
        ("bob", "bms/pack/command/bob", True),
        ("dashboard", "bms/pack/command/ann", True),
        ("dashboard", "bms/_simulator/simulator/command", True),
        ("dashboard", "bms/pack/telemetry", False),
        ("ann", "bms/_simulator/simulator/command", False),
        ("ann", "bms/pack/telemetry", False),
        ("ann", "bms/pack/alarm/over_voltage/c001", False),
        ("device", "bms/pack/telemetry", True),
        ("device", "bms/pack/alarm/over_voltage/c001", False),
        ("device", "bms/pack/event", False),
        ("homeassistant", "bms/pack/telemetry", False),
        ("ann", "bms/_group/command/ann", True),
        ("ann", "bms/_group/command/bob", False),
    ],
)
async def test_who_may_say_what(guarded: int, user: str, topic: str, allowed: bool) -> None:
    assert await arrives(guarded, user, topic) is allowed


async def test_a_stranger_is_refused(guarded: int) -> None:
    with pytest.raises(aiomqtt.MqttError):
        async with aiomqtt.Client("127.0.0.1", guarded):
            pass
