"""`cellpulse data`: list, fetch, info and plot on made-up files; a plot on a real one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cellpulse.cli_data import app
from recordings import plots
from recordings.analysis import gather
from recordings.open import open_recording
from recordings.types import RecordingError
from tests import recording_files as made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    made.nasa_mat(data / "B0005.mat")
    made.calce_folder(data / "CS2_99")
    return data


def test_list(folder: Path) -> None:
    told = run("list", "--data", str(folder))
    assert told.exit_code == 0
    lines = told.output.splitlines()
    assert lines[0].split() == ["id", "dataset", "nominal", "file"]
    assert lines[1].startswith("B0005   nasa     2 Ah")
    assert lines[2].startswith("CS2_99  calce    1.1 Ah")
    assert "cellpulse data fetch nasa" in told.output
    content = json.loads(run("list", "--data", str(folder), "--json").output)
    assert [one["id"] for one in content["recordings"]] == ["B0005", "CS2_99"]
    assert [one["name"] for one in content["datasets"]] == ["nasa", "calce"]
    assert "No recordings in" in run("list", "--data", str(folder / "none")).output


def test_info(folder: Path) -> None:
    told = run("info", "b5", "--data", str(folder))
    assert told.exit_code == 0
    for text in (
        "B0005  nasa",
        "battery   18650 lithium-ion cell",
        "nominal   2 Ah, 1 cell(s), 1 thermometer(s)",
        "model     nasa-18650",
        "protocol  charge CC 1.5 A to 4.2 V, then CV until 20 mA; discharge CC 2 A to 2.7 V",
        "ambient   24 °C",
        "record    3 charges, 3 discharges, 0 other, 330 samples, 3 cycles",
        "capacity  1.800 Ah first, 1.780 Ah last",
        "cite      B. Saha and K. Goebel (2007)",
        "problem   published capacity is the charge drawn until",
    ):
        assert text in told.output
    [content] = json.loads(run("info", "B0005", "--data", str(folder), "--json").output)
    assert content["discharges"] == 3
    assert content["info"]["asset"] == "B0005"


def test_info_of_an_unknown_id_fails_with_near_ones(folder: Path) -> None:
    told = run("info", "CS2_98", "--data", str(folder))
    assert isinstance(told.exception, RecordingError)
    assert "near: CS2_99" in str(told.exception)


def test_skip_bad_goes_on_and_reports(folder: Path) -> None:
    path = made.nasa_mat(folder / "B0006.mat", cycles=40, name="B0006")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert isinstance(run("info", "B0006", "--data", str(folder)).exception, RecordingError)
    for battery in ("B0006", str(path)):
        told = run("info", battery, "--data", str(folder), "--skip-bad")
        assert told.exit_code == 0
        assert "skipped   B0006.mat, after record" in told.output


def test_info_of_bdf_needs_its_capacity(tmp_path: Path) -> None:
    path = made.bdf_csv(tmp_path / "A0001.bdf.csv")
    assert "nominal capacity is not known" in str(run("info", str(path)).exception)
    told = run("info", str(path), "--nominal", "2")
    assert "2 charges, 2 discharges" in told.output


def test_plot_writes_files_and_a_table(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "plots"
    told = run(
        "plot", "B0005", "CS2_99", "--data", str(folder), "--out", str(out), "--panel", "ica"
    )
    assert told.exit_code == 0
    lines = told.output.splitlines()
    assert lines[0].split()[:4] == ["cell", "capacities", "first", "last"]
    assert lines[1].split()[:4] == ["B0005", "3", "1.800", "1.780"]
    assert lines[1].endswith("too few capacities (3)")
    for name in ("B0005.png", "CS2_99.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    single = tmp_path / "one.svg"
    run("plot", "B0005", "--data", str(folder), "-o", str(single), "--panel", "fade")
    assert "Capacity fade" in single.read_text() or single.stat().st_size > 5_000


def test_no_window_is_said(folder: Path) -> None:
    matplotlib.use("agg")
    told = run("plot", "B0005", "--data", str(folder))
    assert "no window can be opened here; say --out FILE.png" in str(told.exception)


def test_table_of_every_cell(folder: Path) -> None:
    told = run("plot", "all", "--table", "--data", str(folder))
    assert told.exit_code == 0
    assert [line.split()[0] for line in told.output.splitlines()] == ["cell", "B0005", "CS2_99"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--panel", "pie", "-o", "x.png"], "unknown panel 'pie'; known: curves, fade"),
        (["--panel", "fade", "-o", "/proc/none/x.png"], "/proc/none/x.png: "),
    ],
)
def test_plot_errors(folder: Path, arguments: list[str], message: str) -> None:
    told = run("plot", "B0005", "--data", str(folder), *arguments)
    assert isinstance(told.exception, RecordingError)
    assert message in str(told.exception)


@pytest.mark.parametrize("cycles", ["0-5", "9-2", "x", ""])
def test_bad_cycles(folder: Path, cycles: str) -> None:
    told = run("plot", "B0005", "--data", str(folder), "--table", "--cycles", cycles)
    assert told.exit_code == 2
    assert "write first-last, such as 1-100" in told.output


def test_fetch_of_an_unknown_dataset() -> None:
    told = run("fetch", "nsa")
    assert "unknown dataset 'nsa'; known: nasa, calce" in str(told.exception)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, cellpulse.cli_data\n"
        "heavy = {'numpy', 'scipy', 'pyarrow', 'matplotlib', 'python_calamine', 'h5py'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The sheet


def test_panels_show_what_was_gathered(tmp_path: Path) -> None:
    life = gather(open_recording(made.nasa_mat(tmp_path / "B0005.mat"))[0])
    figure = plots.sheet(life)
    titles = {ax.get_title(): ax for ax in figure.axes}
    curves = titles["Discharge curves, cycles 1-3"]
    assert len(curves.get_lines()) == 3
    fade = titles["Capacity fade"].get_lines()[0]
    assert np.asarray(fade.get_xydata()).tolist() == [
        [1, 1.8],
        [2, pytest.approx(1.79)],
        [3, pytest.approx(1.78)],
    ]
    ohm = titles["Resistance (EIS)"].get_lines()
    assert [round(float(np.asarray(line.get_ydata())[0])) for line in ohm] == [45, 70]
    assert {ax.get_xlabel() for ax in figure.axes} >= {"Cycle", "Voltage (V)", "Charge drawn (Ah)"}


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    life = gather(open_recording(made.calce_folder(tmp_path / "CS2_99"))[0])
    texts = {text.get_text() for ax in plots.sheet(life).axes for text in ax.texts}
    assert "no temperature was recorded" in texts
    assert "no usable impedance" in texts


def test_a_real_cell_is_drawn(shared_data: Path, tmp_path: Path) -> None:
    told = run("plot", "B0025", "--data", str(shared_data), "-o", str(tmp_path / "b.png"))
    assert told.exit_code == 0
    assert "no knee: ends less than 5 % below its start" in told.output
    assert (tmp_path / "b.png").stat().st_size > 50_000
