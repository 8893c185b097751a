"""The one exception tree of the monitor.

CellpulseError
├── PayloadError      a message that the contract refuses: counted and answered, never fatal
├── ConfigurationError   a setting that cannot be used: names the key, the value and what is right
├── ModelError        a model that cannot be used: absent, damaged or not what its card says
└── StoreError        a store that cannot be opened, read or written
"""

from __future__ import annotations


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
