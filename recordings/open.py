"""Open any recording: the reader is picked by what the file holds."""

from __future__ import annotations

import zipfile
from pathlib import Path

from recordings.checking import OnBad, raise_or_report
from recordings.types import Recording, RecordingError

FORMATS: dict[str, str] = {
    "nasa": "NASA PCoE .mat (MATLAB level 5), a folder or a zip of them",
    "calce": "CALCE Arbin .xlsx workbooks: a folder, a zip or one workbook",
    "cellpulse": "Cellpulse's own Parquet recording",
    "tidy": "tidy Parquet of published cells (cell_id, cycle, step, time_s, ...)",
}


def open_recording(
    path: str | Path, *, format: str | None = None, on_bad: OnBad | None = None
) -> list[Recording]:
    """The recordings in a file or folder, one for each battery.

    Only heads are read here. `format` is one of `FORMATS`; without it the content decides. With
    `on_bad`, files and operations that cannot be read are skipped and reported to it; without it
    the first one raises. Raises RecordingError, always with the file's name.
    """
    path = Path(path)
    if not path.exists():
        raise RecordingError(f"{path}: no such file or folder")
    kind = format or _detect(path)
    if kind not in FORMATS:
        raise RecordingError(f"{path}: unknown format {kind!r}; {_formats()}")
    if kind == "nasa":
        return _open_nasa(path, on_bad)
    if kind == "calce":
        from recordings.calce import open_calce

        return list(open_calce(path, on_bad=on_bad))
    if kind == "cellpulse":
        from recordings.bundle import open_bundle

        return list(open_bundle(path, on_bad=on_bad))
    from recordings.tidy import TidyRecording

    return [TidyRecording(path, on_bad=on_bad)]


def _formats() -> str:
    return "formats read: " + "; ".join(f"{name} ({what})" for name, what in FORMATS.items())


def _detect(path: Path) -> str:
    if path.is_dir():
        names = {file.suffix.lower() for file in path.rglob("*") if file.is_file()}
        if ".mat" in names:
            return "nasa"
        if ".xlsx" in names:
            return "calce"
        raise RecordingError(f"{path}: no recording in this folder; {_formats()}")
    try:
        with path.open("rb") as file:
            head = file.read(128)
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}") from None
    if not head:
        raise RecordingError(f"{path}: the file is empty")
    if head.startswith(b"MATLAB 7.3"):
        raise RecordingError(f"{path}: a MATLAB 7.3 file; save it as level 5 (-v7)")
    if head.startswith(b"MATLAB 5.0"):
        return "nasa"
    if head.startswith(b"PK"):
        return "nasa" if _zip_holds(path, ".mat") else "calce"
    if head.startswith(b"PAR1"):
        return _detect_parquet(path)
    raise RecordingError(f"{path}: not a known recording; {_formats()}")


def _zip_holds(path: Path, suffix: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(suffix) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise RecordingError(f"{path}: a damaged zip: {error}") from None


def _detect_parquet(path: Path) -> str:
    from recordings.bundle import METADATA_KEY
    from recordings.parquet import opened
    from recordings.tidy import REQUIRED

    with opened(path) as file:
        schema = file.schema_arrow
        if METADATA_KEY in (file.metadata.metadata or {}):
            return "cellpulse"
        if set(schema.names) >= REQUIRED:
            return "tidy"
    raise RecordingError(f"{path}: Parquet with unknown columns; {_formats()}")


def _open_nasa(path: Path, on_bad: OnBad | None) -> list[Recording]:
    from recordings.nasa import NasaRecording

    found: list[Recording] = []
    if path.is_dir():
        sources = [(file, None) for file in sorted(path.rglob("*.mat"))]
    elif zipfile.is_zipfile(path):
        return _open_nasa_zip(path, on_bad)
    else:
        sources = [(path, None)]
    for file, data in sources:
        try:
            found.append(NasaRecording(file, data=data, on_bad=on_bad))
        except RecordingError as error:
            raise_or_report(error, on_bad)
    if not found:
        raise RecordingError(f"{path}: no readable NASA .mat file in it")
    return found


def _open_nasa_zip(path: Path, on_bad: OnBad | None) -> list[Recording]:
    from recordings.nasa import NasaRecording

    found: list[Recording] = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in sorted(archive.namelist()) if name.lower().endswith(".mat")]
            for name in members:
                try:
                    data = archive.read(name)
                    found.append(NasaRecording(path / name, data=data, on_bad=on_bad))
                except RecordingError as error:
                    raise_or_report(error, on_bad)
    except Exception as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{path}: a damaged zip: {error}") from None
    if not found:
        raise RecordingError(f"{path}: no readable NASA .mat file in it")
    return found
