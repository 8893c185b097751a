"""The mappings for bridges that people already run, as each project publishes today.

Sources: batmon-ha `mqtt_util.py` (positive discharges); dbus-serialbattery's JSON and D-Bus paths
through Venus OS (positive charges); Battery-Emulator `mqtt.cpp` (positive charges);
esphome-jbd-bms and esphome-jk-bms with ESPHome's MQTT client (positive charges);
OpenDTU-OnBattery `BatteryStats.cpp` (positive charges); Home Assistant's MQTT Statestream with
the entities of BMS_BLE-HA and ESPHome (positive charges).
"""

from __future__ import annotations

from bridge.errors import MappingError
from bridge.mapping import Mapping, Rule

NAMES = (
    "batmon-ha",
    "dbus-serialbattery",
    "battery-emulator",
    "esphome",
    "opendtu-onbattery",
    "statestream",
    "sparkplug",
)


def preset(name: str, base: str | None = None, device: str | None = None) -> Mapping:
    """A built-in mapping.

    `base` is the first level or levels of the source's topics where the user changed them.
    `device` is the entities' prefix for `statestream`, whose topics do not say where a device's
    name ends. Raises MappingError for a name that does not exist.
    """
    if name == "batmon-ha":
        return Mapping(name, _batmon(_root(base, "{asset}")))
    if name == "dbus-serialbattery":
        return Mapping(name, _venus(_root(base, "N/{_}")))
    if name == "battery-emulator":
        return Mapping(name, _battery_emulator(_root(base, "{asset}")))
    if name == "esphome":
        return Mapping(name, _esphome(_root(base, "{asset}")))
    if name == "opendtu-onbattery":
        return Mapping(name, _opendtu(_root(base, "{asset}")))
    if name == "statestream":
        if not device:
            raise MappingError(
                "statestream: expected --device, the prefix of the entities' names (sensor.PREFIX_"
                "voltage)"
            )
        return Mapping(name, _statestream(_root(base, "homeassistant/statestream"), device))
    if name == "sparkplug":
        return Mapping(name, _sparkplug(), sparkplug=True)
    raise MappingError(f"preset {name!r}: expected one of {', '.join(NAMES)}")


def _root(base: str | None, usual: str) -> str:
    return (base or usual).strip("/")


def _batmon(root: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{root}/soc/total_voltage", "pack_voltage_v", unit="V"),
        Rule(f"{root}/soc/current", "current_a", unit="A", sign=-1),
        Rule(f"{root}/soc/soc_percent", "soc", unit="%"),
        Rule(f"{root}/soc/soh", "soh", unit="%"),
        Rule(f"{root}/soc/capacity", "nominal_capacity_ah", unit="Ah"),
        Rule(f"{root}/soc/num_cycles", "cycles"),
        Rule(f"{root}/mosfet_status/capacity_ah", "remaining_capacity_ah", unit="Ah"),
        Rule(f"{root}/mosfet_status/temperature", "mos_temperature_c", unit="C"),
        Rule(f"{root}/cell_voltages/{{n}}", "cell_voltage_v", unit="V"),
        Rule(f"{root}/temperatures/{{n}}", "temperature_c", unit="C"),
    )


def _venus(root: str) -> tuple[Rule, ...]:
    here = f"{root}/battery/{{asset}}"
    whole = f"{here}/JsonData"

    def at(path: str, to: str, **more: str) -> Rule:
        return Rule(whole, to, path=f"$.value{path}", **more)  # type: ignore[arg-type]

    def value(path: str, to: str, **more: str) -> Rule:
        return Rule(f"{here}/{path}", to, path="$.value", **more)  # type: ignore[arg-type]

    return (
        # All of it as JSON (PUBLISH_BATTERY_DATA_AS_JSON): D-Bus paths, cascaded.
        at(".Dc['0'].Current", "current_a", unit="A"),
        at(".Dc['0'].Voltage", "pack_voltage_v", unit="V"),
        at(".Dc['0'].Temperature", "temperature_c", unit="C"),
        at(".Soc", "soc", unit="%"),
        at(".Soh", "soh", unit="%"),
        at(".InstalledCapacity", "nominal_capacity_ah", unit="Ah"),
        at(".Capacity", "remaining_capacity_ah", unit="Ah"),
        at(".History.ChargeCycles", "cycles"),
        at(".System.MOSTemperature", "mos_temperature_c", unit="C"),
        at(".Balancing", "balancing"),
        at(".Io.AllowToCharge", "charge_enabled"),
        at(".Io.AllowToDischarge", "discharge_enabled"),
        at(".Voltages[*]", "cell_voltage_v", unit="V"),
        at(".Alarms[*]", "alarm"),
        # One topic a value, as Venus OS publishes every D-Bus path.
        value("Dc/0/Current", "current_a", unit="A"),
        value("Dc/0/Voltage", "pack_voltage_v", unit="V"),
        value("Dc/0/Temperature", "temperature_c", unit="C"),
        value("Soc", "soc", unit="%"),
        value("Soh", "soh", unit="%"),
        value("InstalledCapacity", "nominal_capacity_ah", unit="Ah"),
        value("Capacity", "remaining_capacity_ah", unit="Ah"),
        value("Voltages/Cell{n}", "cell_voltage_v", unit="V"),
        value("Alarms/{name}", "alarm"),
        value("Connected", "online"),
        # The same JSON as dbus-mqtt-battery and generic MQTT senders write it.
        Rule("{asset}/json", "current_a", path="$.Dc.Current", unit="A"),
        Rule("{asset}/json", "pack_voltage_v", path="$.Dc.Voltage", unit="V"),
        Rule("{asset}/json", "temperature_c", path="$.Dc.Temperature", unit="C"),
        Rule("{asset}/json", "soc", path="$.Soc", unit="%"),
        Rule("{asset}/json", "soh", path="$.Soh", unit="%"),
        Rule("{asset}/json", "nominal_capacity_ah", path="$.InstalledCapacity", unit="Ah"),
        Rule("{asset}/json", "remaining_capacity_ah", path="$.Capacity", unit="Ah"),
        Rule("{asset}/json", "cell_voltage_v", path="$.Voltages[*]", unit="V"),
        Rule("{asset}/json", "alarm", path="$.Alarms[*]"),
    )


def _battery_emulator(root: str) -> tuple[Rule, ...]:
    info = f"{root}/info"
    return (
        Rule(info, "current_a", path="$.battery_current", unit="A"),
        Rule(info, "pack_voltage_v", path="$.battery_voltage", unit="V"),
        Rule(info, "soc", path="$.SOC_real", unit="%"),
        Rule(info, "soh", path="$.state_of_health", unit="%"),
        # The coldest and the hottest are all it tells.
        Rule(info, "temperature_c", path="$.temperature_min", unit="C", n=1),
        Rule(info, "temperature_c", path="$.temperature_max", unit="C", n=2),
        Rule(f"{root}/spec_data", "cell_voltage_v", path="$.cell_voltages[*]", unit="V"),
        Rule(f"{root}/status", "online"),
    )


def _esphome(root: str) -> tuple[Rule, ...]:
    sensor = f"{root}/sensor/{{prefix}}"
    return (
        Rule(f"{sensor}cell_voltage_{{n}}/state", "cell_voltage_v", unit="V"),
        Rule(f"{sensor}temperature_sensor_{{n}}/state", "temperature_c", unit="C"),
        Rule(f"{sensor}temperature_{{n}}/state", "temperature_c", unit="C"),
        Rule(f"{sensor}power_tube_temperature/state", "mos_temperature_c", unit="C"),
        Rule(f"{sensor}total_voltage/state", "pack_voltage_v", unit="V"),
        Rule(f"{sensor}current/state", "current_a", unit="A"),
        Rule(f"{sensor}state_of_charge/state", "soc", unit="%"),
        Rule(f"{sensor}nominal_capacity/state", "nominal_capacity_ah", unit="Ah"),
        Rule(f"{sensor}total_battery_capacity_setting/state", "nominal_capacity_ah", unit="Ah"),
        Rule(f"{sensor}capacity_remaining/state", "remaining_capacity_ah", unit="Ah"),
        Rule(f"{sensor}charging_cycles/state", "cycles"),
        Rule(f"{root}/binary_sensor/{{prefix}}charging/state", "charge_enabled"),
        Rule(f"{root}/binary_sensor/{{prefix}}discharging/state", "discharge_enabled"),
        Rule(f"{root}/binary_sensor/{{prefix}}balancing/state", "balancing"),
        Rule(f"{root}/status", "online"),
    )


def _opendtu(root: str) -> tuple[Rule, ...]:
    here = f"{root}/battery"
    return (
        Rule(f"{here}/stateOfCharge", "soc", unit="%"),
        Rule(f"{here}/stateOfHealth", "soh", unit="%"),
        Rule(f"{here}/voltage", "pack_voltage_v", unit="V"),
        Rule(f"{here}/current", "current_a", unit="A"),
        Rule(f"{here}/temperature", "temperature_c", unit="C", n=1),
        Rule(f"{here}/BatteryTempOneCelsius", "temperature_c", unit="C", n=1),
        Rule(f"{here}/BatteryTempTwoCelsius", "temperature_c", unit="C", n=2),
        Rule(f"{here}/BmsTempCelsius", "mos_temperature_c", unit="C"),
        Rule(f"{here}/BatteryCycles", "cycles"),
        Rule(f"{here}/Cell{{n}}MilliVolt", "cell_voltage_v", unit="mV"),
        Rule(f"{here}/alarms/{{name}}", "alarm"),
        Rule(f"{root}/dtu/status", "online"),
    )


def _statestream(root: str, device: str) -> tuple[Rule, ...]:
    def entity(name: str, to: str, **more: str) -> Rule:
        topic = f"{root}/sensor/{device}_{name}/state"
        return Rule(topic, to, **more)  # type: ignore[arg-type]

    return (
        entity("cell_voltage_{n}", "cell_voltage_v", unit="V"),
        entity("temperature_{n}", "temperature_c", unit="C"),
        entity("temperature_sensor_{n}", "temperature_c", unit="C"),
        entity("temperature", "temperature_c", unit="C"),
        entity("voltage", "pack_voltage_v", unit="V"),
        entity("total_voltage", "pack_voltage_v", unit="V"),
        entity("current", "current_a", unit="A"),
        entity("battery", "soc", unit="%"),
        entity("state_of_charge", "soc", unit="%"),
        entity("cycles", "cycles"),
        entity("stored_charge", "remaining_capacity_ah", unit="Ah"),
        entity("nominal_capacity", "nominal_capacity_ah", unit="Ah"),
    )


def _sparkplug() -> tuple[Rule, ...]:
    """Metrics named like our own fields; other names need a mapping file with `sparkplug = true`.

    A device is the topic `sparkplug/<group>/<node>/<device>`, its metrics the JSON under it.
    """
    topic = "sparkplug/{_}/{_}/{asset}"
    return (
        Rule(topic, "current_a", path="$.current_a", unit="A"),
        Rule(topic, "pack_voltage_v", path="$.pack_voltage_v", unit="V"),
        Rule(topic, "soc", path="$.device_soc", unit="1"),
        Rule(topic, "soh", path="$.device_soh", unit="1"),
        Rule(topic, "nominal_capacity_ah", path="$.nominal_capacity_ah", unit="Ah"),
        Rule(topic, "cell_voltage_v", path="$.voltage_v[*]", unit="V"),
        Rule(topic, "temperature_c", path="$.temperature_c[*]", unit="C"),
        Rule(topic, "alarm", path="$.alarms[*]"),
    )
