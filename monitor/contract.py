"""The telemetry contract, version 1: every message, its validation, and the topics that carry it.

Positive current charges. Every physical name carries its unit; fractions run 0..1. Time is event
time: `timestamp_ms`, an integer, milliseconds since 1970 in UTC. Cells are numbered from 1 and
named `c001`, sensors `t01`; the whole asset is `pack`.

Decoding never raises anything but `PayloadError`, whose text is the reason that goes to
`_monitor/<id>/rejected`. Unknown fields are ignored, an unknown `v` is refused. Every number has a
lower and an upper bound, far beyond what a battery can be, so that no arithmetic overflows.

The module is long because a newcomer finds every message in one place; it holds types, hardly code.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from monitor.errors import PayloadError

VERSION: Literal[1] = 1
MAX_FRAMES = 1_000
MAX_PAYLOAD_BYTES = 256 * 1024
MAX_CELLS = 4_096
MAX_TIMESTAMP_MS = 253_402_300_799_999  # the end of the year 9999
MAX_INTERVAL_MS = 366 * 86_400_000
MAX_COUNT = 2**53  # what JSON's readers hold exactly

ASSET_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_ASSET = re.compile(ASSET_PATTERN.replace("$", r"\Z"))

GROUP_ASSET = "_group"  # stands where an asset's name does, for alarms of several assets
Fraction = Annotated[float, Meta(ge=0, le=1)]
Measured = Annotated[float, Meta(ge=-1e6, le=1e6)]  # V, A, degrees Celsius
Positive = Annotated[float, Meta(gt=0, le=1e6)]
Computed = Annotated[float, Meta(ge=-1e39, le=1e39)]  # float32, or a sum of what is measured
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
IntervalMs = Annotated[int, Meta(ge=1, le=MAX_INTERVAL_MS)]
TimestampMs = Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP_MS)]
_END = r"$(?!\n)"  # `$` alone lets a line end pass in Python
Name = Annotated[str, Meta(pattern=ASSET_PATTERN.replace("$", _END))]
Text = Annotated[str, Meta(max_length=500)]
OneOrMany = Measured | Annotated[list[Measured | None], Meta(max_length=MAX_CELLS)] | None


class Frame(Struct, frozen=True, omit_defaults=True, gc=False):
    """One reading of one asset at one instant. A number stands for a list of one.

    `seq` counts up within a `session`, which changes when the device restarts. Any value may be
    null; each feature says what it needs and is unavailable, not zero, without it.
    """

    v: Literal[1]
    timestamp_ms: TimestampMs
    session: Annotated[str, Meta(max_length=64)] | None = None
    seq: Count | None = None
    current_a: Measured | None = None
    voltage_v: OneOrMany = None
    temperature_c: OneOrMany = None
    ambient_c: Measured | None = None
    pack_voltage_v: Measured | None = None
    device_soc: Measured | None = None
    device_soh: Measured | None = None
    device_flags: (
        Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=64)] | None
    ) = None


class Limits(Struct, frozen=True, omit_defaults=True):
    """What the asset's maker allows, for one cell. The defaults are the conservative ones.

    `charge_voltage_v` is where constant current gives way to constant voltage, and
    `discharge_voltage_v` where a discharge ends; both anchor the state of charge. Currents are
    magnitudes, in the asset's own terminals; None means that no limit is known.
    """

    voltage_min_v: Measured = 2.5
    voltage_max_v: Measured = 4.25
    charge_voltage_v: Positive = 4.2
    discharge_voltage_v: Positive = 2.7
    temperature_min_c: Measured = -20.0
    temperature_max_c: Measured = 60.0
    charge_current_max_a: Positive | None = None
    discharge_current_max_a: Positive | None = None
    imbalance_max_v: Positive | None = 0.3  # between the highest and the lowest cell
    resistance_max_ohm: Positive | None = None
    soc_min: Fraction | None = None
    soh_end_of_life: Fraction | None = 0.7


class Provenance(Struct, frozen=True, omit_defaults=True):
    """Where the numbers come from. A declared replay may run ahead of the wall clock."""

    source: Text = ""
    replay: bool = False
    synthetic: bool = False
    speed: Positive | None = None  # replay factor; None: real time or unknown


class AssetConfig(Struct, frozen=True, omit_defaults=True):
    """What a device says of itself, retained on `<asset>/config`.

    `temperature_map[k]` lists the cells (from 1) that sensor k+1 watches; without it the cells are
    shared evenly, in order. `expected_interval_ms` is the usual time between frames as they
    arrive, `max_gap_ms` the largest step in event time that features bridge. `cell_type` names the
    family of cells that a SOH model was trained on.
    """

    v: Literal[1]
    nominal_capacity_ah: Annotated[float, Meta(ge=1e-9, le=1e6)]
    chemistry: Text | None = None
    cell_type: Text | None = None
    cells: Annotated[int, Meta(ge=1, le=MAX_CELLS)] = 1
    limits: Limits = Limits()
    temperature_map: (
        Annotated[
            list[
                Annotated[
                    list[Annotated[int, Meta(ge=1, le=MAX_CELLS)]], Meta(max_length=MAX_CELLS)
                ]
            ],
            Meta(max_length=MAX_CELLS),
        ]
        | None
    ) = None
    expected_interval_ms: IntervalMs = 1_000
    max_gap_ms: IntervalMs = 120_000
    gateway: Name | None = None
    provenance: Provenance = Provenance()


class DeviceAlarm(Struct, frozen=True, omit_defaults=True):
    """An alarm that the BMS itself raises, by name. Name and source become levels of a topic."""

    v: Literal[1]
    timestamp_ms: TimestampMs
    name: Name
    active: bool
    source: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,15}" + _END)] = "pack"
    detail: Text | None = None


class Truth(Struct, frozen=True, omit_defaults=True):
    """The recording's own labels, for scoring. The engine and the service never read it."""

    v: Literal[1]
    timestamp_ms: TimestampMs
    cycle: Count | None = None
    capacity_ah: Measured | None = None
    soh: Measured | None = None
    fault: Text | None = None
    fault_active: bool | None = None


Readings = list[Computed | None]
Times = list[TimestampMs | None]
RiskLevel = Literal["normal", "watch", "warning", "danger"]
SohState = Literal["ok", "not_enough_seen", "unlike_training", "no_model"]
SOH_STATES: tuple[SohState, ...] = get_args(SohState)  # by the number that results hold


class Reading(Struct, frozen=True):
    """The newest value of one quantity for every cell, with the event time it was found at."""

    timestamp_ms: Times
    value: Readings


class SohReading(Struct, frozen=True):
    """State of health of every cell as a fraction of nominal capacity, with its 90 % interval."""

    timestamp_ms: Times
    value: Readings
    low: Readings
    high: Readings
    state: list[SohState]


class RiskReading(Struct, frozen=True):
    """The thermal risk of every cell, with what gave it in words; no words where it is normal."""

    timestamp_ms: Times
    level: list[RiskLevel | None]
    reason: list[str]
    reason_zh: list[str]


class FadeReading(Struct, frozen=True):
    """How every cell fades, as of its last finished charge or discharge (see `monitor.fade`).

    `slope_per_cycle` is in fractions of nominal capacity, negative for fade; `acceleration` is
    how many times as fast it fades now as in the long run; `knee_cycle` the number of the
    discharge (or charge) at which a knee was noticed.
    """

    timestamp_ms: Times
    slope_per_cycle: Readings
    acceleration: Readings
    knee_cycle: list[Count | None]


ChargingStyle = Literal["fast", "normal", "gentle"]


class Advice(Struct, frozen=True):
    """How to charge one asset now. Currents are the string's; None where there is no advice."""

    current_a: Computed | None
    current_c: Computed | None
    allowed_a: Computed | None  # the shield's bound
    minutes: Computed | None  # to 80 %, if the advice is followed
    loss: Computed | None  # of nominal capacity until then, as a fraction
    why: str
    why_zh: str
    style: ChargingStyle
    shadow: bool = True  # nothing here commands a charger


class Estimate(Struct, frozen=True):
    """What the monitor makes of an asset now; one entry a cell in every list.

    `thermal_score` is 1 where the alarm threshold lies; `excess_heat_w` is the heat that
    Joule loss, cooling and stored heat do not explain. `risk` is at least `watch` where no
    temperature can be believed. `fade` is absent until a half-cycle ended.
    """

    v: Literal[1]
    timestamp_ms: TimestampMs
    phase: list[str]
    soc: Reading
    soh: SohReading
    resistance_ohm: Reading
    thermal_score: Reading
    excess_heat_w: Reading
    quality: list[list[str]]
    risk: RiskReading | None = None  # None from a monitor that does not judge it
    fade: FadeReading | None = None
    advice: Advice | None = None  # None where no charging policy is installed


class CycleSummary(Struct, frozen=True):
    """One finished charge or discharge of one cell, found by the monitor itself."""

    v: Literal[1]
    asset: str
    cell: str
    number: Count  # of its kind, from 1
    kind: Literal["charge", "discharge"]
    start_ms: TimestampMs
    end_ms: TimestampMs
    complete: bool  # no gap, and from one end of the charge to the other
    capacity_ah: Computed
    energy_wh: Computed
    duration_s: Computed
    voltage_start_v: Computed | None
    voltage_end_v: Computed | None
    current_mean_a: Computed | None
    temperature_mean_c: Computed | None
    temperature_max_c: Computed | None
    resistance_ohm: Computed | None
    soh: Computed | None
    soh_low: Computed | None
    soh_high: Computed | None
    soh_state: SohState
    fade_per_cycle: Computed | None = None  # fraction of nominal, negative for fade
    fade_acceleration: Computed | None = None  # over the long run's fade; 1: steady
    knee_cycle: Count | None = None


Severity = Annotated[int, Meta(ge=1, le=5)]  # 1 notice, 2 low, 3 medium, 4 high, 5 critical
AlarmState = Literal[
    "normal",
    "unacknowledged",
    "acknowledged",
    "returned-unacknowledged",
    "shelved",
    "suppressed",
    "out of service",
]


class AlarmRecord(Struct, frozen=True, omit_defaults=True):
    """An alarm as it stands, self-sufficient: what, where, how far, since when, what to do.

    A grouped alarm speaks for `members` alarms of its code: those of one asset (its source is
    `group`), or of the assets behind one gateway (its asset is `_group`, its source the gateway).
    `value` and `limit` are then those of the `worst`, and `places` names the first 1,000.
    """

    v: Literal[1]
    asset: str
    source: str
    code: str
    severity: Severity
    state: AlarmState
    value: Computed | None
    limit: Computed | None
    unit: str
    since_ms: TimestampMs
    timestamp_ms: TimestampMs
    count: Count
    message: str
    message_zh: str
    action: str
    action_zh: str
    members: Count = 0
    worst: str | None = None
    places: list[str] | None = None


class Event(Struct, frozen=True):
    """One alarm transition; the same stream always gives the same event_id.

    `group` is the topic end (`<asset>/alarm/<code>/<source>`) of the grouped alarm that speaks for
    this one: a display may leave such an event out.
    """

    v: Literal[1]
    event_id: str
    previous: AlarmState
    cause: str
    alarm: AlarmRecord
    user: str | None = None
    comment: str | None = None
    group: str | None = None


class Command(Struct, frozen=True, omit_defaults=True):
    """What an operator asks of an alarm, on `<asset>/command/<user>`.

    With the code `asset`, `out_of_service` and `in_service` are about the whole asset. What is
    asked of a group is asked of each of its members.
    """

    v: Literal[1]
    id: Annotated[str, Meta(min_length=1, max_length=64)]
    action: Literal["acknowledge", "comment", "shelve", "unshelve", "out_of_service", "in_service"]
    code: Annotated[str, Meta(max_length=80)]  # `device_` and a device alarm's name fit
    source: Annotated[str, Meta(max_length=64)] = "pack"  # a group's may be a gateway's name
    duration_s: Annotated[float, Meta(gt=0, le=7 * 86_400)] | None = None
    comment: Text | None = None


class Reply(Struct, frozen=True, omit_defaults=True):
    """The answer to a command, on `<asset>/reply`."""

    v: Literal[1]
    id: str
    result: Literal["done", "refused"]
    reason: str | None = None
    user: str | None = None


class SimulatorCommand(Struct, frozen=True, omit_defaults=True):
    """What an operator asks of a replay, on `_simulator/<id>/command`."""

    v: Literal[1]
    action: Literal["pause", "resume", "seek", "speed", "step", "inject", "play"]
    asset: Name | None = None  # of `play`: that recording alone, none: every one
    cycle: Annotated[int, Meta(ge=1, le=MAX_COUNT)] | None = None
    time_s: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    speed: Positive | None = None
    fault: Text | None = None


class SimulatorState(Struct, frozen=True, omit_defaults=True):
    """What a replay can play and what it does, on `_simulator/<id>/state`; empty once it ended."""

    v: Literal[1]
    recordings: Annotated[list[Name], Meta(max_length=1_000)]
    playing: Annotated[list[Name], Meta(max_length=1_000)]
    speed: Positive | None = None  # event seconds a second; None: as fast as the broker takes it
    paused: bool = False
    refused: Text | None = None  # why the newest command was not obeyed


class Rejected(Struct, frozen=True):
    """Why a payload was refused, with the beginning of it."""

    v: Literal[1]
    timestamp_ms: TimestampMs
    topic: str
    reason: str
    payload_start: str
    count: Count  # refused so far, this one included


class InferenceTimes(Struct, frozen=True):
    """How long a model takes: totals since the start, quantiles of the newest 1,000 runs.

    A run is one call with a whole micro-batch, `rows` of it are cells' samples.
    """

    runs: Count
    rows: Count
    total_s: Computed
    ms_p50: Computed
    ms_p99: Computed


class MonitorMetrics(Struct, frozen=True):
    """The monitor's counters since its start, its rates since the last message, its queues.

    `gaps` counts sequence numbers that never came, `dropped` QoS 0 messages that came while the
    queue was full. `lag_ms` is the age of the oldest message that still waits, `latency_ms_*` the
    time from a message's arrival to its commit, over the newest 10,000.
    """

    v: Literal[1]
    timestamp_ms: TimestampMs
    uptime_s: Computed
    messages: Count
    frames: Count
    samples: Count
    rejected: Count
    duplicates: Count
    late: Count
    gaps: Count
    dropped: Count
    commits: Count
    queue_messages: Count
    queue_bytes: Count
    lag_ms: Count
    frames_per_s: Computed
    samples_per_s: Computed
    batch_mean: Computed
    latency_ms_p50: Computed
    latency_ms_p99: Computed
    inference: dict[str, InferenceTimes]  # by model: soh, thermal
    outbox_inputs: Count = 0  # journalled, and not yet confirmed by InfluxDB
    outbox_lag_s: Computed = 0.0  # how long ago the oldest of them arrived
    glitches: Count = 0  # readings rejected because they jumped
    outbox_dropped: Count = 0  # raw frames given up unsent, because the store was at its bound
    set_aside: Count = 0  # lines that InfluxDB refused, kept beside the journal with its reason
    store_bytes: Count = 0  # what the journal holds
    webhook_let_go: Count = 0  # alarm transitions that the webhook's receiver refused
    failing: list[str] = []  # tasks beside the stream that do not work now, by name
    quarantined: Count = 0  # messages that raised and were set aside, kept in the journal
    client_taken_over: Count = 0  # how often another client took the monitor's client id


MESSAGES: dict[str, type[Struct]] = {
    "telemetry": Frame,
    "config": AssetConfig,
    "device_alarm": DeviceAlarm,
    "truth": Truth,
    "estimate": Estimate,
    "cycle": CycleSummary,
    "alarm": AlarmRecord,
    "event": Event,
    "command": Command,
    "reply": Reply,
    "simulator_command": SimulatorCommand,
    "simulator_state": SimulatorState,
    "rejected": Rejected,
    "metrics": MonitorMetrics,
}

_frame_decoder = msgspec.json.Decoder(Frame)
_frames_decoder = msgspec.json.Decoder(
    Annotated[list[Frame], Meta(min_length=1, max_length=MAX_FRAMES)]
)
_encoder = msgspec.json.Encoder()
M = TypeVar("M", bound=Struct)
_decoders: dict[type[Struct], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in MESSAGES.values()
}


def decode_telemetry(payload: bytes) -> list[Frame]:
    """The frames of one telemetry payload: one frame, or an array of 1 to `MAX_FRAMES`.

    Raises PayloadError where the payload is too long, not JSON, or against the contract.
    """
    _check_length(payload)
    try:
        if not payload.isascii():
            payload.decode()  # the decoder skips ignored fields unread; the journal keeps text
        if payload[:1] == b"{":
            return [_frame_decoder.decode(payload)]
        if payload.lstrip()[:1] == b"[":
            frames: list[Frame] = _frames_decoder.decode(payload)
            return frames
        return [_frame_decoder.decode(payload)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"telemetry: {_reason(error)}") from error


def decode(kind: type[M], payload: bytes) -> M:
    """One message of the given type; raises PayloadError with the field and what was wrong."""
    _check_length(payload)
    try:
        message: M = _decoders[kind].decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"{kind.__name__}: {_reason(error)}") from error
    if isinstance(message, AssetConfig):
        _check_config(message)
    return message


def decode_status(payload: bytes) -> bool:
    """True for `online`, False for `offline`; raises PayloadError for anything else."""
    if payload == b"online":
        return True
    if payload == b"offline":
        return False
    raise PayloadError("status: expected `online` or `offline`")


def encode(message: Struct | list[Frame]) -> bytes:
    """The JSON bytes of a message; NaN and infinity become null."""
    return _encoder.encode(message)


def as_list(values: OneOrMany) -> Readings:
    """`OneOrMany` as a list: a number is a list of one, null is an empty list."""
    if values is None:
        return []
    return values if isinstance(values, list) else [values]


def sensor_of_cell(config: AssetConfig, sensors: int) -> list[int]:
    """For each cell the index (from 0) of the sensor that watches it, or -1 where none does."""
    if sensors == 0:
        return [-1] * config.cells
    if config.temperature_map is None:
        return [cell * sensors // config.cells for cell in range(config.cells)]
    sensor = [-1] * config.cells
    for index, cells in enumerate(config.temperature_map[:sensors]):
        for cell in cells:
            sensor[cell - 1] = index
    return sensor


def is_asset_name(name: str) -> bool:
    """Whether `name` may stand in a topic as an asset."""
    return _ASSET.match(name) is not None


def cell_name(index: int) -> str:
    """`c001` for the cell with index 0."""
    return f"c{index + 1:03d}"


def sensor_name(index: int) -> str:
    """`t01` for the sensor with index 0."""
    return f"t{index + 1:02d}"


REMEMBERED_TOPICS, REMEMBERED_TOPIC = 10_000, 256  # so many, up to that length
_OURS = ("_monitor", "_simulator", "_gateway", GROUP_ASSET)


class Topics:
    """The topics under one root, built and taken apart."""

    def __init__(self, root: str = "bms") -> None:
        if not root or any(sign in root for sign in "+#\0$") or root.strip("/") != root:
            raise PayloadError(f"topic root {root!r}: expected words parted by `/`, such as `bms`")
        self.root = root
        self._prefix = f"{root}/"
        self._known: dict[str, tuple[str, tuple[str, ...]]] = {}

    def of(self, asset: str, *rest: str) -> str:
        """`<root>/<asset>/<rest...>`; raises PayloadError for a name that may not be a topic."""
        if not is_asset_name(asset) and asset != GROUP_ASSET:
            raise PayloadError(f"asset name {asset!r}: expected {ASSET_PATTERN}")
        return "/".join((self.root, asset, *rest))

    def ours(
        self, service: Literal["monitor", "simulator", "gateway"], name: str, *rest: str
    ) -> str:
        """`<root>/_<service>/<name>/<rest...>`, the levels that begin with `_`."""
        if not is_asset_name(name):
            raise PayloadError(f"{service} name {name!r}: expected {ASSET_PATTERN}")
        return "/".join((self.root, f"_{service}", name, *rest))

    def split(self, topic: str) -> tuple[str, tuple[str, ...]]:
        """The asset and the levels after it.

        Raises PayloadError where the topic is not under the root or the asset's name is not legal.
        A level that begins with `_` is returned as it is.
        """
        known = self._known.get(topic)
        if known is not None:
            return known
        if not topic.startswith(self._prefix):
            raise PayloadError(f"topic is not under {self.root}/")
        asset, *rest = topic[len(self._prefix) :].split("/")
        if not is_asset_name(asset) and asset not in _OURS:
            raise PayloadError(f"asset name {asset[:80]!r}: expected {ASSET_PATTERN}")
        if len(topic) <= REMEMBERED_TOPIC:
            if len(self._known) >= REMEMBERED_TOPICS:
                self._known.clear()
            self._known[topic] = asset, tuple(rest)
        return asset, tuple(rest)


def json_schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schema (2020-12) of every message, by its name in `MESSAGES`."""
    schemas: dict[str, dict[str, Any]] = {}
    for name, kind in MESSAGES.items():
        schema = msgspec.json.schema(kind)
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        schema["title"] = f"Cellpulse {name}, contract version {VERSION}"
        schemas[name] = schema
    return schemas


def _check_length(payload: bytes) -> None:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadError(f"payload of {len(payload)} bytes: at most {MAX_PAYLOAD_BYTES}")


def _check_config(config: AssetConfig) -> None:
    limits = config.limits
    for low, high in (
        ("voltage_min_v", "voltage_max_v"),
        ("discharge_voltage_v", "charge_voltage_v"),
        ("temperature_min_c", "temperature_max_c"),
    ):
        if not getattr(limits, low) < getattr(limits, high):
            raise PayloadError(f"AssetConfig: limits.{low} must be below limits.{high}")
    for cells in config.temperature_map or ():
        for cell in cells:
            if cell > config.cells:
                raise PayloadError(
                    f"AssetConfig: temperature_map names cell {cell}, the asset has {config.cells}"
                )


def _reason(error: Exception) -> str:
    return str(error)[:300] or type(error).__name__
