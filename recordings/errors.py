"""Why a recording cannot be read, as one tree.

RecordingError           `message`, `place`, and of them `file`, `sheet`, `operation`, `row`,
│                        `column`, `found` and `expected` where they are known
├── NotFoundError        no such file or battery, or nothing in it that is a recording
├── FormatError          the bytes are not what they claim to be, or of no kind that is read
│   └── NotTextError     they are no text in a known encoding
├── TooLargeError        more than is read: `found` and `most`
├── MappingError         a column mapping, a description or an option that cannot be used
├── SamplesError         what was recorded cannot be: a clock, a shape, a value
├── MissingPackageError  a Python package that reads the format is not installed
└── FetchError           a download failed; what was read so far is kept

UnplacedError (ValueError)  said by a part that knows no file; its reader says it again with one
└── Mat5Error               the bytes are no level 5 MAT file, or are cut short or damaged

An error holds a message and a place. The sentence is made when it is shown: `str(error)` is the
English one, `error.sentence("zh")` the Chinese one.
"""

from __future__ import annotations

from recordings.messages import Language, Message, Place, Words

_LONGEST_WORDS = 1_500


class RecordingError(Exception):
    """A recording cannot be read; names the file and, where known, the operation and the row.

    The sentence may quote what the file holds: it is cut after 1,500 characters, and characters
    that would steer a terminal are written out.
    """

    def __init__(self, message: Words, place: Place | None = None) -> None:
        super().__init__(message, place)
        self.message = message
        self.place = place or Place()

    def sentence(self, language: Language = "en") -> str:
        """Place and message in one sentence."""
        words = self.place.sentence(self.message, language)
        if len(words) > _LONGEST_WORDS:
            words = f"{words[:_LONGEST_WORDS]}…"
        return "".join(one if one.isprintable() else repr(one)[1:-1] for one in words)

    def __str__(self) -> str:
        return self.sentence()

    @property
    def file(self) -> str:
        """The file as it is shown; empty where none is named."""
        return self.place.file

    @property
    def sheet(self) -> str | None:
        """The sheet of a workbook."""
        return self._text("sheet")

    @property
    def operation(self) -> int | None:
        """The number of the operation, from 0."""
        return self._number("operation")

    @property
    def row(self) -> int | None:
        """The row, as the format counts its rows."""
        return self._number("row")

    @property
    def column(self) -> str | None:
        """The column's name."""
        return self._text("column")

    @property
    def found(self) -> object | None:
        """What is there."""
        return self._value("found")

    @property
    def expected(self) -> object | None:
        """What would be right."""
        return self._value("expected")

    def _value(self, name: str) -> object | None:
        own = self.message.values.get(name) if isinstance(self.message, Message) else None
        return self.place.value(name) if own is None else own

    def _number(self, name: str) -> int | None:
        value = self._value(name)
        return value if isinstance(value, int) else None

    def _text(self, name: str) -> str | None:
        value = self._value(name)
        return None if value is None else str(value)


class NotFoundError(RecordingError):
    """There is no such file or battery, or nothing in it that is a recording."""


class FormatError(RecordingError):
    """The bytes are not what they claim to be, or are of no kind that is read."""


class NotTextError(FormatError):
    """The bytes are no text in a known encoding."""


class TooLargeError(RecordingError):
    """There is more than is read: `found`, where it was counted, and `most`."""

    @property
    def most(self) -> object | None:
        """How much is read."""
        return self._value("most")


class MappingError(RecordingError):
    """A column mapping, a description of a battery or an option that cannot be used."""


class SamplesError(RecordingError):
    """What was recorded cannot be: a clock, a shape, a value."""


class MissingPackageError(RecordingError):
    """A Python package that is needed is not installed."""


class UnplacedError(ValueError):
    """What is wrong, said by a part that does not know in which file it is."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


def reason_of(error: BaseException) -> Words:
    """Why another part or library failed: its message, else the first line of what it says."""
    if isinstance(error, UnplacedError):
        return error.message
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
