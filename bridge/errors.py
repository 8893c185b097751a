"""What may go wrong between a board and the broker.

BridgeError
├── FrameError       bytes that are not an intact frame of the protocol: counted, asked for again
├── LinkError        a port or connection that cannot be opened, or that went away: re-opened
│   └── EndOfRecordingError  a recorded line has been played to its end
├── NoAnswerError    the board stayed silent, or answered something else, after every retry
└── MappingError     a mapping file or register map that cannot be used: refuses to start
"""

from __future__ import annotations

from monitor.errors import CellpulseError


class BridgeError(CellpulseError):
    """Anything that a bridge raises on purpose."""


class FrameError(BridgeError):
    """Bytes that are not an intact, plausible frame; the only error of a decoder."""


class LinkError(BridgeError):
    """The port or connection cannot be opened, or went away."""


class NoAnswerError(BridgeError):
    """The board did not answer in time, after the retries."""


class MappingError(BridgeError):
    """A mapping that cannot be used; the text names the key, the value and what would be right."""
