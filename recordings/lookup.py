"""Look a battery up by its id or path: what it is, what it did, what is wrong in its record."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from recordings import nasa_cells
from recordings.catalogue import search_path
from recordings.errors import NotFoundError, RecordingError, SamplesError
from recordings.messages import Message, Place, Words, counted
from recordings.open import open_recording
from recordings.types import Recording, RecordingInfo

_SUFFIXES = (".mat", ".parquet", ".zip", ".bdf", ".h5", ".hdf5")


@dataclass(frozen=True, slots=True)
class Found:
    """A recording that is on this machine."""

    info: RecordingInfo
    path: Path


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a recording tells."""

    info: RecordingInfo
    charges: int
    discharges: int
    rests: int
    samples: int
    cycles: int
    first_day: str
    last_day: str
    first_capacity_ah: float | None
    last_capacity_ah: float | None
    unknown_capacities: int
    ambients_c: tuple[float, ...]
    hottest_c: float | None
    lowest_v: float | None
    highest_v: float | None
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


def find(name: str, folders: list[Path] | None = None) -> list[Recording]:
    """The recordings of an id (`B0005`, `b5`, `CS2_35`) or at a path.

    Raises RecordingError; for an unknown id it suggests near ones, and for a published cell that
    is not here it says how to get it.
    """
    if Path(name).exists():
        return open_recording(name)
    places = search_path() if folders is None else folders
    wanted = normal_id(name)
    by_name = _index(places).get(wanted, [])
    if by_name:
        opened = open_recording(by_name[0])
        return [one for one in opened if normal_id(one.info.asset) == wanted] or opened
    here = {normal_id(found.info.asset): found for found in everything(places)}
    if wanted in here:  # an asset of a file that holds several
        opened = open_recording(here[wanted].path)
        return [one for one in opened if normal_id(one.info.asset) == wanted]
    if wanted.upper() in nasa_cells.CELLS:
        raise NotFoundError(Message("nothing.nasa_cell"), Place(name))
    known = sorted({*here, *(cell.lower() for cell in nasa_cells.CELLS)})
    near = _near(wanted, known)
    shown = [here[one].info.asset if one in here else one.upper() for one in near]
    looked = ", ".join(str(place) for place in places)
    if not shown:
        raise NotFoundError(Message("nothing.named", folders=looked), Place(name))
    near_ones = ", ".join(shown)
    raise NotFoundError(Message("nothing.named_near", folders=looked, near=near_ones), Place(name))


def _near(wanted: str, known: list[str]) -> list[str]:
    """Up to 4 known ids like the wanted one: of one series by number, else by spelling."""
    close = difflib.get_close_matches(wanted, known, n=40, cutoff=0.6)
    series, number = _parts(wanted)
    kin = [one for one in close if _parts(one)[0] == series]
    if kin and number is not None:
        at = number
        return sorted(kin, key=lambda one: abs((_parts(one)[1] or 0) - at))[:4]
    return close[:4]


def _parts(name: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"(.*?)(\d*)", name)
    return (match[1], int(match[2]) if match[2] else None) if match else (name, None)


def everything(folders: list[Path] | None = None) -> Iterator[Found]:
    """Every recording under the search path, one for each id and file, by id."""
    for _, paths in sorted(_index(search_path() if folders is None else folders).items()):
        for path in paths:
            for recording in _opened(path):
                yield Found(recording.info, path)


def normal_id(name: str) -> str:
    """An id in lower case, NASA's short forms written out: `B5`, `b05` and `#5` are `b0005`."""
    short = re.fullmatch(r"[bB#]?0*(\d{1,2})", name)
    return f"b{int(short[1]):04d}" if short else name.lower()


def _index(folders: list[Path]) -> dict[str, list[Path]]:
    """Files that may be recordings, by id; a publisher's own file before a derived one."""
    out: dict[str, list[Path]] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        books = {file.parent for file in folder.rglob("*.xlsx")}
        files = [file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES]
        for path in sorted([*books, *files], key=_rank):
            out.setdefault(normal_id(path.name.partition(".")[0]), []).append(path)
    return out


def _rank(path: Path) -> tuple[int, int, str]:
    order = {".mat": 0, "": 0, ".zip": 1}
    return order.get(path.suffix.lower(), 2), len(path.suffixes), str(path)


def _opened(path: Path) -> list[Recording]:
    """The recordings in a file; none where it is none (derived tables, other zips)."""
    try:
        return open_recording(path, on_bad=lambda _: None)
    except RecordingError:
        return []


def battery_model(info: RecordingInfo) -> str:
    """What kind of cell it is, as far as the publisher says."""
    known = {
        "nasa": "18650 lithium-ion cell, maker and chemistry not published",
        "calce": "prismatic LCO cell, 5.4 x 33.6 x 50.6 mm, 21.1 g"
        if info.asset.upper().startswith("CS2")
        else "prismatic LCO cell",
        "dmegc": "DMEGC INR18650-26E",
        "twin": "made by the digital twin; no real cell",
    }
    return known.get(info.dataset, info.chemistry or "not stated")


def protocol(info: RecordingInfo) -> str:
    """How the publisher says the cell was cycled."""
    if info.dataset == "nasa":
        cell = nasa_cells.CELLS.get(info.asset)
        if cell is not None:
            return (
                f"charge {nasa_cells.CHARGE_PROTOCOL}; discharge {cell.discharge} to "
                f"{cell.discharge_voltage_v} V; ambient {cell.ambient}"
            )
    if info.dataset == "calce" and info.asset.upper().startswith("CS2"):
        rate = "0.55 A" if info.asset.upper() in ("CS2_33", "CS2_34") else "1.1 A"
        return f"charge CC 0.55 A to 4.2 V, then CV until 50 mA; discharge CC {rate} to 2.7 V"
    if info.dataset == "dmegc":
        return "discharges at 25 C: C/20, 1 C, 0.5 C, 2 C, pulses, and 50 random walks"
    return "not stated"


def survey(recording: Recording, skipped: list[str] | None = None) -> Survey:
    """Read a recording to its end. `skipped` is what its reader reported and left out."""
    kinds: Counter[str] = Counter()
    notes: list[Words] = []
    capacities: list[float] = []
    ambients: set[float] = set()
    samples = unknown = last_cycle = 0
    hottest: float | None = None
    lowest, highest = np.inf, -np.inf
    starts: list[int] = []
    for op in recording.operations():
        kinds[op.kind] += 1
        samples += len(op)
        last_cycle = max(last_cycle, op.cycle)
        starts = [*starts[:1], op.start_ms]
        if op.fault is not None:
            notes.append(Message("note.synthetic_fault", fault=op.fault))
        notes.extend(op.notes)
        if op.kind == "discharge":
            if op.capacity_ah is None:
                unknown += 1
            else:
                capacities.append(op.capacity_ah)
        if op.ambient_c is not None:
            ambients |= {round(float(value), 1) for value in np.unique(op.ambient_c[:1])}
        if np.isfinite(op.temperature_c).any():
            peak = float(np.nanmax(op.temperature_c))
            hottest = peak if hottest is None else max(hottest, peak)
        if np.isfinite(op.voltage_v).any():
            lowest = min(lowest, float(np.nanmin(op.voltage_v)))
            highest = max(highest, float(np.nanmax(op.voltage_v)))
    if not starts:
        raise SamplesError(Message("nothing.operations"), Place(recording.info.source))
    return Survey(
        info=recording.info,
        charges=kinds["charge"],
        discharges=kinds["discharge"],
        rests=kinds["rest"] + kinds["mixed"],
        samples=samples,
        cycles=last_cycle,
        first_day=_day(starts[0]),
        last_day=_day(starts[-1]),
        first_capacity_ah=capacities[0] if capacities else None,
        last_capacity_ah=capacities[-1] if capacities else None,
        unknown_capacities=unknown,
        ambients_c=tuple(sorted(ambients)),
        hottest_c=hottest,
        lowest_v=lowest if np.isfinite(lowest) else None,
        highest_v=highest if np.isfinite(highest) else None,
        notes=tuple(counted(notes)),
        skipped=tuple(skipped or ()),
    )


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).date().isoformat()
