"""A report as HTML by Jinja2, and as a tagged A4 PDF (PDF/UA-1) by WeasyPrint.

The same report gives the same bytes: nothing here reads a clock, and the date on the page is that
of the data. WeasyPrint needs system libraries and, for Chinese, a font; where one is missing the
error says which package brings it, and HTML and JSON do without.
"""

from __future__ import annotations

import base64
import itertools
import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from analysis.report import format as form
from analysis.report import plots
from analysis.report.record import Report
from analysis.report.words import word, words
from monitor.dashboard.texts import Language
from monitor.errors import CellpulseError

HERE = Path(__file__).resolve().parent
PACKAGES = (
    "Debian and Ubuntu: apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0; "
    "Fedora: dnf install pango; macOS: brew install pango; Windows: install Pango by MSYS2"
)
FONT_PACKAGES = (
    "Debian and Ubuntu: apt install fonts-noto-cjk; Fedora: dnf install google-noto-sans-cjk-fonts"
)


class ReportError(CellpulseError):
    """A report cannot be made here; the text says what to install."""


def to_html(report: Report, language: Language) -> str:
    """The whole report as one HTML page with nothing outside it; raises ReportError."""
    try:
        import jinja2
    except ImportError as error:
        raise ReportError(
            f"a report as HTML or PDF needs Jinja2 ({error}): pip install 'cellpulse[report]'; "
            "--format json does without"
        ) from error
    numbers = itertools.count(1)

    def say(key: str, **values: object) -> str:
        return word(key, language, **values)

    def per_cent(fraction: float | None, digits: int = 1) -> str:
        return form.percent(fraction, language, digits)

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_url"] = _data_url
    template = environment.get_template("report.html.j2")
    return template.render(
        r=report,
        language=language,
        css=_css(report),
        t=say,
        pct=per_cent,
        q=form.quantity,
        celsius=form.celsius,
        milliohm=form.milliohm,
        count=form.count,
        time=form.time,
        length=lambda seconds: form.length(seconds, language),
        numbering=lambda: next(numbers),
        plots=SimpleNamespace(
            fade=plots.fade(report, language),
            ica=plots.ica(report, language),
            forecast=plots.forecast(report, language),
            resistance=plots.resistance(report, language),
            temperature=plots.temperature(report, language),
            bands=plots.bands(report, language),
        ),
        remarks=[_remark(code, report, language) for code in report.remarks],
        tile=_tiles(report, language, say, per_cent),
        notes=_regulation_notes(report, language),
    )


def to_pdf(report: Report, language: Language, library: Callable[[], Any] | None = None) -> bytes:
    """The report as PDF; raises ReportError where a library or a font is missing.

    `library` gives WeasyPrint, which loads Pango and others when it is imported.
    """
    page = to_html(report, language)
    try:
        weasyprint = (library or _weasyprint)()
    except ImportError as error:
        raise ReportError(
            f"a report as PDF needs WeasyPrint ({error}): pip install 'cellpulse[report]'; "
            "--format html does without"
        ) from error
    except OSError as error:
        raise ReportError(
            f"WeasyPrint finds a system library missing ({_first_line(error)}). {PACKAGES}. "
            "--format html does without"
        ) from error
    with _Missing() as missing:
        pdf: bytes = weasyprint.HTML(string=page, url_fetcher=_no_fetch).write_pdf(
            pdf_variant="pdf/ua-1"
        )
    if missing.signs:
        raise ReportError(
            f"no font on this system has “{''.join(sorted(missing.signs))[:20]}”, which the report "
            f"needs. {FONT_PACKAGES}; or choose --lang en, or --format html"
        )
    return pdf


class _Missing(logging.Handler):
    """Hears from WeasyPrint which signs no font has; they would be empty boxes in the PDF."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.signs: set[str] = set()
        self._logger = logging.getLogger("weasyprint")

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith(".notdef glyph") and isinstance(record.args, tuple):
            self.signs.add(str(record.args[0]))

    def __enter__(self) -> _Missing:
        self._logger.addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self._logger.removeHandler(self)


def _weasyprint() -> Any:
    import weasyprint

    return weasyprint


def _no_fetch(url: str, *args: Any, **kwargs: Any) -> Any:
    """Nothing is fetched but what the page itself holds."""
    from weasyprint.urls import URLFetcher

    if not url.startswith("data:"):
        raise ValueError(f"the report fetches nothing: {url}")
    return URLFetcher().fetch(url)


def _first_line(error: OSError) -> str:
    return str(error).partition("\n")[0].partition(".  Additionally")[0]


def _css(report: Report) -> Any:
    """The style sheet with what stands at the foot of every page."""
    from markupsafe import Markup

    origin = f"{report.made_by} · SHA-256 {report.source.sha256[:16]}…"
    safe = re.sub(r'["\\\\<>&\n]', "", origin)  # what could end the string or the sheet
    style = (HERE / "report.css").read_text(encoding="utf-8")
    return Markup(style.replace("ORIGIN", f'"{safe}"'))


def _data_url(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _remark(code: str, report: Report, language: Language) -> str:
    span_h = max(1e-9, (report.source.last_ms - report.source.samples_from_ms) / 3_600_000.0)
    return word(
        f"remark_{code}", language,
        n=report.alarms.standing,
        eol=form.percent(report.health.end_of_life, language, 0),
        percent=form.percent(report.quality.gap_hours / span_h, language, 0),
        time=form.time(report.source.samples_from_ms),
    )  # fmt: skip


def _tiles(
    report: Report, language: Language, say: Callable[..., str], pct: Callable[..., str]
) -> SimpleNamespace:
    """The sentences that depend on what was forecast and advised."""
    found, eol = report.forecast, pct(report.health.end_of_life, 0)
    tile = SimpleNamespace(
        remaining=say("not_forecast"), remaining_sub="", forecast="", forecast_next="", advice=""
    )
    if found is None and report.forecast_missing is not None:
        tile.remaining_sub = say(
            f"missing_{report.forecast_missing}", n=report.use.discharges_complete
        )
    if found is not None:
        high = found.remaining_high
        bounds = {
            "low": found.remaining_low,
            "high": say("over", n=found.farthest) if high is None else high,
            "eol": eol,
        }
        if found.remaining is None:
            tile.remaining = say("remaining_over", n=found.farthest)
            tile.remaining_sub = say("remaining_range", **bounds)
            tile.forecast = say("forecast_far", eol=eol, n=found.farthest)
        elif found.remaining == 0:
            tile.remaining = say("remaining_past")
            tile.remaining_sub = say("remaining_past_sub", eol=eol)
            tile.forecast = say("forecast_past", eol=eol)
        else:
            tile.remaining = say("remaining_cycles", n=found.remaining)
            tile.remaining_sub = say("remaining_range", **bounds)
            tile.forecast = say("forecast_remaining", n=found.remaining, **bounds)
        k = found.ahead.index(10)
        tile.forecast_next = say(
            "forecast_next", soh=pct(found.soh[k]), low=pct(found.low[k]), high=pct(found.high[k])
        )
    if report.advice is not None:
        advice = report.advice
        rest = [
            *([] if advice.duration_s is None else
              [say("advice_time", minutes=f"{advice.duration_s / 60:.0f}")]),
            *([] if advice.wear is None else [say("advice_wear", percent=pct(advice.wear, 4))]),
            *([say("advice_no_outlook")] if advice.current_a and advice.duration_s is None else []),
            advice.reason_zh if language == "zh" else advice.reason,
        ]  # fmt: skip
        tile.advice = say(
            "advice_is" if advice.current_a else "advice_not",
            policy=say(f"style_{advice.policy}"),
            rate=f"{advice.current_a / report.about.nominal_capacity_ah:.2f}",
            current=form.quantity(advice.current_a, "A", 2),
            rest=say("semicolon").join(rest),
        )
    return tile


def _regulation_notes(report: Report, language: Language) -> dict[str, str]:
    limits = report.about.limits
    efficiency = report.use.efficiency_newest
    notes = {}
    for parameter in report.regulation:
        key = f"n_{parameter.code}"
        if f"{key}_{parameter.state}" in words(language):
            key += f"_{parameter.state}"
        notes[parameter.code] = word(
            key, language,
            first=form.time(report.source.first_ms),
            samples=form.time(report.source.samples_from_ms),
            n=0 if efficiency is None else efficiency.pairs,
            low=form.quantity(limits.voltage_min_v, "V", 2),
            cold=form.celsius(limits.temperature_min_c, 0),
            hot=form.celsius(limits.temperature_max_c, 0),
        )  # fmt: skip
    return notes
