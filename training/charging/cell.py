"""A batch of the twin's cells on a charger, with the anode that a plating limit needs.

The ageing law was fixed before any policy was trained. It is the twin's, with its sources in the
parameter file: calendar loss after Schmalstieg et al. (2014), cycling loss linear in charge moved
with Schmalstieg's dependence on voltage, an Arrhenius term on either side of 24 degrees Celsius
(Wang et al. 2011; the life of NASA's B0046) and exp((-6.7e-3 T + 2.35) C) for the C-rate (Wang et
al. 2014). Plating is no part of the law: it is forbidden, by a limit on the anode's potential.
Cells start with half a year of calendar ageing behind them, so that a charge's loss does not
depend on the law's infinite slope at the age of nought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.charging import anode
from monitor.charging.shield import Limits
from simulator import twin_kernels as k
from simulator.twin import CellParameters, Conditions, Output, TwinState, step_inplace

Floats = NDArray[np.float64]

AGE_DAYS = 180.0
AGE_C = 25.0


@dataclass(frozen=True, slots=True)
class Variation:
    """How a kind of cell differs from the one that is known: factors, 1 is the known one."""

    capacity: float = 1.0
    resistance: float = 1.0
    heat_capacity: float = 1.0
    cooling: float = 1.0
    entropy: float = 1.0
    exchange: float = 1.0  # the anode's exchange current
    diffusion: float = 1.0
    electrolyte: float = 1.0  # its resistance
    ocv_shift_v: float = 0.0

    def apply(self, cell: CellParameters) -> CellParameters:
        """The parameters of such a cell; nominal stays what the label says."""
        return replace(
            cell,
            total_ah=cell.total_ah * self.capacity,
            ocv_v=cell.ocv_v + self.ocv_shift_v,
            resistance_ohm=cell.resistance_ohm * self.resistance,
            heat_capacity_j_per_k=cell.heat_capacity_j_per_k * self.heat_capacity,
            heat_transfer_w_per_k=cell.heat_transfer_w_per_k * self.cooling,
            entropy_v_per_k=cell.entropy_v_per_k * self.entropy,
        )


def random_variations(count: int, off: float, seed: int) -> list[Variation]:
    """Kinds of cells whose every parameter is off by as much as `off`, up or down."""
    rng = np.random.default_rng(seed)
    kinds = []
    for _ in range(count):
        sign = [float(value) for value in rng.choice([-1.0, 1.0], 8)]
        factor = [1.0 + off * value for value in sign]
        kinds.append(
            Variation(
                capacity=factor[0],
                resistance=factor[1],
                heat_capacity=factor[2],
                cooling=factor[3],
                entropy=factor[4],
                exchange=factor[5],
                diffusion=factor[6],
                electrolyte=factor[7],
                ocv_shift_v=float(rng.normal(0.0, 0.005)),
            )
        )
    return kinds


def scale_exponents(cell: CellParameters, factor: float) -> CellParameters:
    """The same cell with every exponent of its ageing law times `factor`.

    The two activations and the dependence on rate are scaled about the law's reference point (24
    degrees Celsius, 1 C), the calendar exponent and activation about 180 days at 25 degrees, so
    that the law keeps its size where it was calibrated.
    """
    a = cell.ageing
    kelvin = AGE_C + k.ZERO_CELSIUS_K
    exponent = min(a.calendar_exponent * factor, 1.0)
    activation = a.calendar_activation_k * factor
    size = np.exp((activation - a.calendar_activation_k) / kelvin)
    size *= AGE_DAYS ** (a.calendar_exponent - exponent)
    return replace(
        cell,
        ageing=replace(
            a,
            calendar_slope_per_v=a.calendar_slope_per_v * float(size),
            calendar_offset=a.calendar_offset * float(size),
            calendar_activation_k=activation,
            calendar_exponent=exponent,
            cycle_activation_hot_k=a.cycle_activation_hot_k * factor,
            cycle_activation_cold_k=a.cycle_activation_cold_k * factor,
            rate_slope_per_k=a.rate_slope_per_k * factor,
            rate_offset=a.rate_offset * factor,
        ),
    )


@dataclass(slots=True)
class Group:
    """Cells of one kind: they share the twin's tables."""

    tables: k.Tables
    state: TwinState
    conditions: Conditions
    output: Output
    part: slice


@dataclass(slots=True)
class CellBatch:
    """n cells; arrays are (n,), currents in C of nominal capacity, positive charging."""

    cell: CellParameters
    limits: Limits
    groups: list[Group]
    variation: dict[str, Floats]
    surface: Floats  # (3, n): how far each diffusion mode holds the surface ahead of the mean
    current_c: Floats
    voltage_v: Floats
    anode_v: Floats
    ambient_c: Floats

    @classmethod
    def at(
        cls,
        cell: CellParameters,
        *,
        soc: ArrayLike,
        soh: ArrayLike,
        ambient_c: ArrayLike,
        limits: Limits | None = None,
        kinds: Sequence[Variation] = (Variation(),),
    ) -> CellBatch:
        """Cells at rest and at ambient temperature, spread evenly over `kinds` in blocks.

        soc, soh and ambient_c broadcast; their length must be a multiple of the kinds'. Raises
        ValueError where it is not.
        """
        soc, soh, ambient_c = np.broadcast_arrays(
            np.atleast_1d(np.asarray(soc, dtype=np.float64)),
            np.asarray(soh, dtype=np.float64),
            np.asarray(ambient_c, dtype=np.float64),
        )
        n = len(soc)
        if n % len(kinds):
            raise ValueError(f"{n} cells over {len(kinds)} kinds")
        each = n // len(kinds)
        groups = []
        for number, kind in enumerate(kinds):
            part = slice(number * each, (number + 1) * each)
            tables = kind.apply(cell).tables()
            state = TwinState.at(
                tables, soc=soc[part], loss=1.0 - soh[part], temperature_c=ambient_c[part]
            )
            # Capacity follows the kind, so its state of charge is of its own capacity.
            state.discharged_ah[:] *= kind.capacity
            groups.append(
                Group(
                    tables,
                    state,
                    Conditions.resting(each, ambient_c=0.0),
                    Output(np.empty((k.OUTPUT_ROWS, each))),
                    part,
                )
            )
        names = ("capacity", "exchange", "diffusion", "electrolyte")
        variation = {
            name: np.repeat([getattr(kind, name) for kind in kinds], each).astype(np.float64)
            for name in names
        }
        batch = cls(
            cell=cell,
            limits=limits or Limits(),
            groups=groups,
            variation=variation,
            surface=np.zeros((3, n)),
            current_c=np.zeros(n),
            voltage_v=np.zeros(n),
            anode_v=np.zeros(n),
            ambient_c=np.array(ambient_c),
        )
        for group in groups:
            group.conditions.voltage_max_v[:] = batch.limits.voltage_max_v
            group.conditions.ambient_c[:] = ambient_c[group.part]
        batch._set_age()
        batch._read_rest()
        return batch

    @property
    def n(self) -> int:
        """How many cells."""
        return len(self.current_c)

    def gather(self, row: int) -> Floats:
        """One row of the twin's state over all cells."""
        return np.concatenate([group.state.values[row] for group in self.groups])

    @property
    def temperature_c(self) -> Floats:
        """Temperature of every cell's core, degC. (n,)"""
        return self.gather(k.TEMPERATURE_C)

    @property
    def capacity_loss(self) -> Floats:
        """Capacity lost, a share of nominal. (n,)"""
        return self.gather(k.CAPACITY_LOSS)

    @property
    def capacity_ah(self) -> Floats:
        """What the cell holds now."""
        return np.asarray(
            self.cell.nominal_ah * (1.0 - self.capacity_loss) * self.variation["capacity"]
        )

    @property
    def soc(self) -> Floats:
        """State of charge, of what the cell holds now."""
        return np.asarray(1.0 - self.gather(k.DISCHARGED_AH) / self.capacity_ah)

    def step_inplace(self, current_c: Floats, dt_s: float) -> None:
        """Charge (or discharge) every cell at a current for dt_s seconds; the charger holds the
        voltage down to its limit by itself."""
        amperes = current_c * self.cell.nominal_ah
        for group in self.groups:
            group.conditions.setpoint[:] = amperes[group.part]
            step_inplace(group.state, group.conditions, group.tables, dt_s, group.output)
            self.voltage_v[group.part] = group.output.voltage_v
            self.current_c[group.part] = group.output.current_a / self.cell.nominal_ah
        self._step_anode_inplace(dt_s)

    def restart_inplace(
        self, which: NDArray[np.bool_], soc: Floats, soh: Floats, ambient_c: Floats
    ) -> None:
        """New cells at rest in place of some; arrays are (n,), read where `which`."""
        for group in self.groups:
            at = which[group.part]
            if not at.any():
                continue
            part = group.part
            state = TwinState.at(
                group.tables,
                soc=soc[part],
                loss=1.0 - soh[part],
                temperature_c=ambient_c[part],
            )
            state.discharged_ah[:] *= self.variation["capacity"][part]
            group.state.values[:, at] = state.values[:, at]
            group.conditions.ambient_c[at] = ambient_c[part][at]
        self.surface[:, which] = 0.0
        self.current_c[which] = 0.0
        self.ambient_c[which] = ambient_c[which]
        self._set_age(which)
        self._read_rest(which)

    def keep_inplace(self, kept: NDArray[np.bool_]) -> None:
        """Go on with some of the cells only; their order stays."""
        groups, start = [], 0
        for group in self.groups:
            own = kept[group.part]
            count = int(own.sum())
            if count:
                groups.append(
                    Group(
                        group.tables,
                        TwinState(np.ascontiguousarray(group.state.values[:, own])),
                        Conditions(np.ascontiguousarray(group.conditions.values[:, own])),
                        Output(np.empty((k.OUTPUT_ROWS, count))),
                        slice(start, start + count),
                    )
                )
            start += count
        self.groups = groups
        self.variation = {name: values[kept] for name, values in self.variation.items()}
        self.surface = self.surface[:, kept]
        self.current_c, self.voltage_v = self.current_c[kept], self.voltage_v[kept]
        self.anode_v, self.ambient_c = self.anode_v[kept], self.ambient_c[kept]

    def _step_anode_inplace(self, dt_s: float) -> None:
        """Diffusion modes by their exact exponentials, then the potential at the step's end."""
        temperature_c = self.temperature_c
        own_c = self.current_c * self.cell.nominal_ah / self.capacity_ah
        speed = self.variation["diffusion"] * anode.arrhenius(
            temperature_c, anode.DIFFUSION_J_PER_MOL
        )
        ahead = anode.SURFACE_STEADY / speed * own_c
        decay = np.exp(-anode.MODE_RATES[:, None] * speed * dt_s)
        target = anode.MODE_SHARES[:, None] * ahead
        self.surface[:] = target + (self.surface - target) * decay
        rest = ahead * (1.0 - anode.MODE_SHARES.sum())
        x = anode.stoichiometry(self.soc) + self.surface.sum(axis=0) + rest
        self.anode_v[:] = anode.potential_v(
            x, own_c, temperature_c, self.variation["exchange"], self.variation["electrolyte"]
        )

    def _set_age(self, which: NDArray[np.bool_] | None = None) -> None:
        """Half a year on the shelf: the calendar law's own clock, at rest at AGE_C and 3.8 V."""
        a = self.cell.ageing
        stress = a.calendar_slope_per_v * 3.8 - a.calendar_offset
        rate = np.log(stress) - a.calendar_activation_k / (AGE_C + k.ZERO_CELSIUS_K)
        root = np.exp(rate / a.calendar_exponent) * AGE_DAYS
        for group in self.groups:
            at = slice(None) if which is None else which[group.part]
            group.state.values[k.CALENDAR_ROOT, at] = root

    def _read_rest(self, which: NDArray[np.bool_] | None = None) -> None:
        """Voltage and anode of cells at rest, without time going by."""
        at = slice(None) if which is None else which
        voltage_v = np.concatenate(
            [
                step_inplace(
                    group.state.copy(),
                    Conditions.resting(group.state.n, ambient_c=25.0),
                    group.tables,
                    1e-6,
                ).voltage_v
                for group in self.groups
            ]
        )
        self.voltage_v[at] = voltage_v[at]
        x = anode.stoichiometry(self.soc)
        self.anode_v[at] = anode.open_circuit_v(x)[at]
