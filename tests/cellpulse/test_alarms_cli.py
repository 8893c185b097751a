"""`cellpulse alarms` on a real broker: what is sent, and what is printed of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from typer.testing import CliRunner

from cellpulse.cli import app
from monitor.contract import Command, Reply, decode, encode
from monitor.mqtt.address import BrokerAddress


@contextmanager
def answering(address: BrokerAddress, refuse: str | None = None) -> Iterator[list[Command]]:
    """A monitor that takes commands; a reason lets it refuse each."""
    taken: list[Command] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(address.user or "", address.password)

    def answer(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        command = decode(Command, bytes(message.payload))
        taken.append(command)
        result: Literal["done", "refused"] = "done" if refuse is None else "refused"
        client.publish("bms/p1/reply", encode(Reply(1, command.id, result, refuse)), 1)

    client.on_message = answer
    client.connect(address.host, address.port)
    client.subscribe("bms/p1/command/ann", 1)
    client.loop_start()
    try:
        yield taken
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (
            ["ack", "p1", "over_temperature", "t01"],
            ("acknowledge", "over_temperature", "t01", None),
        ),
        (["shelve", "p1", "stale", "--hours", "2"], ("shelve", "stale", "pack", 7_200.0)),
        (["unshelve", "p1", "stale"], ("unshelve", "stale", "pack", None)),
        (["out-of-service", "p1"], ("out_of_service", "asset", "pack", None)),
        (["in-service", "p1"], ("in_service", "asset", "pack", None)),
        (["comment", "p1", "stale", "--text", "seen"], ("comment", "stale", "pack", None)),
    ],
)
def test_a_command_goes_out_and_its_answer_is_told(
    mosquitto: BrokerAddress, words: list[str], sent: tuple[object, ...]
) -> None:
    with answering(mosquitto) as taken:
        done = CliRunner().invoke(
            app, ["alarms", *words, "--user", "ann", "--broker", mosquitto.url()]
        )
    assert done.exit_code == 0, done.output
    (command,) = taken
    assert (command.action, command.code, command.source, command.duration_s) == sent
    assert command.comment == ("seen" if "--text" in words else None)
    assert "done, by ann" in done.output


def test_a_refusal_is_its_reason(mosquitto: BrokerAddress) -> None:
    words = ["ack", "p1", "stale", "--user", "ann", "--broker", mosquitto.url()]
    with answering(mosquitto, "it is not raised"):
        done = CliRunner().invoke(app, ["alarms", *words])
    assert done.exit_code == 1
    assert done.stderr == "cellpulse: refused: it is not raised\n"


def test_no_alarms_and_no_broker(mosquitto: BrokerAddress, free_port: int) -> None:
    assert CliRunner().invoke(
        app, ["alarms", "list", "--broker", mosquitto.url()]
    ).output == "no alarms\n"  # fmt: skip
    absent = f"mqtt://127.0.0.1:{free_port + 1}"
    done = CliRunner().invoke(app, ["alarms", "list", "--broker", absent])
    assert done.exit_code == 1
    assert done.stderr.startswith("cellpulse: broker: ")
    assert done.stderr.count("\n") == 1
