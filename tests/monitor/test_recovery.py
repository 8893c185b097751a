"""Killed at every commit, whatever is sent: the recovered engine is the one that went on.

One monitor is never interrupted. After each step its files are copied as a kill would leave them,
and a second monitor on the copy must know the same, then take the next step in the same way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from monitor.contract import Command, Frame, Provenance, encode
from monitor.mqtt.link import Message
from tests.engine_world import T0, make_config
from tests.fuzz.pipeline import Counts, Monitor, all_in_journal, copied, one, same

ASSET = st.sampled_from(["p", "q"])
CELLS = st.integers(1, 3)
SENSORS = st.integers(0, 3)
HEAT_C = st.sampled_from([20.0, 44.0, 46.0, 70.0, 95.0])
DAY_MS = 86_400_000


class KilledAtEveryCommit(RuleBasedStateMachine):
    """Each rule is one message, or the clock, and one commit; each is done by two monitors."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="recovery-")
        self.path = Path(self._folder.name) / "store" / "whole.sqlite"
        self.whole = Monitor(self.path, raising=False)
        self.now_ms = T0
        self.mid = 0
        self.seq = {"p": 0, "q": 0}
        self.newest: dict[str, Frame] = {}

    def teardown(self) -> None:
        self.whole.journal.close()
        self._folder.cleanup()

    def send(self, topic: str, payload: bytes, now_ms: int) -> None:
        """Have it taken by the monitor that goes on, and by one that was killed before it."""
        self.mid += 1
        self.now_ms = max(self.now_ms, now_ms)
        message = Message(topic, payload, 1, False, self.mid, now_ms, 1)
        with self.killed() as other:
            same(other.state(), self.whole.state())
            other.out.log.clear()
            said = len(self.whole.events())
            for monitor in (self.whole, other):
                monitor.pipeline.step([message], now_ms)
            same(other.state(), self.whole.state())
            assert other.events() == self.whole.events()[said:]
            assert other.kept() == self.whole.kept()

    @contextmanager
    def killed(self) -> Iterator[Monitor]:
        """A monitor started on the files as they are."""
        copy = Path(self._folder.name) / "copy"
        copied(self.path.parent, copy)
        other = Monitor(copy / "whole.sqlite", raising=False)
        try:
            other.pipeline.recover()
            yield other
        finally:
            other.journal.close()

    def frame(self, asset: str, cells: int, sensors: int, heat_c: float, seq: int) -> Frame:
        at_ms = T0 + 3_000 * seq
        return Frame(
            v=1, session="s", seq=seq, timestamp_ms=at_ms, current_a=-1.0,
            voltage_v=[3.7 - 0.001 * seq] * cells, temperature_c=[heat_c] * sensors,
        )  # fmt: skip

    @initialize(cells=CELLS)
    def begin(self, cells: int) -> None:
        config = make_config(cells, provenance=Provenance(), gateway="gw")
        self.send("bms/p/config", encode(config), T0)

    @rule(asset=ASSET, cells=CELLS, sensors=SENSORS, heat_c=HEAT_C, step=st.integers(1, 3))
    def accepted(self, asset: str, cells: int, sensors: int, heat_c: float, step: int) -> None:
        self.seq[asset] += step
        frame = self.frame(asset, cells, sensors, heat_c, self.seq[asset])
        self.newest[asset] = frame
        self.send(f"bms/{asset}/telemetry", encode(frame), frame.timestamp_ms)

    @rule(asset=ASSET, cells=CELLS, sensors=SENSORS, session=st.sampled_from(["s", "x", None]))
    def refused_for_its_time(
        self, asset: str, cells: int, sensors: int, session: str | None
    ) -> None:
        frame = self.frame(asset, cells, sensors, 20.0, self.seq[asset] + 1)
        ahead = msgspec.structs.replace(
            frame, session=session, timestamp_ms=frame.timestamp_ms + DAY_MS
        )
        before = self.whole.state()
        self.send(f"bms/{asset}/telemetry", encode(ahead), frame.timestamp_ms)
        same(self.whole.state(), before)

    @rule(asset=ASSET, cells=CELLS, sensors=SENSORS, numbered=st.booleans())
    def duplicate(self, asset: str, cells: int, sensors: int, numbered: bool) -> None:
        known = self.newest.get(asset)
        if known is None:
            return
        other = self.frame(asset, cells, sensors, 20.0, known.seq or 0)
        if not numbered:  # without a number its time says that it came before, in any session
            other = msgspec.structs.replace(other, seq=None, session="x")
        before = self.whole.state()
        self.send(f"bms/{asset}/telemetry", encode(other), self.now_ms)
        same(self.whole.state(), before)

    @rule(asset=ASSET, cells=CELLS, sensors=SENSORS, behind=st.integers(1, 80))
    def late(self, asset: str, cells: int, sensors: int, behind: int) -> None:
        frame = self.frame(asset, cells, sensors, 20.0, max(0, self.seq[asset] - behind))
        self.send(f"bms/{asset}/telemetry", encode(frame), self.now_ms)

    @rule(asset=ASSET, session=st.sampled_from(["s", "t"]), back_ms=st.integers(1, DAY_MS))
    def clock_set_back(self, asset: str, session: str, back_ms: int) -> None:
        self.newest.pop(asset, None)  # another session may run from here on
        frame = self.frame(asset, 1, 1, 20.0, self.seq[asset])
        back = msgspec.structs.replace(
            frame, seq=None, session=session, timestamp_ms=frame.timestamp_ms - back_ms
        )
        self.send(f"bms/{asset}/telemetry", encode(back), self.now_ms)

    @rule(asset=ASSET, cells=CELLS, gateway=st.sampled_from([None, "gw"]))
    def configured(self, asset: str, cells: int, gateway: str | None) -> None:
        config = make_config(cells, provenance=Provenance(), gateway=gateway)
        self.send(f"bms/{asset}/config", encode(config), self.now_ms)

    @rule(name=st.sampled_from(["bms/p", "bms/q", "bms/unknown", "bms/_gateway/gw"]),
          online=st.booleans())  # fmt: skip
    def status(self, name: str, online: bool) -> None:
        self.send(f"{name}/status", b"online" if online else b"offline", self.now_ms)

    @rule(
        asset=ASSET,
        action=st.sampled_from(["acknowledge", "shelve", "out_of_service", "in_service"]),
        code=st.sampled_from(["over_temperature", "asset", "offline"]),
        source=st.sampled_from(["pack", "t01", "t02"]),
        number=st.integers(0, 20),
    )
    def command(self, asset: str, action: str, code: str, source: str, number: int) -> None:
        command = Command(
            v=1, id=str(number), action=action, code=code, source=source, duration_s=10.0,  # type: ignore[arg-type]  # a command's own word
        )  # fmt: skip
        self.send(f"bms/{asset}/command/ann", encode(command), self.now_ms)

    @rule(later_ms=st.sampled_from([1_000, 10_000, 70_000]))
    def tick(self, later_ms: int) -> None:
        self.now_ms += later_ms
        self.whole.pipeline.tick(self.now_ms)

    @rule()
    def checkpoint(self) -> None:
        self.whole.pipeline.checkpoint()

    @invariant()
    def every_transition_is_kept(self) -> None:
        all_in_journal(self.whole)


TestKilledAtEveryCommit = KilledAtEveryCommit.TestCase
TestKilledAtEveryCommit.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_hostile_streams() -> None:
    """Some of those that `python -m tests.fuzz pipeline` sends by the thousand."""
    counts = Counts()
    for case in range(4):
        one(0, case, counts)
    assert counts.recoveries > 20
