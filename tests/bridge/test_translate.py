"""Other people's bridges: payloads as those projects publish them, and what we make of them.

The payloads follow each project's own publishing code: fl4p/batmon-ha `mqtt_util.py`,
mr-manuel/venus-os_dbus-serialbattery `dbushelper.py` and dbus-mqtt-battery's README,
dalathegreat/Battery-Emulator `mqtt.cpp`, syssi/esphome-jk-bms and esphome-jbd-bms,
hoylabs/OpenDTU-OnBattery `BatteryStats.cpp`, Home Assistant's MQTT Statestream.

The module is long because the payloads of every project stand here as they are published.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import sparkplug
from bridge.errors import FrameError, MappingError
from bridge.jsonpath import Path as JsonPath
from bridge.mapping import Mapping, Rule, is_true, load
from bridge.presets import NAMES, preset
from bridge.reading import Reading
from bridge.run_translate import run_translate
from bridge.settings import TranslateSettings
from bridge.translate import Timing, Translator, Update
from monitor.contract import AssetConfig, DeviceAlarm, Frame, decode, decode_telemetry
from tests.bridge_brokers import ear, embedded

NOW = 1_700_000_000_000


def translated(
    mapping: Mapping, messages: list[tuple[str, Any]], asset: str | None = None
) -> list[Update]:
    """What comes of messages that arrive together, once they have settled."""
    translator = Translator(mapping, asset=asset)
    for topic, payload in messages:
        raw = payload if isinstance(payload, str) else json.dumps(payload)
        translator.receive(topic, raw.encode(), NOW)
    assert list(translator.due(NOW)) == []
    return list(translator.due(NOW + 200))


def reading_of(told: list[Update], asset: str) -> Reading:
    """The one reading, of the asset expected."""
    ((only),) = told
    assert (only.asset, only.timestamp_ms, only.online) == (asset, NOW, True)
    assert only.reading is not None
    return only.reading


def test_batmon_ha() -> None:
    # Positive discharges there.
    messages = [
        ("bms1/soc/total_voltage", "52.91"),
        ("bms1/soc/current", "12.35"),
        ("bms1/soc/soc_percent", "78.5"),
        ("bms1/soc/soh", "97"),
        ("bms1/soc/capacity", "280"),
        ("bms1/soc/num_cycles", "41"),
        ("bms1/mosfet_status/capacity_ah", "219.8"),
        ("bms1/mosfet_status/temperature", "31.2"),
        ("bms1/cell_voltages/1", "3.307"),
        ("bms1/cell_voltages/2", "3.308"),
        ("bms1/cell_voltages/average", "3.308"),
        ("bms1/temperatures/1", "21.4"),
        ("bms1/soc/power", "653.4"),
    ]
    assert reading_of(translated(preset("batmon-ha"), messages), "bms1") == Reading(
        cell_voltage_v=(3.307, 3.308),
        temperature_c=(21.4,),
        mos_temperature_c=31.2,
        current_a=-12.35,
        pack_voltage_v=52.91,
        soc=0.785,
        soh=0.97,
        remaining_capacity_ah=219.8,
        nominal_capacity_ah=280.0,
        cycles=41,
    )


VENUS = Reading(
    cell_voltage_v=(3.201, 3.202, 3.203),
    temperature_c=(23.0,),
    mos_temperature_c=23.5,
    current_a=6.1,
    pack_voltage_v=52.7,
    soc=0.63,
    soh=0.98,
    remaining_capacity_ah=125.5,
    nominal_capacity_ah=200.0,
    cycles=5,
    charge_enabled=True,
    discharge_enabled=False,
    balancing=False,
    alarms=("LowVoltage",),
)


def test_dbus_serialbattery_json() -> None:
    # The whole battery as a string of JSON inside Venus OS's own JSON.
    battery = {
        "Dc": {"0": {"Power": 321.6, "Voltage": 52.7, "Current": 6.1, "Temperature": 23}},
        "InstalledCapacity": 200.0,
        "ConsumedAmphours": 74.5,
        "Capacity": 125.5,
        "Soc": 63,
        "Soh": 98,
        "Balancing": 0,
        "Alarms": {"LowVoltage": 2, "HighVoltage": 0, "LowSoc": None},
        "History": {"ChargeCycles": 5},
        "System": {"MOSTemperature": 23.5, "MinVoltageCellId": "C1"},
        "Voltages": {"Cell1": 3.201, "Cell2": 3.202, "Cell3": 3.203},
        "Io": {"AllowToCharge": 1, "AllowToDischarge": 0},
    }
    told = translated(
        preset("dbus-serialbattery"),
        [("N/c0619ab0000/battery/512/JsonData", {"value": json.dumps(battery)})],
    )
    assert reading_of(told, "512") == VENUS


def test_venus_os_one_topic_a_value() -> None:
    here = "N/c0619ab0000/battery/512"
    messages = [
        (f"{here}/Dc/0/Current", {"value": -6.1}),
        (f"{here}/Dc/0/Voltage", {"value": 52.7}),
        (f"{here}/Dc/0/Temperature", {"value": 23}),
        (f"{here}/Soc", {"value": 63}),
        (f"{here}/Voltages/Cell2", {"value": 3.202}),
        (f"{here}/Alarms/CellImbalance", {"value": 1}),
        (f"{here}/Alarms/LowSoc", {"value": 0}),
        (f"{here}/Connected", {"value": 1}),
    ]
    told = translated(preset("dbus-serialbattery"), messages)
    assert reading_of(told, "512") == Reading(
        cell_voltage_v=(None, 3.202),
        temperature_c=(23.0,),
        current_a=-6.1,
        pack_voltage_v=52.7,
        soc=0.63,
        alarms=("CellImbalance",),
    )


def test_dbus_mqtt_battery_json() -> None:
    battery = {
        "Dc": {"Power": 321.6, "Voltage": 52.7, "Current": 6.10, "Temperature": 23},
        "InstalledCapacity": 200.0,
        "Capacity": 125.5,
        "Soc": 63,
        "Alarms": {"LowVoltage": 0, "FuseBlown": 2},
        "Voltages": {"Cell1": 3.201, "Cell10": 3.21},
    }
    reading = reading_of(
        translated(preset("dbus-serialbattery"), [("garage/json", battery)]), "garage"
    )
    assert reading.cell_voltage_v == (3.201, *[None] * 8, 3.21)
    assert (reading.current_a, reading.nominal_capacity_ah) == (6.1, 200.0)
    assert reading.alarms == ("FuseBlown",)


def test_battery_emulator() -> None:
    info = {
        "bms_status": "ACTIVE",
        "pause_status": "RUNNING",
        "SOC": 61.2,
        "SOC_real": 58.4,
        "state_of_health": 93.0,
        "temperature_min": 18.5,
        "temperature_max": 21.0,
        "stat_batt_power": -2104.0,
        "battery_current": -5.9,
        "battery_voltage": 356.7,
        "cell_max_voltage": 3.721,
        "cell_min_voltage": 3.714,
    }
    messages = [
        ("BE/info", info),
        ("BE/spec_data", {"cell_voltages": [3.714, 3.721, 3.718]}),
        ("BE/status", "online"),
    ]
    assert reading_of(translated(preset("battery-emulator"), messages), "BE") == Reading(
        cell_voltage_v=(3.714, 3.721, 3.718),
        temperature_c=(18.5, 21.0),
        current_a=-5.9,
        pack_voltage_v=356.7,
        soc=0.584,
        soh=0.93,
    )


@pytest.mark.parametrize("prefix", ["", "jk-bms_"])
def test_esphome_jk(prefix: str) -> None:
    # ESPHome writes the node's name before the sensor's where the configuration says "${name} ...".
    sensor = f"jk-bms/sensor/{prefix}"
    messages = [
        (f"{sensor}cell_voltage_1/state", "3.327"),
        (f"{sensor}cell_voltage_2/state", "3.329"),
        (f"{sensor}min_cell_voltage/state", "3.327"),
        (f"{sensor}delta_cell_voltage/state", "0.002"),
        (f"{sensor}total_voltage/state", "53.251"),
        (f"{sensor}current/state", "-4.5"),
        (f"{sensor}balancing_current/state", "0.8"),
        (f"{sensor}temperature_sensor_1/state", "19.0"),
        (f"{sensor}temperature_sensor_2/state", "nan"),
        (f"{sensor}power_tube_temperature/state", "21.0"),
        (f"{sensor}state_of_charge/state", "84"),
        (f"{sensor}total_battery_capacity_setting/state", "81.0"),
        (f"jk-bms/binary_sensor/{prefix}charging/state", "ON"),
        (f"jk-bms/binary_sensor/{prefix}discharging/state", "OFF"),
        ("jk-bms/status", "online"),
    ]
    assert reading_of(translated(preset("esphome"), messages), "jk-bms") == Reading(
        cell_voltage_v=(3.327, 3.329),
        temperature_c=(19.0, None),
        mos_temperature_c=21.0,
        current_a=-4.5,
        pack_voltage_v=53.251,
        soc=0.84,
        nominal_capacity_ah=81.0,
        charge_enabled=True,
        discharge_enabled=False,
    )


def test_esphome_jbd() -> None:
    messages = [
        ("jbd-bms/sensor/cell_voltage_1/state", "3.909"),
        ("jbd-bms/sensor/temperature_1/state", "22.4"),
        ("jbd-bms/sensor/total_voltage/state", "15.60"),
        ("jbd-bms/sensor/current/state", "0.00"),
        ("jbd-bms/sensor/state_of_charge/state", "100"),
        ("jbd-bms/sensor/nominal_capacity/state", "5.00"),
        ("jbd-bms/sensor/capacity_remaining/state", "4.98"),
        ("jbd-bms/sensor/charging_cycles/state", "0"),
    ]
    assert reading_of(translated(preset("esphome"), messages), "jbd-bms") == Reading(
        cell_voltage_v=(3.909,),
        temperature_c=(22.4,),
        current_a=0.0,
        pack_voltage_v=15.6,
        soc=1.0,
        remaining_capacity_ah=4.98,
        nominal_capacity_ah=5.0,
        cycles=0,
    )


def test_opendtu_onbattery() -> None:
    messages = [
        ("solar/battery/manufacturer", "JKBMS"),
        ("solar/battery/dataAge", "2"),
        ("solar/battery/stateOfCharge", "62.0"),
        ("solar/battery/voltage", "52.31"),
        ("solar/battery/current", "-18.4"),
        ("solar/battery/BatteryTempOneCelsius", "22"),
        ("solar/battery/BatteryTempTwoCelsius", "23"),
        ("solar/battery/BmsTempCelsius", "30"),
        ("solar/battery/Cell1MilliVolt", "3269"),
        ("solar/battery/Cell2MilliVolt", "3270"),
        ("solar/battery/CellMinMilliVolt", "3269"),
        ("solar/battery/alarms/LowCapacity", "0"),
        ("solar/battery/alarms/BmsOvertemperature", "1"),
    ]
    assert reading_of(translated(preset("opendtu-onbattery"), messages), "solar") == Reading(
        cell_voltage_v=(3.269, 3.27),
        temperature_c=(22.0, 23.0),
        mos_temperature_c=30.0,
        current_a=-18.4,
        pack_voltage_v=52.31,
        soc=0.62,
        alarms=("BmsOvertemperature",),
    )


def test_statestream() -> None:
    here = "homeassistant/statestream/sensor/smartbat_b1234"
    messages = [
        (f"{here}_voltage/state", "13.34"),
        (f"{here}_current/state", "3.2"),
        (f"{here}_battery/state", "66"),
        (f"{here}_temperature/state", "unavailable"),
        (f"{here}_cell_voltage_1/state", "3.335"),
        (f"{here}_delta_cell_voltage/state", "0.004"),
        ("homeassistant/statestream/sensor/kitchen_temperature/state", "21"),
        (f"{here}_voltage/last_updated", "2026-01-01T00:00:00"),
    ]
    told = translated(preset("statestream", device="smartbat_b1234"), messages, asset="boat")
    assert reading_of(told, "boat") == Reading(
        cell_voltage_v=(3.335,),
        temperature_c=(None,),
        current_a=3.2,
        pack_voltage_v=13.34,
        soc=0.66,
    )


def test_presets_refuse_what_they_cannot_use() -> None:
    with pytest.raises(MappingError, match="--device"):
        preset("statestream")
    with pytest.raises(MappingError, match="expected one of batmon-ha"):
        preset("tasmota")
    for name in NAMES:
        assert Translator(preset(name, device="x")).filters()
    moved = Translator(preset("batmon-ha", base="home/bat/{asset}"))
    assert "home/bat/+/soc/current" in moved.filters()


def test_values_from_two_assets_do_not_mix() -> None:
    told = translated(
        preset("batmon-ha"),
        [("a/soc/current", "1"), ("b/soc/current", "2"), ("a/soc/current", "3")],
    )
    assert [(t.asset, t.reading.current_a if t.reading else None) for t in told] == [
        ("a", -3.0),
        ("b", -2.0),
    ]


def test_readings_wait_for_quiet_but_not_for_ever() -> None:
    translator = Translator(preset("batmon-ha"), Timing(settle_ms=200, longest_ms=1_000))
    assert translator.wait_ms(NOW) is None
    due_at = []
    for step in range(0, 2_600, 100):
        translator.receive("a/soc/current", str(step).encode(), NOW + step)
        due_at += [step for _ in translator.due(NOW + step)]
    assert due_at == [1_000, 2_100]
    assert translator.wait_ms(NOW + 2_550) == 150
    assert translator.wait_ms(NOW + 9_999) == 0


def test_a_value_that_is_not_told_again_is_not_known_any_more() -> None:
    translator = Translator(preset("batmon-ha"), Timing(stale_ms=60_000))
    for topic, payload in (
        ("a/cell_voltages/1", b"3.3"),
        ("a/cell_voltages/2", b"3.4"),
        ("a/soc/capacity", b"100"),
    ):
        translator.receive(topic, payload, NOW)
    list(translator.due(NOW + 500))
    translator.receive("a/cell_voltages/2", b"3.5", NOW + 60_000)
    (told,) = translator.due(NOW + 60_500)
    assert told.reading == Reading(cell_voltage_v=(None, 3.5), nominal_capacity_ah=100.0)


def test_retained_values_are_of_unknown_age() -> None:
    translator = Translator(preset("batmon-ha"))
    translator.receive("a/soc/current", b"5", NOW, retained=True)
    translator.receive("a/soc/capacity", b"100", NOW, retained=True)
    (told,) = translator.due(NOW + 500)
    assert told.reading == Reading(nominal_capacity_ah=100.0)
    assert translator.ignored == 1


def test_offline_and_back() -> None:
    translator = Translator(preset("esphome"))
    translator.receive("jk/sensor/current/state", b"1", NOW)
    translator.receive("jk/status", b"offline", NOW + 1)
    assert [(t.asset, t.online, t.reading) for t in translator.due(NOW + 2)] == [
        ("jk", False, None)
    ]
    assert list(translator.due(NOW + 900)) == []
    translator.receive("jk/sensor/current/state", b"2", NOW + 1_000)
    (back,) = translator.due(NOW + 2_000)
    assert back.online
    assert back.reading is not None


MAPPING = """
[[rule]]
topic = "rack/{asset}/state"
path = "$.pack['cells'][*].mv"
to = "cell_voltage_v"
unit = "mV"

[[rule]]
topic = "rack/{asset}/state"
path = "$.pack.i"
to = "current_a"
unit = "mA"
sign = -1

[[rule]]
topic = "rack/{asset}/state"
path = "$.pack.t[0]"
to = "temperature_c"
unit = "F"

[[rule]]
topic = "rack/{asset}/state"
path = "$.pack.u"
to = "pack_voltage_v"
scale = 0.1

[[rule]]
topic = "rack/{asset}/fault/{name}"
to = "alarm"
"""


def test_a_mapping_file_for_any_json(tmp_path: Path) -> None:
    path = tmp_path / "rack.toml"
    path.write_text(MAPPING)
    state = {"pack": {"cells": [{"mv": 3301}, {"mv": 3302}], "i": 12500, "t": [77.0], "u": 66}}
    told = translated(load(path), [("rack/r1/state", state), ("rack/r1/fault/fan", "1")])
    assert reading_of(told, "r1") == Reading(
        cell_voltage_v=(3.301, 3.302),
        temperature_c=(25.0,),
        current_a=-12.5,
        pack_voltage_v=6.6,
        alarms=("fan",),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one"),
        ("rule = 3", "at least one"),
        ("[[rule]\n", "m.toml"),
        ('[[rule]]\ntopic = "a"\nto = "voltage"', "rule 1: to = 'voltage': expected one of"),
        ('[[rule]]\ntopic = "a"\nto = "soc"', "rule 1: soc: expected unit"),
        ('[[rule]]\ntopic = "a"\nto = "current_a"\nunit = "V"', "no unit of current_a"),
        ('[[rule]]\ntopic = "a"\nto = "current_a"\nunit = "kA"', "expected one of V"),
        ('[[rule]]\ntopic = "a"\nto = "current_a"\nsign = 2', "expected 1 or -1"),
        ('[[rule]]\ntopic = "a"\nto = "current_a"\ncolour = 2', "'colour' is unknown"),
        ('[[rule]]\nto = "current_a"', "rule 1: .*topic"),
        ('[[rule]]\ntopic = "a/{cell}"\nto = "current_a"', "expected {asset}"),
        ('[[rule]]\ntopic = "a"\nto = "current_a"\npath = "x"', "begin with \\$"),
        ('[[rule]]\ntopic = "a"\nto = "current_a"\npath = "$..x"', "cannot read"),
    ],
)
def test_a_mapping_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(MappingError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("$", [{"a": [1, {"b c": 2}], "s": '{"x": [5]}'}]),
        ("$.a[0]", [1]),
        ("$.a[-1]['b c']", [2]),
        ('$["a"][*]', [1, {"b c": 2}]),
        ("$.*", [[1, {"b c": 2}], '{"x": [5]}']),
        ("$.s.x[0]", [5]),
        ("$.a[7]", []),
        ("$.a.b", []),
        ("$.nothing[*].x", []),
    ],
)
def test_jsonpath(path: str, values: list[Any]) -> None:
    document = {"a": [1, {"b c": 2}], "s": '{"x": [5]}'}
    assert [found.value for found in JsonPath(path).find(document)] == values


def test_numbers_and_switches() -> None:
    rule = Rule("t", "temperature_c", unit="K")
    assert rule.number("300.15") == 27.0
    assert rule.number(True) == pytest.approx(-272.15)
    for nothing in ("", "unknown", "nan", "inf", "12 V", None, [1], float("nan")):
        assert rule.number(nothing) is None
    for value, expected in (("ON", True), ("off", False), (2, True), (0, False), (None, None)):
        assert is_true(value) is expected


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_payload_on_any_topic_is_survived(data: st.DataObject) -> None:
    translator = Translator(preset(data.draw(st.sampled_from(NAMES)), device="x"))
    topics = [rule.filter for rule in translator._rules]
    for _ in range(3):
        topic = data.draw(st.sampled_from(topics)).replace(
            "+", data.draw(st.text(max_size=5)) or "1"
        )
        payload = data.draw(
            st.one_of(
                st.binary(max_size=30),
                st.recursive(
                    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5)),
                    lambda inner: st.dictionaries(
                        st.sampled_from(("value", "Voltages", "Cell1", "Dc", "0")), inner
                    ),
                    max_leaves=5,
                ).map(lambda value: json.dumps(value).encode()),
            )
        )
        with contextlib.suppress(FrameError):  # the one error that it has
            translator.receive(topic, payload, NOW)
    for told in translator.due(NOW + 9_999):
        assert told.reading is None or told.reading.soc is None or 0 <= told.reading.soc <= 1


def payload_class() -> Any:
    """Sparkplug's Payload, built by Google's protobuf library: the oracle for our reader."""
    file = descriptor_pb2.FileDescriptorProto(name="s.proto", package="s", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    metric = file.message_type.add(name="Metric")
    for name, number, kind in (
        ("name", 1, kinds.TYPE_STRING),
        ("alias", 2, kinds.TYPE_UINT64),
        ("timestamp", 3, kinds.TYPE_UINT64),
        ("datatype", 4, kinds.TYPE_UINT32),
        ("is_null", 7, kinds.TYPE_BOOL),
        ("int_value", 10, kinds.TYPE_UINT32),
        ("long_value", 11, kinds.TYPE_UINT64),
        ("float_value", 12, kinds.TYPE_FLOAT),
        ("double_value", 13, kinds.TYPE_DOUBLE),
        ("boolean_value", 14, kinds.TYPE_BOOL),
        ("string_value", 15, kinds.TYPE_STRING),
    ):
        metric.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    payload = file.message_type.add(name="Payload")
    payload.field.add(name="timestamp", number=1, type=kinds.TYPE_UINT64, label=1)
    payload.field.add(
        name="metrics", number=2, type=kinds.TYPE_MESSAGE, label=3, type_name=".s.Metric"
    )
    payload.field.add(name="seq", number=3, type=kinds.TYPE_UINT64, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("s.Payload"))


Payload = payload_class()


def birth() -> bytes:
    message = Payload(timestamp=NOW, seq=0)
    message.metrics.add(name="current_a", alias=1, datatype=9, float_value=-2.5)
    message.metrics.add(name="voltage_v/1", alias=2, datatype=10, double_value=3.31)
    message.metrics.add(name="voltage_v/2", alias=3, datatype=10, double_value=3.32)
    message.metrics.add(name="temperature_c[0]", alias=4, datatype=3, int_value=2**32 - 5)
    message.metrics.add(name="device_soc", alias=5, datatype=10, is_null=True)
    message.metrics.add(name="alarms/overheat", alias=6, datatype=11, boolean_value=True)
    message.metrics.add(name="nominal_capacity_ah", alias=7, datatype=8, long_value=100)
    message.metrics.add(name="note", datatype=12, string_value="hello")
    return bytes(message.SerializeToString())


def test_sparkplug_birth_data_death() -> None:
    edge, translator = sparkplug.Edge(), Translator(preset("sparkplug"))
    known = edge.receive("spBv1.0/plant/DBIRTH/edge1/pack7", birth())
    assert isinstance(known, sparkplug.Known)
    assert known.topic == "sparkplug/plant/edge1/pack7"
    assert known.metrics["note"] == "hello"
    translator.receive_value(known.topic, known.metrics, NOW)
    assert reading_of(list(translator.due(NOW + 500)), "pack7") == Reading(
        cell_voltage_v=(3.31, 3.32),
        temperature_c=(-5.0,),
        current_a=-2.5,
        nominal_capacity_ah=100.0,
        alarms=("overheat",),
    )
    data = Payload(timestamp=NOW, seq=1)
    data.metrics.add(alias=2, datatype=10, double_value=3.4)
    data.metrics.add(alias=99, datatype=10, double_value=9.9)
    later = edge.receive("spBv1.0/plant/DDATA/edge1/pack7", bytes(data.SerializeToString()))
    assert later == sparkplug.Known(known.topic, {"voltage_v": {"1": 3.4}})
    death = edge.receive("spBv1.0/plant/NDEATH/edge1", b"")
    assert death == sparkplug.Death("sparkplug/plant/edge1/")
    translator.lost("sparkplug/plant/edge2/", NOW + 1_000)
    assert list(translator.due(NOW + 1_000)) == []
    translator.lost("sparkplug/plant/edge1/", NOW + 1_000)
    assert [told.online for told in translator.due(NOW + 1_000)] == [False]
    # Aliases are void after a death: data without a birth say nothing.
    assert edge.receive(
        "spBv1.0/plant/DDATA/edge1/pack7", bytes(data.SerializeToString())
    ) == sparkplug.Known(known.topic, {})
    assert edge.receive("spBv1.0/plant/DDEATH/edge1/pack7", b"") == sparkplug.Death(known.topic)
    assert edge.receive("spBv1.0/STATE/host", b"{}") is None
    assert edge.receive("spBv1.0/plant/NCMD/edge1", b"") is None


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.integers(0, 120).map(lambda cut: birth()[:cut])))
def test_sparkplug_reader_raises_nothing_but_its_own_error(raw: bytes) -> None:
    with contextlib.suppress(FrameError):
        list(sparkplug.read_metrics(raw))


async def test_translate_between_brokers(free_port: int) -> None:
    with embedded(free_port):
        url = f"mqtt://127.0.0.1:{free_port}"
        settings = TranslateSettings(broker=url, asset="", preset="opendtu-onbattery")
        async with (
            ear(free_port, "bms/#") as heard,
            aiomqtt.Client("127.0.0.1", free_port) as client,
        ):
            task = asyncio.create_task(run_translate(settings))
            status = "bms/_gateway/translate-opendtu-onbattery/status"
            await heard.until(lambda: heard.on(status) == [b"online"])

            def whole() -> list[Frame]:
                frames = (decode_telemetry(one)[0] for one in heard.on("bms/solar/telemetry"))
                return [
                    one for one in frames if one.device_flags and one.voltage_v and one.current_a
                ]

            async def publish() -> None:
                # Until heard: the translator may still be subscribing.
                while not whole():
                    await client.publish("solar/battery/Cell1MilliVolt", "3301")
                    await client.publish("solar/battery/current", "-7.5")
                    await client.publish("solar/battery/alarms/Hot", "1")
                    await asyncio.sleep(0.3)

            async with asyncio.timeout(20):
                await publish()
            await heard.until(lambda: bool(heard.on("bms/solar/device_alarm")))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await heard.until(lambda: heard.on("bms/solar/status")[-1] == b"offline")
        (frame, *_) = whole()
        assert (frame.voltage_v, frame.current_a, frame.device_flags) == ([3.301], -7.5, ["Hot"])
        alarm = decode(DeviceAlarm, heard.on("bms/solar/device_alarm")[0])
        assert (alarm.name, alarm.active) == ("Hot", True)
        assert heard.on("bms/solar/config") == []  # nobody has told the capacity


async def test_translate_needs_one_source() -> None:
    for asked in (
        TranslateSettings(asset=""),
        TranslateSettings(asset="", preset="esphome", mapping="x.toml"),
    ):
        with pytest.raises(MappingError, match="either --from or --mapping"):
            await run_translate(asked)


async def test_sparkplug_between_brokers(free_port: int) -> None:
    with embedded(free_port):
        url = f"mqtt://127.0.0.1:{free_port}"
        wanted = TranslateSettings(broker=url, asset="", preset="sparkplug", gateway="sp")
        async with (
            ear(free_port, "bms/#") as heard,
            aiomqtt.Client("127.0.0.1", free_port) as client,
        ):
            task = asyncio.create_task(run_translate(wanted))
            async with asyncio.timeout(20):
                while not heard.on("bms/pack7/telemetry"):  # it may still be subscribing
                    await client.publish("spBv1.0/plant/DBIRTH/edge1/pack7", b"\x12\x05broken")
                    await client.publish("spBv1.0/plant/DBIRTH/edge1/pack7", birth())
                    await asyncio.sleep(0.3)
            await client.publish("spBv1.0/plant/NDEATH/edge1", b"")
            await heard.until(lambda: heard.on("bms/pack7/status")[-1:] == [b"offline"])
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        (frame, *_) = decode_telemetry(heard.on("bms/pack7/telemetry")[0])
        assert (frame.voltage_v, frame.current_a) == ([3.31, 3.32], -2.5)
        assert frame.device_flags == ["overheat"]
        assert decode(AssetConfig, heard.on("bms/pack7/config")[0]).cells == 2
