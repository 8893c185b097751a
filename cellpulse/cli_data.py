"""`cellpulse data`: public datasets and recordings; list, fetch, look up, plot.

Everything heavy is imported inside the command that needs it. Failures are RecordingError, which
the command line's entry point prints as one sentence.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from recordings.knee import KneeReport
    from recordings.lookup import Survey
    from recordings.types import Recording, RecordingError

app = typer.Typer(
    help="Recordings: list, fetch, look up, plot.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder with recordings; default CELLPULSE_DATA and the cache.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Go on past what cannot be read, and report it.")
]
Nominal = Annotated[
    float | None,
    typer.Option(help="Nominal capacity in Ah, where a file does not say it.", show_default=False),
]


@app.command("list")
def list_recordings(data: Data = None, as_json: AsJson = False) -> None:
    """List the recordings on this machine and the datasets that can be fetched."""
    from recordings.catalogue import DATASETS
    from recordings.lookup import everything

    found = list(everything(_folders(data)))
    if as_json:
        _print_json(
            {
                "recordings": [
                    {
                        "id": one.info.asset,
                        "dataset": one.info.dataset,
                        "nominal_capacity_ah": one.info.nominal_capacity_ah,
                        "path": str(one.path),
                    }
                    for one in found
                ],
                "datasets": [
                    {"name": one.name, "title": one.title, "home": one.home, "terms": one.terms}
                    for one in DATASETS.values()
                ],
            }
        )
        return
    rows = [
        [one.info.asset, one.info.dataset, f"{one.info.nominal_capacity_ah:g} Ah", str(one.path)]
        for one in found
    ]
    if rows:
        _table(["id", "dataset", "nominal", "file"], rows)
    else:
        typer.echo("No recordings in " + ", ".join(str(place) for place in _folders(data)))
    typer.echo("\nTo fetch:")
    for dataset in DATASETS.values():
        typer.echo(f"  cellpulse data fetch {dataset.name:6} {dataset.title}; see {dataset.home}")


@app.command()
def fetch(
    dataset: Annotated[str, typer.Argument(help="nasa or calce")],
    only: Annotated[
        list[str] | None, typer.Argument(help="Files of it, such as CS2_35; default the usual ones")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="Folder; default the cache.", show_default=False)
    ] = None,
) -> None:
    """Download a public dataset: resumed where it was cut, checked, with its citation."""
    from recordings.catalogue import DATASETS, cache_dir
    from recordings.fetch import FetchError
    from recordings.fetch import fetch as download

    chosen = DATASETS.get(dataset.lower())
    if chosen is None:
        raise FetchError(f"unknown dataset {dataset!r}; known: {', '.join(DATASETS)}")
    folder = into if into is not None else cache_dir() / chosen.name
    typer.echo(f"{chosen.title}\n  from  {chosen.home}\n  terms {chosen.terms}", err=True)
    bar = _Bar()
    found = download(chosen, folder, only=tuple(only or ()), progress=bar)
    bar.end()
    for path in found:
        typer.echo(str(path))
    typer.echo(f"Please cite: {chosen.citation}", err=True)


@app.command()
def info(
    battery: Annotated[str, typer.Argument(help="An id (B0005, CS2_35) or a path")],
    data: Data = None,
    skip_bad: SkipBad = False,
    nominal: Nominal = None,
    as_json: AsJson = False,
) -> None:
    """Look a battery up: what it is, what it went through, what is wrong in its record."""
    from recordings.lookup import battery_model, protocol, survey

    skipped: list[str] = []
    surveys = [
        survey(recording, skipped)
        for recording in _find(battery, data, nominal, skipped if skip_bad else None)
    ]
    if as_json:
        _print_json(
            [
                {
                    **asdict(one),
                    "battery": battery_model(one.info),
                    "protocol": protocol(one.info),
                }
                for one in surveys
            ]
        )
        return
    for one in surveys:
        _print_survey(one, battery_model(one.info), protocol(one.info))


@app.command()
def plot(
    batteries: Annotated[list[str], typer.Argument(help="Ids or paths; `all` for every one here")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="A .png, .pdf or .svg file, or a folder; else a window opens."
        ),
    ] = None,
    cycles: Annotated[
        str, typer.Option(help="Cycles whose curves are drawn, first-last.")
    ] = "1-100",
    panel: Annotated[
        list[str] | None,
        typer.Option(help="Only these: curves, fade, ica, peaks, plateau, resistance, ..."),
    ] = None,
    table_only: Annotated[
        bool, typer.Option("--table", help="No drawing: only the table of knees.")
    ] = False,
    data: Data = None,
    skip_bad: SkipBad = False,
    nominal: Nominal = None,
) -> None:
    """Draw a battery's life, and print the knee of each cell in a table."""
    import numpy as np

    from recordings.analysis import gather
    from recordings.knee import find_knee

    first, last = _cycle_range(cycles)
    everything, without = batteries == ["all"], 0
    skipped: list[str] = []
    found = [
        recording
        for name in (_all_ids(data) if everything else batteries)
        for recording in _find(name, data, nominal, skipped if skip_bad else None)
    ]
    rows: list[list[str]] = []
    figures = []
    for recording in found:
        life = gather(recording, first, last)
        cycle, capacity = life.capacities()
        knee = find_knee(cycle, capacity / life.info.nominal_capacity_ah)
        known = capacity[np.isfinite(capacity)]
        if everything and not len(known):
            without += 1
            continue
        rows.append(_knee_row(life.info.asset, known, knee))
        if not table_only:
            figures.append((life.info.asset, _sheet(life, panel or [], window=out is None)))
    _table(
        ["cell", "capacities", "first", "last", "Bacon-Watts", "Kneedle", "of first 80 %", "knee"],
        rows,
    )
    if without:
        typer.echo(f"and {without} recordings without any capacity", err=True)
    for text in skipped:
        typer.echo(f"skipped: {text}", err=True)
    _deliver(figures, out)


def _find(
    name: str, data: Path | None, nominal: float | None, skipped: list[str] | None
) -> list[Recording]:
    """Recordings of an id or path; with `skipped`, faults are added to it instead of raised."""
    from recordings.lookup import find
    from recordings.open import open_recording

    def note(error: RecordingError) -> None:
        if skipped is not None and str(error) not in skipped:
            skipped.append(str(error))

    path = Path(name)
    if not path.exists():
        known = find(name, _folders(data))
        if skipped is None:
            return known
        assets = {one.info.asset for one in known}
        again = open_recording(known[0].info.source, on_bad=note)
        return [one for one in again if one.info.asset in assets] or again
    return open_recording(
        path, nominal_capacity_ah=nominal, on_bad=None if skipped is None else note
    )


def _folders(data: Path | None) -> list[Path]:
    from recordings.catalogue import search_path

    return search_path() if data is None else [data]


def _all_ids(data: Path | None) -> list[str]:
    from recordings.lookup import everything

    return list(dict.fromkeys(one.info.asset for one in everything(_folders(data))))


def _cycle_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        chosen = int(first), int(last) if dash else int(first)
    except ValueError:
        chosen = (0, 0)
    if not 1 <= chosen[0] <= chosen[1]:
        raise typer.BadParameter(f"cycles is {text!r}; write first-last, such as 1-100")
    return chosen


def _sheet(life: Any, panels: list[str], *, window: bool) -> Any:
    from recordings.types import RecordingError

    try:
        from matplotlib import pyplot

        from recordings.plots import sheet
    except ImportError:
        raise RecordingError("plots need matplotlib: pip install 'cellpulse[data]'") from None
    if not window:
        return sheet(life, panels)
    if pyplot.get_backend().lower() == "agg":
        raise RecordingError("no window can be opened here; say --out FILE.png")
    return sheet(life, panels, pyplot.figure())


def _deliver(figures: list[tuple[str, Any]], out: Path | None) -> None:
    """Write the figures, or open windows."""
    if not figures:
        return
    from recordings.plots import SUFFIXES, save

    if out is None:
        from matplotlib import pyplot

        pyplot.show()
        return
    single = out.suffix.lower() in SUFFIXES
    for asset, figure in figures:
        path = out / f"{asset}.png"
        if single:
            path = out if len(figures) == 1 else out.with_name(f"{out.stem}-{asset}{out.suffix}")
        save(figure, path)
        typer.echo(str(path))


def _print_survey(one: Survey, battery: str, protocol: str) -> None:
    about = one.info
    chemistry = "" if about.chemistry is None else f", {about.chemistry}"
    hottest = "not recorded" if one.hottest_c is None else f"{one.hottest_c:.1f} °C at most"
    ambient = ", ".join(f"{value:g} °C" for value in one.ambients_c) or "not recorded"
    unknown = f" ({one.unknown_capacities} unknown)" if one.unknown_capacities else ""
    typer.echo(f"{about.asset}  {about.dataset}{chemistry}{', SYNTHETIC' * about.synthetic}")
    for name, text in (
        ("battery", battery),
        ("nominal", f"{about.nominal_capacity_ah:g} Ah, {about.cells} cell(s), "
                    f"{about.sensors} thermometer(s)"),
        ("model", about.cell_type or "no SOH model of ours claims this cell"),
        ("protocol", protocol),
        ("ambient", ambient),
        ("record", f"{one.charges} charges, {one.discharges} discharges, {one.rests} other, "
                   f"{one.samples:,} samples, {one.cycles} cycles, "
                   f"{one.first_day} to {one.last_day}"),
        ("capacity", f"{_ah(one.first_capacity_ah)} first, {_ah(one.last_capacity_ah)} "
                     f"last{unknown}"),
        ("voltage", f"{_volts(one.lowest_v)} to {_volts(one.highest_v)} as read"),
        ("hottest", hottest),
        ("file", about.source),
        ("cite", about.citation or "nothing"),
    ):  # fmt: skip
        typer.echo(f"  {name:9} {text}")
    for problem in (*about.problems, *one.notes):
        typer.echo(f"  problem   {problem}")
    for text in one.skipped:
        typer.echo(f"  skipped   {text}")


def _volts(voltage_v: float | None) -> str:
    return "unknown" if voltage_v is None else f"{voltage_v:.3f} V"


def _ah(capacity_ah: float | None) -> str:
    return "unknown" if capacity_ah is None else f"{capacity_ah:.3f} Ah"


def _knee_row(asset: str, known: Any, knee: KneeReport) -> list[str]:
    def cycle(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f}"

    ends = [f"{known[0]:.3f}", f"{known[-1]:.3f}"] if len(known) else ["-", "-"]
    at = [cycle(knee.bacon_watts), cycle(knee.kneedle), cycle(knee.earlier_bacon_watts)]
    return [asset, str(len(known)), *ends, *at, knee.verdict]


def _table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        typer.echo(line.rstrip())


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


class _Bar:
    """Download progress on standard error: a line that rewrites itself, or one line each 10 %."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._said = -1
        self._name = ""

    def __call__(self, name: str, have: int, total: int | None) -> None:
        if name != self._name:
            self.end()
            self._name, self._said = name, -1
        share = None if not total else int(100 * have / total)
        step = have // (1 << 20) if share is None else share if self._live else share // 10 * 10
        if step == self._said:
            return
        self._said = step
        size = f"{have / 1e6:.1f} MB" + ("" if total is None else f" of {total / 1e6:.1f} MB")
        text = f"{name}  {size}" + ("" if share is None else f"  {share} %")
        typer.echo(f"\r{text}" if self._live else text, err=True, nl=not self._live)

    def end(self) -> None:
        """Finish the line."""
        if self._live and self._said >= 0:
            typer.echo("", err=True)
