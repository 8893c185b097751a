"""Open any recording: the reader is picked by what the file holds."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from recordings import archive
from recordings.checking import OnBad, raise_or_report
from recordings.errors import FormatError, MappingError, NotFoundError, NotTextError, RecordingError
from recordings.messages import Message, Place
from recordings.types import Recording

FORMATS: dict[str, str] = {
    "nasa": "NASA PCoE .mat (MATLAB level 5), a folder or a zip of them",
    "calce": "CALCE Arbin .xlsx workbooks: a folder, a zip or one workbook",
    "bundle": "Cellpulse's own Parquet recording",
    "tidy": "tidy Parquet of published cells (cell_id, cycle, step, time_s, ...)",
    "bdf": "Battery Data Format, CSV or Parquet (.bdf, .bdf.csv, .bdf.parquet)",
    "generic": "CSV, Parquet or HDF5 with a column mapping in a .toml file beside it",
}


def open_recording(
    path: str | Path,
    *,
    format: str | None = None,
    mapping: Path | dict[str, Any] | None = None,
    nominal_capacity_ah: float | None = None,
    on_bad: OnBad | None = None,
) -> list[Recording]:
    """The recordings in a file or folder, one for each battery.

    Only heads are read here. `format` is one of `FORMATS`; without it the content decides.
    `mapping` and `nominal_capacity_ah` are for the last two, see `recordings.mapping`. With
    `on_bad`, files and operations that cannot be read are skipped and reported to it; without it
    the first one raises. Raises RecordingError, always with the file's name.
    """
    path = Path(path)
    where = Place(str(path))
    if not path.exists():
        raise NotFoundError(Message("nothing.there"), where)
    kind = format or ("generic" if mapping is not None else _detect(path))
    if kind not in FORMATS:
        raise MappingError(Message("nothing.format", found=kind, formats=Message("formats")), where)
    if kind == "nasa":
        return _open_nasa(path, on_bad)
    if kind == "calce":
        from recordings.calce import open_calce

        return list(open_calce(path, on_bad=on_bad))
    if kind == "bundle":
        from recordings.bundle import open_bundle

        return list(open_bundle(path, on_bad=on_bad))
    if kind in ("bdf", "generic"):
        from recordings.generic import GenericRecording

        return [
            GenericRecording(
                path, mapping=mapping, nominal_capacity_ah=nominal_capacity_ah, on_bad=on_bad
            )
        ]
    from recordings.tidy import TidyRecording

    return [TidyRecording(path, on_bad=on_bad)]


def _detect(path: Path) -> str:
    where = Place(str(path))
    if path.is_dir():
        names = {file.suffix.lower() for file in path.rglob("*") if file.is_file()}
        if ".mat" in names:
            return "nasa"
        if ".xlsx" in names:
            return "calce"
        raise NotFoundError(Message("nothing.in_folder", formats=Message("formats")), where)
    try:
        with path.open("rb") as file:
            head = file.read(128)
    except OSError as error:
        message = Message("passed_on", reason=error.strerror or str(error))
        raise RecordingError(message, where) from None
    if not head:
        raise FormatError(Message("nothing.empty"), where)
    if head.startswith(b"MATLAB 7.3"):
        raise FormatError(Message("nothing.matlab_7_3"), where)
    if head.startswith(b"MATLAB 5.0"):
        return "nasa"
    if head.startswith(b"PK"):
        return "nasa" if archive.members(path, ".mat") else "calce"
    if head.startswith(b"PAR1"):
        return _detect_parquet(path)
    if head.startswith(b"\x89HDF") or _is_text(path):
        return "generic"
    raise FormatError(Message("nothing.known", formats=Message("formats")), where)


def _is_text(path: Path) -> bool:
    """Whether this is a table of two columns or more, or one that has a mapping beside it."""
    from recordings.mapping import sidecar
    from recordings.tables import open_table

    if sidecar(path) is not None:
        return True
    try:
        return len(open_table(path, {}).names) > 1
    except NotTextError:
        return False


def _detect_parquet(path: Path) -> str:
    from recordings.bundle import METADATA_KEY
    from recordings.parquet import opened
    from recordings.tidy import REQUIRED

    with opened(path) as file:
        schema = file.schema_arrow
        if METADATA_KEY in (file.metadata.metadata or {}):
            return "bundle"
        if set(schema.names) >= REQUIRED:
            return "tidy"
    return "generic"


def _open_nasa(path: Path, on_bad: OnBad | None) -> list[Recording]:
    from recordings.nasa import NasaRecording

    sources: list[tuple[Path, archive.Member]] = [(path, ())]
    if path.is_dir():
        sources = [(file, ()) for file in sorted(path.rglob("*.mat"))]
    elif zipfile.is_zipfile(path):
        sources = [(path, member) for member in archive.members(path, ".mat")]
    found: list[Recording] = []
    refused: RecordingError = NotFoundError(Message("nothing.mat"), Place(str(path)))
    for file, member in sources:
        try:
            found.append(NasaRecording(file, member=member, on_bad=on_bad))
        except RecordingError as error:
            raise_or_report(error, on_bad)
            refused = error if len(sources) == 1 else refused
    if not found:
        raise refused
    return found
