"""The report as a person gets it: PDF and HTML in two languages, and what is said when it can't."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn, get_args

import msgspec
import pytest
from typer.testing import CliRunner

from analysis.report import words
from analysis.report.record import Advice, ForecastMissing, KneeState, Report, to_json
from analysis.report.render import ReportError, to_html, to_pdf
from analysis.report.samples import SAID_ELSEWHERE
from cellpulse.cli import app
from monitor.contract import AlarmState, SohState
from monitor.dashboard.live.rows import RiskName
from monitor.dashboard.texts import LANGUAGES, Language
from monitor.errors import CellpulseError, ConfigurationError
from monitor.kernels.columns import Quality
from tests.conftest import ROOT, need
from tests.report_world import material, report_of


@pytest.fixture(scope="module")
def aged() -> Report:
    return report_of(material())


@pytest.fixture(scope="module")
def pdfs(aged: Report) -> dict[Language, bytes]:
    need(shutil.which("pdftotext") is not None, "pdftotext (poppler-utils)")
    return {language: to_pdf(aged, language) for language in LANGUAGES}


def tool(name: str, pdf: bytes, *arguments: str) -> str:
    """What a poppler tool says of a PDF on standard input."""
    done = subprocess.run([name, *arguments], input=pdf, capture_output=True, check=True)
    return done.stdout.decode()


def test_the_pdf_s_text_can_be_read_back(pdfs: dict[Language, bytes]) -> None:
    text = " ".join(tool("pdftotext", pdfs["en"], "-layout", "-", "-").split())
    assert "Battery health report" in text
    assert "65.5\N{NO-BREAK SPACE}%" in text or "65.5 %" in text
    for heading in (
        "Summary", "1 The battery", "2 How it was used", "3 State of health",
        "4 Incremental capacity", "5 Forecast and remaining life", "6 Internal resistance",
        "7 Thermal risk", "8 Alarms", "9 Charging advice", "10 Data quality",
        "11 EU battery regulation, Annex VII", "12 Models", "Review",
    ):  # fmt: skip
        assert heading in text, heading
    assert "unknown not in the data" in text  # the date of manufacture
    pages = int(re.findall(r"Pages:\s+(\d+)", tool("pdfinfo", pdfs["en"], "-"))[0])
    assert re.findall(r"(\d+) ?/ ?(\d+)(?= |$)", text)[-1] == (str(pages), str(pages))


def test_the_pdf_speaks_chinese(pdfs: dict[Language, bytes]) -> None:
    text = tool("pdftotext", pdfs["zh"], "-layout", "-", "-")
    for heading in ("电池健康报告", "健康状态", "预测与剩余寿命", "数据质量", "欧盟电池法规"):
        assert heading in text, heading
    assert "State of health is capacity" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pdf_is_a4_tagged_with_its_fonts_in_it(
    pdfs: dict[Language, bytes], language: Language
) -> None:
    info = tool("pdfinfo", pdfs[language], "-")
    assert re.search(r"Tagged:\s+yes", info)
    assert "A4" in info
    assert re.search(r"Title:\s+\S", info)
    assert "pdfuaid:part" in tool("pdfinfo", pdfs[language], "-meta", "-")
    structure = tool("pdfinfo", pdfs[language], "-struct", "-")
    assert "Table" in structure
    assert structure.count("Figure") >= 4
    fonts = tool("pdffonts", pdfs[language], "-").splitlines()[2:]
    assert fonts
    for line in fonts:
        assert re.search(r"\s+yes\s+(yes|no)\s+yes\s+\d+", line), line  # embedded, with unicode


def test_the_same_report_is_the_same_bytes_in_any_process(
    aged: Report, pdfs: dict[Language, bytes], tmp_path: Path
) -> None:
    saved = tmp_path / "report.json"
    saved.write_bytes(to_json(aged))
    code = (
        "import sys; from pathlib import Path; from analysis.report.make import saved;"
        "from analysis.report.render import to_pdf;"
        "sys.stdout.buffer.write(to_pdf(saved(Path(sys.argv[1])), 'zh'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved)], capture_output=True, check=True, cwd=ROOT,
        env={"PYTHONHASHSEED": "1", "PATH": "/usr/bin:/bin", "TZ": "Etc/GMT-9"},
    )  # fmt: skip
    assert done.stdout == pdfs["zh"]
    assert to_pdf(aged, "en") == pdfs["en"]


def test_a_page_shows_its_plots(pdfs: dict[Language, bytes], tmp_path: Path) -> None:
    """Vector plots: their colours are on the rendered pages, and no picture is in the file."""
    pdf = tmp_path / "report.pdf"
    pdf.write_bytes(pdfs["en"])
    assert len(tool("pdfimages", b"", "-list", str(pdf)).splitlines()) == 2  # its header only
    subprocess.run(["pdftoppm", "-r", "40", str(pdf), str(tmp_path / "page")], check=True)
    seen: set[tuple[int, int, int]] = set()
    for page in sorted(tmp_path.glob("page*.ppm")):
        head, pixels = page.read_bytes().split(b"\n255\n", 1)
        width, height = map(int, head.split()[1:3])
        assert height > width > 300
        colours = {(pixels[k], pixels[k + 1], pixels[k + 2]) for k in range(0, len(pixels), 3)}
        assert len(colours) > 20, page
        seen |= colours
    assert any(b > 140 and r < 60 for r, g, b in seen)  # measured, blue
    assert any(r > 150 and g < 110 and b < 60 for r, g, b in seen)  # estimated, vermilion


@pytest.mark.parametrize("language", LANGUAGES)
def test_html_holds_everything(aged: Report, language: Language) -> None:
    page = to_html(aged, language)
    assert 'lang="en"' in page or 'lang="zh-CN"' in page
    assert page.count("<figure>") >= 5
    assert re.findall(r'alt="([^"]+)"', page)
    assert 'alt=""' not in page
    assert "http" not in re.sub(r"http://www\.w3\.org\S+", "", page)  # nothing outside it
    assert "None" not in page
    assert "nan" not in re.sub(r"base64,[^\"]+", "", page)


def test_advice_is_given_in_the_language_of_the_page() -> None:
    bare = report_of(material(3))
    assert "No charging policy is installed" in to_html(bare, "en")
    advice = Advice("gentle", 1.5, 2_400.0, 0.00002, "more would warm it", "电流再大会发热")
    told = to_html(msgspec.structs.replace(bare, advice=advice), "en")
    assert "Style gentle: charge with 1.50\N{NO-BREAK SPACE}A now (0.75C); about 40 min" in told
    assert "of nominal capacity; more" in told
    blind = msgspec.structs.replace(advice, duration_s=None, wear=None)
    assert "is not told" in to_html(msgspec.structs.replace(bare, advice=blind), "en")
    assert "more would warm it" in told
    assert "nothing was commanded" in told
    none = msgspec.structs.replace(advice, current_a=0.0, duration_s=None, wear=None)
    told = to_html(msgspec.structs.replace(bare, advice=none), "zh")
    assert "策略风格 温和：当前不建议充电；电流再大会发热。" in told


def test_what_a_device_says_of_itself_cannot_write_the_page() -> None:
    life = material(3)
    life.findings = ["<script>alert(1)</script>"]
    page = to_html(report_of(life), "en")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_list_of_annex_vii_says_where_it_comes_from() -> None:
    found = report_of(material(3))
    assert "secondary sources and has not been checked" in to_html(found, "en")
    assert "二手资料" in to_html(found, "zh")


def test_both_languages_have_the_same_words() -> None:
    en, zh = words.words("en"), words.words("zh")
    assert en.keys() == zh.keys()
    for key in en:
        assert set(re.findall(r"{\w+}", en[key])) == set(re.findall(r"{\w+}", zh[key])), key


def test_everything_that_the_monitor_can_say_has_words() -> None:
    known = words.words("en").keys()
    said = [
        *(f"flag_{bit.name.lower()}" for bit in Quality if bit not in SAID_ELSEWHERE),
        *(f"at_end_{state}" for state in get_args(AlarmState)),
        *(f"state_{state}" for state in get_args(SohState)),
        *(f"risk_{name}" for name in get_args(RiskName)),
        *(f"knee_{state}" for state in get_args(KneeState)),
        *(f"missing_{reason}" for reason in get_args(ForecastMissing)),
        *(f"severity_{severity}" for severity in range(1, 6)),
    ]
    assert [key for key in said if key not in known] == []


def test_without_a_system_library_the_package_is_named(aged: Report) -> None:
    def library() -> NoReturn:
        raise OSError("cannot load library 'libpango-1.0-0': not found.  Additionally, ...")

    with pytest.raises(ReportError) as told:
        to_pdf(aged, "en", library)
    assert "libpango-1.0-0': not found" in str(told.value)
    assert "apt install libpango-1.0-0 libpangoft2-1.0-0" in str(told.value)
    assert "brew install pango" in str(told.value)
    assert "\n" not in str(told.value)
    assert "Battery health report" in to_html(aged, "en")


def test_without_weasyprint_the_extra_is_named(aged: Report) -> None:
    def library() -> NoReturn:
        raise ImportError("No module named 'weasyprint'")

    with pytest.raises(ReportError, match=r"pip install 'cellpulse\[report\]'"):
        to_pdf(aged, "en", library)


def test_without_a_chinese_font_the_package_is_named(aged: Report, tmp_path: Path) -> None:
    dejavu = Path("/usr/share/fonts/truetype/dejavu")
    need(dejavu.is_dir(), "fonts-dejavu-core")
    (tmp_path / "fonts.conf").write_text(
        f"<fontconfig><dir>{dejavu}</dir><cachedir>{tmp_path}</cachedir></fontconfig>"
    )
    (tmp_path / "report.json").write_bytes(to_json(aged))
    command = [sys.executable, "-m", "cellpulse", "report", str(tmp_path / "report.json"), "--lang"]
    environment = {"FONTCONFIG_FILE": str(tmp_path / "fonts.conf"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, "zh", "-o", str(tmp_path / "zh.pdf")], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "apt install fonts-noto-cjk" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "zh.pdf").exists()


def test_the_rest_does_not_need_the_report_s_libraries() -> None:
    code = (
        "import sys; sys.modules.update(weasyprint=None, jinja2=None, pydyf=None);"
        "import cellpulse.cli, analysis.file;"
        "from analysis.report import content, make, record, render, material;"
        "print(sorted(n for n in ('matplotlib', 'torch') if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_the_command_writes_what_its_output_s_ending_says(aged: Report, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    saved.write_bytes(to_json(aged))
    run = CliRunner().invoke
    for ending, begins in (("pdf", b"%PDF-1.7"), ("html", b"<!DOCTYPE html>"), ("json", b"{")):
        out = tmp_path / f"report.{ending}"
        assert run(app, ["report", str(saved), "-o", str(out)]).exit_code == 0
        assert out.read_bytes().startswith(begins)
    assert (tmp_path / "report.json").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nosuch"], "nosuch: no such file"),
        (["x", "--lang", "fr"], "--lang fr: expected en or zh"),
        (["x", "--format", "doc"], "--format doc: expected pdf, html or json"),
        (["x", "-o", "report.doc"], "its ending says no form"),
        (["x", "--store", "nowhere.sqlite"], "store nowhere.sqlite: no such file"),
        (["simulator/bundled/demo.parquet"], "demo.parquet holds 6 batteries"),
        (["simulator/bundled/demo.parquet", "--asset", "a"], "has no such battery"),
        (["constraints.txt"], "constraints.txt"),
        (["docs/schema/alarm.json"], "not a battery health report"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recordings.types import RecordingError

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CELLPULSE_DATA", str(tmp_path))
    monkeypatch.setenv("CELLPULSE_STORE", str(tmp_path / "none.sqlite"))
    result = CliRunner().invoke(app, ["report", *arguments])
    assert isinstance(result.exception, CellpulseError | RecordingError | ConfigurationError)
    assert told in str(result.exception)
    assert "\n" not in str(result.exception)
