"""Why a command was refused, in the page's language; pure.

The monitor answers in English, on a topic that programs read too. Its sentences are told by their
fixed words and said again; names stay as they are. A test holds that each of them is known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from monitor.dashboard.texts import TEXTS, Language


def _action(name: str) -> str:
    """What the button says, else what the journal says."""
    return TEXTS.get(name, TEXTS.get(f"cause_{name}", (name, name)))[1]


def _state(name: str) -> str:
    return TEXTS.get(f"state_{name}", (name, name))[1]


_ZH: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"(.+) is the asset itself: .*",
     lambda m: f"{m[1]} 就是该电池本身：设备不能下达命令，须由操作人下达"),
    (r"(.+) is a program's name: .*", lambda m: f"{m[1]} 是程序的名称：请用您自己的名字"),
    (r"(.+) is not among the monitor's `operators`: .*",
     lambda m: f"{m[1]} 不在监测服务的 `operators` 名单中：请先把这个名字加入名单"),
    (r"(.+) is the name of an asset or a gateway: .*",
     lambda m: f"{m[1]} 是电池或网关的名称：请换一个名字"),
    (r"shelve needs duration_s", lambda m: "搁置时必须给出 duration_s"),
    (r"(.+) is not possible for a whole asset",
     lambda m: f"不能对整个电池执行“{_action(m[1])}”"),
    (r"a comment needs words", lambda m: "备注不能为空"),
    (r"there is no asset (.+)", lambda m: f"没有电池 {m[1]}"),
    (r"there is no alarm (.+) on (.+)", lambda m: f"{m[2]} 没有报警 {m[1]}"),
    (r"there is no alarm (.+)", lambda m: f"没有报警 {m[1]}"),
    (r"(.+) has no place (.+) on (.+)", lambda m: f"报警 {m[1]} 不适用于 {m[3]} 的 {m[2]}"),
    (r"(.+) is not possible while the alarm is (.+)",
     lambda m: f"报警处于“{_state(m[2])}”状态，不能执行“{_action(m[1])}”"),
)  # fmt: skip


def refusal(reason: str, language: Language) -> str:
    """The monitor's reason in the page's language; as it is where it is not known."""
    if language == "zh":
        for said, zh in _ZH:
            found = re.fullmatch(said, reason)
            if found is not None:
                return zh(found)
    return reason
