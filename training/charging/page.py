"""`docs/results-charging.md` and its plot, written from what was measured and from nothing else.

The module is long because the page's words stand beside the figures that they are about.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.charging.evaluate import CYCLES, GOALS, Found
from training.charging.fronts import DURATIONS_MIN, Front, gain, interval, most_gain
from training.charging.pybamm_check import Check, savings
from training.figures import Figure, markdown_table, targets_table

PLOT = "images/charging-front.png"


def write_page(page: Path, found: Found, figures: Sequence[Figure]) -> None:
    """Write the page, and the plot into `images` beside it."""
    page.parent.mkdir(parents=True, exist_ok=True)
    picture = page.parent / PLOT
    picture.parent.mkdir(exist_ok=True)
    draw(found, picture)
    page.write_text(text(found, figures), encoding="utf-8")


def text(found: Found, figures: Sequence[Figure]) -> str:
    """The page's Markdown."""
    parts = [
        "# Smart charging: results",
        "",
        "Written by `cellpulse evaluate charging --page docs/results-charging.md`; do not edit. "
        f"Seed {found.seed}.{_budget(found)}",
        "",
        " ".join([_headline(found), *_reach(found, figures)]),
        "",
        "**All of it is conditional on an ageing law** ([charging.md](charging.md)) that was fixed "
        "before any policy was trained, and comes from models, not from cells that were charged.",
        "",
        "## Targets",
        "",
        "Time saved is at equal mean wear: the opponent's charge of so many minutes (mean over all "
        "conditions) is looked up on its front, and the policy's time at the same wear on its own. "
        f"The durations were chosen beforehand.{_no_such_charge(found)}",
        "",
        targets_table(figures),
        "",
        *_what_there_is(found),
        "## Fronts on unseen cells",
        "",
        "Every parameter 10 % up or down (nine kinds of cells), 2 and 5 Ah, ambient 10 to 40 degC, "
        "SOH 80 to 100 %, what the BMS thinks off by up to 2 % (SOC) and 3 % (SOH). All behind the "
        "shield except the row that says so. CC-CV is a grid of 28 rates and 7 cut-offs, "
        "multi-stage CC five stages by Bayesian optimisation, both tuned on the calibrated cell "
        "over the same range of conditions; `by ambient` has a setting for each of eight "
        "temperatures, chosen for that temperature.",
        "",
        f"![Time from 10 to 80 % against wear, with 95 % intervals over seeds]({PLOT})",
        "",
        _fronts(found),
        "",
        "### Time saved at equal wear, each ambient by itself",
        "",
        "Here the opponent is read off its front at that ambient alone, which a charger with one "
        "setting cannot do. PPO, mean of seeds, %.",
        "",
        _by_ambient(found),
        "",
    ]
    if found.lives:
        parts += [
            f"## Capacity after {CYCLES} cycles",
            "",
            "From 95 %, 10 to 80 % and back at 1C without rests, the setting nearest to 60 min.",
            "",
            markdown_table(
                ("policy", "minutes", "mean of 10, 25, 40 degC, %", "worst, %"),
                [(n, m, 100 * left, 100 * worst) for n, m, left, worst in found.lives],
            ),
            "",
        ]
    if found.sensitivity:
        parts += [
            "## Half and one and a half times the law's exponents",
            "",
            "The learned policies and the multi-stage settings as they are, CC-CV tuned anew under "
            "the changed law, on unseen cells. Time saved by PPO at equal wear, mean of seeds, %.",
            "",
            _sensitivity(found),
            "",
        ]
    if found.pybamm is not None:
        parts += ["## PyBaMM", "", _pybamm(found), ""]
    return "\n".join(parts)


def draw(found: Found, path: Path) -> None:
    """Fronts of all policies; PPO and SAC with 95 % intervals over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8.0, 4.6), dpi=110)
    styles = {
        "CC-CV": ("#555555", "o-"), "CC-CV by ambient": ("#1b7f79", "s-"),
        "multi-stage CC": ("#b36b00", "^-"), "always 1C": ("#000000", "*"),
    }  # fmt: skip
    for name, (colour, mark) in styles.items():
        minutes, loss = found.fronts[name].kept()
        axes.plot(minutes, 1e3 * loss, mark, color=colour, label=name, markersize=4)
    if found.bound is not None:
        minutes, loss = found.bound.kept()
        axes.plot(minutes, 1e3 * loss, ":", color="#000000", label="bound")
    for name, colour in (("PPO", "#c2255c"), ("SAC", "#5f3dc4")):
        seeds = found.learned.get(name, [])
        if not seeds:
            continue
        low = max(front.kept()[1].min() for front in seeds)
        high = min(front.kept()[1].max() for front in seeds)
        wear = np.linspace(low, high, 60)
        times = [[front.minutes_at(float(value)) for value in wear] for front in seeds]
        data = np.array(times, dtype=np.float64)
        axes.plot(data.mean(axis=0), 1e3 * wear, color=colour, label=f"{name}, {_seeds(seeds)}")
        if len(seeds) > 1:
            half = np.array([interval(column)[1] for column in data.T])
            middle = data.mean(axis=0)
            axes.fill_betweenx(1e3 * wear, middle - half, middle + half, color=colour, alpha=0.2)
    axes.set_xlabel("minutes from 10 to 80 %, mean of unseen conditions")
    axes.set_ylabel("wear of a charge, 0.001 of nominal capacity")
    axes.set_xlim(30, 150)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def _budget(found: Found) -> str:
    if found.budget_s is None and not found.left_out:
        return ""
    budget = "" if found.budget_s is None else f" This run had a budget of {found.budget_s:.0f} s."
    return f"{budget} Left out: {'; '.join(found.left_out) or 'nothing'}."


def _headline(found: Found) -> str:
    if found.pybamm is None:
        return "PyBaMM was not run."
    saved, worn = [], []
    for pair in found.pybamm.pairs:
        one, other = savings(pair)
        saved.append(f"{np.mean(one):+.1f}")
        worn.append(f"{np.mean(other):+.1f}")
    at = ", ".join(f"{pair.minutes:.0f}" for pair in found.pybamm.pairs)
    return (
        f"**On PyBaMM, a model that no policy saw**, PPO takes {', '.join(saved)} % less time than "
        f"the tuned CC-CV of {at} min (settings of equal wear on the twin) and wears the cell "
        f"{', '.join(worn)} % less there. Read the section on PyBaMM for what that is worth."
    )


def _reach(found: Found, figures: Sequence[Figure]) -> list[str]:
    """On the twin: what was reached, and what can be at all."""
    wanted = [f for f in figures if f.target is not None and f.name.startswith("PPO: time saved")]
    met = sum(bool(f.met) for f in wanted)
    said = [f"On the twin's unseen cells {met} of {len(wanted)} targets of time saved are met."]
    if found.bound is None:
        return [*said, "What is possible at most was not worked out in this run."]
    for opponent, target in GOALS:
        values = [found.most_gain(opponent, minutes) for minutes in DURATIONS_MIN]
        known = [value for value in values if value is not None]
        below = [
            f"{minutes:.0f}"
            for minutes, value in zip(DURATIONS_MIN, values, strict=True)
            if value is not None and value < target
        ]
        if len(below) == len(known):
            said.append(
                f"**Under this law and behind this shield {target:g} % against {opponent} cannot "
                f"be reached at any of the durations**: the best charge of every single condition, "
                "found by direct optimisation with the cell known beforehand, saves "
                f"{min(known):.1f} to {max(known):.1f} %."
            )
        elif below:
            said.append(
                f"Against {opponent} {target:g} % cannot be reached at {', '.join(below)} min, "
                f"where that bound is lower; at the other durations it is up to {max(known):.1f} %."
            )
    table = found.by_name("PPO", "CC-CV by ambient")
    alone = found.by_name("imitation", "CC-CV")
    if table and alone:
        said.append(
            f"A plain table of CC-CV by ambient does almost as well: PPO saves {min(table):.1f} to "
            f"{max(table):.1f} % against that. And learning adds little to imitating the best "
            f"charges, which alone saves {min(alone):.1f} to {max(alone):.1f} % against CC-CV."
        )
    return said


def _no_such_charge(found: Found) -> str:
    """Which durations are no target, because the opponent has no such charge."""
    said = []
    for opponent, _ in GOALS:
        front = found.fronts[opponent]
        missing = [f"{m:.0f}" for m in DURATIONS_MIN if front.loss_at(m) is None]
        if missing:
            said.append(
                f" {opponent} has no charge of {', '.join(missing)} min (its fastest behind the "
                f"shield takes {front.fastest:.1f}), so that duration is no target, neither met "
                "nor missed."
            )
    return "".join(said)


def _what_there_is(found: Found) -> list[str]:
    why = [
        "A charge's wear in this law grows convexly with current, so at one temperature a nearly "
        "constant current is nearly the best there is, and CC-CV already is one. What is left to "
        "gain is knowing the temperature: fast where it costs little, slow where it costs much. "
        "CC-CV with a table by ambient has most of that already. CC-CV without the shield is no "
        "safe alternative: see the limits that it broke below.",
        "",
    ]
    if found.bound is None or found.perfect is None:
        return why
    rows: list[tuple[object, ...]] = []
    for opponent in ("CC-CV", "CC-CV by ambient", "multi-stage CC"):
        rows.append(
            ("bound", opponent, *(found.most_gain(opponent, minutes) for minutes in DURATIONS_MIN))
        )
        for name, seeds in found.learned.items():
            values = []
            for minutes in DURATIONS_MIN:
                gains = [gain(front, found.fronts[opponent], minutes) for front in seeds]
                known = [value for value in gains if value is not None]
                values.append(float(np.mean(known)) if known else None)
            rows.append((f"{name}, {_seeds(seeds)}", opponent, *values))
    header = ("", "against", *(f"{minutes:.0f} min" for minutes in DURATIONS_MIN))
    bare: list[tuple[object, ...]] = []
    for what, fronts in (
        ("the shield", found.perfect.shielded),
        ("bare limits", found.perfect.bare),
    ):
        for opponent in ("CC-CV", "CC-CV by ambient"):
            values = [most_gain(fronts["best profile"], fronts[opponent], m) for m in DURATIONS_MIN]
            bare.append((what, opponent, fronts[opponent].fastest, *values))
    return [
        "### What there is to gain: a bound",
        "",
        "For every unseen condition and every weight on wear by itself, the best current over "
        "state of charge by direct optimisation on the same model, behind the same shield "
        "(cross-entropy method, 14 currents). It knows the cell, the ambient and the errors of the "
        "estimates beforehand, so no policy can save more than this; what PPO is short of it is "
        "mostly what a BMS cannot know. Time saved at equal wear, mean of seeds, %. `imitation` is "
        "what PPO starts from: a network fitted to the best charges of the calibrated cell, which "
        "has learned nothing by itself. Two seeds of the search differ by at most "
        f"{100 * found.perfect.search_error:.2f} % of a charge's cost.",
        "",
        markdown_table(header, rows),
        "",
        "Would a shield without margins change that? The calibrated cell, known exactly, at five "
        "ambients and SOH 90 %: the bound behind the shield and behind the bare limits, the "
        "opponents tuned anew behind the bare limits too, so that like is compared with like.",
        "",
        markdown_table(("behind", "bound against", "its fastest, min", *header[2:]), bare),
        "",
        *why,
    ]


def _seeds(seeds: Sequence[Front]) -> str:
    return "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"


def _fronts(found: Found) -> str:
    header = ("policy", *(f"wear at {m:.0f} min, 0.001" for m in DURATIONS_MIN), "fastest, min",
              "peak, degC", "limits broken")  # fmt: skip
    shown: list[Front] = [*found.fronts.values()]
    if found.unshielded is not None:
        shown.append(found.unshielded)
    rows = [_front_row(front.name, [front]) for front in shown]
    for name, seeds in found.learned.items():
        rows.append(_front_row(f"{name}, {_seeds(seeds)}", seeds))
    return markdown_table(header, rows)


def _front_row(name: str, seeds: Sequence[Front]) -> tuple[object, ...]:
    wear: list[object] = []
    for minutes in DURATIONS_MIN:
        values = [front.loss_at(minutes) for front in seeds]
        known = [1e3 * value for value in values if value is not None]
        wear.append(f"{np.mean(known):.3f}" if known else "-")
    fastest = float(np.mean([front.kept()[0].min() for front in seeds]))
    broken = sum(front.violations for front in seeds)
    charges = sum(front.charges for front in seeds)
    return (name, *wear, fastest, max(f.peak_c for f in seeds), f"{broken} of {charges}")


def _at_ambient(front: Front, ambient_c: float) -> Front:
    return Front(
        front.name, front.ambient_minutes[ambient_c], front.ambient_loss[ambient_c], 0.0, 0, 0, {},
        {},
    )  # fmt: skip


def _by_ambient(found: Found) -> str:
    rows = []
    for opponent in ("CC-CV", "CC-CV by ambient", "multi-stage CC"):
        other = found.fronts[opponent]
        for ambient_c in sorted(other.ambient_minutes):
            values = []
            for minutes in DURATIONS_MIN:
                gains = [
                    gain(_at_ambient(front, ambient_c), _at_ambient(other, ambient_c), minutes)
                    for front in found.learned["PPO"]
                ]
                known = [value for value in gains if value is not None]
                values.append(float(np.mean(known)) if known else None)
            rows.append((opponent, f"{ambient_c:g}", *values))
    return markdown_table(
        ("against", "ambient, degC", *(f"{minutes:.0f} min" for minutes in DURATIONS_MIN)), rows
    )


def _sensitivity(found: Found) -> str:
    rows: list[tuple[object, ...]] = []
    plain = [
        (1.0, opponent, found.fronts[opponent], found.learned["PPO"])
        for opponent in ("CC-CV", "multi-stage CC")
    ]
    for factor, law in found.sensitivity.items():
        plain += [(factor, name, law.opponents[name], law.learned) for name in law.opponents]
    for factor, opponent, other, seeds in sorted(plain, key=lambda row: (row[1], row[0])):
        values = []
        for minutes in DURATIONS_MIN:
            gains = [gain(front, other, minutes) for front in seeds]
            known = [value for value in gains if value is not None]
            values.append(float(np.mean(known)) if known else None)
        rows.append((opponent, f"{factor:g}", *values))
    return markdown_table(
        ("against", "exponents times", *(f"{minutes:.0f} min" for minutes in DURATIONS_MIN)), rows
    )


def _sign(check: Check) -> str:
    """For which pairs PPO is both faster and gentler on PyBaMM too."""
    said = []
    for pair in check.pairs:
        faster, gentler = (np.mean(values) >= 0.0 for values in savings(pair))
        verdict = {
            (True, True): "the sign of the gain holds, in time and in wear",
            (True, False): "PPO is faster but wears the cell more, so the sign holds in time only",
            (False, True): "PPO wears the cell less but is slower",
            (False, False): "the sign of the gain does not hold",
        }[bool(faster), bool(gentler)]
        said.append(f"For the pair of {pair.minutes:.0f} min {verdict}.")
    return " ".join(said)


def _pybamm(found: Found) -> str:
    check = found.pybamm
    if check is None:
        return ""
    rows = []
    for pair in check.pairs:
        for ambient_c, one in pair.cc_cv.items():
            own = [seed[ambient_c] for seed in pair.policy]
            rows.append(
                (
                    f"{pair.minutes:.0f}",
                    pair.setting,
                    f"{ambient_c:g}",
                    one.minutes,
                    f"{1e6 * one.loss:.1f}",
                    float(np.mean([c.minutes for c in own])),
                    f"{1e6 * np.mean([c.loss for c in own]):.1f}",
                    float(max(c.peak_c for c in own)),
                )
            )
    fast = ", ".join(
        f"{c.minutes:.0f} min and {1e6 * c.loss:.1f} at {a:g} degC"
        for a, c in check.fastest.items()
    )
    return "\n".join(
        [
            "SPMe with SEI growth (solvent-diffusion limited), partially reversible plating and a "
            "lumped temperature, O'Kane et al. (2022), LG M50 of 5 Ah. The wear is the lithium "
            "lost in a charge and a discharge at 1C, in millionths of the nominal charge. "
            "Current is held to 1C: at 2C and 10 degC this set's electrolyte runs dry and the "
            "anode falls below 0 V, which the shield's anode does not know.",
            "",
            markdown_table(
                ("pair, min", "CC-CV", "ambient", "its min", "its wear", "PPO's min",
                 "PPO's wear", "PPO's peak, degC"),
                rows,
            ),
            "",
            "In this model's ageing a charge wears by the time it lasts (SEI, and plated lithium "
            "that turns dead), hardly by its current: whatever is faster also wears less, and the "
            f"fastest CC-CV that the shield lets through ({fast}) is beaten by none. "
            f"{_sign(check)} PyBaMM does not confirm the twin's price of speed; the two laws "
            "disagree on it.",
        ]
    )  # fmt: skip
