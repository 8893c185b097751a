"""What the analysis of a file says, by id, in English and Chinese.

What its reader says stands in `recordings.messages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from monitor.dashboard.analysis import AnalysisError
from recordings.errors import RecordingError
from recordings.messages import Language, Message, Place

ENGLISH: Final[Mapping[str, str]] = {
    "not_started": "the analysis did not start",
    "too_long": "it took longer than {most:g} minutes",
    "memory": "more memory is needed than an analysis may take",
    "memory_or_damaged": "more memory is needed than an analysis may take, or damaged",
    "rows": "{found:,} rows; at most {most:,} samples are analysed",
    "samples": "more than {most:,} samples; analyse a part of it",
    "no_samples": "the file holds no samples",
    "left_out": (
        "{found} batteries in the file: the first {analysed} were analysed; left out: {names}"
    ),
    "left_out_many": (
        "{found} batteries in the file: the first {analysed} were analysed; left out: {names} "
        "and others"
    ),
    "cause.temperature": "temperature near or over its maximum",
    "cause.slope": "temperature rises faster than a cell's should",
    "cause.unexplained_heat": "heat that the load does not explain",
    "cause.sensor": "the temperature is not believed",
}

CHINESE: Final[Mapping[str, str]] = {
    "not_started": "分析未能启动",
    "too_long": "分析超过 {most:g} 分钟",
    "memory": "所需内存超过限度",
    "memory_or_damaged": "所需内存超过限度，或文件已损坏",
    "rows": "共 {found:,} 行；最多分析 {most:,} 个采样",
    "samples": "超过 {most:,} 个采样；请只分析其中一部分",
    "no_samples": "文件中没有采样数据",
    "left_out": "文件中有 {found} 个电池，只分析了前 {analysed} 个；未分析：{names}",
    "left_out_many": "文件中有 {found} 个电池，只分析了前 {analysed} 个；未分析：{names} 等",
    "cause.temperature": "温度接近或超过上限",
    "cause.slope": "温度上升过快",
    "cause.unexplained_heat": "负载无法解释的发热",
    "cause.sensor": "温度读数不可信",
}


class AnalysisMessage(Message):
    """Something that the analysis says."""

    __slots__ = ()
    TABLES: ClassVar[Mapping[Language, Mapping[str, str]]] = {"en": ENGLISH, "zh": CHINESE}


def refusal(message: Message, file: str = "") -> AnalysisError:
    """Why the file cannot be analysed, in both languages of the page."""
    place = Place(file)
    return AnalysisError(place.sentence(message), place.sentence(message, "zh"))


def both(error: Exception) -> tuple[str, str]:
    """The sentence of an error in English and in Chinese; in English where it knows no other."""
    if isinstance(error, RecordingError):
        return error.sentence(), error.sentence("zh")
    return str(error), error.zh if isinstance(error, AnalysisError) else str(error)
