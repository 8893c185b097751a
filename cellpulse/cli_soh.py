"""`cellpulse train|evaluate soh|forecast` and `cellpulse forecast`: the functions behind them.

`add_commands` mounts them. Everything heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cellpulse.cli_options import AsJson, DataFolder, ModelsOut, Seed, data_folder, say

if TYPE_CHECKING:
    from training.figures import Figure
    from training.soh.evaluate import Evaluation
    from training.soh.scores import Score

Page = Annotated[
    Path | None, typer.Option(help="Write the results page (Markdown) here.", show_default=False)
]
Budget = Annotated[
    float | None,
    typer.Option(help="Seconds it may take; what does not fit is left out and named."),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Do not take up an interrupted or earlier run's steps.")
]


_MEASURES: tuple[tuple[str, str, Literal["lower", "higher"]], ...] = (
    ("mae", "%SOH", "lower"),
    ("rmse", "%SOH", "lower"),
    ("worst", "%SOH", "lower"),
    ("coverage", "share", "higher"),
    ("width", "%SOH", "lower"),
)


def add_commands(app: typer.Typer, train: typer.Typer, evaluate: typer.Typer) -> None:
    """Mount this module's commands."""
    train.command("soh")(train_soh)
    train.command("forecast")(train_forecast)
    evaluate.command("soh")(evaluate_soh)
    evaluate.command("forecast")(evaluate_forecast)
    app.command("forecast")(forecast)


def train_soh(
    data: DataFolder = None, out: ModelsOut = Path("models"), seed: Seed = 0, fresh: Fresh = False
) -> None:
    """Fit the SOH model and measure it leaving one cell out."""
    from training.soh.command import train
    from training.soh.scores import table_text

    card = train(data_folder(data), out, seed, say, _cache(fresh))
    for dataset, lines in card.metrics.items():
        print(f"\n{dataset}, each cell left out in turn, errors in %SOH\n{table_text(lines)}")


def train_forecast(
    data: DataFolder = None, out: ModelsOut = Path("models"), seed: Seed = 0, fresh: Fresh = False
) -> None:
    """Fit the forecast network and measure it leaving one cell out. Needs PyTorch."""
    _one_thread()
    from training.forecast.command import train

    card = train(data_folder(data), out, seed, say, _cache(fresh))
    print(json.dumps(card.metrics, indent=1))


def evaluate_soh(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Recordings that training never saw; none: the whole protocol table."),
    ] = None,
    data: DataFolder = None,
    seed: Seed = 0,
    budget: Budget = None,
    as_json: AsJson = False,
    page: Page = None,
    fresh: Fresh = False,
) -> None:
    """Measure SOH: the shipped model, model families and protocols; or any files you name."""
    from dataclasses import asdict

    import msgspec

    from monitor.models.folder import models_folder
    from training.figures import figures_table, report
    from training.soh.evaluate import evaluate, evaluate_files
    from training.soh.figures import figures_of
    from training.soh.scores import table_text

    if paths:
        from training.resume import file_digest

        scores = evaluate_files(paths, models_folder(), say)
        if as_json:
            hashes = {path.name: file_digest(path) for path in paths}
            result = report("evaluate soh", hashes, _file_figures(scores))
            print(msgspec.json.encode(result).decode())
        elif scores:
            print(table_text([asdict(one) for one in scores]))
        else:
            print("no cell of a family that the model was trained on: nothing is answered")
        return
    found = evaluate(data_folder(data), models_folder(), seed, say, _cache(fresh), budget)
    figures = figures_of(found)
    if page is not None:
        _write_page(page, found, figures, data_folder(data), seed, fresh)
    if as_json:
        print(msgspec.json.encode(report("evaluate soh", found.data, figures)).decode())
        return
    print(table_text([asdict(one) for one in found.shipped]))
    print(figures_table(figures, protocol=True))
    for name in found.left_out:
        print(f"left out for want of time or data: {name}")


def evaluate_forecast(
    data: DataFolder = None,
    seed: Seed = 0,
    budget: Budget = None,
    as_json: AsJson = False,
    fresh: Fresh = False,
) -> None:
    """Measure the forecasts, each cell from the others. Needs PyTorch."""
    _one_thread()
    from training.figures import figures_table
    from training.forecast.evaluate import evaluate, to_json

    result, _, left_out = evaluate(data_folder(data), seed, say, _cache(fresh), budget)
    for name in left_out:
        say(f"left out for want of time: {name}")
    if as_json:
        print(to_json(result))
        return
    print(figures_table(result["figures"]))


def forecast(
    battery: Annotated[str, typer.Argument(help="An id such as B0005, or a file.")],
    data: DataFolder = None,
    after: Annotated[
        int | None,
        typer.Option(help="Forecast from the first so many cycles.", show_default=False),
    ] = None,
    end_of_life: Annotated[float, typer.Option(help="State of health at the end of life.")] = 0.7,
    out: Annotated[
        Path | None, typer.Option(help="Picture; <id>-forecast.png by default.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forecast a battery: next cycles with intervals, remaining life, and a picture of it."""
    from monitor.errors import ConfigurationError
    from monitor.models.folder import load_model, models_folder
    from recordings.lookup import find
    from training.forecast.run import ForecastModel, draw, sentence
    from training.forecast.run import forecast as run

    if not 0.0 < end_of_life < 1.0:
        raise ConfigurationError(f"--end-of-life {end_of_life}: expected a share such as 0.7")
    model = load_model(ForecastModel, "forecast", models_folder())
    recording = find(battery, None if data is None else [data])[0]
    found = run(model, recording, after=after, end_of_life=end_of_life)
    if as_json:
        print(
            json.dumps(
                {
                    "battery": found.asset,
                    "cycles_seen": found.seen,
                    "soh": found.soh.round(4).tolist(),
                    "low": found.low.round(4).tolist(),
                    "high": found.high.round(4).tolist(),
                    "end_of_life": found.end_of_life,
                    "remaining_cycles": found.remaining,
                    "remaining_cycles_low": found.remaining_low,
                    "remaining_cycles_high": found.remaining_high,
                }
            )
        )
    else:
        print(f"{found.asset}: {found.seen} cycles seen; {sentence(found)}")
        print("cycle  SOH %  90 % interval")
        for step in range(10):
            print(
                f"{found.seen + 1 + step:5d}  {100 * found.soh[step]:5.1f}  "
                f"{100 * found.low[step]:.1f} to {100 * found.high[step]:.1f}"
            )
    if out is not None or not as_json:
        path = out or Path(f"{found.asset}-forecast.png")
        try:
            draw(found, path)
        except ImportError as error:
            raise ConfigurationError(f"a picture needs matplotlib: {error}") from error
        print(f"drawn to {path}", file=sys.stderr)


def _write_page(
    page: Path, found: Evaluation, figures: Sequence[Figure], data: Path, seed: int, fresh: bool
) -> None:
    from training.forecast.evaluate import evaluate
    from training.soh.page import page as text

    _one_thread()
    result, told, _ = evaluate(data, seed, say, _cache(fresh))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text(found, figures, told, result["figures"]), encoding="utf-8")


def _file_figures(scores: Sequence[Score]) -> list[Figure]:
    from training.figures import figure

    out: list[Figure] = []
    for one in scores:
        for what, unit, better in _MEASURES:
            how = f"{one.view}; {one.answered:.0%} answered, {one.unlike:.0%} flagged unlike"
            out.append(figure(f"{one.cell} {what}", getattr(one, what), unit, None, better, how))
    return out


def _one_thread() -> None:
    from monitor.errors import ConfigurationError

    try:
        import torch
    except ImportError as error:
        raise ConfigurationError(
            "forecast training needs PyTorch: pip install 'cellpulse[train]'"
        ) from error
    torch.set_num_threads(1)


def _cache(fresh: bool) -> Path | None:
    from training.resume import default_folder

    return None if fresh else default_folder()
