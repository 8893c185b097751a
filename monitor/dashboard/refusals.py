"""Why a command was refused, in the page's language; pure.

The monitor and a replay answer in English, on topics that programs read too. `monitor.refusals`
knows their sentences again; the names of actions and states are those of the page.
"""

from __future__ import annotations

from monitor.dashboard.texts import TEXTS, Language
from monitor.refusals import known_again, refusal_zh


def _action(name: str) -> str:
    """What the button says, else what the journal says."""
    return TEXTS.get(name, TEXTS.get(f"cause_{name}", (name, name)))[1]


def _state(name: str) -> str:
    return TEXTS.get(f"state_{name}", (name, name))[1]


_WORDS = {"action": _action, "state": _state}


def refusal(reason: str, language: Language) -> str:
    """The reason in the page's language; as it is where it is not known."""
    found = known_again(reason) if language == "zh" else None
    if found is None:
        return reason
    id, values = found
    said = {name: _WORDS.get(name, str)(value) for name, value in values.items()}
    return refusal_zh(id, **said)
