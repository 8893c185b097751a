"""The benchmarks of stream and alarm on loads that anything carries: they count what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import alarm
from benchmarks.load import PREPARED_S, STAMP, Load, bodies
from benchmarks.streaming import figures, pass_through
from monitor.contract import decode_telemetry


def test_what_is_published_is_the_contract(mosquitto_binary: str) -> None:
    load = Load(2, 3, 4.0, 1.0)
    prepared = bodies(load)
    assert len(prepared) == PREPARED_S
    assert (load.messages_per_s, load.samples_per_s) == (8.0, 24.0)
    head = b'{"v":1,"timestamp_ms":1700000000123,"session":"load","seq":7,'
    payload = head + prepared[0][1][1]
    (frame,) = decode_telemetry(payload)
    assert int(payload[STAMP]) == frame.timestamp_ms == 1_700_000_000_123
    assert frame.seq == 7
    assert isinstance(frame.voltage_v, list)
    assert len(frame.voltage_v) == 3
    volts = [
        decode_telemetry(head + rows[0])[0].voltage_v for second in prepared for rows in second
    ]
    steps = np.abs(np.diff([v[0] for v in volts if isinstance(v, list) and v[0] is not None]))
    assert steps.max() < 0.02  # it runs on from second to second


async def test_all_of_a_small_load_is_stored_on_both_sides(
    mosquitto_binary: str, tmp_path: Path
) -> None:
    assert mosquitto_binary
    ours = await pass_through("monitor", Load(3, 2, 20.0, 1.0), tmp_path / "ours")
    theirs = await pass_through("baseline", Load(3, 2, 20.0, 1.0), tmp_path / "theirs")
    for one in (ours, theirs):
        assert one.sent["messages"] == one.stored == one.report["frames"] == 60
        assert one.lost == 0
        assert one.sent["unconfirmed"] == 0
        assert one.samples_per_s > 0
    stages = ours.report["stages"]
    assert {"engine", "commit", "receive and send", "decode and announce"} <= stages.keys()
    assert 0 < sum(stages.values()) < ours.report["processor_s"] + 1.0
    names = [figure.name for figure in figures(ours, ours, theirs)]
    assert len(names) == len(set(names)) > 20


async def test_every_transition_of_a_small_load_comes(
    mosquitto_binary: str, tmp_path: Path
) -> None:
    assert mosquitto_binary
    found = await alarm.run(Load(2, 1, 10.0, 4.0), False, tmp_path / "run", 1)
    assert found.missing == 0
    assert len(found.from_arrival) > 10
    assert min(found.from_arrival) > 0.0
