"""What is known beside the assets, as it travels in a checkpoint: who is offline, what has gone
wrong beside the readings, and the alarms of several assets."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from monitor.alarms.book import Key
from monitor.alarms.handover import Alarms
from monitor.errors import CellpulseError
from monitor.fleet import STATE_VERSION, Fleet


class _Versioned(Struct):
    version: int = 7  # which did not say so


class _Shared(Struct):
    version: int
    offline_names: list[str]
    offline_gateways: list[str]
    troubles: list[tuple[Key, int]]
    alarms: list[bytes]  # of `_group`, and of names that are no asset


def shared_bytes(fleet: Fleet, alarms: Alarms) -> bytes:
    """The state beside the assets, versioned."""
    others = sorted(alarms.book.of_asset.keys() - fleet.assets.keys())
    return msgspec.msgpack.encode(
        _Shared(
            STATE_VERSION,
            sorted(fleet.offline_names),
            sorted(fleet.offline_gateways),
            list(alarms.troubles.items()),
            [alarms.book.to_bytes(name) for name in others],
        )
    )


def put_shared_bytes(data: bytes, fleet: Fleet, alarms: Alarms) -> None:
    """Take back what `shared_bytes` gave; raises CellpulseError where it does not fit."""
    try:
        if msgspec.msgpack.decode(data, type=_Versioned).version == 7:
            alarms.book.put_bytes(data)  # the alarms of several assets, and no more
            return
        shared = msgspec.msgpack.decode(data, type=_Shared)
        for portable in shared.alarms:
            alarms.book.put_bytes(portable)
    except (msgspec.DecodeError, ValueError) as error:
        raise CellpulseError(f"engine state: {error}") from error
    fleet.offline_names = set(shared.offline_names)
    fleet.offline_gateways = set(shared.offline_gateways)
    alarms.troubles = dict(shared.troubles)
