"""NASA PCoE battery recordings: one `.mat` file a cell, read operation by operation.

The publisher's struct is `<cell>.cycle(1..N)` with `type` (charge, discharge, impedance),
`ambient_temperature`, `time` (a date vector, local time without a zone: taken as UTC) and `data`.
Charges and discharges become Operations; impedance measurements come from `impedance()`.

Choices, each of them tested:
- Samples pass through as recorded, the spikes, the false current early in a charge and the idle
  rows behind the cut-off included: the monitor has to cope with them.
- Rows in which voltage, current and temperature are all NaN are left out.
- `Current_measured` is positive on charge already. `Current_load` changes its sign in the course
  of B0005 to B0007 and is not used.
- A published capacity that is empty, at most 0.01 Ah, or above 2.2 Ah (110 % of nominal) is no
  measurement: `capacity_ah` is None and a note says why.
- `cycle` is one more than the number of discharges before, since charges and discharges do not
  strictly alternate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from recordings import archive, nasa_cells
from recordings.checking import OnBad, asset_name, checked, raise_or_report
from recordings.errors import FormatError, RecordingError, SamplesError
from recordings.mat5 import Mat5Error, Raw, open_struct_array
from recordings.messages import KINDS, Message, Place, Words
from recordings.types import Operation, RecordingInfo

_SMALLEST_CAPACITY_AH = 0.01
_LARGEST_CAPACITY_AH = 1.1 * nasa_cells.NOMINAL_CAPACITY_AH
_KINDS: dict[str, Literal["charge", "discharge"]] = {"charge": "charge", "discharge": "discharge"}


@dataclass(frozen=True, slots=True)
class Impedance:
    """One electrochemical impedance measurement.

    `electrolyte_ohm` (Re) and `charge_transfer_ohm` (Rct) are the publisher's fits, as published:
    on some records they are garbage, to 1e15. `sane` tells whether both lie within 0..1 ohm.
    """

    number: int  # the publisher's operation number, from 0, impedance records counted
    cycle: int
    start_ms: int
    ambient_c: float | None
    electrolyte_ohm: float | None
    charge_transfer_ohm: float | None
    battery_ohm: NDArray[np.complex128]
    rectified_ohm: NDArray[np.complex128]

    @property
    def sane(self) -> bool:
        """Whether both resistances are between 0 and 1 ohm."""
        fits = (self.electrolyte_ohm, self.charge_transfer_ohm)
        return all(fit is not None and 0 < fit < 1 for fit in fits)


@dataclass(frozen=True, slots=True)
class _Record:
    """One element of the struct array, still encoded."""

    number: int
    kind: str
    cycle: int
    fields: dict[str, Raw]


class NasaRecording:
    """A recording over one NASA `.mat` file, plain or in a zip."""

    def __init__(
        self, path: Path, *, member: archive.Member = (), on_bad: OnBad | None = None
    ) -> None:
        """Reads the head only; `member` names the file inside, where `path` is a zip.

        Raises RecordingError if this is no NASA `.mat` file.
        """
        self._path = path
        self._member = member
        self._name = member[-1].rsplit("/", 1)[-1] if member else path.name
        self._on_bad = on_bad
        with self._open() as file:
            try:
                array = open_struct_array(file, "cycle")
            except Mat5Error as error:
                message = Message("nasa.not_one", reason=error.message)
                raise FormatError(message, Place(self._name)) from None
        self.records = array.count
        if array.count == 0:
            raise SamplesError(Message("nasa.no_operations"), Place(self._name))
        info = nasa_info(asset_name(array.variable or Path(self._name).stem), str(path))
        if ".reconstructed" in self._name:
            info = replace(info, problems=(Message("problem.rebuilt"), *info.problems))
        self._info = info
        self.share = 0.0

    @property
    def info(self) -> RecordingInfo:
        """What the recording says of itself."""
        return self._info

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """Charges and discharges in the order of the file; see `Recording`."""
        index = -1
        for record in self._records():
            if record.kind not in _KINDS:
                continue
            index += 1
            if index < start:
                continue
            at = Message(
                "at.operation_record", operation=index, record=record.number,
                kind=KINDS[record.kind],
            )  # fmt: skip
            where = Place(self._name).at(at)
            try:
                operation = _operation(record, index, where)
            except RecordingError as error:
                raise_or_report(error, self._on_bad)
                continue
            yield operation

    def impedance(self) -> Iterator[Impedance]:
        """The impedance measurements in the order of the file."""
        for record in self._records():
            if record.kind != "impedance":
                continue
            where = Place(self._name).at(Message("at.impedance", record=record.number))
            try:
                measurement = _impedance(record, where)
            except RecordingError as error:
                raise_or_report(error, self._on_bad)
                continue
            yield measurement

    def _open(self) -> BinaryIO:
        if self._member:
            return archive.read(self._path, self._member)
        try:
            return self._path.open("rb")
        except OSError as error:
            message = Message("passed_on", reason=error.strerror or str(error))
            raise RecordingError(message, Place(str(self._path))) from None

    def _records(self) -> Iterator[_Record]:
        """Records one by one; damage in the stream itself ends the run, as nothing follows it."""
        discharges = 0
        number = 0
        with self._open() as file:
            try:
                for number, fields in enumerate(open_struct_array(file, "cycle").elements):
                    if "type" not in fields or "data" not in fields:
                        raise Mat5Error(Message("nasa.no_type_or_data"))
                    kind = fields["type"].text().strip()
                    if kind not in _KINDS and kind != "impedance":
                        raise Mat5Error(Message("nasa.unknown_type", found=kind[:40]))
                    self.share = number / self.records
                    yield _Record(number, kind, discharges + 1, fields)
                    discharges += kind == "discharge"
            except Mat5Error as error:
                where = Place(self._name).at(Message("at.after_record", record=number))
                raise_or_report(FormatError(error.message, where), self._on_bad)


def nasa_info(asset: str, source: str) -> RecordingInfo:
    """The description of a NASA cell by its name."""
    cell = nasa_cells.CELLS.get(asset, nasa_cells.UNKNOWN)
    return RecordingInfo(
        asset=asset,
        dataset="nasa",
        nominal_capacity_ah=nasa_cells.NOMINAL_CAPACITY_AH,
        cell_type=nasa_cells.CELL_TYPE,
        charge_voltage_v=nasa_cells.CHARGE_VOLTAGE_V,
        discharge_voltage_v=cell.discharge_voltage_v,
        citation=nasa_cells.CITATION,
        source=source,
        problems=cell.problems,
    )


def usable_capacity(published_ah: float | None) -> tuple[float | None, tuple[Words, ...]]:
    """A published capacity in Ah if it can be one, and a note if it cannot."""
    if published_ah is None or not np.isfinite(published_ah):
        return None, (Message("note.no_capacity"),)
    if published_ah <= _SMALLEST_CAPACITY_AH:
        return None, (Message("note.capacity_no_measurement", published_ah=published_ah),)
    if published_ah > _LARGEST_CAPACITY_AH:
        return None, (Message("note.capacity_impossible", published_ah=published_ah),)
    return float(published_ah), ()


def _operation(record: _Record, index: int, where: Place) -> Operation:
    try:
        data = record.fields["data"].fields()
        columns = {}
        for name in ("Time", "Voltage_measured", "Current_measured", "Temperature_measured"):
            if name not in data:
                raise FormatError(Message("nasa.no_field", field=name), where)
            columns[name] = data[name].numbers()
        capacity_ah: float | None = None
        notes: tuple[Words, ...] = ()
        if record.kind == "discharge":
            published = data["Capacity"].numbers() if "Capacity" in data else np.empty(0)
            capacity_ah, notes = usable_capacity(float(published[0]) if published.size else None)
        ambient = _scalar(record.fields.get("ambient_temperature"))
        start_ms = _start_ms(record.fields.get("time"), where)
    except Mat5Error as error:
        raise FormatError(error.message, where) from None
    time_s = columns["Time"]
    return checked(
        Operation(
            index=index,
            cycle=record.cycle,
            kind=_KINDS[record.kind],
            start_ms=start_ms,
            time_s=time_s,
            current_a=columns["Current_measured"],
            voltage_v=columns["Voltage_measured"].reshape(-1, 1),
            temperature_c=columns["Temperature_measured"].reshape(-1, 1),
            ambient_c=None if ambient is None else np.full(len(time_s), ambient),
            capacity_ah=capacity_ah,
            notes=notes,
        ),
        where,
    )


def _impedance(record: _Record, where: Place) -> Impedance:
    try:
        data = record.fields["data"].fields()
        return Impedance(
            number=record.number,
            cycle=record.cycle,
            start_ms=_start_ms(record.fields.get("time"), where),
            ambient_c=_scalar(record.fields.get("ambient_temperature")),
            electrolyte_ohm=_scalar(data.get("Re")),
            charge_transfer_ohm=_scalar(data.get("Rct")),
            battery_ohm=_complex(data.get("Battery_impedance")),
            rectified_ohm=_complex(data.get("Rectified_Impedance")),
        )
    except Mat5Error as error:
        raise FormatError(error.message, where) from None


def _scalar(raw: Raw | None) -> float | None:
    """The first number, its real part if it is complex; None where there is none."""
    if raw is None:
        return None
    value = raw.value()
    if not isinstance(value, np.ndarray) or not value.size or not np.isfinite(value[0]):
        return None
    return float(value[0].real)


def _complex(raw: Raw | None) -> NDArray[np.complex128]:
    value = None if raw is None else raw.value()
    return value.astype(np.complex128) if isinstance(value, np.ndarray) else np.empty(0, complex)


def _start_ms(raw: Raw | None, where: Place) -> int:
    """A MATLAB date vector [year, month, day, hour, minute, second] as UTC milliseconds."""
    if raw is None:
        raise FormatError(Message("nasa.no_field", field="time"), where)
    vector = raw.numbers()[:6]
    try:
        year, month, day, hour, minute = (int(part) for part in vector[:5])
        moment = datetime(year, month, day, hour, minute, tzinfo=UTC)
        moment += timedelta(milliseconds=round(float(vector[5]) * 1000))
    except (ValueError, IndexError, OverflowError):
        raise SamplesError(Message("nasa.no_date", found=vector.tolist()), where) from None
    return round(moment.timestamp() * 1000)
