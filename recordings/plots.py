"""A recorded life as a battery engineer wants to see it: one sheet a cell, or single panels.

Only this module imports matplotlib. Figures are made without pyplot's state.
Age is coloured by viridis, the rest by Okabe and Ito's colours, which the colour-blind can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from recordings.analysis import Life, growth_per_cycle, ica_peaks, regenerations, track_peaks
from recordings.errors import MappingError, RecordingError
from recordings.knee import KneeReport, find_knee
from recordings.messages import Message, Place

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#666666",
)
SUFFIXES = (".png", ".pdf", ".svg")
_CLEAN_SPAN = (0.02, 0.98)  # shares of the points that an axis shows; garbage does not stretch it


def capacity_voltage(ax: Axes, life: Life) -> None:
    """Discharge voltage over the charge drawn, coloured by cycle."""
    ax.set_title(f"Discharge curves{_range(curve.cycle for curve in life.curves)}")
    if not life.curves:
        _nothing(ax, "no discharge in these cycles")
        return
    colour = _ages(ax, [curve.cycle for curve in life.curves])
    for curve in life.curves:
        ax.plot(curve.capacity_ah, curve.voltage_v, color=colour(curve.cycle), lw=0.7)
    ax.set(xlabel="Charge drawn (Ah)", ylabel="Loaded voltage (V)")


def fade(ax: Axes, life: Life) -> None:
    """Capacity and SOH over cycle, regeneration and knees marked."""
    ax.set_title("Capacity fade")
    cycle, capacity = life.capacities()
    known = np.isfinite(capacity)
    if not known.any():
        _nothing(ax, "no capacity was published")
        return
    ax.plot(cycle[known], capacity[known], ".", color=BLUE, ms=3, label="capacity")
    start_ms = np.array([one.start_ms for one in life.cycles], dtype=float)
    back = regenerations(start_ms, capacity, life.info.nominal_capacity_ah)
    if back:
        label = f"regeneration after rest ({len(back)})"
        ax.plot(cycle[back], capacity[back], "^", color=ORANGE, ms=6, label=label)
    knee = find_knee(cycle, capacity / life.info.nominal_capacity_ah)
    for name, at, style in (
        ("Bacon-Watts", knee.bacon_watts, "-"),
        ("Kneedle", knee.kneedle, "--"),
    ):
        if at is not None:
            ax.axvline(at, color=RED, ls=style, lw=1, label=f"knee, {name}: {at:.0f}")
    low, high = float(capacity[known].min()), float(capacity[known].max())
    ax.set(xlabel="Cycle", ylabel="Capacity (Ah)", ylim=(0.95 * low, 1.05 * high))
    percent_ah = life.info.nominal_capacity_ah / 100
    soh = ax.secondary_yaxis(
        "right",
        functions=(
            lambda ah: np.asarray(ah, dtype=float) / percent_ah,
            lambda share: np.asarray(share, dtype=float) * percent_ah,
        ),
    )
    soh.set_ylabel("SOH (% of nominal)")
    ax.legend(fontsize=7)


def ica(ax: Axes, life: Life) -> None:
    """Incremental capacity of the CC charges, coloured by cycle, with their peaks."""
    ax.set_title(f"Incremental capacity{_range(curve.cycle for curve in life.ica)}")
    if not life.ica:
        _nothing(ax, "no CC charge over 0.2 V in these cycles")
        return
    colour = _ages(ax, [curve.cycle for curve in life.ica])
    for curve in life.ica:
        ax.plot(curve.voltage_v, curve.dq_dv, color=colour(curve.cycle), lw=0.7)
        peaks = np.array(ica_peaks(curve)).reshape(-1, 2)
        ax.plot(peaks[:, 0], peaks[:, 1], ".", color=RED, ms=2)
    ax.set(xlabel="Voltage (V)", ylabel="dQ/dV (Ah/V)")


def ica_tracks(ax: Axes, life: Life) -> None:
    """Where the ICA peaks stand over cycle; their height as the size of the marks."""
    ax.set_title("ICA peaks")
    tracks = track_peaks(life.ica)
    if not tracks:
        _nothing(ax, "no peak could be followed")
        return
    highest = max(float(track.height.max()) for track in tracks)
    for track, colour in zip(tracks, (BLUE, ORANGE, GREEN, PURPLE, RED), strict=False):
        slope = growth_per_cycle(track.cycle, track.voltage_v)
        text = "" if slope is None else f"{slope * 1e5:+.1f} mV / 100 cycles"
        ax.plot(track.cycle, track.voltage_v, "-", color=colour, lw=0.5)
        ax.scatter(
            track.cycle, track.voltage_v, s=30 * track.height / highest, color=colour, label=text
        )
    ax.set(xlabel="Cycle", ylabel="Peak voltage (V)")
    ax.legend(fontsize=7)


def plateau(ax: Axes, life: Life) -> None:
    """Mean voltage and slope of the middle of each discharge."""
    ax.set_title("Voltage plateau (20-80 % of the discharge)")
    found = [(one.cycle, one.plateau) for one in life.cycles if one.plateau is not None]
    if not found:
        _nothing(ax, "no discharge to tell it from")
        return
    cycle = np.array([at for at, _ in found])
    level = np.array([one.voltage_v for _, one in found])
    slope = np.array([one.slope_v for _, one in found])
    ax.plot(cycle, level, ".", color=BLUE, ms=3)
    ax.set_xlabel("Cycle")
    ax.set_ylabel("Mean voltage (V)", color=BLUE)
    _clean_limits(ax, level)
    right = ax.twinx()
    right.plot(cycle, slope, ".", color=ORANGE, ms=3)
    right.set_ylabel("Slope (V per discharge)", color=ORANGE)
    _clean_limits(right, slope)


def resistance(ax: Axes, life: Life) -> None:
    """Resistances fitted to the impedance spectra, over cycle."""
    ax.set_title("Resistance (EIS)")
    if not life.impedance:
        _nothing(ax, "no usable impedance")
        return
    cycle = np.array([point.cycle for point in life.impedance], dtype=float)
    for name, ohm, colour in (
        ("electrolyte, Re", [point.electrolyte_ohm for point in life.impedance], BLUE),
        ("charge transfer, Rct", [point.charge_transfer_ohm for point in life.impedance], ORANGE),
    ):
        values = np.array(ohm) * 1000
        slope = growth_per_cycle(cycle, values)
        text = name if slope is None else f"{name}: {slope * 100:+.2f} mohm / 100 cycles"
        ax.plot(cycle, values, ".", color=colour, ms=3, label=text)
    ax.set(xlabel="Cycle", ylabel="Resistance (mohm)")
    if life.impedance_left_out:
        ax.annotate(
            f"{life.impedance_left_out} unusable fits left out",
            (0.02, 0.02),
            xycoords="axes fraction",
            fontsize=7,
            color=GREY,
        )
    ax.legend(fontsize=7)


def temperature(ax: Axes, life: Life) -> None:
    """Temperature at the start and at its highest in each discharge, and the ambient."""
    ax.set_title("Temperature in discharge")
    known = [one for one in life.cycles if one.temperature_max_c is not None]
    if not known:
        _nothing(ax, "no temperature was recorded")
        return
    cycle = [one.cycle for one in known]
    highest = np.array([one.temperature_max_c for one in known], dtype=float)
    start = np.array([one.temperature_start_c for one in known], dtype=float)
    ax.plot(cycle, highest, ".", color=RED, ms=3, label="highest")
    ax.plot(cycle, start, ".", color=BLUE, ms=3, label="at the start")
    ambient = [np.nan if one.ambient_c is None else one.ambient_c for one in known]
    if np.isfinite(ambient).any():
        ax.step(cycle, ambient, color=GREY, lw=1, where="mid", label="ambient, as stated")
    ax.set(xlabel="Cycle", ylabel="Temperature (°C)")
    ax.legend(fontsize=7)


def summary(ax: Axes, life: Life) -> None:
    """The numbers behind the sheet, in words."""
    ax.axis("off")
    cycle, capacity = life.capacities()
    known = capacity[np.isfinite(capacity)]
    report = find_knee(cycle, capacity / life.info.nominal_capacity_ah)
    ends = f"{known[0]:.3f} to {known[-1]:.3f} Ah" if len(known) else "not published"
    last = life.cycles[-1].cycle if life.cycles else 0
    lines = [
        f"{life.info.asset} ({life.info.dataset})",
        f"nominal {life.info.nominal_capacity_ah:g} Ah, {last} cycles",
        f"capacity {ends}",
        "",
        *knee_lines(report),
        "",
        *(f"! {problem}" for problem in life.info.problems),
    ]
    wrapped = [part for line in lines for part in _wrap(line, 46)]
    ax.text(0, 1, "\n".join(wrapped[:22]), va="top", fontsize=8, transform=ax.transAxes)


def knee_lines(report: KneeReport) -> list[str]:
    """A knee report in words."""
    lines = [f"knee: {report.verdict}"]
    if report.bacon_watts is not None:
        before, after = report.slope_before or 0.0, report.slope_after or 0.0
        lines.append(
            f"  Bacon-Watts {report.bacon_watts:.0f} ({before * 1e4:.1f} then {after * 1e4:.1f} "
            "%SOH / 100 cycles)"
        )
    if report.kneedle is not None:
        lines.append(f"  Kneedle {report.kneedle:.0f}")
    if report.bacon_watts is not None or report.earlier_bacon_watts is not None:
        earlier = report.earlier_bacon_watts
        lines.append(f"  from the first 80 %: {'none' if earlier is None else f'{earlier:.0f}'}")
    return lines


PANELS: dict[str, Callable[[Axes, Life], None]] = {
    "curves": capacity_voltage,
    "fade": fade,
    "ica": ica,
    "peaks": ica_tracks,
    "plateau": plateau,
    "resistance": resistance,
    "temperature": temperature,
    "summary": summary,
}


def sheet(life: Life, panels: Iterable[str] = (), figure: Figure | None = None) -> Figure:
    """All panels of one cell, or those named, on a new figure or on the one given (a window's).

    Raises RecordingError for an unknown panel.
    """
    names = list(panels) or list(PANELS)
    for name in names:
        if name not in PANELS:
            raise MappingError(Message("plot.panel", found=name, expected=", ".join(PANELS)))
    columns = {1: 1, 2: 2, 4: 2, 8: 4}.get(len(names), 3)
    rows = -(-len(names) // columns)
    figure = Figure(dpi=110) if figure is None else figure
    width, height = 5.4 * columns, 3.9 * rows
    figure.set_size_inches(width, height)
    # Fixed margins in inches: matplotlib's constrained layout doubles the time that a sheet takes.
    figure.subplots_adjust(
        left=0.95 / width,
        right=1 - 0.8 / width,
        bottom=0.55 / height,
        top=1 - 0.75 / height,
        wspace=0.5,
        hspace=0.36,
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, name in zip(axes, names, strict=False):
        PANELS[name](ax, life)
    for ax in axes[len(names) :]:
        ax.axis("off")
    synthetic = ", SYNTHETIC" if life.info.synthetic else ""
    figure.suptitle(f"{life.info.asset}  ({life.info.dataset}{synthetic})")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as .png, .pdf or .svg. Raises RecordingError."""
    if path.suffix.lower() not in SUFFIXES:
        message = Message("plot.suffix", expected=", ".join(SUFFIXES))
        raise MappingError(message, Place(str(path)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        message = Message("passed_on", reason=error.strerror or str(error))
        raise RecordingError(message, Place(str(path))) from None


def _ages(ax: Axes, cycles: list[int]) -> Callable[[int], tuple[float, float, float, float]]:
    """A colour for each cycle, and its bar."""
    scale = Normalize(min(cycles), max(max(cycles), min(cycles) + 1))
    chosen = ScalarMappable(scale, colormaps["viridis"])
    figure = ax.get_figure()
    if figure is not None:
        figure.colorbar(chosen, ax=ax, label="Cycle")
    return lambda cycle: colormaps["viridis"](float(scale(cycle)))


def _range(cycles: Iterable[int]) -> str:
    known = list(cycles)
    return f", cycles {min(known)}-{max(known)}" if known else ""


def _clean_limits(ax: Axes, values: np.ndarray) -> None:
    low, high = np.quantile(values, _CLEAN_SPAN)
    margin = max(0.1 * (high - low), 0.005)
    ax.set_ylim(low - margin, high + margin)
    ax.ticklabel_format(axis="y", useOffset=False)


def _nothing(ax: Axes, why: str) -> None:
    ax.set(xticks=[], yticks=[])
    ax.text(0.5, 0.5, why, ha="center", va="center", color=GREY, transform=ax.transAxes)


def _wrap(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, subsequent_indent="   ") or [""]
