"""What the readers of recordings say: an id and named values, and a sentence of them at the end.

`messages_en` and `messages_zh` hold the sentences by id. A `Message` is one of them with its
values, a `Place` is where in a file something is; neither is a sentence before it is shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from recordings.messages_en import ENGLISH
from recordings.messages_zh import CHINESE

Language = Literal["en", "zh"]

MOST_SHOWN, LONGEST_SHOWN = 20, 40
_BETWEEN = {"en": ", ", "zh": "，"}
_BEFORE_WORDS = {"en": ": ", "zh": "："}
_NUMBER = re.compile(r"\d[\d.e+-]*")
_FIELD = re.compile(r"\{(\w+)[^}]*\}")


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Message:
    """Something to be said: its id in the tables, and the values that its sentence names.

    A value may be a message itself, or a tuple of messages, which are listed. `str` of a message
    is its English sentence.
    """

    TABLES: ClassVar[Mapping[Language, Mapping[str, str]]] = {"en": ENGLISH, "zh": CHINESE}

    id: str
    values: Mapping[str, object] = field(hash=False)

    def __init__(self, id: str, /, **values: object) -> None:
        object.__setattr__(self, "id", id)
        object.__setattr__(self, "values", values)

    def sentence(self, language: Language = "en") -> str:
        """The sentence; raises KeyError for an id or a value that is not there."""
        values = {name: _said(value, language) for name, value in self.values.items()}
        return self.TABLES[language][self.id].format(**values)

    def __str__(self) -> str:
        return self.sentence()

    def __repr__(self) -> str:
        return f"<{self.id}: {self.sentence()}>"


Words = Message | str
"""A message; or plain words of someone who has no id for them, shown as they are."""


KINDS: Mapping[str, Message] = {
    "charge": Message("kind.charge"),
    "discharge": Message("kind.discharge"),
    "rest": Message("kind.rest"),
    "mixed": Message("kind.mixed"),
}
"""What an operation is, to be named in a place."""


def in_language(words: Words, language: Language) -> str:
    """What is said, in one language; plain words are what they are in every language."""
    return words.sentence(language) if isinstance(words, Message) else words


def _said(value: object, language: Language) -> object:
    if isinstance(value, Message):
        return value.sentence(language)
    if isinstance(value, tuple) and any(isinstance(one, Message) for one in value):
        return _BETWEEN[language].join(str(_said(one, language)) for one in value)
    return value


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: a file as it is shown, and parts of it from outside inwards."""

    file: str = ""
    parts: tuple[Words, ...] = ()

    def at(self, *parts: Words) -> Place:
        """The place further in."""
        return Place(self.file, (*self.parts, *parts))

    def value(self, name: str) -> object | None:
        """A value that a part of the place names, such as `row`; None where no part does."""
        for part in reversed(self.parts):
            if isinstance(part, Message) and name in part.values:
                return part.values[name]
        return None

    def sentence(self, words: Words, language: Language = "en") -> str:
        """The words with the place before them."""
        parts = [in_language(part, language) for part in self.parts]
        where = _BETWEEN[language].join([self.file, *parts] if self.file else parts)
        said = in_language(words, language)
        return f"{where}{_BEFORE_WORDS[language]}{said}" if where else said


def at_row(row: int) -> Message:
    """A row, counted as its reader counts them."""
    return Message("at.row", row=row)


def at_columns(names: list[str]) -> Message:
    """One column or several."""
    return Message("at.column" if len(names) == 1 else "at.columns", column=listed(names))


def listed(names: list[str]) -> Words:
    """Names for a message: the first of many, the start of a long one."""
    shown = [name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}…" for name in names]
    first = ", ".join(shown[:MOST_SHOWN])
    if len(names) <= MOST_SHOWN:
        return first
    return Message("and_more", names=first, more=len(names) - MOST_SHOWN)


def counted(notes: Iterable[Words]) -> list[str]:
    """Every kind of note once with its count, the commonest first; numbers are left out."""
    kinds = Counter(_NUMBER.sub("…", str(note)) for note in notes)
    return [f"{note} ({count} times)" for note, count in kinds.most_common()]


class _AsWritten(str):
    """A value that was read out of a sentence: it is put into another one as it stands."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def __format__(self, spec: str) -> str:
        return str(self)


def known_again(words: str, kinds: tuple[str, ...] = ("problem.", "note.")) -> Words:
    """The message of those kinds whose English sentence this is, else the words.

    For what was written down as a sentence, as in our own recording files.
    """
    for id, template in ENGLISH.items():
        if id.startswith(kinds):
            values = _values_in(words, template)
            if values is not None:
                return Message(id, **values)
    return words


def _values_in(words: str, template: str) -> dict[str, object] | None:
    """The values with which the template makes the words; None where it cannot make them."""
    first, *rest = _FIELD.split(template)
    if not words.startswith(first):
        return None
    values: dict[str, object] = {}
    at = len(first)
    for name, text in zip(rest[::2], rest[1::2], strict=True):
        end = words.find(text, at) if text else len(words)
        if end < 0:
            return None
        values[name] = _AsWritten(words[at:end])
        at = end + len(text)
    return values if at == len(words) else None
