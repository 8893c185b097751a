"""Home Assistant's MQTT discovery of an asset, in its device form (since 2024.11).

One retained message on `<prefix>/device/<id>/config` describes the asset as a device with its
sensors (read from the `estimate` and `telemetry` topics) and one binary sensor for every alarm that
has ever been raised. Pure: what is published and when is the service's.

Source: Home Assistant, "MQTT Discovery", device discovery payload: `dev` and `o` are mandatory, an
entry of `cmps` needs `p` and, for entities, `unique_id`; an empty payload deletes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from monitor.contract import AssetConfig, Topics
from monitor.gaps import GONE_FRAMES, gap_ms

PREFIX = "homeassistant"


# An alarm that is parked is known and asks for nobody.
_PROBLEM = (
    "{{ 'ON' if value and value_json.state not in "
    "['shelved', 'suppressed', 'out of service'] else 'OFF' }}"
)


def device_id(asset: str) -> str:
    """An id of `[a-zA-Z0-9_-]` for an asset's name, different for different names."""
    return f"cellpulse_{_plain(asset)}"


def _plain(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if plain == name:
        return plain
    return f"{plain}_{hashlib.blake2s(name.encode(), digest_size=4).hexdigest()}"


def discovery(
    asset: str,
    config: AssetConfig | None,
    alarms: Iterable[tuple[str, str]],
    topics: Topics,
    monitor_id: str,
    version: str,
    prefix: str = PREFIX,
) -> tuple[str, bytes]:
    """The topic and the payload that make an asset known; `alarms` are (code, source) pairs.

    Without a config it is a device of alarms alone: those that speak for several assets.
    """
    device = device_id(asset)
    name = asset if config is not None else "Several assets"
    components = {} if config is None else _sensors(asset, device, config, topics)
    for code, source in sorted(set(alarms)):
        key = _plain(f"alarm_{code}_{source}")
        components[key] = {
            "p": "binary_sensor",
            "unique_id": f"{device}_{key}",
            "name": f"{code.replace('_', ' ').capitalize()} ({source})",
            "device_class": "problem",
            "state_topic": topics.of(asset, "alarm", code, source),
            "value_template": _PROBLEM,
            "json_attributes_topic": topics.of(asset, "alarm", code, source),
            "json_attributes_template": "{{ value if value else '{}' }}",
        }
    payload = {
        "dev": {
            "ids": [device],
            "name": name,
            "mf": "Cellpulse",
            "mdl": (config.chemistry if config is not None else None) or "battery",
        },
        "o": {"name": "Cellpulse", "sw": version},
        "avty": [{"t": topics.ours("monitor", monitor_id, "status")}],
        "qos": 1,
        "cmps": components,
    }
    return f"{prefix}/device/{device}/config", msgspec.json.encode(payload)


def _sensors(
    asset: str, device: str, config: AssetConfig, topics: Topics
) -> dict[str, dict[str, Any]]:
    """The sensors of one asset, read from its estimate and telemetry."""
    estimate = topics.of(asset, "estimate")
    telemetry = topics.of(asset, "telemetry")
    expire_s = round(gap_ms(config, GONE_FRAMES) / 1_000)
    components: dict[str, dict[str, Any]] = {}

    def sensor(key: str, name: str, topic: str, template: str, **more: object) -> None:
        components[key] = {
            "p": "sensor",
            "unique_id": f"{device}_{key}",
            "name": name,
            "state_topic": topic,
            "value_template": template,
            "state_class": "measurement",
            "expire_after": expire_s,
            **more,
        }

    def least(path: str) -> str:
        """The smallest known value over the cells, in percent; nothing where none is known."""
        return (
            f"{{% set known = value_json.{path}.value | reject('none') | list %}}"
            "{{ (100 * (known | min)) | round(1) if known else none }}"
        )

    def newest(path: str, digits: int, reduce: str) -> str:
        return (
            f"{{% set known = value_json.{path}.value | reject('none') | list %}}"
            f"{{{{ (known | {reduce}) | round({digits}) if known else none }}}}"
        )

    # A telemetry message may be one frame or an array of frames: the last one counts.
    frame = "{% set f = value_json if value_json is mapping else value_json[-1] %}"
    sensor(
        "soc", "State of charge", estimate, least("soc"),
        device_class="battery", unit_of_measurement="%",
    )  # fmt: skip
    sensor("soh", "State of health", estimate, least("soh"), unit_of_measurement="%")
    sensor("thermal_score", "Thermal score", estimate, newest("thermal_score", 2, "max"))
    sensor(
        "excess_heat", "Excess heat", estimate, newest("excess_heat_w", 2, "max"),
        device_class="power", unit_of_measurement="W",
    )  # fmt: skip
    sensor(
        "current", "Current", telemetry, frame + "{{ f.current_a if f.current_a is defined }}",
        device_class="current", unit_of_measurement="A",
    )  # fmt: skip
    for key, name, field, kind, unit in (
        ("voltage", "Lowest cell voltage", "voltage_v", "voltage", "V"),
        ("temperature", "Highest temperature", "temperature_c", "temperature", "°C"),
    ):
        reduce = "min" if key == "voltage" else "max"
        sensor(
            key, name, telemetry,
            frame + f"{{% set x = f.{field} %}}"
            "{% set known = ([x] if x is number else x or []) | reject('none') | list %}"
            f"{{{{ known | {reduce} if known else none }}}}",
            device_class=kind, unit_of_measurement=unit,
        )  # fmt: skip
    return components
