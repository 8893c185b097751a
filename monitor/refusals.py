"""Why a command is refused, by id, in English and Chinese. Pure.

The bus carries the English sentence, which programs read too. Who has only the sentence, as the
page has, knows it again by the template that made it: `known_again`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    # An operator's command on alarms
    "user_is_asset": (
        "{user} is the asset itself: a device commands nothing, an operator does",
        "{user} 就是该电池本身：设备不能下达命令，须由操作人下达",
    ),
    "user_is_program": (
        "{user} is a program's name: command under your own name",
        "{user} 是程序的名称：请用您自己的名字",
    ),
    "user_not_listed": (
        "{user} is not among the monitor's `operators`: add the name there",
        "{user} 不在监测服务的 `operators` 名单中：请先把这个名字加入名单",
    ),
    "user_is_device": (
        "{user} is the name of an asset or a gateway: command under another name",
        "{user} 是电池或网关的名称：请换一个名字",
    ),
    "no_duration": ("shelve needs duration_s", "搁置时必须给出 duration_s"),
    "no_words": ("a comment needs words", "备注不能为空"),
    "not_for_asset": (
        "{action} is not possible for a whole asset",
        "不能对整个电池执行“{action}”",
    ),
    "not_in_state": (
        "{action} is not possible while the alarm is {state}",
        "报警处于“{state}”状态，不能执行“{action}”",
    ),
    "no_asset": ("there is no asset {asset}", "没有电池 {asset}"),
    "no_alarm_on": ("there is no alarm {alarm} on {asset}", "{asset} 没有报警 {alarm}"),
    "no_alarm": ("there is no alarm {alarm}", "没有报警 {alarm}"),
    "no_place": (
        "{alarm} has no place {place} on {asset}",
        "报警 {alarm} 不适用于 {asset} 的 {place}",
    ),
    # A command to a replay
    "replay_speed": ("speed: expected a `speed` above 0", "速度：应给出大于 0 的 speed"),
    "replay_seek": ("seek: expected `cycle` or `time_s`", "跳转：应给出 cycle 或 time_s"),
    "replay_past_end": ("seek: that is past the recording's end", "跳转：超出记录的末尾"),
    "replay_fault": (
        "inject: expected a `fault` such as isc:severity=0.5",
        "注入：应给出故障，例如 isc:severity=0.5",
    ),
    "replay_recording": (
        "play: no recording {asset}; there are {known}",
        "播放：没有记录 {asset}；现有：{known}",
    ),
    "fault_begins_now": (
        "{fault}: a fault of a running replay begins now; leave `at` out",
        "{fault}：回放中的故障立即开始，请去掉 at",
    ),
    "fault_asset": (
        "fault {fault}: no asset {asset}; there are {known}",
        "故障 {fault}：没有电池 {asset}；现有：{known}",
    ),
    "fault_cell": (
        "fault {fault}: no cell {cell}, {asset} has {cells}",
        "故障 {fault}：没有单体 {cell}，{asset} 共有 {cells} 个",
    ),
    "fault_kind": (
        "{fault}: no fault {kind}; there are {known}",
        "{fault}：没有故障 {kind}；现有：{known}",
    ),
    "fault_severity": (
        "{fault}: severity is {severity}, not within 0..1",
        "{fault}：严重程度为 {severity}，应在 0 与 1 之间",
    ),
}
"""An id's sentence in English and in Chinese; of two that could make one sentence, the first."""

_FIELD = re.compile(r"\{(\w+)\}")


def refusal(id: str, /, **values: object) -> str:
    """The English sentence; raises KeyError for an unknown id or a value that is not given."""
    return REFUSALS[id][0].format(**values)


def refusal_zh(id: str, /, **values: object) -> str:
    """The Chinese sentence; raises KeyError as `refusal` does."""
    return REFUSALS[id][1].format(**values)


def known_again(sentence: str) -> tuple[str, dict[str, str]] | None:
    """The id and the values that make the English sentence; None where it is none of ours."""
    for id, pattern in _PATTERNS.items():
        found = pattern.fullmatch(sentence)
        if found is not None:
            return id, found.groupdict()
    return None


def _pattern(template: str) -> re.Pattern[str]:
    parts = _FIELD.split(template)
    words, names = parts[::2], parts[1::2]
    return re.compile(
        re.escape(words[0])
        + "".join(
            f"(?P<{name}>.+){re.escape(then)}" for name, then in zip(names, words[1:], strict=True)
        )
    )


_PATTERNS = {id: _pattern(english) for id, (english, _) in REFUSALS.items()}
