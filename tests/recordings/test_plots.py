"""The sheet of a life in which things are missing, and of one with all that can be marked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recordings import plots
from recordings.analysis import CycleSummary, ImpedancePoint, Life, Plateau
from recordings.knee import KneeReport
from recordings.types import RecordingError, RecordingInfo

INFO = RecordingInfo(asset="x", dataset="made", nominal_capacity_ah=2.0)
NOTHING = Life(INFO, (), (), (), (), 0)
DAY_MS = 86_400_000


def cycle(
    number: int, capacity_ah: float | None, *, ambient_c: float | None = None
) -> CycleSummary:
    """One a day, with everything known but the ambient."""
    return CycleSummary(
        cycle=number,
        start_ms=number * DAY_MS,
        capacity_ah=capacity_ah,
        plateau=Plateau(voltage_v=3.7 - 0.001 * number, slope_v=-0.3),
        temperature_start_c=24.0,
        temperature_max_c=35.0,
        ambient_c=ambient_c,
    )


def life(*cycles: CycleSummary) -> Life:
    return replace(NOTHING, cycles=cycles)


def drawn(one: Life, *panels: str) -> list[Axes]:
    return plots.sheet(one, panels).axes


def words(axes: list[Axes]) -> set[str]:
    return {text.get_text() for ax in axes for text in ax.texts}


def labels(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_a_life_without_anything_says_so_in_every_panel() -> None:
    assert words(drawn(NOTHING)) >= {
        "no discharge in these cycles",
        "no capacity was published",
        "no CC charge over 0.2 V in these cycles",
        "no peak could be followed",
        "no discharge to tell it from",
        "no usable impedance",
        "no temperature was recorded",
    }
    (summary,) = words(drawn(NOTHING, "summary"))
    assert "nominal 2 Ah, 0 cycles\ncapacity not published" in summary


def test_cycles_without_a_capacity_have_no_fade() -> None:
    one = life(*(cycle(number, None) for number in (1, 2)))
    assert "no capacity was published" in words(drawn(one, "fade"))


def test_the_knee_and_the_regeneration_are_marked() -> None:
    def capacity_ah(number: int) -> float:
        return 2.0 - 0.0002 * min(number, 400) - 0.004 * max(number - 400, 0)

    cycles = [cycle(number, capacity_ah(number)) for number in range(1, 501)]
    for at in range(200, 500):  # two weeks of rest before cycle 201
        cycles[at] = replace(cycles[at], start_ms=cycles[at].start_ms + 14 * DAY_MS)
    cycles[200] = replace(cycles[200], capacity_ah=capacity_ah(201) + 0.08)
    one = life(*cycles)
    told = labels(drawn(one, "fade")[0])
    assert told[0] == "capacity"
    assert "regeneration after rest (1)" in told
    marks = [name for name in told if name.startswith("knee, ")]
    assert [name.split(":")[0] for name in marks] == ["knee, Bacon-Watts", "knee, Kneedle"]
    assert [float(name.split(":")[1]) for name in marks] == pytest.approx([400, 400], abs=20)
    (summary,) = words(drawn(one, "summary"))
    assert "Bacon-Watts 4" in summary
    assert "from the first 80 %: none" in summary


@pytest.mark.parametrize(
    ("report", "lines"),
    [
        (KneeReport(90, None, None, None, None, None, "no knee"), ["knee: no knee"]),
        (
            KneeReport(90, 60.0, None, -0.0001, -0.004, None, "at 60"),
            [
                "knee: at 60",
                "  Bacon-Watts 60 (-1.0 then -40.0 %SOH / 100 cycles)",
                "  from the first 80 %: none",
            ],
        ),
        (
            KneeReport(90, None, 60.0, None, None, 58.0, "at 60"),
            ["knee: at 60", "  Kneedle 60", "  from the first 80 %: 58"],
        ),
    ],
)
def test_a_knee_report_in_words(report: KneeReport, lines: list[str]) -> None:
    assert plots.knee_lines(report) == lines


def test_impedance_of_too_few_cycles_has_no_slope_and_what_was_left_out_is_said() -> None:
    one = replace(NOTHING, impedance=(ImpedancePoint(1, 0.045, 0.07),), impedance_left_out=3)
    (panel,) = drawn(one, "resistance")
    assert labels(panel) == ["electrolyte, Re", "charge transfer, Rct"]
    assert "3 unusable fits left out" in words([panel])


def test_the_ambient_is_drawn_where_it_was_stated() -> None:
    unsaid, said = cycle(1, 2.0), cycle(2, 2.0, ambient_c=24.0)
    assert labels(drawn(life(unsaid), "temperature")[0]) == ["highest", "at the start"]
    assert "ambient, as stated" in labels(drawn(life(unsaid, said), "temperature")[0])


def test_a_sheet_says_what_is_synthetic_and_what_is_wrong_with_it() -> None:
    problem = "made up " * 12
    info = replace(INFO, synthetic=True, problems=(problem,))
    figure = plots.sheet(replace(NOTHING, info=info), ("summary",))
    assert figure.get_suptitle() == "x  (made, SYNTHETIC)"
    (summary,) = words(figure.axes)
    assert "! made up made up" in summary
    assert max(len(line) for line in summary.splitlines()) <= 46


def test_places_without_a_panel_stay_empty() -> None:
    axes = drawn(NOTHING, "fade", "plateau", "ica", "peaks", "curves")
    assert [ax.axison for ax in axes] == [True] * 5 + [False]


def test_a_figure_is_written_as_what_it_can_be(tmp_path: Path) -> None:
    figure = Figure()
    with pytest.raises(RecordingError, match=r"x\.bmp: a plot is written as \.png, \.pdf, \.svg"):
        plots.save(figure, tmp_path / "x.bmp")
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=r"file/x\.png: (File exists|Not a directory)"):
        plots.save(figure, tmp_path / "file" / "x.png")
    plots.save(figure, tmp_path / "deep" / "x.svg")
    assert (tmp_path / "deep" / "x.svg").read_text().startswith("<?xml")
