"""Alarms out: the webhook's outbox against a real HTTP server, Home Assistant's discovery."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from jinja2 import Environment

from monitor import webhook
from monitor.contract import AssetConfig, Frame, Topics, encode
from monitor.engine import Engine
from monitor.errors import ConfigurationError
from monitor.homeassistant import device_id, discovery
from monitor.inputs import ConfigIn, FrameIn, Input
from monitor.store.journal import Journal
from monitor.webhook import Outbox, Webhook


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
    journal.commit(inputs, engine.process(inputs))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Engine, Journal]]:
    engine = Engine(None, None)
    journal = Journal(tmp_path / "store.sqlite")
    config: list[Input] = [ConfigIn("pack", AssetConfig(v=1, nominal_capacity_ah=2.0), 0)]
    journal.commit(config, engine.process(config))
    yield engine, journal
    journal.close()


async def until(receiver: Receiver, count: int) -> None:
    async with asyncio.timeout(20):
        while len(receiver.bodies) < count:
            receiver.changed.clear()
            await asyncio.to_thread(receiver.changed.wait, 1.0)


async def test_every_transition_arrives_once_it_can(
    store: tuple[Engine, Journal],
) -> None:
    engine, journal = store
    outbox = Outbox(journal.path)
    receiver = Receiver(503, 500, 429, 200)
    with serving(receiver) as url:
        outbox.position()
        hook = Webhook(url, "Authorization: Bearer x")
        sending = webhook.run(hook, outbox, first_wait_s=0.01, poll_s=0.02)
        task = asyncio.create_task(sending)
        hot(engine, journal, 0, 70.0)
        hot(engine, journal, 60, 70.0, slope_c_per_s=-0.5)
        await until(receiver, 2)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert [body["cause"] for body in receiver.bodies] == ["raise", "clear"]
    assert receiver.headers == ["Bearer x"] * 2


async def test_after_a_restart_it_goes_on_where_it_stopped(store: tuple[Engine, Journal]) -> None:
    engine, journal = store
    outbox = Outbox(journal.path)
    outbox.position()
    hot(engine, journal, 0, 70.0)
    ((event, _),) = outbox.waiting(outbox.position())
    assert len(Outbox(journal.path).waiting(Outbox(journal.path).position())) == 1
    outbox.confirm(event)
    assert Outbox(journal.path).waiting(Outbox(journal.path).position()) == []


def test_a_refusal_for_good_does_not_block_the_rest() -> None:
    with serving(Receiver(400)) as url:
        assert webhook.send(Webhook(url), "{}")


def test_a_redirect_is_not_followed() -> None:
    receiver = Receiver(302, 200)
    with serving(receiver) as url:
        assert not webhook.send(Webhook(url, "Authorization: Bearer x"), "{}")
    assert receiver.bodies == []


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="http"):
        Webhook("ftp://x")
    with pytest.raises(ConfigurationError, match="Name: value"):
        Webhook("http://x", "secret")


def test_discovery_has_the_published_form() -> None:
    config = AssetConfig(v=1, nominal_capacity_ah=2.0, chemistry="LFP")
    topic, payload = discovery(
        "pack.1", config, [("over_temperature", "t01")], Topics("bms"), "monitor", "0.1", 5.0
    )
    device = device_id("pack.1")
    assert topic == f"homeassistant/device/{device}/config"
    found = json.loads(payload)
    assert found["dev"]["ids"] == [device]
    assert found["o"]["name"] == "Cellpulse"
    assert found["avty"] == [{"t": "bms/_monitor/monitor/status"}]
    ids = set()
    for key, component in found["cmps"].items():
        assert key.replace("_", "").isalnum()
        assert component["p"] in ("sensor", "binary_sensor")
        assert component["state_topic"].startswith("bms/pack.1/")
        ids.add(component["unique_id"])
        if component["p"] == "sensor":
            assert component["expire_after"] == 15
    assert len(ids) == len(found["cmps"])
    alarm = found["cmps"]["alarm_over_temperature_t01"]
    assert alarm["state_topic"] == "bms/pack.1/alarm/over_temperature/t01"


def test_the_templates_say_what_they_should() -> None:
    """Home Assistant's templates are Jinja with `value` and, where it is JSON, `value_json`."""
    config = AssetConfig(v=1, nominal_capacity_ah=2.0)
    places = [("under_voltage", "group"), ("device_fan.1", "pack")]
    _, payload = discovery("p", config, places, Topics("bms"), "monitor", "0.1", 5.0)
    components = json.loads(payload)["cmps"]

    def render(key: str, value: str, template: str = "value_template") -> str:
        with suppress(json.JSONDecodeError):
            known = {"value": value, "value_json": json.loads(value)}
            return Environment().from_string(components[key][template]).render(**known)
        return Environment().from_string(components[key][template]).render(value=value)

    frame = {"v": 1, "timestamp_ms": 1, "current_a": -2.0, "voltage_v": [3.7, None, 3.6]}
    for body in (json.dumps(frame), json.dumps([{"v": 1, "timestamp_ms": 0}, frame])):
        assert render("current", body) == "-2.0"
        assert render("voltage", body) == "3.6"
        assert render("temperature", body) == "None"
    reading = {"timestamp_ms": [1, 1], "value": [0.5, None]}
    estimate = json.dumps(dict.fromkeys(("soc", "soh", "thermal_score", "excess_heat_w"), reading))
    assert [render(key, estimate) for key in ("soc", "soh", "thermal_score", "excess_heat")] == [
        "50.0", "50.0", "0.5", "0.5",
    ]  # fmt: skip
    key = "alarm_under_voltage_group"
    for state, problem in (
        ("unacknowledged", "ON"), ("returned-unacknowledged", "ON"), ("acknowledged", "ON"),
        ("shelved", "OFF"), ("suppressed", "OFF"), ("out of service", "OFF"),
    ):  # fmt: skip
        record = json.dumps({"state": state, "members": 12})
        assert render(key, record) == problem
        assert json.loads(render(key, record, "json_attributes_template"))["members"] == 12
    assert render(key, "") == "OFF"
    assert render(key, "", "json_attributes_template") == "{}"


def test_every_key_is_one_that_home_assistant_publishes() -> None:
    """Its "MQTT Sensor" and "MQTT binary sensor" pages; another key makes it refuse the device."""
    both = {
        "p", "unique_id", "name", "state_topic", "value_template", "expire_after", "device_class",
        "json_attributes_topic", "json_attributes_template",
    }  # fmt: skip
    allowed = {
        "sensor": both | {"state_class", "unit_of_measurement", "suggested_display_precision"},
        "binary_sensor": both | {"payload_on", "payload_off", "off_delay", "force_update"},
    }
    groups = discovery("_group", None, [("stale", "gw.1")], Topics(), "monitor", "0.1", 0.0)
    asset = discovery(
        "p", AssetConfig(v=1, nominal_capacity_ah=2.0), [("device_a.b", "pack")], Topics(),
        "monitor", "0.1", 5.0,
    )  # fmt: skip
    for topic, payload in (groups, asset):
        assert re.fullmatch(r"homeassistant/device/[A-Za-z0-9_-]+/config", topic)
        found = json.loads(payload)
        assert set(found) == {"dev", "o", "avty", "qos", "cmps"}
        for key, component in found["cmps"].items():
            assert re.fullmatch(r"[A-Za-z0-9_-]+", key)
            assert set(component) <= allowed[component["p"]]
            assert {"p", "unique_id", "state_topic"} <= set(component)
    assert next(iter(json.loads(groups[1])["cmps"].values()))["state_topic"] == (
        "bms/_group/alarm/stale/gw.1"
    )


def test_different_assets_have_different_ids() -> None:
    names = ["a.b", "a_b", "a-b", "a..b"]
    ids = {device_id(name) for name in names}
    assert len(ids) == len(names)
    for found in ids:
        assert found.replace("_", "").replace("-", "").isalnum()
