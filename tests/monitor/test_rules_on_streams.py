"""Every built-in alarm on a stream that trips it: raised once, with its severity, then cleared."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from monitor.alarms.rules import DATA_NOTICES, DEFAULT_RULES, TROUBLES
from monitor.contract import Frame, Limits
from monitor.engine import Engine
from monitor.inputs import ConfigIn, FrameIn, Input, StatusIn, Tick, Trouble
from tests.engine_world import T0, cycling, frame_in, make_config, soh_model, thermal_model

LIMITS = Limits(
    charge_current_max_a=2.0, discharge_current_max_a=3.0, resistance_max_ohm=0.1, soc_min=0.2,
)  # fmt: skip
Signal = Callable[[int], object]


def frames(
    n: int, *, v: Signal = lambda k: 3.7, i: Signal = lambda k: -1.0, t: Signal = lambda k: 25.0,
    dt_s: float = 1.0,
) -> list[Input]:  # fmt: skip
    return [
        frame_in(
            "p",
            Frame(
                v=1, session="s", seq=k, timestamp_ms=T0 + round(1_000 * dt_s * k),
                current_a=i(k), voltage_v=v(k), temperature_c=t(k), ambient_c=25.0,  # type: ignore[arg-type]  # or a list
            ),
        )
        for k in range(n)
    ]  # fmt: skip


def between(a: int, b: int, inside: object, outside: object) -> Signal:
    return lambda k: inside if a <= k < b else outside


def bump(level: float, step: float) -> Signal:
    """Four steps away from a level and back, as fast as a cell can."""
    return lambda k: level + step * (min(max(0, k - 10), 4) - min(max(0, k - 30), 4))


def breathing(k: int) -> float:
    """A good voltage that is not frozen under a changing current."""
    return 3.7 + 0.001 * (k % 5)


def resting(k: int) -> float:
    return -0.001 * (k % 3)


def without(inputs: list[Input], missing: set[int]) -> list[Input]:
    return [item for k, item in enumerate(inputs) if k not in missing]


def renumbered(inputs: list[Input], at: int, back_ms: int) -> list[Input]:
    """The clock is set back at one frame."""
    out: list[Input] = []
    for k, item in enumerate(inputs):
        assert isinstance(item, FrameIn)
        shift = back_ms if k >= at else 0
        frame = Frame(
            v=1, session="s", seq=k, timestamp_ms=item.frame.timestamp_ms - shift,
            current_a=item.frame.current_a, voltage_v=item.frame.voltage_v,
        )  # fmt: skip
        out.append(frame_in("p", frame, item.arrival_ms))
    return out


def low_charge(k: int) -> float:
    """Down to the cut-off, which anchors the state of charge at nothing, then charged."""
    return 3.5 - 0.01 * k if k < 85 else 3.2 + 0.004 * (k - 85)


STREAMS: dict[tuple[str, int], tuple[list[Input], str]] = {
    ("over_voltage", 4): (frames(60, v=between(10, 30, 4.3, 3.7)), "c001"),
    ("under_voltage", 3): (frames(60, v=between(10, 30, 2.4, 3.7)), "c001"),
    ("over_temperature", 5): (frames(120, v=breathing, t=bump(55.0, 3.0)), "t01"),
    ("under_temperature", 3): (frames(120, t=bump(-15.0, -3.0)), "t01"),
    ("charge_over_current", 4): (frames(60, v=breathing, i=between(10, 30, 2.5, 1.0)), "pack"),
    ("discharge_over_current", 4): (
        frames(60, v=breathing, i=between(10, 30, -3.5, -1.0)), "pack",
    ),
    ("fast_heating", 4): (
        frames(600, v=breathing, t=lambda k: 25.0 + 0.2 * min(max(0, k - 20), 90)), "t01",
    ),
    ("fast_heating", 5): (
        frames(900, v=breathing, t=lambda k: 25.0 + 1.0 * min(max(0, k - 20), 80)), "t01",
    ),
    ("high_resistance", 3): (
        frames(
            1_600,
            i=lambda k: -2.0 if k % 20 >= 10 else 0.0,
            v=lambda k: 3.7 + 0.001 * (k % 3)
            - (2.0 * (0.15 if k < 300 else 0.03) if k % 20 >= 10 else 0.0),
        ),
        "c001",
    ),
    ("low_soc", 1): (
        frames(1_200, dt_s=10.0, v=low_charge, i=lambda k: -1.0 if k < 85 else 1.0), "c001",
    ),
    ("voltage_signal_fault", 3): (frames(60, v=between(10, 30, 9.9, 3.7)), "c001"),
    ("temperature_signal_fault", 3): (frames(60, t=between(10, 30, -99.0, 25.0)), "t01"),
    ("current_signal_fault", 3): (frames(60, i=between(10, 30, 900.0, 1.0)), "pack"),
    ("signal_glitches", 2): (
        frames(2_000, v=lambda k: 4.9 if k in (10, 20, 30, 40, 50) else 3.7), "c001",
    ),
    ("stale", 3): (
        [*frames(3), Tick(T0 + 60_000), *frames(62)[60:], Tick(T0 + 62_000)], "pack",
    ),
    ("offline", 3): (
        [*frames(3), StatusIn("p", False, False, T0), StatusIn("p", False, True, T0)], "pack",
    ),
    ("clock_jump", 2): (renumbered(frames(30), 10, 3_600_000), "pack"),
    ("sequence_gap", 2): (
        [*without(frames(30), {10, 11}), Tick(T0 + 600_000)], "pack",
    ),
    **{
        (code, notice.severity): (
            [
                *frames(3), Trouble("p", code, "pack", T0), Tick(T0 + 59_000),
                Trouble("p", code, "pack", T0 + 59_000), Tick(T0 + 118_000), Tick(T0 + 119_000),
            ],
            "pack",
        )
        for code, notice in TROUBLES.items()
    },
}  # fmt: skip
ELSEWHERE = {  # on streams of whole cycles
    "thermal_anomaly": "tests/monitor/test_engine.py",
    "cell_imbalance": "tests/monitor/test_engine.py",
    "soh_end_of_life": "below",
    "knee": "tests/monitor/test_fade_live.py",
    "accelerated_fade": "tests/monitor/test_fade_live.py",
}


@pytest.mark.parametrize(("code", "severity"), STREAMS)
def test_it_is_raised_and_cleared(code: str, severity: int) -> None:
    inputs, source = STREAMS[code, severity]
    engine = Engine(soh_model(), thermal_model())
    engine.process([ConfigIn("p", make_config(limits=LIMITS), T0)])
    events = [e for e in engine.process(inputs).events if e.alarm.code == code]
    causes = [e.cause for e in events]
    assert causes[0] == "raise"
    assert causes[-1] == "clear"
    assert causes.count("raise") == 1
    assert max(e.alarm.severity for e in events) == severity
    first = events[0].alarm
    assert first.source == source
    assert first.message
    assert first.message_zh
    assert first.action
    assert first.action_zh


def test_every_alarm_is_in_a_test() -> None:
    known = {rule.code for rule in DEFAULT_RULES} | {notice.code for notice in DATA_NOTICES}
    assert {code for code, _ in STREAMS} | ELSEWHERE.keys() == known


def test_a_state_of_health_below_end_of_life_is_raised() -> None:
    engine = Engine(soh_model(), thermal_model())
    limits = msgspec.structs.replace(LIMITS, soh_end_of_life=1.0)
    engine.process([ConfigIn("p", make_config(limits=limits), T0)])
    events = engine.process(list(cycling("p", 400))).events
    found = [e for e in events if e.alarm.code == "soh_end_of_life"]
    assert found[0].cause == "raise"
    assert found[0].alarm.value is not None
    assert found[0].alarm.value < 1.0
    assert (found[0].alarm.severity, found[0].alarm.limit) == (2, 1.0)


def test_a_glitch_raises_nothing_else() -> None:
    """Each reading that jumps alone would have tripped a rule by itself."""
    engine = Engine(soh_model(), thermal_model())
    engine.process([ConfigIn("p", make_config(limits=LIMITS), T0)])
    glitches = {10: 4.9, 20: 0.1, 30: 4.9}
    results = engine.process(
        frames(60, v=lambda k: glitches.get(k, 3.7), t=lambda k: 300.0 if k == 40 else 25.0)
    )
    assert {e.alarm.code for e in results.events} == {"signal_glitches"}
    assert engine.counters.glitches == 4


def test_no_heating_alarm_from_a_sensor_that_is_faulty() -> None:
    """Broken, it jumps up and on: fast heating is suppressed by design while the fault stands."""
    engine = Engine(None, None)
    engine.process([ConfigIn("p", make_config(limits=LIMITS), T0)])
    events = engine.process(
        frames(400, v=breathing, t=lambda k: 25.0 if k < 50 else -99.0 if k % 40 else 300.0)
    ).events
    heating = [e.alarm.state for e in events if e.alarm.code == "fast_heating"]
    assert "unacknowledged" not in heating
