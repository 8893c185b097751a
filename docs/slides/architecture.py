"""The house in one picture, from left to right: boxes and arrows, drawn as SVG or on a slide."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 1200, 520
INK, LINE, FRAME = "#1b2733", "#5b6b7a", "#9fb0bf"
FILL = {
    "source": "#e8f1fa",
    "wire": "#fff3d6",
    "pure": "#e3f4ec",
    "keep": "#f1eaf8",
    "see": "#fdeae4",
}


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the system; position and size in units of the picture."""

    key: str
    kind: str
    x: int
    y: int
    width: int
    height: int
    title: dict[str, str]
    detail: dict[str, str]
    folder: str  # where its code is


@dataclass(frozen=True, slots=True)
class Arrow:
    """From one point to another, with what flows along it."""

    x1: int
    y1: int
    x2: int
    y2: int
    label: dict[str, str]


def _box(  # noqa: PLR0913 - a row of a table
    key: str, kind: str, x: int, y: int, width: int, height: int,
    en: str, zh: str, detail_en: str, detail_zh: str, folder: str = "",
) -> Box:  # fmt: skip
    return Box(
        key, kind, x, y, width, height,
        {"en": en, "zh": zh}, {"en": detail_en, "zh": detail_zh}, folder,
    )  # fmt: skip


BOXES = (
    _box("recordings", "source", 20, 40, 210, 90, "Recordings", "实验记录",
         "NASA, CALCE, your files", "NASA、CALCE、自己的文件",
         "recordings/"),
    _box("twin", "source", 20, 190, 210, 90, "Digital twin", "数字孪生",
         "cells, packs, injected faults", "单体、电池组、注入故障",
         "simulator/"),
    _box("bridge", "source", 20, 340, 210, 90, "A real BMS", "真实 BMS",
         "serial, CAN, Modbus, BLE", "串口、CAN、Modbus、蓝牙",
         "bridge/"),
    _box("broker", "wire", 320, 190, 150, 90, "MQTT", "MQTT",
         "one frame contract", "统一的消息约定",
         "monitor/contract"),
    _box("features", "pure", 560, 40, 250, 90, "Features", "特征",
         "ICA histogram, heat balance", "ICA 直方图、热平衡",
         "monitor/kernels/"),
    _box("models", "pure", 560, 190, 250, 90, "ONNX models", "ONNX 模型",
         "SOH with interval, thermal score", "SOH 与区间、热异常分",
         "monitor/models/"),
    _box("alarms", "pure", 560, 340, 250, 90, "Alarms", "告警",
         "ISA-18.2 life cycle", "ISA-18.2 生命周期",
         "monitor/alarms/"),
    _box("journal", "keep", 920, 40, 260, 90, "Journal", "日志库",
         "SQLite, then InfluxDB", "SQLite，再到 InfluxDB",
         "monitor/store/"),
    _box("page", "see", 920, 190, 260, 90, "Live page, report", "实时页面与报告",
         "pushed, English and Chinese", "推送、中英双语",
         "monitor/dashboard/ · analysis/"),
    _box("people", "see", 920, 340, 260, 90, "Topics, webhook, HA", "主题、Webhook、HA",
         "acknowledge, shelve, notify", "确认、搁置、通知",
         "monitor/mqtt/ · monitor/notify/"),
)  # fmt: skip

ARROWS = (
    Arrow(230, 85, 320, 215, {"en": "", "zh": ""}),
    Arrow(230, 235, 320, 235, {"en": "", "zh": ""}),
    Arrow(230, 385, 320, 255, {"en": "", "zh": ""}),
    Arrow(470, 215, 560, 95, {"en": "every sample", "zh": "逐个样本"}),
    Arrow(685, 130, 685, 190, {"en": "", "zh": ""}),
    Arrow(685, 280, 685, 340, {"en": "", "zh": ""}),
    Arrow(810, 85, 920, 85, {"en": "commit", "zh": "落盘"}),
    Arrow(810, 235, 920, 235, {"en": "estimates", "zh": "估计"}),
    Arrow(810, 385, 920, 385, {"en": "at once", "zh": "立即"}),
)
NOTE = {
    "en": "The broker is told only after the commit: kill it at any instant, nothing is lost.",
    "zh": "落盘之后才向 broker 确认：任何时刻被杀掉，数据都不丢。",
}
FRAME_BOX = (530, 10, 310, 450)
FRAME_TITLE = {"en": "monitor: the engine, pure and synchronous", "zh": "monitor：纯计算的引擎"}


def svg(language: str) -> str:
    """The picture as an SVG document in `en` or `zh`."""
    left, top, width, height = FRAME_BOX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="DejaVu Sans, Noto Sans CJK SC, sans-serif" role="img">',
        "<defs><marker id='tip' markerWidth='9' markerHeight='8' refX='8' refY='4' orient='auto'>"
        f"<path d='M0,0 L9,4 L0,8 z' fill='{LINE}'/></marker></defs>",
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="14" fill="none" '
        f'stroke="{FRAME}" stroke-dasharray="6 5"/>',
        _text(left + width / 2, top + height - 10, FRAME_TITLE[language], 13, LINE),
    ]
    for arrow in ARROWS:
        parts.append(
            f'<line x1="{arrow.x1}" y1="{arrow.y1}" x2="{arrow.x2}" y2="{arrow.y2}" '
            f'stroke="{LINE}" stroke-width="2" marker-end="url(#tip)"/>'
        )
        if arrow.label[language]:
            level = arrow.y1 == arrow.y2
            x = (arrow.x1 + arrow.x2) / 2 if level else arrow.x1 + 8
            y = arrow.y1 - 8 if level else arrow.y2 + 25
            parts.append(_text(x, y, arrow.label[language], 13, LINE))
    for box in BOXES:
        parts.append(
            f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="10" '
            f'fill="{FILL[box.kind]}" stroke="{LINE}"/>'
        )
        middle = box.x + box.width / 2
        parts.append(_text(middle, box.y + 31, box.title[language], 20, INK, bold=True))
        parts.append(_text(middle, box.y + 56, box.detail[language], 15, INK))
        parts.append(_text(middle, box.y + 78, box.folder, 12, LINE))
    parts.append(_text(WIDTH / 2, HEIGHT - 20, NOTE[language], 16, INK))
    return "".join([*parts, "</svg>"])


def _text(x: float, y: float, text: str, size: int, colour: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" '
        f'text-anchor="middle"{weight}>'
        f"{escape(text)}</text>"
    )
