"""A cell's parameters as data: read, checked, and laid out for the kernel.

The files in `simulator/parameters/` are JSON with the sources of every group of values beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.twin_kernels import Tables

Floats = NDArray[np.float64]


class ParameterError(Exception):
    """A parameter file is missing, incomplete or impossible; the message names file and key."""


@dataclass(frozen=True, slots=True)
class Ageing:
    """Loss of capacity and growth of resistance, both as loss of reference capacity, 0..1.

    Calendar (form of Schmalstieg et al. 2014, eq. 2-4): (v U - u) exp(-E/T) t^n with t in days.
    Cycling: per equivalent full throughput, c (1 + w (U - U0)^2) times an Arrhenius factor whose
    activation rises with C-rate as in Wang et al. (2011), eq. 4.
    """

    calendar_slope_per_v: float
    calendar_offset: float
    calendar_activation_k: float
    calendar_exponent: float
    cycle_loss_per_throughput: float
    cycle_voltage_v: float
    cycle_curvature_per_v2: float
    cycle_activation_k: float
    cycle_activation_per_c_k: float


@dataclass(frozen=True, slots=True)
class CellParameters:
    """One kind of cell. Arrays are copied and read-only; units are in the names.

    `stoichiometry` is charge left over `total_ah`; `soc` is 1 - removed / reference capacity, where
    the reference capacity is nominal_ah * (1 - loss) and is what the reference discharge delivers.
    """

    name: str
    nominal_ah: float
    stoichiometry: Floats  # (m,)
    ocv_v: Floats  # (m,)
    entropy_v_per_k: Floats  # (m,)
    soc: Floats  # (s,)
    loss: Floats  # (k,) capacity lost at each ageing node, rising
    total_ah: Floats  # (k,)
    resistance_ohm: Floats  # (3, k, s)
    charge_factor: float
    tau1_s: float
    tau2_s: float
    activation_j_per_mol: float
    reference_c: float
    heat_capacity_j_per_k: float
    heat_transfer_w_per_k: float
    ageing: Ageing
    sources: Mapping[str, str]

    def tables(self) -> Tables:
        """The parameters on the kernel's uniform axes."""
        z = np.linspace(self.stoichiometry[0], self.stoichiometry[-1], 401)
        soc = np.linspace(self.soc[0], 1.0, 111)
        loss = np.linspace(0.0, float(self.loss[-1]), 26)
        fine = np.empty((3, len(self.loss), len(soc)))
        resistance = np.empty((3, len(loss), len(soc)))
        for part in range(3):
            for node in range(len(self.loss)):
                fine[part, node] = np.interp(soc, self.soc, self.resistance_ohm[part, node])
            for column in range(len(soc)):
                resistance[part, :, column] = np.interp(loss, self.loss, fine[part, :, column])
        a = self.ageing
        return Tables(
            nominal_ah=self.nominal_ah,
            stoichiometry_low=float(self.stoichiometry[0]),
            stoichiometry_high=float(self.stoichiometry[-1]),
            ocv_v=np.interp(z, self.stoichiometry, self.ocv_v),
            entropy_v_per_k=np.interp(z, self.stoichiometry, self.entropy_v_per_k),
            soc_low=float(self.soc[0]),
            loss_high=float(self.loss[-1]),
            total_ah=np.interp(loss, self.loss, self.total_ah),
            resistance_ohm=resistance,
            charge_factor=self.charge_factor,
            tau1_s=self.tau1_s,
            tau2_s=self.tau2_s,
            activation_j_per_mol=self.activation_j_per_mol,
            reference_k=self.reference_c + 273.15,
            heat_capacity_j_per_k=self.heat_capacity_j_per_k,
            heat_transfer_w_per_k=self.heat_transfer_w_per_k,
            ageing=np.array(
                [
                    a.calendar_slope_per_v,
                    a.calendar_offset,
                    a.calendar_activation_k,
                    a.calendar_exponent,
                    a.cycle_loss_per_throughput,
                    a.cycle_voltage_v,
                    a.cycle_curvature_per_v2,
                    a.cycle_activation_k,
                    a.cycle_activation_per_c_k,
                ]
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
    electrical, thermal = data["electrical"], data["thermal"]

    def array(value: object) -> Floats:
        result = np.array(value, dtype=np.float64)
        if not np.all(np.isfinite(result)):
            raise ValueError("a value is not a finite number")
        result.setflags(write=False)
        return result

    parameters = CellParameters(
        name=str(data["name"]),
        nominal_ah=float(data["nominal_ah"]),
        stoichiometry=array(electrical["stoichiometry"]),
        ocv_v=array(electrical["ocv_v"]),
        entropy_v_per_k=array(thermal["entropy_v_per_k"]),
        soc=array(electrical["soc"]),
        loss=array(electrical["loss"]),
        total_ah=array(electrical["total_ah"]),
        resistance_ohm=array(
            [electrical["r0_ohm"], electrical["r1_ohm"], electrical["r2_ohm"]],
        ),
        charge_factor=float(electrical["charge_factor"]),
        tau1_s=float(electrical["tau1_s"]),
        tau2_s=float(electrical["tau2_s"]),
        activation_j_per_mol=float(electrical["activation_j_per_mol"]),
        reference_c=float(electrical["reference_c"]),
        heat_capacity_j_per_k=float(thermal["heat_capacity_j_per_k"]),
        heat_transfer_w_per_k=float(thermal["heat_transfer_w_per_k"]),
        ageing=Ageing(**{key: float(value) for key, value in data["ageing"].items()}),
        sources={str(key): str(value) for key, value in data["sources"].items()},
    )
    _check(parameters)
    return parameters


def _check(p: CellParameters) -> None:
    """Raise ValueError where shapes disagree or a value cannot be."""
    if p.resistance_ohm.shape != (3, len(p.loss), len(p.soc)):
        raise ValueError(f"resistances have shape {p.resistance_ohm.shape}")
    if not len(p.stoichiometry) == len(p.ocv_v) == len(p.entropy_v_per_k):
        raise ValueError("stoichiometry, ocv_v and entropy_v_per_k differ in length")
    if len(p.total_ah) != len(p.loss):
        raise ValueError("total_ah and loss differ in length")
    for name, axis in (("stoichiometry", p.stoichiometry), ("soc", p.soc), ("loss", p.loss)):
        if np.any(np.diff(axis) <= 0):
            raise ValueError(f"{name} does not rise")
    if np.any(np.diff(p.ocv_v) < 0):
        raise ValueError("ocv_v falls with stoichiometry")
    if np.any(p.resistance_ohm <= 0):
        raise ValueError("a resistance is not positive")
    positive = (p.nominal_ah, p.tau1_s, p.tau2_s, p.heat_capacity_j_per_k, p.heat_transfer_w_per_k)
    if min(positive) <= 0:
        raise ValueError("nominal_ah, tau and thermal values must be positive")
