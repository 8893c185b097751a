"""A board's readings as the contract's messages. Pure: no clock, no network."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.errors import MappingError
from bridge.numbers import MOST
from bridge.reading import Identity, Reading
from monitor.contract import AssetConfig, DeviceAlarm, Frame, Limits, Provenance

MAX_INTERVAL_MS = 86_400_000
_LEAST_AH = 1e-6  # of a capacity; less is a way to say none
# Volts of a cell: lowest, highest, end of charge, end of discharge.
_CHEMISTRY = {
    "LFP": (2.5, 3.65, 3.5, 2.8),
    "NMC": (2.5, 4.25, 4.2, 2.7),
    "LTO": (1.5, 2.8, 2.7, 1.7),
}
_MIN_SOC_TO_DERIVE = 0.2  # below it the board's rounding of the SOC makes the quotient useless


@dataclass(frozen=True, slots=True)
class AssetOptions:
    """What the user says of the asset; it goes before what the board says."""

    asset: str
    gateway: str
    capacity_ah: float | None = None
    chemistry: str | None = None
    interval_ms: int = 1_000
    source: str = ""
    replay: bool = False
    speed: float | None = None

    def __post_init__(self) -> None:
        """Raises MappingError for a chemistry without limits here, and for numbers past bounds."""
        if self.chemistry is not None and self.chemistry not in _CHEMISTRY:
            raise MappingError(
                f"chemistry {self.chemistry!r}: expected one of {', '.join(_CHEMISTRY)}, or none"
            )
        if not 1 <= self.interval_ms <= MAX_INTERVAL_MS:
            raise MappingError(
                f"interval {self.interval_ms / 1000:g} s: expected 0.001 s to "
                f"{MAX_INTERVAL_MS // 1000} s"
            )
        if self.capacity_ah is not None and not _LEAST_AH <= self.capacity_ah <= MOST:
            raise MappingError(
                f"capacity {self.capacity_ah} Ah: expected more than zero, at most {MOST:g}"
            )


def frame_of(reading: Reading, timestamp_ms: int, session: str, seq: int) -> Frame:
    """One telemetry frame; what the board does not say is null or absent."""
    return Frame(
        v=1,
        timestamp_ms=timestamp_ms,
        session=session,
        seq=seq,
        current_a=reading.current_a,
        voltage_v=list(reading.cell_voltage_v) or None,
        temperature_c=list(reading.temperature_c) or None,
        pack_voltage_v=reading.pack_voltage_v,
        device_soc=reading.soc,
        device_soh=reading.soh,
        device_flags=list(reading.alarms) or None,
    )


def config_of(identity: Identity, reading: Reading, told: AssetOptions) -> AssetConfig | None:
    """The asset's config, or None while nobody has said the capacity.

    Capacity: the user's word, then the board's, then remaining charge over SOC.
    """
    capacity_ah, origin = _capacity(identity, reading, told)
    if capacity_ah is None:
        return None
    chemistry = told.chemistry or identity.chemistry
    return AssetConfig(
        v=1,
        nominal_capacity_ah=capacity_ah,
        chemistry=chemistry,
        cells=max(1, len(reading.cell_voltage_v)),
        limits=_limits(identity, chemistry),
        expected_interval_ms=told.interval_ms,
        gateway=told.gateway,
        provenance=Provenance(
            source="; ".join(
                filter(None, (told.source, identity.model, f"capacity from {origin}"))
            )[:500],
            replay=told.replay,
            speed=told.speed,
        ),
    )


def alarm_changes(
    before: frozenset[str] | None, reading: Reading, names: tuple[str, ...], timestamp_ms: int
) -> list[DeviceAlarm]:
    """The alarms that began or ended since `before`, in the board's order.

    With `before` None (the first reading) every name the board can raise is told, so that an alarm
    that ended while nobody listened does not stay.
    """
    now = frozenset(reading.alarms)
    if before is None:
        changed = [*names, *(name for name in reading.alarms if name not in names)]
    else:
        order = (*reading.alarms, *sorted(before - now))
        changed = [name for name in order if (name in now) != (name in before)]
    return [
        DeviceAlarm(v=1, timestamp_ms=timestamp_ms, name=name, active=name in now)
        for name in changed
    ]


def _capacity(identity: Identity, reading: Reading, told: AssetOptions) -> tuple[float | None, str]:
    if told.capacity_ah is not None:
        return told.capacity_ah, "the user"
    for said in (identity.nominal_capacity_ah, reading.nominal_capacity_ah):
        if said is not None and _LEAST_AH <= said <= MOST:
            return said, "the board"
    soc, remaining_ah = reading.soc, reading.remaining_capacity_ah
    if soc is not None and soc >= _MIN_SOC_TO_DERIVE and remaining_ah is not None:
        derived_ah = round(remaining_ah / soc, 1)
        if _LEAST_AH <= derived_ah <= MOST:
            return derived_ah, "remaining charge over SOC"
    return None, ""


def _limits(identity: Identity, chemistry: str | None) -> Limits:
    """The chemistry's limits, narrowed by what the board itself enforces."""
    # Without a word on the chemistry the contract's own, conservative defaults: those of NMC.
    low, high, full, empty = _CHEMISTRY[chemistry or "NMC"]
    if identity.cell_voltage_max_v is not None and low < identity.cell_voltage_max_v:
        high = min(high, identity.cell_voltage_max_v)
    if identity.cell_voltage_min_v is not None and identity.cell_voltage_min_v < high:
        low = max(low, identity.cell_voltage_min_v)
    # The ends of charge and discharge lie inside the limits, or the SOC would never be anchored.
    full, empty = min(full, high), max(empty, low)
    if empty >= full:
        full, empty = high, low
    base = Limits()
    hot = identity.temperature_max_c
    cold = identity.temperature_min_c
    return Limits(
        voltage_min_v=low,
        voltage_max_v=high,
        charge_voltage_v=full,
        discharge_voltage_v=empty,
        temperature_max_c=base.temperature_max_c if hot is None or hot <= 20 else min(hot, 80.0),
        temperature_min_c=(
            base.temperature_min_c if cold is None or not -100 <= cold < 20 else cold
        ),
        charge_current_max_a=_positive(identity.charge_current_max_a),
        discharge_current_max_a=_positive(identity.discharge_current_max_a),
    )


def _positive(value: float | None) -> float | None:
    return value if value is not None and 0 < value <= MOST else None
