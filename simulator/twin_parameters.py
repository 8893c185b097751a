"""A cell's parameters as data: read, checked, and laid out for the kernel.

The files in `simulator/parameters/` are JSON with the sources of every group of values beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ConfigurationError
from simulator.twin_kernels import GAS_CONSTANT, ZERO_CELSIUS_K, Tables

Floats = NDArray[np.float64]


RESISTANCES = ("r0", "r1_discharge", "r2_discharge", "r1_charge", "r2_charge")


class ParameterError(ConfigurationError):
    """A parameter file is missing, incomplete or impossible; the message names file and key."""


@dataclass(frozen=True, slots=True)
class Ageing:
    """Loss of reference capacity as a fraction of nominal; the resistances age along with it.

    Calendar, t in days, U the open-circuit voltage, T in kelvin:
    (slope U - offset) exp(-activation / T) t^exponent (Schmalstieg et al. 2014).
    Cycling, linear in charge moved as Wang et al. (2014) found, times
    1 + curvature (U - voltage)^2 (Schmalstieg et al. 2014, at full depth of discharge),
    exp(activation (1/T_ref - 1/T)) with one activation above the reference temperature and one
    below, and exp((rate_slope T + rate_offset) (C - rate_reference_c)) for C-rate (Wang et al.
    2014).
    """

    calendar_slope_per_v: float
    calendar_offset: float
    calendar_activation_k: float
    calendar_exponent: float
    cycle_loss_per_throughput: float  # at the reference point, per nominal capacity moved
    cycle_voltage_v: float
    cycle_curvature_per_v2: float
    cycle_activation_hot_k: float
    cycle_activation_cold_k: float
    rate_slope_per_k: float
    rate_offset: float
    rate_reference_c: float


@dataclass(frozen=True, slots=True)
class Runaway:
    """The four decomposition reactions, in order: SEI, anode, cathode, electrolyte."""

    frequency_per_s: Floats  # (4,)
    activation_j_per_mol: Floats  # (4,)
    enthalpy_j_per_g: Floats  # (4,)
    content_kg_per_m3: Floats  # (4,)
    jelly_roll_m3: float
    start: Floats  # (5,): SEI, anode, SEI grown, cathode, electrolyte
    sei_reference: float
    melt_c: float
    melted_ohm: float


@dataclass(frozen=True, slots=True)
class CellParameters:
    """One kind of cell. Arrays are read-only, their axes uniform; units are in the names.

    Stoichiometry is charge left over `total_ah`; state of charge is 1 - removed / reference
    capacity, where the reference capacity is nominal_ah * (1 - loss) and is what the reference
    discharge delivers. The gap between the two grows with age: charge that resistance hides.
    """

    name: str
    nominal_ah: float
    stoichiometry: tuple[float, float]  # ends of the axis of the next two
    ocv_v: Floats  # (m,)
    entropy_v_per_k: Floats  # (m,)
    soc_low: float  # first point of the resistances' axis, which ends at 1
    loss: tuple[float, float]  # ends of the ageing axis: capacity lost, as a fraction of nominal
    total_ah: Floats  # (k,)
    resistance_ohm: Floats  # (5, k, s): ohmic, both pairs discharging, both pairs charging
    tau1_s: float
    tau2_s: float
    activation_j_per_mol: float
    reference_c: float
    heat_capacity_j_per_k: float
    heat_transfer_w_per_k: float
    ageing: Ageing
    runaway: Runaway
    sources: Mapping[str, str]

    def tables(self) -> Tables:
        """The parameters as the kernel reads them."""
        return Tables(
            nominal_ah=self.nominal_ah,
            stoichiometry_low=self.stoichiometry[0],
            stoichiometry_high=self.stoichiometry[1],
            ocv_v=self.ocv_v,
            entropy_v_per_k=self.entropy_v_per_k,
            soc_low=self.soc_low,
            loss_low=self.loss[0],
            loss_high=self.loss[1],
            total_ah=self.total_ah,
            resistance_ohm=self.resistance_ohm,
            tau1_s=self.tau1_s,
            tau2_s=self.tau2_s,
            activation_j_per_mol=self.activation_j_per_mol,
            reference_k=self.reference_c + ZERO_CELSIUS_K,
            heat_capacity_j_per_k=self.heat_capacity_j_per_k,
            heat_transfer_w_per_k=self.heat_transfer_w_per_k,
            ageing=np.array([float(getattr(self.ageing, f.name)) for f in fields(Ageing)]),
            reactions=np.column_stack(
                [
                    self.runaway.frequency_per_s,
                    self.runaway.activation_j_per_mol / GAS_CONSTANT,
                    self.runaway.enthalpy_j_per_g
                    * 1000.0
                    * self.runaway.content_kg_per_m3
                    * self.runaway.jelly_roll_m3,
                ]
            ),
            reaction_start=self.runaway.start,
            sei_reference=self.runaway.sei_reference,
            melt_c=self.runaway.melt_c,
            melted_s=1.0 / self.runaway.melted_ohm,
        )

    def scaled_to(self, nominal_ah: float) -> CellParameters:
        """The same chemistry in another size: charge and heat capacity grow in proportion,
        resistances shrink, heat transfer grows with the surface (2/3 power)."""
        size = nominal_ah / self.nominal_ah
        return replace(
            self,
            name=f"{self.name} scaled to {nominal_ah:g} Ah",
            nominal_ah=nominal_ah,
            total_ah=self.total_ah * size,
            resistance_ohm=self.resistance_ohm / size,
            heat_capacity_j_per_k=self.heat_capacity_j_per_k * size,
            heat_transfer_w_per_k=self.heat_transfer_w_per_k * size ** (2.0 / 3.0),
            runaway=replace(
                self.runaway,
                jelly_roll_m3=self.runaway.jelly_roll_m3 * size,
                melted_ohm=self.runaway.melted_ohm / size,
            ),
        )


def load_parameters(name: str | Path = "nasa-18650") -> CellParameters:
    """Read a bundled parameter set by name, or a file by path. Raises ParameterError."""
    path = Path(name)
    try:
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
        else:
            file = resources.files("simulator") / "parameters" / f"{name}.json"
            text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ParameterError(f"no cell parameters {name}: {error}") from error
    try:
        return parse_parameters(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise ParameterError(f"cell parameters {name}: {type(error).__name__} {error}") from error


def parse_parameters(data: Mapping[str, Any]) -> CellParameters:
    """Build and check parameters from a decoded file. Raises ValueError, KeyError or TypeError."""
    electrical, thermal, runaway = data["electrical"], data["thermal"], data["runaway"]
    array = _array
    parameters = CellParameters(
        name=str(data["name"]),
        nominal_ah=float(data["nominal_ah"]),
        stoichiometry=_pair(electrical["stoichiometry"]),
        ocv_v=array(electrical["ocv_v"]),
        entropy_v_per_k=array(thermal["entropy_v_per_k"]),
        soc_low=float(electrical["soc_low"]),
        loss=_pair(electrical["loss"]),
        total_ah=array(electrical["total_ah"]),
        resistance_ohm=array([electrical[f"{name}_ohm"] for name in RESISTANCES]),
        tau1_s=float(electrical["tau1_s"]),
        tau2_s=float(electrical["tau2_s"]),
        activation_j_per_mol=float(electrical["activation_j_per_mol"]),
        reference_c=float(electrical["reference_c"]),
        heat_capacity_j_per_k=float(thermal["heat_capacity_j_per_k"]),
        heat_transfer_w_per_k=float(thermal["heat_transfer_w_per_k"]),
        ageing=Ageing(**{key: float(value) for key, value in data["ageing"].items()}),
        runaway=Runaway(
            frequency_per_s=array(runaway["frequency_per_s"]),
            activation_j_per_mol=array(runaway["activation_j_per_mol"]),
            enthalpy_j_per_g=array(runaway["enthalpy_j_per_g"]),
            content_kg_per_m3=array(runaway["content_kg_per_m3"]),
            jelly_roll_m3=float(runaway["jelly_roll_m3"]),
            start=array(runaway["start"]),
            sei_reference=float(runaway["sei_reference"]),
            melt_c=float(runaway["melt_c"]),
            melted_ohm=float(runaway["melted_ohm"]),
        ),
        sources={str(key): str(value) for key, value in data["sources"].items()},
    )
    _check(parameters)
    return parameters


def _array(value: object) -> Floats:
    """A read-only array of finite numbers. Raises ValueError."""
    result = np.array(value, dtype=np.float64)
    if not np.all(np.isfinite(result)):
        raise ValueError("a value is not a finite number")
    result.setflags(write=False)
    return result


def _pair(value: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis. Raises ValueError."""
    low, high = (float(end) for end in value)
    if not low < high:
        raise ValueError(f"an axis from {low} to {high}")
    return low, high


def _check(p: CellParameters) -> None:
    """Raise ValueError where shapes disagree or a value cannot be."""
    if p.resistance_ohm.ndim != 3 or p.resistance_ohm.shape[:2] != (5, len(p.total_ah)):
        raise ValueError(f"resistances have shape {p.resistance_ohm.shape}")
    if len(p.ocv_v) != len(p.entropy_v_per_k):
        raise ValueError("ocv_v and entropy_v_per_k differ in length")
    r = p.runaway
    if not len(r.frequency_per_s) == len(r.activation_j_per_mol) == len(r.enthalpy_j_per_g) == 4:
        raise ValueError("there must be four decomposition reactions")
    if len(r.content_kg_per_m3) != 4 or len(r.start) != 5:
        raise ValueError("content_kg_per_m3 needs four values and start five")
    if np.any(np.diff(p.ocv_v) < 0):
        raise ValueError("ocv_v falls with stoichiometry")
    if np.any(p.resistance_ohm <= 0):
        raise ValueError("a resistance is not positive")
    positive = (p.nominal_ah, p.tau1_s, p.tau2_s, p.heat_capacity_j_per_k, p.heat_transfer_w_per_k)
    if min(positive) <= 0:
        raise ValueError("nominal_ah, tau and thermal values must be positive")
