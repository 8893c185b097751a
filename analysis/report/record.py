"""What a battery health report says, as data: the JSON form, and what the pages are set from.

No words of any language stand here: what is said by a code has its words in `words.py`. Texts that
come as they are (a reader's finding, a model's card, a citation) stay in the language they came in.
Fractions run 0..1, times are milliseconds UTC, None is unknown. Positive current charges.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from monitor.contract import Limits, Readings, SohState

VERSION: Literal[1] = 1


class Source(Struct, frozen=True):
    """Where the data came from, so that the same report can be made again."""

    kind: Literal["store", "file"]
    name: str  # of the file or store, without its folder
    sha256: str  # of the file, of a folder's files in order, or of the stored frames in order
    first_ms: int  # of the half-cycles and samples
    last_ms: int
    samples_from_ms: int  # a store keeps half-cycles for longer than samples
    frames: int


class About(Struct, frozen=True):
    """What the battery is, as far as its data say."""

    asset: str
    cells: int
    cell: str  # the one that figures and plots are about: the weakest of a pack
    nominal_capacity_ah: float
    chemistry: str | None
    cell_type: str | None
    limits: Limits
    dataset: str | None
    citation: str | None
    synthetic: bool
    replay: bool


class Band(Struct, frozen=True):
    """Hours that the hottest sensor spent from `low_c` (or below) up to `high_c` (or above)."""

    low_c: float | None
    high_c: float | None
    hours: float


class Efficiency(Struct, frozen=True):
    """Energy and charge out over in, of complete charges with the complete discharges after them.

    Medians over `pairs` pairs, the last of which ends with discharge number `discharge_number`.
    """

    pairs: int
    discharge_number: int
    energy: float
    charge: float


class Use(Struct, frozen=True):
    """How the cell was used."""

    hours: float  # covered by samples
    hours_charge: float
    hours_discharge: float
    hours_rest: float
    charges: int
    charges_complete: int
    discharges: int
    discharges_complete: int
    charge_in_ah: float
    charge_out_ah: float
    energy_in_wh: float
    energy_out_wh: float
    energy_all_cells_wh: float  # moved both ways, over all cells
    equivalent_cycles: float  # charge moved both ways over twice the nominal capacity
    depth_median: float | None  # of the discharges, share of nominal capacity
    charge_current_max_a: float | None
    discharge_current_max_a: float | None  # a magnitude
    voltage_min_v: float | None
    voltage_max_v: float | None
    temperature_min_c: float | None
    temperature_mean_c: float | None
    temperature_max_c: float | None
    bands: list[Band]
    hours_too_hot: float
    hours_too_cold: float
    hours_charging_too_hot: float
    hours_charging_below_0_c: float
    deep_discharges: int  # discharges that ended under the lowest voltage allowed
    efficiency_first: Efficiency | None
    efficiency_newest: Efficiency | None


class Estimated(Struct, frozen=True):
    """The model's newest answer, with its 90 % interval."""

    soh: float
    low: float
    high: float
    state: SohState
    kind: Literal["charge", "discharge"]
    number: int
    end_ms: int


class Measured(Struct, frozen=True):
    """The charge that one complete discharge gave."""

    soh: float  # over nominal capacity
    capacity_ah: float
    number: int
    end_ms: int
    published: bool  # the recording's own figure rather than the monitor's count


class HeldOut(Struct, frozen=True):
    """How far the SOH model missed on cells of this family that its fit never saw."""

    cells: int
    rmse: float  # mean over cells, fraction of nominal; whole charges answered `ok`
    worst: float
    coverage: float  # share of values inside the 90 % interval


KneeState = Literal["too_few", "none", "unclear", "found"]


class Knee(Struct, frozen=True):
    """Where the fade begins to run away, by two methods; numbers of complete discharges."""

    state: KneeState
    bacon_watts: float | None
    kneedle: float | None


class Health(Struct, frozen=True):
    """State of health and how it was obtained."""

    end_of_life: float
    estimated: Estimated | None
    state: SohState  # of the newest half-cycle; says why there is no estimate
    answered: int  # half-cycles with an estimate
    asked: int
    measured: Measured | None
    first_measured: Measured | None
    fade_per_100: float | None  # loss of SOH in 100 complete discharges, Theil-Sen over the last
    held_out: HeldOut | None
    in_training: bool  # this battery is one of those that the model was fitted on
    knee: Knee


class FadePoint(Struct, frozen=True):
    """One half-cycle in the fade plot; `discharge` counts complete discharges so far."""

    discharge: int
    kind: Literal["charge", "discharge"]
    end_ms: int
    measured: float | None
    soh: float | None
    low: float | None
    high: float | None


class IcaCurve(Struct, frozen=True):
    """dQ/dV (Ah/V) of one complete charge over voltage (V)."""

    age: Literal["first", "newest"]
    number: int
    end_ms: int
    voltage_v: Readings
    dqdv_ah_per_v: Readings


ForecastMissing = Literal["too_few_cycles", "unknown_family", "no_model"]


class Forecast(Struct, frozen=True):
    """SOH ahead; entry k of the lists is `ahead[k]` complete discharges from now."""

    seen: int
    ahead: list[int]
    soh: list[float]
    low: list[float]
    high: list[float]
    remaining: int | None  # discharges until end of life; None: not within `farthest`
    remaining_low: int | None
    remaining_high: int | None
    farthest: int


class ResistancePoint(Struct, frozen=True):
    """Resistance 60 s into a half-cycle; `discharge` counts complete discharges so far."""

    discharge: int
    resistance_ohm: float


class Resistance(Struct, frozen=True):
    """Direct-current resistance 60 s after the current began, by kind of half-cycle."""

    kind: Literal["charge", "discharge"] | None
    points: list[ResistancePoint]
    first_ohm: float | None  # median of the first five
    newest_ohm: float | None  # median of the last five
    growth_ohm_per_100: float | None


RiskLevel = Literal["unknown", "ok", "watch", "warning", "danger"]


class Segment(Struct, frozen=True):
    """A stretch of time whose thermal score passed its threshold."""

    start_ms: int
    end_ms: int
    peak_score: float
    peak_temperature_c: float | None


class HeatPoint(Struct, frozen=True):
    """The highest temperature and thermal score of one stretch of `Thermal.stretch_s`."""

    timestamp_ms: int  # its middle
    temperature_c: float | None
    score: float | None


class Thermal(Struct, frozen=True):
    """The gravest level of the period and what made it."""

    risk: RiskLevel
    hours_judged: float  # with a score of the thermal model
    score_max: float | None
    temperature_max_c: float | None
    limit_c: float
    thermal_alarms: int
    segments: list[Segment]
    segments_left_out: int
    stretch_s: float
    course: list[HeatPoint]


class AlarmLine(Struct, frozen=True):
    """One alarm through the period."""

    code: str
    source: str
    severity: int  # the gravest, 1 to 5
    raised: int
    first_ms: int
    last_ms: int
    state: str  # at the end
    message: str
    message_zh: str
    action: str
    action_zh: str


class Alarms(Struct, frozen=True):
    """Alarms of the period, the gravest first."""

    lines: list[AlarmLine]
    left_out: int
    standing: int  # alarms not normal at the end


class Advice(Struct, frozen=True):
    """How the charging policy would charge now, in shadow: nothing was commanded."""

    policy: str  # its style
    current_a: float  # 0 where no charging is advised
    duration_s: float | None  # to 80 % of charge
    wear: float | None  # SOH lost by this charge, a fraction
    reason: str
    reason_zh: str


class Flagged(Struct, frozen=True):
    """How many samples carried a quality flag; their value was not used."""

    flag: str
    samples: int


class DataQuality(Struct, frozen=True):
    """What was wrong with the data and what was done about it."""

    samples: int  # frames times cells
    gaps: int  # steps longer than the asset's `max_gap_ms`
    gap_limit_s: float
    gap_longest_s: float
    gap_hours: float
    clock_jumps: int
    missing_frames: int  # sequence numbers never seen
    late_frames: int
    duplicates: int | None  # None: a store does not keep them
    incomplete: int  # half-cycles
    flagged: list[Flagged]
    findings: list[str]  # of the reader, in English
    rejected: list[str] | None  # what the reader left out; None: a store does not keep it


class Card(Struct, frozen=True):
    """A model that was used, from its card."""

    name: str
    sha256: str
    description: str
    trained_on: list[str]
    limits: list[str]
    versions: dict[str, str]


Known = Literal["known", "partly", "unknown"]


class Parameter(Struct, frozen=True):
    """A parameter of Annex VII of Regulation (EU) 2023/1542; `code` has its words."""

    part: Literal["A", "B"]
    code: str
    state: Known
    value: float | None
    unit: str


class Report(Struct, frozen=True):
    """A battery health report. `remarks` are codes of what a reader must not overlook."""

    v: Literal[1]
    made_by: str
    remarks: list[str]
    source: Source
    about: About
    use: Use
    health: Health
    fade: list[FadePoint]
    ica: list[IcaCurve]
    forecast: Forecast | None
    forecast_missing: ForecastMissing | None
    resistance: Resistance
    thermal: Thermal
    alarms: Alarms
    advice: Advice | None
    quality: DataQuality
    models: list[Card]
    regulation: list[Parameter]


def to_json(report: Report) -> bytes:
    """The report as indented JSON, the same bytes for the same report."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def from_json(data: bytes) -> Report:
    """The report of `to_json`; raises msgspec.DecodeError for anything else."""
    return msgspec.json.decode(data, type=Report)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `to_json`."""
    schema: dict[str, Any] = msgspec.json.schema(Report)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"Cellpulse battery health report, version {VERSION}"
    return schema
