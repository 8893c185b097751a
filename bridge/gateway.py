"""A board as an asset: readings in, the contract's messages out, in the right order."""

from __future__ import annotations

import logging
from typing import Protocol

from bridge.device import AssetOptions, alarm_changes, config_of, frame_of
from bridge.protocols import Choices, chosen
from bridge.quarantine import ALARM, Quarantine
from bridge.reading import Identity, Reading, plausible
from monitor.contract import AssetConfig, DeviceAlarm, Frame, decode, encode
from monitor.errors import PayloadError

_log = logging.getLogger("cellpulse.bridge")


class Outbox(Protocol):
    """Where messages go: the publisher, or a list in a test."""

    def telemetry(self, asset: str, frame: Frame) -> None:
        """One frame."""
        ...

    def alarm(self, asset: str, alarm: DeviceAlarm) -> None:
        """A device alarm began or ended."""
        ...

    def config(self, asset: str, config: AssetConfig) -> None:
        """What the asset is."""
        ...

    def status(self, asset: str, online: bool) -> None:
        """Whether the asset answers."""
        ...


class Sink(Protocol):
    """What whoever reads boards tells."""

    def identified(self, identity: Identity) -> None:
        """The board said what it is."""
        ...

    def reading(self, reading: Reading, timestamp_ms: int) -> None:
        """One look at the board."""
        ...

    def offline(self, reason: str) -> None:
        """The board does not answer."""
        ...


class Gateway:
    """One board's sink. `session` names this run of the bridge: `seq` counts within it.

    What no battery can be is a missing value; a message that the contract would refuse is set
    aside and not sent.
    """

    def __init__(
        self,
        outbox: Outbox,
        told: AssetOptions,
        session: str,
        choices: Choices | None = None,
        quarantine: Quarantine | None = None,
    ) -> None:
        self._outbox = outbox
        self._told = told
        self._session = session
        self._choices = choices or Choices()
        self.quarantine = quarantine or Quarantine()
        self._identity = Identity()
        self._config: AssetConfig | None = None
        self._alarms: frozenset[str] | None = None
        self._seq = 0
        self._warned = False

    def identified(self, identity: Identity) -> None:
        """See Sink."""
        self._identity = identity
        self._config = None
        _log.info("%s: %s", self._told.asset, _described(identity))

    def reading(self, reading: Reading, timestamp_ms: int) -> None:
        """See Sink."""
        reading, unusable = plausible(chosen(reading, self._choices))
        for reason in unusable:
            self.quarantine.set_aside(reason, self._told.source or self._told.asset)
        self._configure(reading)
        self._outbox.status(self._told.asset, True)
        frame = frame_of(reading, timestamp_ms, self._session, self._seq)
        self._seq += 1
        if self._allowed(frame):
            self._outbox.telemetry(self._told.asset, frame)
        names = self._identity.alarm_names
        for alarm in alarm_changes(self._alarms, reading, names, timestamp_ms):
            if self._allowed(alarm):
                self._outbox.alarm(self._told.asset, alarm)
        if self._alarms is None and not self.quarantine.alarmed(self._told.asset):
            # It may stand from before the bridge was started.
            self._outbox.alarm(self._told.asset, DeviceAlarm(1, timestamp_ms, ALARM, False))
        self._alarms = frozenset(reading.alarms)

    def offline(self, reason: str) -> None:
        """See Sink."""
        _log.warning("%s is offline: %s", self._told.asset, reason)
        self._outbox.status(self._told.asset, False)

    def _configure(self, reading: Reading) -> None:
        cells = max(1, len(reading.cell_voltage_v))
        if self._config is not None and self._config.cells == cells:
            return
        self._config = config_of(self._identity, reading, self._told)
        if self._config is not None and self._allowed(self._config):
            self._outbox.config(self._told.asset, self._config)
        elif self._config is None and not self._warned:
            self._warned = True
            _log.warning(
                "%s does not say its capacity: give it with --capacity-ah, or state of charge and "
                "health cannot be found",
                self._told.asset,
            )

    def _allowed(self, message: Frame | DeviceAlarm | AssetConfig) -> bool:
        """Whether the contract takes a message; else it is set aside."""
        payload = encode(message)
        try:
            decode(type(message), payload)
        except PayloadError as error:
            self.quarantine.set_aside(error, self._told.asset, payload, self._told.asset)
            return False
        return True


def _described(identity: Identity) -> str:
    parts = [
        identity.model,
        identity.firmware and f"firmware {identity.firmware}",
        identity.cells and f"{identity.cells} cells",
        identity.nominal_capacity_ah and f"{identity.nominal_capacity_ah:g} Ah",
    ]
    return ", ".join(str(part) for part in parts if part) or "a board that does not name itself"
