"""The one exception tree of what we raise on purpose. What is not here stands where it is raised.

CellpulseError              one sentence that a user can act on
├── PayloadError            a message that the contract refuses: counted and answered, never fatal
├── ConfigurationError      a setting that cannot be used: names key, value and what would be right
│   ├── FaultError          a fault or scenario of a replay that is not written as it should be
│   └── ParameterError      parameters of the digital twin that cannot be used
├── ModelError              a model that cannot be used: absent, damaged or not what its card says
├── StoreError              a store that cannot be opened, read or written
├── AwayError               a peer that takes or answers nothing now: `wait_s` until it may again
├── BridgeError             a tree of its own, in `bridge.errors`
├── FeedError               a command not sent or not answered: `key` among the page's texts
├── AnalysisError           a file that cannot be analysed: `zh`, the sentence in Chinese
├── ReportError             a report that cannot be made
├── UnhealthyError          a process that does not answer, or says that something fails
└── OutputsDifferError      two runs of a benchmark that should agree and do not

What a recording cannot be read for is a tree of its own, in `recordings.errors`.
"""

from __future__ import annotations


def reason_of(error: Exception) -> str:
    """An error that nobody expected in a few words, which can be written anywhere."""
    words = f"{type(error).__name__}: {error}"[:300]
    return words.encode("utf-8", "backslashreplace").decode()


class CellpulseError(Exception):
    """Anything that we raise on purpose; its text is one sentence that a user can act on."""


class PayloadError(CellpulseError):
    """A payload or topic that the telemetry contract refuses; the text is the reason."""


class ConfigurationError(CellpulseError):
    """A configuration that cannot be used."""


class ModelError(CellpulseError):
    """A model file or card that cannot be used."""


class StoreError(CellpulseError):
    """A store that cannot be opened, read or written."""


class AwayError(CellpulseError):
    """A peer (a receiver, a database, a broker) that takes nothing now; text without secrets.

    `wait_s` is how long it asked to be left alone, seconds.
    """

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
