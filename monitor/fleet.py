"""The assets and all that is remembered of them: arrays with one row a cell or an asset."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from monitor.alarms.rules import Rule
from monitor.contract import MAX_CELLS, AssetConfig, sensor_of_cell
from monitor.errors import CellpulseError
from monitor.fade import CellFade, TrackerState
from monitor.kernels.admission import ADMISSION_WIDTH, A, empty_admission, session_id
from monitor.kernels.features import TERMS, CellState, G, Param
from monitor.kernels.results import RESULTS, Result
from monitor.models.onnx import SohModel, ThermalModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STATE_VERSION = 8  # 7 is read too
DEFAULT_CAPACITY_AH = 1.0


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


@dataclass(slots=True)
class Fleet:
    """The arrays grow by doubling; an asset's cells are consecutive rows."""

    rules: tuple[Rule, ...]
    soh: SohModel | None
    thermal: ThermalModel | None
    assets: dict[str, Asset] = field(default_factory=dict)
    by_index: list[Asset] = field(default_factory=list)
    rows: int = 0
    cells: CellState = field(default_factory=lambda: CellState.empty(64))
    value: Floats = field(init=False)
    value_ms: Ints = field(init=False)
    has_model: Ints = field(init=False)
    unlike_bins: NDArray[np.float32] = field(init=False)  # see `latest.settle_inplace`
    temperature_max_c: Floats = field(init=False)
    limits: Floats = field(init=False)
    active: NDArray[np.int8] = field(init=False)
    since: Floats = field(init=False)
    asset_of_row: Ints = field(init=False)
    admission: Ints = field(default_factory=lambda: empty_admission(16))
    last_arrival_ms: Ints = field(default_factory=lambda: np.full(16, -1, np.int64))
    stale_after_ms: Ints = field(default_factory=lambda: np.zeros(16, np.int64))
    replay: Ints = field(default_factory=lambda: np.zeros(16, np.int64))
    offline_names: set[str] = field(default_factory=set)  # assets, known or not, that said so
    offline_gateways: set[str] = field(default_factory=set)
    _free: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, r = self.cells.rows, len(self.rules)
        self.value = np.full((n, RESULTS), np.nan)
        self.value_ms = np.full((n, RESULTS), -1, np.int64)
        self.has_model = np.zeros(n, np.int64)
        self.unlike_bins = np.zeros(n, np.float32)
        self.temperature_max_c = np.full(n, np.nan)
        self.limits = np.full((n, r), np.nan)
        self.active = np.zeros((n, r), np.int8)
        self.since = np.full((n, r), np.nan)
        self.asset_of_row = np.full(n, -1, np.int64)

    def add(self, name: str, config: AssetConfig, configured: bool) -> Asset:
        """Take a new asset in; raises CellpulseError for more cells than the contract has."""
        _check_count(name, "cells", config.cells)
        index = len(self.by_index)
        if index == len(self.admission):
            self.admission = np.concatenate([self.admission, empty_admission(index)])
            self.last_arrival_ms = np.concatenate(
                [self.last_arrival_ms, np.full(index, -1, np.int64)]
            )
            self.stale_after_ms = np.concatenate([self.stale_after_ms, np.zeros(index, np.int64)])
            self.replay = np.concatenate([self.replay, np.zeros(index, np.int64)])
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
        active = np.zeros((self.cells.rows, len(rules)), np.int8)
        since = np.full((self.cells.rows, len(rules)), np.nan)
        for column, name in enumerate(_names(rules)):
            old = before.get(name)
            if old is not None:
                active[:, column] = self.active[:, old]
                since[:, column] = self.since[:, old]
        self.rules = rules
        self.active, self.since = active, since
        self.limits = np.full((self.cells.rows, len(rules)), np.nan)
        for asset in self.by_index:
            self._apply(asset)

    def see_sensors(self, asset: Asset, sensors: int) -> None:
        """A frame had so many temperatures; wire the cells to them. Raises CellpulseError."""
        _check_count(asset.name, "sensors", sensors)
        asset.sensors = sensors
        self.cells.scalars[self.slice(asset), G.RAW_MS] = np.nan  # other sensors: nothing compares
        self._apply(asset)

    def slice(self, asset: Asset) -> slice:
        """The asset's rows."""
        return slice(asset.first_row, asset.first_row + asset.cells)

    def state_bytes_per_cell(self) -> int:
        """Bytes of state a cell takes, all arrays together."""
        others = (self.value, self.value_ms, self.limits, self.active, self.since)
        return self.cells.bytes_per_cell() + sum(a.nbytes for a in others) // self.cells.rows

    def take(self, asset: Asset, alarms: bytes) -> bytes:
        """The asset's whole state as bytes, versioned."""
        rows = self.slice(asset)
        arrays = {name: array[rows].tobytes() for name, array in self._row_arrays().items()}
        arrays["admission"] = self.admission[asset.index].tobytes()
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
        if portable.version not in (7, STATE_VERSION):
            raise CellpulseError(
                f"engine state: version {portable.version}; this program reads 7 and "
                f"{STATE_VERSION}"
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
        asset.fades = {cell: CellFade((m, e)) for cell, (_, m, e) in portable.fades.items()}
        asset.fades_ms = {cell: ms for cell, (ms, _, _) in portable.fades.items()}
        rows = self.slice(asset)
        for name, array in self._row_arrays().items():
            target = array[rows]
            flat = np.frombuffer(portable.arrays[name], array.dtype)
            if name in ("active", "since"):
                by_rule = flat.reshape(len(target), len(portable.rules))
                for column, rule in enumerate(_names(self.rules)):
                    if rule in portable.rules:
                        target[:, column] = by_rule[:, portable.rules.index(rule)]
            else:
                target[...] = flat.reshape(target.shape)
        self.admission[asset.index] = np.frombuffer(
            portable.arrays["admission"], np.int64, ADMISSION_WIDTH
        )
        if portable.version == 7 and self.admission[asset.index, A.SESSION] >= 0:
            self.admission[asset.index, A.SESSION] = session_id(portable.session)
        self.last_arrival_ms[asset.index] = portable.last_arrival_ms
        return portable.alarms

    def _row_arrays(self) -> dict[str, NDArray[np.generic]]:
        return {
            "scalars": self.cells.scalars,
            "histogram": self.cells.histogram,
            "window": self.cells.window,
            "value": self.value,
            "value_ms": self.value_ms,
            "unlike_bins": self.unlike_bins,
            "active": self.active,
            "since": self.since,
        }

    def _rows(self, cells: int) -> int:
        reusable = self._free.get(cells)
        first = reusable.pop() if reusable else self.rows
        if first == self.rows:
            while self.rows + cells > self.cells.rows:
                self._grow()
            self.rows += cells
        rows = slice(first, first + cells)
        fresh = CellState.empty(cells)
        self.cells.scalars[rows] = fresh.scalars
        self.cells.histogram[rows] = 0.0
        self.cells.window[rows] = 0.0
        self.value[rows] = np.nan
        self.value_ms[rows] = -1
        self.unlike_bins[rows] = 0.0
        self.active[rows] = 0
        self.since[rows] = np.nan
        return first

    def _grow(self) -> None:
        more = Fleet(self.rules, None, None, cells=CellState.empty(self.cells.rows))
        for name in ("scalars", "histogram", "window", "params", "sensor"):
            both = np.concatenate([getattr(self.cells, name), getattr(more.cells, name)])
            setattr(self.cells, name, both)
        for name in (
            "value", "value_ms", "has_model", "unlike_bins", "temperature_max_c", "limits",
            "active", "since", "asset_of_row",
        ):  # fmt: skip
            setattr(self, name, np.concatenate([getattr(self, name), getattr(more, name)]))

    def _apply(self, asset: Asset) -> None:
        """Write what the config says into the asset's rows."""
        config, rows = asset.config, self.slice(asset)
        capacity = config.nominal_capacity_ah
        params = self.cells.params[rows]
        params[:, Param.NOMINAL_AH] = capacity
        params[:, Param.CHARGE_V] = config.limits.charge_voltage_v
        params[:, Param.DISCHARGE_V] = config.limits.discharge_voltage_v
        params[:, Param.MAX_GAP_MS] = config.max_gap_ms
        params[:, Param.CONFIGURED] = float(asset.configured)
        params[:, Param.TABLE] = -1.0 if self.soh is None else self.soh.table(config.cell_type)
        if self.thermal is not None:
            prior = self.thermal.prior
            params[:, Param.HEAT_CAPACITY_J_PER_K] = prior.heat_capacity_j_per_k_ah * capacity
            params[:, Param.COOLING_W_PER_K] = prior.cooling_w_per_k_ah * capacity
            params[:, Param.RESISTANCE_OHM] = prior.resistance_ohm_ah / capacity
            mean, spread = int(Param.BALANCE_MEAN), int(Param.BALANCE_SPREAD)
            params[:, mean : mean + TERMS] = prior.balance_mean
            params[:, spread : spread + TERMS] = prior.balance_spread
        self.temperature_max_c[rows] = config.limits.temperature_max_c
        self.has_model[rows] = params[:, Param.TABLE] >= 0.0
        self.value[rows, Result.SOH_STATE] = np.where(
            self.has_model[rows] == 1, self.value[rows, Result.SOH_STATE], 3.0
        )
        self.asset_of_row[rows] = asset.index
        sensor = np.array(sensor_of_cell(config, asset.sensors), np.int64)
        rewired = self.cells.sensor[rows] != sensor
        self.cells.scalars[rows][rewired, G.RAW_MS] = np.nan
        self.cells.sensor[rows] = sensor
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
        self.replay[asset.index] = int(config.provenance.replay)


def _check_count(asset: str, what: str, count: int) -> None:
    """The engine's buffers hold one asset's frame of so many cells, and no more."""
    if not 0 <= count <= MAX_CELLS:
        raise CellpulseError(f"asset {asset}: {count} {what}; at most {MAX_CELLS}")


def _names(rules: tuple[Rule, ...]) -> list[str]:
    """What tells rules apart: code and severity."""
    return [f"{rule.code}/{rule.severity}" for rule in rules]
