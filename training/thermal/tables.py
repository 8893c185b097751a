"""The tables of the thermal results, each as title, note, columns and rows of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.thermal.abuse import AbuseTest
from training.thermal.benchmark import Result
from training.thermal.data import HOT_GROUPS
from training.thermal.healthy import HealthyAlarm
from training.thermal.scenarios import NUISANCES, SCENARIOS, Nuisance
from training.thermal.scoring import FalseAlarms
from training.thermal.sensors import COARSE_C, SensorOutcome
from training.thermal.single import GlitchCost, SecondReading, SlopeEpisodes
from training.thermal.twin import AMBIENTS_C, GROWTHS_MIN, TwinResult

OURS = "heat balance, adaptive"
BASELINES = ("random", "absolute temperature", "dT/dt", "PCA")
GROWTH = tuple(s.name for s in SCENARIOS if s.family == "growing_short")
ABLATION = (
    ("dense autoencoder, raw window", "an autoencoder on raw windows"),
    ("heat balance, fixed prior", "the physics residual, prior from other groups"),
    (OURS, "the prior adapts to the cell"),
    ("autoencoder on the residual", "an autoencoder in the residual's place"),
    ("heat balance, adaptive, with autoencoder", "both together"),
)
Kept = Mapping[str, tuple[Result, int]]


@dataclass(frozen=True, slots=True)
class Beside:
    """What is measured beside the detectors' benchmark."""

    chamber_hours: float
    abuse: Sequence[AbuseTest] = ()
    sensors: Sequence[SensorOutcome] = ()
    named: FalseAlarms | None = None  # healthy thermometers called broken
    named_disturbed: Mapping[Nuisance, FalseAlarms] = field(default_factory=dict)
    twin: TwinResult | None = None
    cost_us: Mapping[str, float] = field(default_factory=dict)
    alarms: Sequence[HealthyAlarm] = ()
    coarse_frozen: float | None = None  # share named of frozen thermometers of COARSE_C steps
    rising: SlopeEpisodes | None = None
    glitches: Sequence[GlitchCost] = ()
    second: Sequence[SecondReading] = ()
    budget: str = ""  # how the run was cut short, for the protocol


def tables(kept: Kept, beside: Beside) -> list[dict[str, Any]]:
    """Every table that something was measured for."""
    return [
        _false_alarms(kept),
        _by_group(kept),
        *([_alarms(beside.alarms)] if beside.alarms else []),
        _found(kept),
        _growth(kept),
        _ranking(kept),
        _ablation(kept),
        _nuisance(kept),
        *([_twin(beside.twin)] if beside.twin is not None else []),
        *([_sensors(beside.sensors, beside.coarse_frozen)] if beside.sensors else []),
        *([_named(beside)] if beside.named is not None else []),
        *([_abuse(beside.abuse)] if beside.abuse else []),
        *([_one_reading(beside)] if beside.second else []),
    ]


def _table(title: str, note: str, columns: Sequence[str], rows: Sequence[Any]) -> dict[str, Any]:
    return {"title": title, "note": note, "columns": list(columns), "rows": list(rows)}


def _false_alarms(kept: Kept) -> dict[str, Any]:
    rows = []
    for name, (result, _) in kept.items():
        pooled, (worst_name, worst) = result.pooled, result.worst_group
        rows.append(
            (
                name,
                str(pooled.alarms),
                f"{pooled.per_1000_h:.2f} ({pooled.low:.2f} to {pooled.high:.2f})",
                f"{worst.per_1000_h:.2f} ({worst_name})",
            )
        )
    note = "Alarms per 1,000 cell-hours on groups that the detector never saw, exact Poisson 95 %."
    columns = ("detector", "alarms", "per 1,000 h (95 %)", "worst group")
    return _table("False alarms", note, columns, rows)


def _by_group(kept: Kept) -> dict[str, Any]:
    ours = kept[OURS][0]
    rows = [
        (
            group + (", hot" if group in HOT_GROUPS else ""),
            f"{found.hours:,.0f}",
            str(found.alarms),
            f"{found.per_1000_h:.2f} ({found.low:.2f} to {found.high:.2f})",
        )
        for group, found in sorted(ours.healthy.items())
    ]
    note = f"The {OURS} on each held-out group."
    columns = ("group", "cell-hours", "alarms", "per 1,000 h (95 %)")
    return _table("False alarms by group", note, columns, rows)


def _alarms(alarms: Sequence[HealthyAlarm]) -> dict[str, Any]:
    def volts(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    rows = [
        (
            one.group,
            one.asset,
            f"{one.day:.1f}",
            "charge" if one.charging else "discharge or rest",
            f"{one.rise_c:.1f}",
            f"{one.excess_w:.2f}",
            volts(one.start_v),
            "-" if one.charger_w is None else f"{one.charger_w:+.2f}",
            f"{volts(one.next_start_v)} ({volts(one.usual_next_v)})",
        )
        for one in alarms
    ]
    note = (
        "Each alarm of the table above, all counted as false. Excess heat and the charger's power "
        "over that of the charge before, at the same age, are means over the half hour after the "
        "alarm; the last column is where the next operation began, and where it began after the "
        "charge before."
    )
    columns = (
        "group", "cell", "day", "state", "K over ambient", "excess heat, W",
        "operation began at, V", "more power from the charger, W", "next began at, V (usual)",
    )  # fmt: skip
    return _table("The alarms on healthy cells", note, columns, rows)


def _one_reading(beside: Beside) -> dict[str, Any]:
    next_s = np.array([one.next_s for one in beside.second])
    second_s = np.array([one.second_s for one in beside.second])
    n = str(len(next_s))
    rows: list[tuple[str, ...]] = [
        (
            "channels whose next reading comes within 1 s of the sign",
            n,
            f"{np.mean(next_s <= 1):.0%}",
        ),
        ("channels whose next but one does", n, f"{np.mean(second_s <= 1):.0%}"),
    ]
    for one in beside.glitches:
        what = f"single odd readings of {one.size_c:g} K before the crush"
        rows.append(
            (f"{what}: one steep reading warns", str(one.glitches), f"{one.one_reading:.0%}")
        )
        rows.append((f"{what}: the monitor warns", str(one.glitches), f"{one.monitor:.1%}"))
    if beside.rising is not None:
        hours = f"{beside.rising.hours:,.0f} h"
        for words, count in (
            ("one steep reading", beside.rising.one_reading),
            ("one that rose before (the monitor's warning)", beside.rising.rising),
            ("two steep readings (its danger)", beside.rising.two_readings),
        ):
            rows.append((f"healthy hours, episodes of {words}", hours, str(count)))
    note = (
        "Steep is over 0.5 C/s over the last second. Where a sensor is read once a second, the "
        "next reading is the earliest that can show the sign and the next but one is too late: the "
        "monitor warns on one steep reading if the one before rose by a quarter of that, and calls "
        "danger only when the next is as steep. The readings before a crush are real, the odd ones "
        "among them put in."
    )
    return _table("One reading or two", note, ("what", "n", "result"), rows)


def _found(kept: Kept) -> dict[str, Any]:
    names = [s.name for s in SCENARIOS if s.family != "growing_short"]
    rows = [
        (
            scenario,
            *(_share_and_delay(result, scenario) for result, _ in kept.values()),
        )
        for scenario in names
    ]
    note = (
        "Share of sites found within 15 min, median delay in minutes (never: -). Sites a group: "
        + ", ".join(f"{name} {sites}" for name, (_, sites) in kept.items())
        + "."
    )
    return _table("Constant faults", note, ("fault", *kept), rows)


def _growth(kept: Kept) -> dict[str, Any]:
    rows = []
    for scenario in GROWTH:
        for name, (result, _) in kept.items():
            leads = result.leads_min(scenario)
            if len(leads):
                tenth, median = np.percentile(leads, [10, 50])
                rows.append(
                    (
                        scenario,
                        name,
                        str(len(leads)),
                        f"{np.mean(leads >= 5.0):.0%}",
                        f"{np.mean(leads >= 0.0):.0%}",
                        f"{tenth:.0f}",
                        f"{median:.0f}",
                    )
                )
    note = (
        "GTR 20's clock is 5 min before the hazard; GB 38031's, 5 min after the runaway, is kept "
        "wherever the warning came before it, and the slope limit fires at the runaway itself. The "
        "runaway: over 80 C and over 1 C/s for more than 3 s. Leads in minutes; a miss counts -1."
    )
    columns = ("growth", "detector", "events", "5 min before", "before", "p10", "median")
    return _table("Growing shorts to runaway", note, columns, rows)


def _ranking(kept: Kept) -> dict[str, Any]:
    families = [key for key in kept[OURS][0].vus if key != "all"]
    rows = [
        (name, f"{result.vus['all']:.3f}", *(f"{result.vus[f]:.3f}" for f in families))
        for name, (result, _) in kept.items()
    ]
    note = "VUS-PR, never point-adjusted; a constant fault's series is 3 h before and 2 h of it."
    return _table("Ranking, VUS-PR", note, ("detector", "all", *families), rows)


def _nuisance(kept: Kept) -> dict[str, Any]:
    having = {name: result for name, (result, _) in kept.items() if result.nuisance}
    rows = [
        (
            nuisance,
            *(
                f"{result.nuisance[nuisance].alarms} ({result.nuisance[nuisance].per_1000_h:.2f})"
                for result in having.values()
            ),
        )
        for nuisance in NUISANCES
    ]
    note = "A day around each site with something in it that is no fault: alarms (per 1,000 h)."
    return _table("Disturbances", note, ("disturbance", *having), rows)


def _ablation(kept: Kept) -> dict[str, Any]:
    rows = []
    for name, part in ABLATION:
        if name not in kept:
            continue
        result, sites = kept[name]
        leads = result.leads_min(GROWTH[-1])
        tenth = f"{np.percentile(leads, 10):.0f}" if len(leads) else "-"
        rows.append(
            (
                name,
                part,
                str(sites),
                f"{result.pooled.per_1000_h:.2f}",
                *(f"{result.found_within(s):.0%}" for s in ("heat 0.5 W", "heat 1 W")),
                f"{result.found_within('short 20 ohm'):.0%}",
                tenth,
                f"{result.vus['all']:.3f}",
            )
        )
    note = (
        "What each part gives: false alarms per 1,000 h, share found within 15 min, 10th "
        "percentile of the lead on the 3-hour growth in minutes, VUS-PR. The autoencoders are "
        "fitted with a quarter of the groups left out at once, which leaves them fewer groups to "
        "learn the hot ones from; the shipped model's card has one group left out at a time, with "
        "the autoencoder in it. It adds little: what finds heat is the balance and its adaptation."
    )
    columns = (
        "detector", "the part", "sites a group", "false alarms", "0.5 W", "1 W", "20 ohm",
        "p10 lead", "VUS-PR",
    )  # fmt: skip
    return _table("Ablation", note, columns, rows)


def _twin(found: TwinResult) -> dict[str, Any]:
    rows = [
        (
            f"healthy, ambient {ambient:g} °C",
            f"{one.hours:.0f} h",
            f"{one.alarms} alarms ({one.per_1000_h:.1f} per 1,000 h, at most {one.high:.0f})",
        )
        for ambient, one in sorted(found.by_ambient.items())
    ]
    for growth in GROWTHS_MIN:
        leads = found.leads_min(growth)
        if len(leads):
            words = (
                f"lead {leads.min():.0f} to {leads.max():.0f} min, median {np.median(leads):.0f}"
            )
            rows.append((f"short growing over {growth:g} min", f"{len(leads)} runaways", words))
    note = (
        f"The {OURS}, fitted on recorded groups, over the digital twin: discharges of 1, 2 and 4 A "
        f"at {len(AMBIENTS_C)} ambients and two states of health; shorts from 100 to 0.3 ohm in "
        "the twin's own physics, those that run away. All synthetic, and pooled with nothing."
    )
    return _table("The twin", note, ("what", "how much", "result"), rows)


def _named(beside: Beside) -> dict[str, Any]:
    every = [("healthy recordings", beside.named), *beside.named_disturbed.items()]
    rows = [
        (name, f"{one.hours:,.0f}", str(one.alarms), f"{one.per_1000_h:.2f} (to {one.high:.2f})")
        for name, one in every
        if one is not None
    ]
    note = "How often the kernel calls a sound thermometer broken: episodes, exact Poisson 95 %."
    return _table("Sound thermometers", note, ("what", "hours", "episodes", "per 1,000 h"), rows)


def _sensors(outcomes: Sequence[SensorOutcome], coarse: float | None) -> dict[str, Any]:
    rows: list[tuple[str, ...]] = [
        (o.fault, str(o.sites), f"{o.named:.0%}", f"{o.taken_for_heat:.0%}") for o in outcomes
    ]
    if coarse is not None:
        sites = str(outcomes[0].sites)
        rows.append(
            (f"frozen, steps of {COARSE_C:g} K (not in the figure)", sites, f"{coarse:.0%}", "")
        )
    note = (
        "Named by the kernel's flags in time; taken for heat by the adaptive balance before that."
    )
    return _table("Broken sensors", note, ("fault", "sites", "named", "taken for heat"), rows)


def _abuse(tests: Sequence[AbuseTest]) -> dict[str, Any]:
    rows = []
    for label, chosen in (
        ("all", list(tests)),
        ("one clock for all channels", [t for t in tests if t.same_clock]),
    ):
        for kind in ("temperature", "voltage"):
            channels = [c for t in chosen for c in t.channels if c.kind == kind]
            delays = np.array([c.delay_s for c in channels if c.delay_s is not None])
            hours = sum(c.benign_s for c in channels) / 3600.0
            if len(delays):
                rows.append(
                    (
                        f"{kind} channels, {label}",
                        str(len(delays)),
                        f"{np.median(delays):.1f} / {np.percentile(delays, 95):.1f} s",
                        f"{np.mean(delays <= 1.0):.0%}",
                        f"{sum(c.early for c in channels)} in {hours:.1f} h",
                    )
                )
        hot = [c for t in chosen for c in t.channels if c.kind == "temperature" and c.sign_s]
        if hot:
            late = np.sort(
                [np.inf if c.monitor_delay_s is None else c.monitor_delay_s for c in hot]
            )
            early = sum(c.monitor_early for t in chosen for c in t.channels)
            rows.append(
                (
                    f"the monitor's risk, {label}",
                    str(len(hot)),
                    f"{late[len(late) // 2]:.1f} / {late[int(0.95 * (len(late) - 1))]:.1f} s",
                    f"{np.mean(late <= 1.0):.0%}",
                    f"{early}",
                )
            )
        leads = np.array([t.lead_s for t in chosen if t.lead_s is not None])
        if len(leads):
            spread = f"{np.median(leads):.1f} s median, {leads.min():.1f} to {leads.max():.1f} s"
            rows.append((f"lead to the runaway, {label}", str(len(leads)), spread, "", ""))
    note = (
        "ORNL/SNL mechanical abuse, real; judged by the slope of a temperature (over 0.5 C/s) and "
        "the fall of the voltage (0.1 V) alone. Delay: median / 95th percentile."
    )
    columns = ("what", "n", "delay from the first sign", "within 1 s", "alarms before the crush")
    return _table("Crush tests", note, columns, rows)


def _share_and_delay(result: Result, scenario: str) -> str:
    median = result.median_delay_min(scenario)
    return f"{result.found_within(scenario):.0%} / {median:.0f}".replace("inf", "-")
