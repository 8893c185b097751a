"""The telemetry contract: round trips, refusals that name the field, hostile bytes, schemas.

The module is long because every message has its refusals here.
"""

from __future__ import annotations

import json
import math

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.contract import (
    MAX_CELLS,
    MAX_FRAMES,
    MAX_PAYLOAD_BYTES,
    MAX_TIMESTAMP_MS,
    MESSAGES,
    AlarmRecord,
    AssetConfig,
    Command,
    CycleSummary,
    DeviceAlarm,
    Estimate,
    Event,
    Frame,
    InferenceTimes,
    Limits,
    MonitorMetrics,
    Provenance,
    Reading,
    Rejected,
    Reply,
    SimulatorCommand,
    SimulatorState,
    SohReading,
    Topics,
    Truth,
    as_list,
    cell_name,
    decode,
    decode_status,
    decode_telemetry,
    encode,
    is_asset_name,
    json_schemas,
    sensor_name,
    sensor_of_cell,
)
from monitor.errors import PayloadError
from tests.conftest import ROOT

T = 1_699_999_999_123

RECORD = AlarmRecord(
    v=1, asset="a", source="c001", code="over_voltage", severity=4, state="unacknowledged",
    value=4.3, limit=4.25, unit="V", since_ms=T, timestamp_ms=T, count=1,
    message="m", message_zh="电压", action="x", action_zh="停",
)  # fmt: skip
READING = Reading([T, None], [0.5, None])
SAMPLES: dict[str, list[msgspec.Struct]] = {
    "telemetry": [
        Frame(v=1, timestamp_ms=0),
        Frame(
            v=1, timestamp_ms=T, session="a1", seq=17, current_a=-2.0, voltage_v=[3.71, None],
            temperature_c=27.3, ambient_c=24.0, pack_voltage_v=7.4, device_soc=0.4,
            device_soh=0.9, device_flags=["balancing"],
        ),
    ],
    "config": [
        AssetConfig(v=1, nominal_capacity_ah=2.0),
        AssetConfig(
            v=1, nominal_capacity_ah=2.0, chemistry="NCA", cell_type="nasa-18650", cells=2,
            limits=Limits(discharge_current_max_a=4.0), temperature_map=[[1, 2], []],
            expected_interval_ms=100, max_gap_ms=60_000, gateway="gw-1",
            provenance=Provenance("B0005", replay=True, synthetic=True, speed=120.0),
        ),
    ],
    "device_alarm": [
        DeviceAlarm(v=1, timestamp_ms=T, name="short_circuit", active=True),
        DeviceAlarm(v=1, timestamp_ms=T, name="x", active=False, source="c001", detail="why"),
    ],
    "truth": [
        Truth(v=1, timestamp_ms=T),
        Truth(
            v=1, timestamp_ms=T, cycle=3, capacity_ah=1.8, soh=0.9, fault="short",
            fault_active=False,
        ),
    ],
    "estimate": [
        Estimate(
            v=1, timestamp_ms=T, phase=["rest", "discharge"], soc=READING,
            soh=SohReading([T, None], [0.9, None], [0.8, None], [1.0, None], ["ok", "no_model"]),
            resistance_ohm=READING, thermal_score=READING, excess_heat_w=READING,
            quality=[[], ["voltage_missing"]],
        )
    ],
    "cycle": [
        CycleSummary(
            v=1, asset="a", cell="c001", number=1, kind="charge", start_ms=T, end_ms=T + 1,
            complete=True, capacity_ah=1.8, energy_wh=7.0, duration_s=0.001, voltage_start_v=None,
            voltage_end_v=4.2, current_mean_a=None, temperature_mean_c=None,
            temperature_max_c=None, resistance_ohm=0.07, soh=0.9, soh_low=0.88, soh_high=0.92,
            soh_state="ok",
        )
    ],
    "alarm": [RECORD],
    "event": [
        Event(v=1, event_id="0123", previous="normal", cause="raise", alarm=RECORD),
        Event(1, "0123", "unacknowledged", "acknowledge", RECORD, user="ann", comment="seen"),
    ],
    "command": [
        Command(v=1, id="7", action="acknowledge", code="over_voltage"),
        Command(
            v=1, id="8", action="shelve", code="stale", source="c002", duration_s=60.0, comment="x"
        ),
    ],
    "reply": [
        Reply(v=1, id="7", result="done"),
        Reply(v=1, id="7", result="refused", reason="r", user="u"),
    ],
    "simulator_command": [
        SimulatorCommand(v=1, action="pause"),
        SimulatorCommand(v=1, action="seek", asset="B0005", cycle=3, time_s=1.0, speed=2.0),
    ],
    "simulator_state": [
        SimulatorState(v=1, recordings=["B0005", "B0006"], playing=["B0005"], speed=120.0),
        SimulatorState(v=1, recordings=["a"], playing=[], paused=True, refused="no such cycle"),
    ],
    "rejected": [
        Rejected(v=1, timestamp_ms=T, topic="bms/x", reason="r", payload_start="{", count=3)
    ],
    "metrics": [
        MonitorMetrics(
            1, T, 1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 1.5, 2.5, 0.1, 0.2, 0.3,
            {"soh": InferenceTimes(1, 2, 0.1, 0.2, 0.3)},
        )
    ],
}  # fmt: skip
ALL = [
    pytest.param(name, sample, id=f"{name}-{k}")
    for name, samples in SAMPLES.items()
    for k, sample in enumerate(samples)
]


def test_every_message_has_a_sample() -> None:
    assert SAMPLES.keys() == MESSAGES.keys()
    for name, samples in SAMPLES.items():
        assert all(type(sample) is MESSAGES[name] for sample in samples)


@pytest.mark.parametrize(("name", "sample"), ALL)
def test_round_trip_and_schema(name: str, sample: msgspec.Struct) -> None:
    payload = encode(sample)
    assert decode(type(sample), payload) == sample
    jsonschema.Draft202012Validator(json_schemas()[name]).validate(json.loads(payload))


@pytest.mark.parametrize(("name", "sample"), ALL)
def test_unknown_fields_are_ignored(name: str, sample: msgspec.Struct) -> None:
    widened = json.loads(encode(sample)) | {"of_a_later_version": [1, {"x": None}]}
    assert decode(type(sample), json.dumps(widened).encode()) == sample


@pytest.mark.parametrize(("name", "sample"), ALL)
def test_another_version_is_refused(name: str, sample: msgspec.Struct) -> None:
    for wrong in (2, 0, "1", None, 1.5):
        changed = json.loads(encode(sample)) | {"v": wrong}
        with pytest.raises(PayloadError, match=r"\$\.v"):
            decode(type(sample), json.dumps(changed).encode())
    without = json.loads(encode(sample))
    del without["v"]
    with pytest.raises(PayloadError, match="`v`"):
        decode(type(sample), json.dumps(without).encode())


def test_schemas_are_valid_and_committed() -> None:
    schemas = json_schemas()
    folder = ROOT / "docs" / "schema"
    assert {path.stem.removesuffix(".schema") for path in folder.glob("*.json")} == schemas.keys()
    for path in folder.glob("*.json"):
        name = path.stem.removesuffix(".schema")
        jsonschema.Draft202012Validator.check_schema(schemas[name])
        assert json.loads(path.read_text(encoding="utf-8")) == schemas[name], (
            f"{path.name} is old: run `cellpulse schema`"
        )


def test_every_number_has_bounds_in_the_schema() -> None:
    """What no bound is set for, somebody sends: it overflows arithmetic, a column or a codec."""
    open_ended: list[str] = []
    seen = 0

    def walk(node: object, path: str) -> None:
        nonlocal seen
        if isinstance(node, list):
            for k, entry in enumerate(node):
                walk(entry, f"{path}[{k}]")
        elif isinstance(node, dict):
            if node.get("type") in ("number", "integer"):
                seen += 1
                low = {"minimum", "exclusiveMinimum"} & node.keys()
                high = {"maximum", "exclusiveMaximum"} & node.keys()
                if not (low and high):
                    open_ended.append(path)
            for key, entry in node.items():
                walk(entry, f"{path}.{key}")

    walk(json_schemas(), "")
    assert open_ended == []
    assert seen > 100


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"timestamp_ms": -1}, "timestamp_ms"),
        ({"timestamp_ms": MAX_TIMESTAMP_MS + 1}, "timestamp_ms"),
        ({"timestamp_ms": 1.5}, "timestamp_ms"),
        ({"timestamp_ms": None}, "timestamp_ms"),
        ({"seq": -1}, "seq"),
        ({"seq": 2**53 + 1}, "seq"),
        ({"session": "x" * 65}, "session"),
        ({"session": 7}, "session"),
        ({"current_a": "2"}, "current_a"),
        ({"current_a": [1.0]}, "current_a"),
        ({"voltage_v": [3.7, "x"]}, r"voltage_v\[1\]"),
        ({"voltage_v": [[3.7]]}, r"voltage_v\[0\]"),
        ({"voltage_v": [3.7] * (MAX_CELLS + 1)}, "voltage_v"),
        ({"temperature_c": True}, "temperature_c"),
        ({"device_flags": ["x" * 65]}, "device_flags"),
        ({"current_a": 1e300}, "current_a"),
        ({"voltage_v": [3.7, -2e6]}, r"voltage_v\[1\]"),
        ({"temperature_c": 10**400}, "temperature_c"),
        ({"device_soc": 1e7}, "device_soc"),
    ],
)
def test_a_refusal_names_the_field(change: dict[str, object], field: str) -> None:
    payload = json.dumps({"v": 1, "timestamp_ms": T} | change).encode()
    with pytest.raises(PayloadError, match=rf"\$\.{field}"):
        decode_telemetry(payload)
    with pytest.raises(PayloadError, match=rf"\$\[1\]\.{field}"):
        decode_telemetry(b'[{"v":1,"timestamp_ms":1},' + payload + b"]")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"nominal_capacity_ah": 0}, "nominal_capacity_ah"),
        ({"cells": 0}, "cells"),
        ({"cells": MAX_CELLS + 1}, "cells"),
        ({"max_gap_ms": 0}, "max_gap_ms"),
        ({"max_gap_ms": 2**70}, "max_gap_ms"),
        ({"max_gap_ms": 10**400}, "max_gap_ms"),
        ({"expected_interval_ms": 2 * 10**18}, "expected_interval_ms"),
        ({"nominal_capacity_ah": 1e300}, "nominal_capacity_ah"),
        ({"nominal_capacity_ah": 1e-300}, "nominal_capacity_ah"),
        ({"limits": {"charge_current_max_a": 1e300}}, "charge_current_max_a"),
        ({"provenance": {"speed": 1e300}}, "speed"),
        ({"cells": 4, "temperature_map": [[1] * (MAX_CELLS + 1)]}, "temperature_map"),
        ({"gateway": "a/b"}, "gateway"),
        ({"gateway": "a\n"}, "gateway"),
        ({"limits": {"voltage_min_v": 4.3}}, "limits.voltage_min_v"),
        ({"limits": {"discharge_voltage_v": 4.2}}, "limits.discharge_voltage_v"),
        ({"limits": {"temperature_max_c": -30}}, "limits.temperature_min_c"),
        ({"limits": {"charge_current_max_a": 0}}, "charge_current_max_a"),
        ({"cells": 2, "temperature_map": [[1], [3]]}, "temperature_map names cell 3"),
        ({"temperature_map": [[0]]}, "temperature_map"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change: dict[str, object], named: str) -> None:
    payload = json.dumps({"v": 1, "nominal_capacity_ah": 2.0} | change).encode()
    with pytest.raises(PayloadError, match=named.replace(".", r"\.")):
        decode(AssetConfig, payload)


def test_null_absent_and_number_for_a_list() -> None:
    absent = decode_telemetry(b'{"v":1,"timestamp_ms":5}')[0]
    null = decode_telemetry(
        b'{"v":1,"timestamp_ms":5,"current_a":null,"voltage_v":null,"temperature_c":null,'
        b'"session":null,"seq":null,"ambient_c":null}'
    )[0]
    assert absent == null == Frame(v=1, timestamp_ms=5)
    assert as_list(absent.voltage_v) == []
    assert as_list(decode_telemetry(b'{"v":1,"timestamp_ms":5,"voltage_v":3}')[0].voltage_v) == [3]
    mixed = decode_telemetry(b'{"v":1,"timestamp_ms":5,"voltage_v":[null,3.7]}')[0]
    assert as_list(mixed.voltage_v) == [None, 3.7]


def test_array_limits() -> None:
    frame = b'{"v":1,"timestamp_ms":5}'
    assert len(decode_telemetry(b"[" + b",".join([frame] * MAX_FRAMES) + b"]")) == MAX_FRAMES
    with pytest.raises(PayloadError, match="1000"):
        decode_telemetry(b"[" + b",".join([frame] * (MAX_FRAMES + 1)) + b"]")
    with pytest.raises(PayloadError, match="length >= 1"):
        decode_telemetry(b" []")
    assert decode_telemetry(b"\n [" + frame + b"] ") == decode_telemetry(b" " + frame)


def test_an_overlong_payload_is_refused_unread() -> None:
    fits = b'{"v":1,"timestamp_ms":5' + b" " * (MAX_PAYLOAD_BYTES - 24) + b"}"
    assert len(fits) == MAX_PAYLOAD_BYTES
    assert decode_telemetry(fits)[0].timestamp_ms == 5
    for read in (decode_telemetry, lambda data: decode(AssetConfig, data)):
        with pytest.raises(PayloadError, match=f"{MAX_PAYLOAD_BYTES + 1} bytes"):
            read(b" " * (MAX_PAYLOAD_BYTES + 1))


@pytest.mark.parametrize(
    "value", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 400, b"nan", b"0x1"]
)
def test_no_number_that_is_not_one(value: bytes) -> None:
    for text in (b'"current_a":%b', b'"voltage_v":[%b]', b'"temperature_c":%b'):
        with pytest.raises(PayloadError):
            decode_telemetry(b'{"v":1,"timestamp_ms":5,' + text % value + b"}")


def test_what_is_not_a_number_is_written_as_null() -> None:
    frame = Frame(v=1, timestamp_ms=5, current_a=math.nan, voltage_v=[math.inf, 1.0])
    assert json.loads(encode(frame)) == {
        "v": 1, "timestamp_ms": 5, "current_a": None, "voltage_v": [None, 1.0],
    }  # fmt: skip


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"null",
        b"1",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"v":1,"timestamp_ms":1,"session":"\xff"}',
        b'{"v":1,"timestamp_ms":1,"ignored":"\xff\xfe"}',
        b'{"v":1,"timestamp_ms":1,"session":"\\ud800"}',
        b'{"v":1,"timestamp_ms":1,"ignored":' + b"[" * 100_000 + b"}",
        b"[" * 100_000,
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_bytes_that_are_not_json_text(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        decode_telemetry(payload)


def test_a_device_alarm_cannot_break_a_topic() -> None:
    """Its name and source become levels of `alarm/<code>/<source>`."""
    for field in ("name", "source"):
        for hostile in ("a/b", "#", "+", "", "\0", "x y/../z", "a\n"):
            alarm = {"v": 1, "timestamp_ms": 1, "name": "short", "active": True, field: hostile}
            with pytest.raises(PayloadError, match=field):
                decode(DeviceAlarm, json.dumps(alarm).encode())


def test_status() -> None:
    assert decode_status(b"online") is True
    assert decode_status(b"offline") is False
    for payload in (b"", b"ONLINE", b"online ", b"\xff", b"1"):
        with pytest.raises(PayloadError, match="offline"):
            decode_status(payload)


HOSTILE = [
    "", ".", "..", "_x", "-x", "a/b", "a+", "a#", "a$", "$SYS", "a b", "a\n", "a\0", "ä", "电池",
    "a" * 65, "a" * 10_000, "a\ud800", "../../etc", "a'; DROP TABLE input", "a\u202e",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:20]))
def test_hostile_names_are_no_assets(name: str) -> None:
    topics = Topics()
    assert not is_asset_name(name)
    with pytest.raises(PayloadError, match="asset name"):
        topics.of(name, "estimate")
    with pytest.raises(PayloadError):
        topics.ours("monitor", name, "status")
    if "/" not in name:
        with pytest.raises(PayloadError) as caught:
            topics.split(f"bms/{name}")
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["a", "9", "B0005", "pack.1_x-Y", "a" * 64])
def test_legal_names(name: str) -> None:
    assert is_asset_name(name)
    assert Topics("site/a").of(name, "alarm", "stale", "pack") == f"site/a/{name}/alarm/stale/pack"
    assert Topics("site/a").split(f"site/a/{name}/alarm/stale/pack") == (
        name,
        ("alarm", "stale", "pack"),
    )


def test_topics_that_are_not_ours() -> None:
    topics = Topics()
    for topic in ("", "bms", "bmsx/a/telemetry", "/bms/a", "other/a/telemetry", "x" * 10_000):
        with pytest.raises(PayloadError):
            topics.split(topic)
    assert topics.split("bms/_gateway/g1/status") == ("_gateway", ("g1", "status"))
    for root in ("", "/", "/bms", "bms/", "b+", "#", "$SYS", "a\0"):
        with pytest.raises(PayloadError, match="topic root"):
            Topics(root)


@given(st.text(max_size=80))
def test_split_undoes_of(name: str) -> None:
    topics = Topics()
    try:
        topic = topics.of(name, "telemetry")
    except PayloadError:
        assert not is_asset_name(name)
        return
    assert topics.split(topic) == (name, ("telemetry",))


def test_cells_and_sensors() -> None:
    assert [cell_name(0), cell_name(999), sensor_name(0)] == ["c001", "c1000", "t01"]
    four = AssetConfig(v=1, nominal_capacity_ah=1.0, cells=4)
    assert sensor_of_cell(four, 0) == [-1, -1, -1, -1]
    assert sensor_of_cell(four, 1) == [0, 0, 0, 0]
    assert sensor_of_cell(four, 2) == [0, 0, 1, 1]
    assert sensor_of_cell(four, 4) == [0, 1, 2, 3]
    wired = AssetConfig(v=1, nominal_capacity_ah=1.0, cells=4, temperature_map=[[4], [1, 2]])
    assert sensor_of_cell(wired, 2) == [1, 1, -1, 0]
    assert sensor_of_cell(wired, 1) == [-1, -1, -1, 0]  # the second sensor is not in the frame


NUMBERS = st.floats(-1e6, 1e6) | st.integers(-5, 5).map(float)
ONE_OR_MANY = st.none() | NUMBERS | st.lists(st.none() | NUMBERS, max_size=5)
FRAMES = st.builds(
    Frame,
    v=st.just(1),
    timestamp_ms=st.integers(0, MAX_TIMESTAMP_MS),
    session=st.none() | st.text(max_size=64),
    seq=st.none() | st.integers(0, 2**53),
    current_a=st.none() | NUMBERS,
    voltage_v=ONE_OR_MANY,
    temperature_c=ONE_OR_MANY,
    ambient_c=st.none() | NUMBERS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(FRAMES, min_size=1, max_size=5))
def test_frames_round_trip(frames: list[Frame]) -> None:
    assert decode_telemetry(encode(frames)) == frames
    assert decode_telemetry(encode(frames[0])) == frames[:1]


def _only_payload_errors(payload: bytes) -> None:
    """Every decoder either answers or refuses with a reason that fits a message."""
    reasons = []
    try:
        frames = decode_telemetry(payload)
    except PayloadError as error:
        reasons.append(str(error))
    else:
        assert all(type(frame) is Frame for frame in frames)
        # What was taken can be kept: as text, and as the same frames again.
        payload.decode()
        assert decode_telemetry(encode(frames)) == frames
    for kind in MESSAGES.values():
        try:
            assert type(decode(kind, payload)) is kind
        except PayloadError as error:
            reasons.append(str(error))
    assert all(0 < len(reason) < 400 for reason in reasons)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(payload: bytes) -> None:
    _only_payload_errors(payload)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_messages(data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from([s for samples in SAMPLES.values() for s in samples]))
    payload = bytearray(encode(sample))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if kind == "flip":
            payload[at] ^= data.draw(st.integers(1, 255))
        elif kind == "cut" and len(payload) > 1:
            del payload[at : at + data.draw(st.integers(1, 10))]
        elif kind == "insert":
            payload[at:at] = data.draw(st.binary(min_size=1, max_size=6))
        else:
            payload[at:at] = payload[at : at + 20]
        if not payload:
            return
    _only_payload_errors(bytes(payload))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_json_of_the_wrong_shape(name: str, data: st.DataObject) -> None:
    message = json.loads(encode(data.draw(st.sampled_from(SAMPLES[name]))))
    for field in data.draw(st.lists(st.sampled_from(sorted(message)), max_size=3)):
        message[field] = data.draw(JSON)
    _only_payload_errors(json.dumps(message).encode("utf-8", "surrogatepass"))
