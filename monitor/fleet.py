"""The assets and all that is remembered of them: arrays with one row a cell or an asset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from monitor.alarms.rules import Rule
from monitor.contract import MAX_CELLS, AssetConfig, sensor_of_cell
from monitor.drift import NewTest, PageHinkley
from monitor.errors import CellpulseError
from monitor.fade import CellFade, TrackerState
from monitor.kernels.admission import empty_admission, session_id
from monitor.kernels.cell import CELL, cell_config, empty_cells
from monitor.kernels.columns import RESULTS, Floats, Ints, Records, Result
from monitor.kernels.layout import (
    VERSION_8,
    VERSION_8_CELLS,
    Layouts,
    memory,
    read_layout,
    records_of,
    take_over_inplace,
    written_layout,
)
from monitor.models.onnx import SohModel, ThermalModel

STATE_VERSION = 9
READ_VERSIONS = (7, 8, STATE_VERSION)
DEFAULT_CAPACITY_AH = 1.0
Rows = slice | int  # of the arrays with one row a cell


@dataclass(slots=True)
class Asset:
    """One asset: what it says of itself, and where its rows are."""

    name: str
    index: int
    config: AssetConfig
    configured: bool
    first_row: int
    sensors: int = 0
    missing_since_ms: int = -1  # arrival time of the newest sequence gap, while its alarm stands
    fades: dict[int, CellFade] = field(default_factory=dict)  # of cells that ended a half-cycle
    fades_ms: dict[int, int] = field(default_factory=dict)  # when it ended

    @property
    def cells(self) -> int:
        """How many cells, as the config says."""
        return self.config.cells


class _Portable(Struct, omit_defaults=True):
    """An asset's state as it travels."""

    version: int
    asset: str
    config: AssetConfig
    configured: bool
    sensors: int
    missing_since_ms: int
    last_arrival_ms: int
    rules: list[str]
    arrays: dict[str, bytes]
    alarms: bytes
    fades: dict[int, tuple[int, TrackerState, TrackerState]] = {}
    online: bool = True
    gateway_online: bool = True
    session: str | None = None  # of version 7; since then it is in the admission
    layout: bytes = b""  # the arrays' fields by name (see `kernels.layout`); none before version 9


@dataclass(slots=True)
class Fleet:
    """The arrays grow by doubling; an asset's cells are consecutive rows."""

    rules: tuple[Rule, ...]
    soh: SohModel | None
    thermal: ThermalModel | None
    knee_test: NewTest = PageHinkley
    assets: dict[str, Asset] = field(default_factory=dict)
    by_index: list[Asset] = field(default_factory=list)
    rows: int = 0
    cells: Records = field(default_factory=lambda: empty_cells(64))  # of `kernels.cell.CELL`
    value: Floats = field(init=False)
    value_ms: Ints = field(init=False)
    limits: Floats = field(init=False)
    active: NDArray[np.int8] = field(init=False)
    since: Floats = field(init=False)
    asset_of_row: Ints = field(init=False)
    admission: Records = field(default_factory=lambda: empty_admission(16))
    last_arrival_ms: Ints = field(default_factory=lambda: np.full(16, -1, np.int64))
    stale_after_ms: Ints = field(default_factory=lambda: np.zeros(16, np.int64))
    offline_names: set[str] = field(default_factory=set)  # assets, known or not, that said so
    offline_gateways: set[str] = field(default_factory=set)
    _free: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, r = len(self.cells), len(self.rules)
        self.value = np.full((n, RESULTS), np.nan)
        self.value_ms = np.full((n, RESULTS), -1, np.int64)
        self.limits = np.full((n, r), np.nan)
        self.active = np.zeros((n, r), np.int8)
        self.since = np.full((n, r), np.nan)
        self.asset_of_row = np.full(n, -1, np.int64)

    def add(self, name: str, config: AssetConfig, configured: bool) -> Asset:
        """Take a new asset in; raises CellpulseError for more cells than the contract has."""
        _check_count(name, "cells", config.cells)
        index = len(self.by_index)
        if index == len(self.admission):
            self.admission = _joined(self.admission, empty_admission(index))
            self.last_arrival_ms = np.concatenate(
                [self.last_arrival_ms, np.full(index, -1, np.int64)]
            )
            self.stale_after_ms = np.concatenate([self.stale_after_ms, np.zeros(index, np.int64)])
        asset = Asset(name, index, config, configured, self._rows(config.cells))
        self.assets[name] = asset
        self.by_index.append(asset)
        self._apply(asset)
        return asset

    def configure(self, asset: Asset, config: AssetConfig) -> None:
        """Take a config over; the state stays unless the number of cells changes.

        Raises CellpulseError for more cells than the contract has.
        """
        _check_count(asset.name, "cells", config.cells)
        if config.cells != asset.cells:
            self._free.setdefault(asset.cells, []).append(asset.first_row)
            asset.first_row = self._rows(config.cells)
            asset.sensors = 0
        before, after = asset.config, config
        if (before.cells, before.nominal_capacity_ah) != (after.cells, after.nominal_capacity_ah):
            asset.fades, asset.fades_ms = {}, {}  # a share of another capacity is another curve
        asset.config = config
        asset.configured = True
        self._apply(asset)

    def set_rules(self, rules: tuple[Rule, ...]) -> None:
        """Take other rules over; what is known of a code and severity that stays is kept."""
        before = {name: k for k, name in enumerate(_names(self.rules))}
        active = np.zeros((len(self.cells), len(rules)), np.int8)
        since = np.full((len(self.cells), len(rules)), np.nan)
        for column, name in enumerate(_names(rules)):
            old = before.get(name)
            if old is not None:
                active[:, column] = self.active[:, old]
                since[:, column] = self.since[:, old]
        self.rules = rules
        self.active, self.since = active, since
        self.limits = np.full((len(self.cells), len(rules)), np.nan)
        for asset in self.by_index:
            self._apply(asset)

    def see_sensors(self, asset: Asset, sensors: int) -> None:
        """A frame had so many temperatures; wire the cells to them. Raises CellpulseError."""
        _check_count(asset.name, "sensors", sensors)
        asset.sensors = sensors
        # Other sensors: no reading may be compared with one before.
        self.cells["thermometer"]["raw_ms"][self.slice(asset)] = np.nan
        self._apply(asset)

    def slice(self, asset: Asset) -> slice:
        """The asset's rows."""
        return slice(asset.first_row, asset.first_row + asset.cells)

    def has_model(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether the SOH model knows the cells' family."""
        known: NDArray[np.bool_] = self.cells["config"]["soh_table"][rows] >= 0.0
        return known

    def state_bytes_per_cell(self) -> int:
        """Bytes of state a cell takes, all arrays together."""
        others = (self.value, self.value_ms, self.limits, self.active, self.since)
        return CELL.itemsize + sum(a.nbytes for a in others) // len(self.cells)

    def take(self, asset: Asset, alarms: bytes) -> bytes:
        """The asset's whole state as bytes, versioned."""
        arrays = {name: array.tobytes() for name, array in self._arrays(asset).items()}
        return msgspec.msgpack.encode(
            _Portable(
                STATE_VERSION, asset.name, asset.config, asset.configured, asset.sensors,
                asset.missing_since_ms,
                int(self.last_arrival_ms[asset.index]), _names(self.rules),
                arrays, alarms,
                {cell: (asset.fades_ms[cell], *fade.states())
                 for cell, fade in asset.fades.items()},
                asset.name not in self.offline_names,
                asset.config.gateway not in self.offline_gateways,
                layout=written_layout(),
            )
        )  # fmt: skip

    def put(self, data: bytes) -> bytes:
        """Take an asset back from `take`; returns its alarms' bytes.

        What it knew of a rule that stands no more is left out. Raises CellpulseError where the
        bytes are of another version.
        """
        try:
            portable = msgspec.msgpack.decode(data, type=_Portable)
        except msgspec.DecodeError as error:
            raise CellpulseError(f"engine state: {error}") from error
        if portable.version not in READ_VERSIONS:
            raise CellpulseError(
                f"engine state: version {portable.version}; this program reads "
                f"{', '.join(map(str, READ_VERSIONS))}"
            )
        asset = self.assets.get(portable.asset)
        if asset is None:
            asset = self.add(portable.asset, portable.config, portable.configured)
        else:
            self.configure(asset, portable.config)
        asset.configured = portable.configured
        asset.missing_since_ms = portable.missing_since_ms
        if not portable.online:
            self.offline_names.add(asset.name)
        if not portable.gateway_online and portable.config.gateway is not None:
            self.offline_gateways.add(portable.config.gateway)
        self.see_sensors(asset, portable.sensors)
        asset.fades = {
            cell: CellFade((m, e), self.knee_test) for cell, (_, m, e) in portable.fades.items()
        }
        asset.fades_ms = {cell: ms for cell, (ms, _, _) in portable.fades.items()}
        self._put_arrays(asset, portable)
        admitted = self.admission[asset.index : asset.index + 1]
        if portable.version == 7 and admitted["session"][0] >= 0:
            admitted["session"] = session_id(portable.session)
        self.last_arrival_ms[asset.index] = portable.last_arrival_ms
        return portable.alarms

    def _arrays(self, asset: Asset) -> dict[str, NDArray[Any]]:
        """Views of an asset's part of every array that travels as it is in memory."""
        rows = self.slice(asset)
        return {
            "cells": memory(self.cells[rows]),
            "admission": self.admission[asset.index : asset.index + 1],
            "value": self.value[rows],
            "value_ms": self.value_ms[rows],
            "active": self.active[rows],
            "since": self.since[rows],
        }

    def _put_arrays(self, asset: Asset, portable: _Portable) -> None:
        """Take an asset's arrays over, of another layout by the names of their fields."""
        cells = self.cells[self.slice(asset)]
        layouts: Layouts = {}
        if portable.version != STATE_VERSION:
            layouts = VERSION_8
            for name, layout in VERSION_8_CELLS.items():
                take_over_inplace(cells, portable.arrays[name], layout)
        elif portable.layout != written_layout():
            layouts = read_layout(portable.layout)
            take_over_inplace(cells, portable.arrays["cells"], layouts["cells"])
        for name, target in self._arrays(asset).items():
            if name in ("active", "since"):
                flat = np.frombuffer(portable.arrays[name], target.dtype)
                by_rule = flat.reshape(len(target), len(portable.rules))
                for column, rule in enumerate(_names(self.rules)):
                    if rule in portable.rules:
                        target[:, column] = by_rule[:, portable.rules.index(rule)]
            elif not layouts:
                flat = np.frombuffer(portable.arrays[name], target.dtype)
                target[...] = flat.reshape(target.shape)
            elif name != "cells":
                records = records_of(name, target)
                take_over_inplace(records, portable.arrays[name], layouts[name])

    def _rows(self, cells: int) -> int:
        reusable = self._free.get(cells)
        first = reusable.pop() if reusable else self.rows
        if first == self.rows:
            while self.rows + cells > len(self.cells):
                self._grow()
            self.rows += cells
        rows = slice(first, first + cells)
        self.cells[rows] = empty_cells(cells)
        self.value[rows] = np.nan
        self.value_ms[rows] = -1
        self.active[rows] = 0
        self.since[rows] = np.nan
        return first

    def _grow(self) -> None:
        more = Fleet(self.rules, None, None, cells=empty_cells(len(self.cells)))
        for name in ("cells", "value", "value_ms", "limits", "active", "since", "asset_of_row"):
            setattr(self, name, _joined(getattr(self, name), getattr(more, name)))

    def _apply(self, asset: Asset) -> None:
        """Write what the config says into the asset's rows."""
        config, rows = asset.config, self.slice(asset)
        sensor = np.array(sensor_of_cell(config, asset.sensors), np.int64)
        rewired = self.cells["config"]["sensor"][rows] != sensor
        self.cells["thermometer"]["raw_ms"][rows][rewired] = np.nan
        self.cells["config"][rows] = cell_config(
            config.nominal_capacity_ah,
            config.limits.charge_voltage_v,
            config.limits.discharge_voltage_v,
            config.max_gap_ms,
            prior=None if self.thermal is None else self.thermal.prior,
            soh_table=-1.0 if self.soh is None else self.soh.table(config.cell_type),
            configured=asset.configured,
            temperature_max_c=config.limits.temperature_max_c,
        )
        self.cells["config"]["sensor"][rows] = sensor
        self.value[rows, Result.SOH_STATE] = np.where(
            self.has_model(rows), self.value[rows, Result.SOH_STATE], 3.0
        )
        self.asset_of_row[rows] = asset.index
        # A sensor's alarm is watched on the first of its cells, a pack's on the first cell.
        watches_sensor = np.zeros(asset.cells, np.bool_)
        seen, first = np.unique(sensor, return_index=True)
        watches_sensor[first[seen >= 0]] = True
        for column, rule in enumerate(self.rules):
            limit = rule.limit(config)
            values = np.full(asset.cells, np.nan if limit is None else limit)
            if rule.scope == "sensor":
                values[~watches_sensor] = np.nan
            elif rule.scope == "pack":
                values[1:] = np.nan
            self.limits[rows, column] = values
        self.stale_after_ms[asset.index] = max(5_000, 5 * config.expected_interval_ms)


def _check_count(asset: str, what: str, count: int) -> None:
    """The engine's buffers hold one asset's frame of so many cells, and no more."""
    if not 0 <= count <= MAX_CELLS:
        raise CellpulseError(f"asset {asset}: {count} {what}; at most {MAX_CELLS}")


def _joined(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Both arrays in a row, with the very dtype of the first: a kernel knows it by identity."""
    both = np.empty((len(first) + len(second), *first.shape[1:]), first.dtype)
    both[: len(first)] = first
    both[len(first) :] = second
    return both


def _names(rules: tuple[Rule, ...]) -> list[str]:
    """What tells rules apart: code and severity."""
    return [f"{rule.code}/{rule.severity}" for rule in rules]
