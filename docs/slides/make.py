"""Make the three slides: python docs/slides/make.py [--out FOLDER].

Writes cellpulse-en and cellpulse-zh as .pptx (shapes and tables that can be edited) and .pdf.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from docs.slides import architecture  # noqa: E402
from docs.slides.content import (  # noqa: E402
    HEADER,
    PROBLEM,
    TITLES,
    VERDICT,
    MissingResultError,
    facts,
    headline,
)  # fmt: skip

LANGUAGES = ("en", "zh")
FONT = {"en": "DejaVu Sans", "zh": "Noto Sans CJK SC"}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)  # in the files, so that the same results give the same
CSS = """
@page { size: 13.333in 7.5in; margin: 0.5in 0.6in 0.4in }
body { font-family: 'DejaVu Sans', 'Noto Sans CJK SC'; color: #1b2733; margin: 0 }
section { break-after: page } section:last-child { break-after: auto }
h1 { font-size: 27pt; margin: 0 0 0.3in; color: #14507a }
li { font-size: 20pt; line-height: 1.5; margin-bottom: 0.12in }
svg { width: 100%; height: 5.4in }
table { width: 100%; border-collapse: collapse; font-size: 12pt }
th, td { text-align: left; padding: 4pt 7pt; border-bottom: 0.5pt solid #9fb0bf }
.missed { color: #b3400e; font-weight: bold } .met { color: #0a6b4f }
p { font-size: 12pt; margin: 0.12in 0 0 }
"""


def pdf(language: str, path: Path) -> None:
    """The slides as PDF."""
    from weasyprint import HTML

    title, system, results = TITLES[language]
    points = "".join(f"<li>{escape(line)}</li>" for line in PROBLEM[language])
    head = "".join(f"<th>{escape(cell)}</th>" for cell in HEADER[language])
    rows = "".join(
        f"<tr><td>{escape(one.name)}</td><td>{escape(one.reached)}</td>"
        f"<td>{escape(one.target)}</td>"
        f"<td class='{VERDICT['en'][one.met]}'>{VERDICT[language][one.met]}</td>"
        f"<td>{escape(one.page)}</td></tr>"
        for one in headline()
    )
    counts = "; ".join(
        f"{fact.source}: {fact.text.split(';')[0].split('；')[0]}" for fact in facts(language)
    )
    HTML(
        string=f"<html lang='{language}'><head><title>{escape(title)}</title>"
        f"<meta name='dcterms.created' content='{EPOCH.isoformat()}'><style>{CSS}</style></head>"
        f"<body><section><h1>{escape(title)}</h1><ul>{points}</ul></section>"
        f"<section><h1>{escape(system)}</h1>{architecture.svg(language)}</section>"
        f"<section><h1>{escape(results)}</h1><table><tr>{head}</tr>{rows}</table>"
        f"<p>{escape(counts)}</p></section></body></html>"
    ).write_pdf(path)


def pptx(language: str, path: Path) -> None:
    """The slides as PowerPoint, of native shapes."""
    from pptx import Presentation
    from pptx.util import Inches

    deck = Presentation()
    deck.slide_width, deck.slide_height = Inches(13.333), Inches(7.5)
    deck.core_properties.title = TITLES[language][0]
    deck.core_properties.created = deck.core_properties.modified = EPOCH.replace(tzinfo=None)
    blank = deck.slide_layouts[5]  # a title and nothing else
    for number, title in enumerate(TITLES[language]):
        slide = deck.slides.add_slide(blank)
        heading = slide.shapes.title
        heading.left, heading.top = Inches(0.6), Inches(0.35)
        heading.width, heading.height = Inches(12.1), Inches(0.9)
        _write(heading.text_frame, title, 28, language, bold=True, colour="14507A")
        (_points, _picture, _table)[number](slide, language)
    deck.save(str(path))


def _points(slide: Any, language: str) -> None:
    from pptx.util import Inches, Pt

    frame = slide.shapes.add_textbox(Inches(0.6), Inches(1.6), Inches(12), Inches(5)).text_frame
    frame.word_wrap = True
    for index, line in enumerate(PROBLEM[language]):
        paragraph = frame.paragraphs[0] if index == 0 else frame.add_paragraph()
        paragraph.space_after = Pt(14)
        _run(paragraph, f"•  {line}", 22, language)


def _picture(slide: Any, language: str) -> None:
    from pptx.dml.color import RGBColor
    from pptx.enum.shapes import MSO_CONNECTOR, MSO_SHAPE
    from pptx.oxml.ns import qn
    from pptx.util import Inches

    def at(value: float) -> int:
        return int(Inches(12.1) * value / architecture.WIDTH)

    left, top = Inches(0.6), Inches(1.5)
    x, y, width, height = architecture.FRAME_BOX
    frame = slide.shapes.add_shape(
        MSO_SHAPE.ROUNDED_RECTANGLE, left + at(x), top + at(y), at(width), at(height)
    )
    frame.adjustments[0] = 0.04
    frame.fill.background()
    frame.line.color.rgb = RGBColor.from_string(architecture.FRAME[1:].upper())
    for arrow in architecture.ARROWS:
        line = slide.shapes.add_connector(
            MSO_CONNECTOR.STRAIGHT, left + at(arrow.x1), top + at(arrow.y1),
            left + at(arrow.x2), top + at(arrow.y2),
        )  # fmt: skip
        line.line.color.rgb = RGBColor.from_string(architecture.LINE[1:].upper())
        stroke = line.line._get_or_add_ln()  # noqa: SLF001 - arrow tips have no public name
        stroke.append(stroke.makeelement(qn("a:tailEnd"), {"type": "triangle"}))
    for box in architecture.BOXES:
        shape = slide.shapes.add_shape(
            MSO_SHAPE.ROUNDED_RECTANGLE, left + at(box.x), top + at(box.y),
            at(box.width), at(box.height),
        )  # fmt: skip
        shape.fill.solid()
        shape.fill.fore_color.rgb = RGBColor.from_string(architecture.FILL[box.kind][1:].upper())
        shape.line.color.rgb = RGBColor.from_string(architecture.LINE[1:].upper())
        shape.text_frame.word_wrap = True
        _write(shape.text_frame, box.title[language], 15, language, bold=True)
        _run(shape.text_frame.add_paragraph(), box.detail[language], 11, language)
        _run(shape.text_frame.add_paragraph(), box.folder, 9, language)
    note = slide.shapes.add_textbox(left, top + at(470), Inches(12.1), Inches(0.5)).text_frame
    _write(note, architecture.NOTE[language], 16, language)


def _table(slide: Any, language: str) -> None:
    from pptx.util import Inches

    found = headline()
    shape = slide.shapes.add_table(
        len(found) + 1, 5, Inches(0.6), Inches(1.4), Inches(12.1), Inches(0.3 * (len(found) + 1))
    )
    widths = (5.4, 2.2, 1.7, 0.9, 1.9)
    for column, width in zip(shape.table.columns, widths, strict=True):
        column.width = Inches(width)
    rows = [HEADER[language]] + [
        (one.name, one.reached, one.target, VERDICT[language][one.met], one.page) for one in found
    ]
    for row, values in zip(shape.table.rows, rows, strict=True):
        row.height = Inches(0.34)
        for cell, value in zip(row.cells, values, strict=True):
            cell.margin_top = cell.margin_bottom = Inches(0.03)
            _write(cell.text_frame, value, 11, language)


def _write(
    frame: Any, text: str, size: int, language: str, *, bold: bool = False, colour: str = "1B2733"
) -> None:
    _run(frame.paragraphs[0], text, size, language, bold=bold, colour=colour)


def _run(
    paragraph: Any, text: str, size: int, language: str, *, bold: bool = False,
    colour: str = "1B2733",
) -> None:  # fmt: skip
    from pptx.dml.color import RGBColor
    from pptx.util import Pt

    run = paragraph.add_run()
    run.text = text
    run.font.size, run.font.bold, run.font.name = Pt(size), bold, FONT[language]
    run.font.color.rgb = RGBColor.from_string(colour)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make the three slides.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    try:
        for language in LANGUAGES:
            for kind, write in (("pptx", pptx), ("pdf", pdf)):
                path = given.out / f"cellpulse-{language}.{kind}"
                write(language, path)
                print(path)
        picture = architecture.svg("en") + "\n"
        (ROOT / "docs" / "images" / "architecture.svg").write_text(picture, encoding="utf-8")
    except MissingResultError as error:
        print(f"slides: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
