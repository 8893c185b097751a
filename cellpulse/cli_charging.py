"""`cellpulse train|evaluate charging` and `cellpulse advise`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellpulse.cli_options import AsJson, Seed, say


def add_commands(app: typer.Typer, train: typer.Typer, evaluate: typer.Typer) -> None:
    """Mount this module's commands."""
    train.command("charging")(train_charging)
    evaluate.command("charging")(evaluate_charging)
    app.command("advise")(advise)


def train_charging(
    out: Annotated[Path, typer.Option(help="Where the policy and its card go.")] = Path("models"),
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(help="How many policies to train.")] = 5,
    steps: Annotated[
        int | None, typer.Option(help="Decisions to learn from, a seed.", show_default=False)
    ] = None,
    course: Annotated[
        bool, typer.Option("--course", help="The course's 1,000 steps instead; writes nothing.")
    ] = False,
) -> None:
    """Train the charging policy. Needs stable-baselines3."""
    from monitor.errors import ConfigurationError

    if seeds < 1 or (steps is not None and steps < 1):
        raise ConfigurationError("--seeds and --steps: expected 1 or more")
    try:
        from training.charging import learn, train
    except ImportError as error:
        raise ConfigurationError(
            "training needs PyTorch and stable-baselines3: "
            f"pip install 'cellpulse[train]' ({error})"
        ) from error
    if course:
        print(train.course(seed, say, steps or train.COURSE_STEPS))
        return
    card = train.train(out, seed, say, seeds=seeds, steps=steps or learn.PPO_STEPS)
    print(f"seed {card.seed} of {seeds} written to {out / 'charging.onnx'}")


def evaluate_charging(
    as_json: AsJson = False,
    budget: Annotated[
        float | None,
        typer.Option(help="Seconds it may take; what does not fit is left out and named."),
    ] = None,
    seed: Seed = 0,
    page: Annotated[
        Path | None,
        typer.Option(help="Write the results page (Markdown) and its plot.", show_default=False),
    ] = None,
) -> None:
    """Measure every charging policy on unseen cells and on PyBaMM."""
    import msgspec

    from monitor.models.folder import models_folder
    from training.charging.evaluate import evaluate, figures_of
    from training.charging.page import write_page
    from training.figures import figures_table, report

    found = evaluate(models_folder(), seed, say, budget)
    figures = figures_of(found)
    if page is not None:
        write_page(page, found, figures)
    if as_json:
        print(msgspec.json.encode(report("evaluate charging", {}, figures)).decode())
        return
    print(figures_table(figures))
    for name in found.left_out:
        print(f"left out for want of time or PyBaMM: {name}")


def advise(
    what: Annotated[str, typer.Argument(help="A recording, or an asset in the store.")],
    style: Annotated[str, typer.Option(help="fast, normal or gentle.")] = "normal",
    soc: Annotated[
        float | None,
        typer.Option(help="State of charge, 0..1, in place of the estimate.", show_default=False),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="SQLite file, cellpulse.sqlite by default.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how fast to charge now, how long it takes, what it wears, and why. Commands nothing."""
    import msgspec

    from analysis.advice import advice_model, state_of_asset, state_of_file
    from monitor.charging.advice import STYLES, advise, sentence
    from monitor.errors import ConfigurationError

    chosen = next((name for name in STYLES if name == style), None)
    if chosen is None:
        raise ConfigurationError(f"--style {style!r}: expected one of {', '.join(STYLES)}")
    if soc is not None and not 0.0 <= soc <= 1.0:
        raise ConfigurationError(f"--soc {soc}: expected 0 to 1")
    model = advice_model()
    path = Path(what)
    found = state_of_file(path) if path.exists() else {what: state_of_asset(what, store)}
    for asset, state in found.items():
        advice = advise(model, state if soc is None else state.at_soc(soc), chosen)
        if as_json:
            print(msgspec.json.encode({"asset": asset, "advice": advice}).decode())
        else:
            print(f"{asset}: {sentence(advice)}")
