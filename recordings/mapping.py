"""What the columns of a generic file mean: names, units, sign, and what the file does not say.

A mapping is a TOML file beside the recording (`cell.csv` and `cell.toml`), or the same as a dict:

    [info]
    nominal_capacity_ah = 5.0      # the one thing that must be said
    asset = "pack-7"               # default: the file's name; any field of RecordingInfo may follow
    [columns]
    time = "t"                     # elapsed since the start of the test
    clock = "Date"                 # absolute; ISO text (UTC if it names no zone), or a number
    current = "I(mA)"
    voltage = ["U1(mV)", "U2(mV)"] # one a cell
    temperature = ["T1"]           # one a sensor
    ambient = "Tamb"
    cycle = "Cycle"
    discharged = "Qd(Ah)"          # charge drawn, as the cycler counts it
    [units]                        # where a column's name does not end in its unit
    time = "h"
    temperature = "K"
    clock = "unix_ms"
    [options]
    positive_current = "discharges"
    start = 2024-05-01T00:00:00Z   # where there is no clock
    delimiter = ";"
    decimal = ","
    skip_rows = 2

Either `time` or `clock` must be there, and `voltage`; the rest may be missing. Files in the Battery
Data Format (Battery Data Alliance) need no [columns]: its preferred labels and machine names are
known. Neither do files whose columns have plain names, such as `Time [s]`, `Voltage(V)` and
`current_a`. The sign of current is taken as positive on charge in both.

Past 400 lines because one mapping is resolved here from all its sources: TOML, the Battery Data
Format, plain names, Chinese exports.

The module is long because every key of a mapping is read, and refused, in one place.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from recordings.errors import MappingError, UnplacedError, reason_of
from recordings.messages import LONGEST_SHOWN, Message, Place, Words, at_columns, listed
from recordings.types import RecordingInfo, refuse_too_many

_UNITS: dict[str, dict[str, tuple[float, float]]] = {  # unit -> scale, offset into ours
    "time": {
        **dict.fromkeys(("s", "sec", "second", "seconds"), (1.0, 0.0)),
        **dict.fromkeys(("ms", "millisecond", "milliseconds"), (1e-3, 0.0)),
        **dict.fromkeys(("us", "µs"), (1e-6, 0.0)),
        **dict.fromkeys(("min", "minute", "minutes"), (60.0, 0.0)),
        **dict.fromkeys(("h", "hour", "hours"), (3600.0, 0.0)),
        **dict.fromkeys(("d", "day", "days"), (86_400.0, 0.0)),
    },
    "clock": {  # into milliseconds since 1970
        "iso": (1.0, 0.0),
        **dict.fromkeys(("unix_s", "s", "sec", "second", "seconds"), (1e3, 0.0)),
        **dict.fromkeys(("unix_ms", "ms", "millisecond", "milliseconds"), (1.0, 0.0)),
    },
    "current": {
        **dict.fromkeys(("a", "amp", "ampere"), (1.0, 0.0)),
        **dict.fromkeys(("ma", "milliampere"), (1e-3, 0.0)),
        **dict.fromkeys(("ua", "µa"), (1e-6, 0.0)),
    },
    "voltage": {
        **dict.fromkeys(("v", "volt"), (1.0, 0.0)),
        **dict.fromkeys(("mv", "millivolt"), (1e-3, 0.0)),
    },
    "temperature": {
        **dict.fromkeys(("c", "°c", "℃", "degc", "celsius"), (1.0, 0.0)),
        **dict.fromkeys(("k", "kelvin"), (1.0, -273.15)),
        **dict.fromkeys(("f", "°f", "degf", "fahrenheit"), (5 / 9, -160 / 9)),
    },
    "discharged": {
        "ah": (1.0, 0.0),
        "mah": (1e-3, 0.0),
        **dict.fromkeys(("as", "coulomb"), (1 / 3600, 0.0)),
    },
    "cycle": {"1": (1.0, 0.0)},
}
_UNITS["ambient"] = _UNITS["temperature"]
_DEFAULT = {
    "time": "s",
    "clock": "iso",
    "current": "a",
    "voltage": "v",
    "temperature": "c",
    "ambient": "c",
    "discharged": "ah",
    "cycle": "1",
}
_MAX_MAPPING_BYTES = 1 << 20
_COUNTED: tuple[tuple[str, Literal["cells", "sensors"]], ...] = (
    ("voltage", "cells"),
    ("temperature", "sensors"),
)
_TRAILING_UNIT = re.compile(r"[\[(/_\s]\s*([A-Za-z°µ℃]+)\s*[\])]?\s*\Z")

_BDF: dict[str, tuple[str, ...]] = {
    "time": ("test_time_second", "Test Time / s", "test_time_millisecond"),
    "clock": ("unix_time_second", "Unix Time / s", "date_time_millisecond"),
    "voltage": ("voltage_volt", "Voltage / V"),
    "current": ("current_ampere", "Current / A"),
    "cycle": ("cycle_count", "Cycle Count / 1", "cycle_dimensionless"),
    "discharged": ("discharging_capacity_ah", "Discharging Capacity / Ah"),
    "ambient": ("ambient_temperature_celsius", "Ambient Temperature / degC"),
}
_BDF_TEMPERATURES = (
    *((f"temperature_t{n}_celsius", f"Surface Temperature T{n} / degC") for n in range(1, 6)),
    ("surface_temperature_celsius", "Surface Temperature / degC"),
)


# Names that need no mapping, their unit cut off, in small letters; the Chinese ones are those of
# Neware and Land exports. Of several columns for one quantity the first named here counts where it
# is in `_SURE`: beside a total time, `Time` counts from the start of each step.
_PLAIN: dict[str, frozenset[str]] = {
    "time": frozenset(
        ("time", "t", "test time", "total time", "elapsed", "elapsed time", "relative time",
         "总时间", "测试时间", "累计时间", "时间")
    ),
    "clock": frozenset(
        ("timestamp", "datetime", "date time", "unix time", "date",
         "绝对时间", "系统时间", "日期时间", "日期")
    ),
    "voltage": frozenset(
        ("voltage", "v", "u", "cell voltage", "battery voltage", "电压", "电池电压", "单体电压")
    ),
    "current": frozenset(("current", "i", "cell current", "battery current", "电流", "电池电流")),
    "temperature": frozenset(
        ("temperature", "temp", "cell temperature", "battery temperature", "温度", "电池温度")
    ),
    "ambient": frozenset(("ambient", "ambient temperature", "环境温度")),
    "cycle": frozenset(
        ("cycle", "cycle index", "cycle number", "循环号", "循环序号", "循环", "循环次数")
    ),
}  # fmt: skip
_SURE = ("total time", "总时间", "累计时间")


class _Named(Protocol):
    @property
    def names(self) -> list[str]: ...

    def width(self, name: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the file; value * scale + offset is in our unit."""

    name: str
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Mapping:
    """Columns by what they mean, and how to read the file."""

    info: RecordingInfo
    voltage: tuple[Column, ...]
    current: Column | None = None
    temperature: tuple[Column, ...] = ()
    time: Column | None = None
    clock: Column | None = None
    ambient: Column | None = None
    cycle: Column | None = None
    discharged: Column | None = None
    charges_positive: bool = True
    start_ms: int = 0
    delimiter: str | None = None
    decimal: str | None = None
    skip_rows: int = 0
    problems: tuple[Words, ...] = field(default=())

    def names(self) -> list[str]:
        """Every column that is read, once."""
        single = (self.time, self.clock, self.current, self.ambient, self.cycle, self.discharged)
        found = [*self.voltage, *self.temperature, *(one for one in single if one is not None)]
        return list(dict.fromkeys(column.name for column in found))


def is_bdf(names: list[str]) -> bool:
    """Whether the columns are those that the Battery Data Format requires."""
    return all(
        any(name in names for name in _BDF[quantity]) for quantity in ("time", "voltage", "current")
    )


def plain_columns(names: list[str]) -> dict[str, str]:
    """Columns told by plain names; empty where one that is needed is missing or told twice."""
    found: dict[str, list[str]] = {}
    for name in names:
        bare = _bare(name)
        for quantity, known in _PLAIN.items():
            if bare in known:
                found.setdefault(quantity, []).append(name)
    for same in found.values():
        if len(same) > 1:
            same[:] = [name for name in same if _bare(name) in _SURE] or same
    sure = {quantity: same[0] for quantity, same in found.items() if len(same) == 1}
    whole = {"voltage", "current"} <= sure.keys() and bool({"time", "clock"} & sure.keys())
    return sure if whole and len(sure) == len(found) else {}


def _bare(name: str) -> str:
    """A column's name without its unit, in small letters: `voltage` of `Voltage(V)`."""
    text = name.strip()
    match = _TRAILING_UNIT.search(text)
    if match is not None and any(match[1].lower() in units for units in _UNITS.values()):
        text = text[: match.start()]
    return re.sub(r"[\s_]+", " ", text).strip().lower()


def sidecar(path: Path) -> Path | None:
    """The mapping file beside a recording: its whole name or its stem, with `.toml`."""
    stem = path.name.partition(".")[0]
    for name in (f"{path.name}.toml", f"{path.stem}.toml", f"{stem}.toml"):
        if (path.parent / name).is_file():
            return path.parent / name
    return None


def load_mapping(path: Path) -> dict[str, Any]:
    """The content of a mapping file. Raises RecordingError."""
    try:
        size = path.stat().st_size
        if size > _MAX_MAPPING_BYTES:
            raise UnplacedError(Message("limit.bytes", found=size, most=_MAX_MAPPING_BYTES))
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # numbers and lists of any size too
        message = Message("mapping.damaged", reason=reason_of(error))
        raise MappingError(message, Place(str(path))) from None


def refuse_no_tables(where: Place, content: dict[str, Any]) -> None:
    """Raise RecordingError if a section of a mapping is something else than a table."""
    for section, value in content.items():
        if not isinstance(value, dict):
            shown = str(value)[:LONGEST_SHOWN]
            raise MappingError(Message("mapping.no_table", key=section, found=shown), where)


def resolve(
    path: Path, table: _Named, content: dict[str, Any], nominal_capacity_ah: float | None
) -> Mapping:
    """The mapping of the file's columns.

    Raises RecordingError that names the key, the value and what would be right.
    """
    where, names = Place(path.name), table.names
    for section in content:
        if section not in ("info", "columns", "units", "options"):
            raise MappingError(Message("mapping.section", found=section), where)
    columns: dict[str, Any] = dict(content.get("columns", {}))
    units: dict[str, str] = {key: str(unit) for key, unit in content.get("units", {}).items()}
    if not columns and is_bdf(names):
        columns = _bdf_columns(names)
    problems: list[Words] = []
    if not columns:
        columns = dict(plain_columns(names))
        if columns:
            told = tuple(
                Message("problem_column", column=name, quantity=quantity)
                for quantity, name in columns.items()
            )
            problems.append(Message("problem.columns_by_name", columns=told))
    if not columns:
        message = Message("mapping.unknown_columns", found=listed(names), stem=path.stem)
        raise MappingError(message, where)
    for key in (*columns, *units):
        if key not in _UNITS:
            known = ", ".join(_UNITS)
            raise MappingError(Message("mapping.column", found=key, expected=known), where)
    found = {
        key: _columns(where, key, value, names, units.get(key), problems)
        for key, value in columns.items()
    }
    if "voltage" not in found or not ("time" in found or "clock" in found):
        raise MappingError(Message("mapping.needs"), where)
    for key, columns_found in found.items():
        if key not in ("voltage", "temperature") and table.width(columns_found[0].name) != 1:
            message = Message("mapping.lists", column=columns_found[0].name, key=key)
            raise MappingError(message, where)
    options = _Options(where, content.get("options", {}))
    single = {
        key: value[0] for key, value in found.items() if key not in ("voltage", "temperature")
    }
    if "clock" not in found and not options.start_ms:
        problems.append(Message("problem.no_date"))
    return Mapping(
        info=_info(path, content.get("info", {}), found, nominal_capacity_ah, table),
        voltage=found["voltage"],
        temperature=found.get("temperature", ()),
        charges_positive=options.charges_positive,
        start_ms=options.start_ms,
        delimiter=options.delimiter,
        decimal=options.decimal,
        skip_rows=options.skip_rows,
        problems=tuple(problems),
        **single,
    )


def _bdf_columns(names: list[str]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for quantity, labels in _BDF.items():
        for label in labels:
            if label in names:
                columns[quantity] = label
                break
    sensors = [label for labels in _BDF_TEMPERATURES for label in labels if label in names]
    if sensors:
        columns["temperature"] = sensors
    return columns


def _columns(
    where: Place, key: str, value: Any, names: list[str], unit: str | None, problems: list[Words]
) -> tuple[Column, ...]:
    wanted = value if isinstance(value, list) else [value]
    if not wanted or (len(wanted) > 1 and key not in ("voltage", "temperature")):
        raise MappingError(Message("mapping.one_column", key=key, found=len(wanted)), where)
    out = []
    for name in wanted:
        if name not in names:
            raise MappingError(
                Message("mapping.no_column", column=name, key=key, found=listed(names)), where
            )
        chosen = unit or _unit_in(name, key)
        if chosen is None:
            chosen = _DEFAULT[key]
            if key not in ("cycle", "clock"):
                problems.append(Message("problem.no_unit", column=name, unit=chosen))
        if chosen.lower() not in _UNITS[key]:
            known = ", ".join(_UNITS[key])
            raise MappingError(
                Message("mapping.unit", found=chosen, key=key, expected=known), where
            )
        out.append(Column(name, *_UNITS[key][chosen.lower()]))
    return tuple(out)


def _unit_in(name: str, key: str) -> str | None:
    """The unit that a column's name ends in, as `I(mA)`, `U / V`, `T [K]` or `time_ms` do."""
    match = _TRAILING_UNIT.search(name)
    if match is None or match[1].lower() not in _UNITS[key]:
        return None
    return match[1]


class _Options:
    def __init__(self, where: Place, content: dict[str, Any]) -> None:
        known = {"positive_current", "start", "delimiter", "decimal", "skip_rows"}
        for key in content:
            if key not in known:
                message = Message("mapping.option", found=key, expected=sorted(known))
                raise MappingError(message, where)
        sign = content.get("positive_current", "charges")
        if sign not in ("charges", "discharges"):
            raise MappingError(Message("mapping.sign", found=sign), where)
        self.charges_positive = sign == "charges"
        start = content.get("start")
        if start is not None and not isinstance(start, datetime):
            raise MappingError(Message("mapping.start", found=start), where)
        self.start_ms = 0
        if start is not None:
            zoned = start if start.tzinfo else start.replace(tzinfo=UTC)
            try:
                self.start_ms = round(zoned.timestamp() * 1000)
            except (OverflowError, ValueError):
                message = Message("mapping.start_impossible", found=str(start))
                raise MappingError(message, where) from None
        self.delimiter: str | None = content.get("delimiter")
        self.decimal: str | None = content.get("decimal")
        for key in ("delimiter", "decimal"):
            value = content.get(key)
            if value is not None and (not isinstance(value, str) or len(value) != 1):
                raise MappingError(Message("mapping.character", key=key, found=value), where)
        skip = content.get("skip_rows", 0)
        if not isinstance(skip, int) or isinstance(skip, bool) or skip < 0:
            raise MappingError(Message("mapping.skip_rows", found=skip), where)
        self.skip_rows = skip


def _info(
    path: Path,
    content: dict[str, Any],
    found: dict[str, tuple[Column, ...]],
    nominal_capacity_ah: float | None,
    table: _Named,
) -> RecordingInfo:
    from recordings.checking import asset_name

    where = Place(path.name)
    types = {one.name: one.type for one in fields(RecordingInfo)}
    taken = {"cells", "sensors", "source", "problems"}
    checks = {"str": str, "float": (int, float), "int": int, "bool": bool, "str | None": str}
    for key, value in content.items():
        if key not in types or key in taken:
            known = ", ".join(sorted(set(types) - taken))
            raise MappingError(Message("info.field", found=key, expected=known), where)
        if not isinstance(value, checks[str(types[key])]):  # type: ignore[arg-type]
            raise MappingError(
                Message("info.type", key=key, found=value, expected=str(types[key])), where
            )
    nominal = nominal_capacity_ah or content.get("nominal_capacity_ah")
    if nominal is None or not nominal > 0:
        stem = path.name.partition(".")[0]
        raise MappingError(Message("info.no_capacity", stem=stem), where)
    given = {key: value for key, value in content.items() if key != "nominal_capacity_ah"}
    defaults = {
        "asset": path.name.partition(".")[0],
        "dataset": "bdf" if is_bdf(table.names) else "generic",
    }
    merged = {**defaults, **given}
    merged["asset"] = asset_name(merged["asset"])
    counts: dict[str, int] = {}
    for key, what in _COUNTED:
        columns = [column.name for column in found.get(key, ())]
        counts[what] = sum(table.width(name) for name in columns)
        if columns:
            refuse_too_many(where.at(at_columns(columns)), counts[what], what)
    try:
        capacity_ah = float(nominal)
    except OverflowError:
        capacity_ah = float("inf")
    return RecordingInfo(
        nominal_capacity_ah=capacity_ah,
        cells=counts["cells"],
        sensors=counts["sensors"],
        source=str(path),
        **merged,
    )
