"""Every protocol by its name, with the choices that a user can make about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bridge import daly, jk, jk_ble
from bridge.conversation import Protocol
from bridge.daly_d2 import DALY_D2
from bridge.errors import MappingError
from bridge.jbd import JBD
from bridge.reading import Reading

NAMES = ("jbd", "daly", "daly-d2", "jk", "jk-pb")
"""In the order in which `auto` tries them: 9600 baud first, then 115200."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Where boards or public decoders differ.

    `board` is the address on a shared bus. `invert_current` is for a board, or a current sensor
    that was wired the other way round, whose discharge shows as charge. `jk_cold_zero` is 100
    (the JK document) or 99 (batmon-ha): the raw value from which JK UART counts below 0 C.
    """

    board: int = 1
    invert_current: bool = False
    jk_cold_zero: int = 100


def protocol(name: str, choices: Choices | None = None) -> Protocol:
    """The protocol of that name; raises MappingError for a name or choice that does not exist."""
    choices = choices or Choices()
    if not 1 <= choices.board <= 15:
        raise MappingError(f"board {choices.board}: expected a bus address from 1 to 15")
    if choices.jk_cold_zero not in (99, 100):
        raise MappingError(f"jk_cold_zero {choices.jk_cold_zero}: expected 99 or 100")
    if name == "jbd":
        return JBD
    if name == "daly":
        return daly.protocol(choices.board)
    if name == "daly-d2":
        return DALY_D2
    if name == "jk":
        return jk.protocol(choices.jk_cold_zero)
    if name == "jk-pb":
        return jk_ble.protocol(choices.board)
    raise MappingError(f"protocol {name!r}: expected one of {', '.join(NAMES)}")


def chosen(reading: Reading, choices: Choices) -> Reading:
    """The reading as the user's choices want it."""
    if choices.invert_current and reading.current_a is not None:
        return replace(reading, current_a=0.0 - reading.current_a)
    return reading
