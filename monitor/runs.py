"""A run of frames on its way into the kernels: judged by admission, then laid out as arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from monitor.fleet import Asset, Fleet
from monitor.inputs import FrameIn
from monitor.kernels.admission import ARRIVAL, JUDGED, admit_inplace, session_id
from monitor.kernels.columns import Verdict
from monitor.kernels.frames import FRAME, Frames

NEW_SEGMENT = int(Verdict.NEW_SEGMENT)  # an enumeration's member takes its time to be looked up


class Run(Struct, frozen=True):
    """Frames in a row with their assets, and what admission says of each."""

    items: Sequence[FrameIn]
    assets: Sequence[Asset]
    verdicts: list[int]
    missed: list[int]  # sequence numbers that were skipped before it
    began: list[int]  # 1 where it is of another session than the one before

    def __len__(self) -> int:
        return len(self.items)

    @property
    def plain(self) -> bool:
        """Whether all are accepted, in sequence."""
        return not any(self.verdicts) and not any(self.missed)

    def part(self, first: int, end: int) -> Run:
        """Some of them in a row."""
        if (first, end) == (0, len(self)):
            return self
        part = slice(first, end)
        return Run(
            self.items[part], self.assets[part], self.verdicts[part], self.missed[part],
            self.began[part],
        )  # fmt: skip

    def taken(self) -> list[int]:
        """The places of those that are accepted."""
        return [k for k, verdict in enumerate(self.verdicts) if verdict <= NEW_SEGMENT]

    def clock_set_back(self, k: int) -> bool:
        """Whether a device's clock is wrong: not so in a replay that goes back on purpose.

        Such a one says so by a new session.
        """
        on_purpose = self.began[k] and self.assets[k].config.provenance.replay
        return self.verdicts[k] == NEW_SEGMENT and not on_purpose

    def only(self, places: Sequence[int]) -> Run:
        """Those at some places."""
        return Run(
            [self.items[k] for k in places], [self.assets[k] for k in places],
            [self.verdicts[k] for k in places], [self.missed[k] for k in places],
            [self.began[k] for k in places],
        )  # fmt: skip

    def frames(self) -> Frames:
        """As the kernels take them."""
        rows: list[tuple[object, ...]] = []  # of FRAME
        volts: list[float | None] = []
        temperatures: list[float | None] = []
        for item, asset, verdict in zip(self.items, self.assets, self.verdicts, strict=True):
            frame = item.frame
            first_v, first_t = len(volts), len(temperatures)
            temperature = frame.temperature_c
            if type(temperature) is list:
                temperatures.extend(temperature)
            elif temperature is not None:
                temperatures.append(temperature)  # type: ignore[arg-type]
            voltage = frame.voltage_v
            if type(voltage) is list:
                volts.extend(voltage)
            elif voltage is not None:
                volts.append(voltage)  # type: ignore[arg-type]
            rows.append(
                (
                    asset.first_row, asset.config.cells, frame.timestamp_ms, frame.current_a,
                    frame.ambient_c, first_v, len(volts) - first_v, first_t,
                    len(temperatures) - first_t, verdict == NEW_SEGMENT,
                )
            )  # fmt: skip
        return Frames(
            np.array(rows, FRAME), np.array(volts, np.float64), np.array(temperatures, np.float64)
        )


def admit_run_inplace(fleet: Fleet, items: Sequence[FrameIn]) -> Run:
    """Judge frames of known assets in order; the fleet learns of their sequence and arrival."""
    assets = [fleet.assets[item.asset] for item in items]
    arrivals = np.array(
        [
            (
                asset.index, session_id(item.frame.session),
                -1 if item.frame.seq is None else item.frame.seq,
                item.frame.timestamp_ms, item.arrival_ms, asset.config.provenance.replay,
            )
            for item, asset in zip(items, assets, strict=True)
        ],
        ARRIVAL,
    )  # fmt: skip
    found = np.empty(len(items), JUDGED)
    admit_inplace(fleet.admission, arrivals, found)
    run = Run(
        items, assets, found["verdict"].tolist(), found["missed"].tolist(),
        found["began"].tolist(),
    )  # fmt: skip
    if not run.plain:
        # Only what the journal keeps may count, else a recovery would see another past.
        verdict = found["verdict"]
        arrivals = arrivals[(verdict != Verdict.DUPLICATE) & (verdict != Verdict.FUTURE)]
    fleet.last_arrival_ms[arrivals["asset"]] = arrivals["arrival_ms"]
    return run
