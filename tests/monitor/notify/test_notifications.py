"""Alarms out: Home Assistant's discovery; the webhook is in `test_webhook.py`."""

from __future__ import annotations

import json
import re
from contextlib import suppress

from jinja2 import Environment

from monitor.contract import AssetConfig, Topics
from monitor.notify.homeassistant import device_id, discovery


def test_discovery_has_the_published_form() -> None:
    config = AssetConfig(v=1, nominal_capacity_ah=2.0, chemistry="LFP")
    topic, payload = discovery(
        "pack.1", config, [("over_temperature", "t01")], Topics("bms"), "monitor", "0.1"
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
    _, payload = discovery("p", config, places, Topics("bms"), "monitor", "0.1")
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
    groups = discovery("_group", None, [("stale", "gw.1")], Topics(), "monitor", "0.1")
    asset = discovery(
        "p", AssetConfig(v=1, nominal_capacity_ah=2.0), [("device_a.b", "pack")], Topics(),
        "monitor", "0.1",
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
