"""One suite for everything that answers as a `History`: the journal, and a real InfluxDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest

from monitor.contract import AssetConfig, Frame
from monitor.errors import StoreError
from monitor.inputs import ConfigIn, FrameIn, Input
from monitor.kernels.columns import BINS, Result
from monitor.store.history import History, Trace
from monitor.store.influx import InfluxWriter, Target
from monitor.store.influx_history import InfluxHistory
from monitor.store.influx_sink import Sink
from monitor.store.journal import Journal
from monitor.store.sqlite_history import SqliteHistory
from tests.conftest import free_ports
from tests.engine_world import T0, frame_in, make_config
from tests.influx_world import BUCKET, ORG, TOKEN, influx_world
from tests.monitor.notify.test_webhook import NO_HTTP, saying
from tests.monitor.store.test_journal import STORY, make_engine, run
from tests.monitor.store.test_minutes import summed_up


@dataclass
class Store:
    """A journal, and a history that is asked of it or of what it fed."""

    journal: Journal
    history: History
    sink: Sink | None
    sums_up: bool = False

    def add(self, inputs: Sequence[Input]) -> None:
        self.journal.commit(make_engine().process(inputs))
        if self.sums_up:
            summed_up(self.journal, 1_000)
        if self.sink is not None:
            self.sink.step()


@pytest.fixture(scope="module", params=["sqlite", "minutes", "influx"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("history")
    journal = Journal(folder / "j.sqlite")
    try:
        if request.param != "influx":
            run(journal, make_engine(), STORY)
            made = Store(journal, SqliteHistory(journal.path), None, request.param == "minutes")
            made.add([])
            yield made
            return
        first, second = free_ports(2)
        with influx_world(folder, (first, second)) as world:
            target = Target(world.url, ORG, BUCKET, TOKEN)
            sink = Sink(journal.path, target.key, lambda: InfluxWriter(target), "m1")
            run(journal, make_engine(), STORY)
            sink.step()
            yield Store(journal, InfluxHistory(target), sink)
    finally:
        journal.close()


@pytest.fixture
def history(store: Store) -> History:
    return store.history


def test_history_assets(history: History) -> None:
    one, two = (entry for entry in history.assets() if entry.name in ("one", "two"))
    assert (one.name, two.name) == ("one", "two")
    assert one.config == make_config(gateway="gw")
    assert two.config == make_config(2, temperature_map=[[2], [1]])
    times = [i.frame.timestamp_ms for i in STORY if isinstance(i, FrameIn) and i.asset == "one"]
    assert (one.first_ms, one.last_ms) == (min(times), max(times))


def test_history_trace_is_what_was_sent(history: History) -> None:
    engine = make_engine()
    results = engine.process(STORY)
    for cell in (0, 1):
        trace = history.trace("two", cell, 0, T0 * 2, points=100_000)
        sent = [
            (item.frame, row)
            for item, row in zip(STORY, results.rows, strict=True)
            if isinstance(item, FrameIn) and item.asset == "two" and row is not None
        ]
        assert trace.timestamp_ms.tolist() == [frame.timestamp_ms for frame, _ in sent]

        def column(values: list[float | None]) -> np.ndarray:
            return np.array(values, float)

        voltages = column([frame.voltage_v[cell] for frame, _ in sent])  # type: ignore[index]  # a pack has lists
        np.testing.assert_array_equal(trace.voltage_v, voltages)
        # The temperature is that of the sensor which watches the cell: they are crossed.
        warm = column([frame.temperature_c[1 - cell] for frame, _ in sent])  # type: ignore[index]  # a pack has lists
        np.testing.assert_array_equal(trace.temperature_c, warm)
        np.testing.assert_array_equal(trace.current_a, column([f.current_a for f, _ in sent]))
        np.testing.assert_array_equal(trace.ambient_c, column([f.ambient_c for f, _ in sent]))
        rows = np.array([row[cell] for _, row in sent])
        for name, result in (
            ("soc", Result.SOC), ("soh", Result.SOH), ("soh_low", Result.SOH_LOW),
            ("soh_high", Result.SOH_HIGH), ("thermal_score", Result.THERMAL_SCORE),
            ("excess_heat_w", Result.EXCESS_HEAT_W), ("resistance_ohm", Result.RESISTANCE_OHM),
        ):  # fmt: skip
            np.testing.assert_allclose(getattr(trace, name), rows[:, result], atol=1e-5)
    beyond = history.trace("two", 9, 0, T0 * 2)
    assert np.isnan(beyond.voltage_v).all()


def test_history_ends_are_included_and_unknown_is_empty(history: History) -> None:
    whole = history.trace("one", 0, 0, T0 * 2, points=100_000)
    a, b = int(whole.timestamp_ms[3]), int(whole.timestamp_ms[9])
    assert history.trace("one", 0, a, b).timestamp_ms.tolist() == whole.timestamp_ms[3:10].tolist()
    for name in ("unknown", "one' OR '1'='1", "'; DROP TABLE input; --", "\0", "%", "x" * 10_000):
        nothing = history.trace(name, 0, 0, T0 * 2)
        assert len(nothing) == 0
        assert all(len(getattr(nothing, f.name)) == 0 for f in fields(Trace))
        assert history.cycles(name, 0) == []
        assert history.events(name) == []
    assert len(history.trace("one", 0, 0, T0 * 2, points=100_000)) == len(whole)


def test_history_cycles_and_events(history: History) -> None:
    results = make_engine().process(STORY)
    cycles = [c for c in results.cycles if c.summary.asset == "two" and c.summary.cell == "c002"]
    assert len(cycles) >= 2
    found = history.cycles("two", 1)
    assert [c.number for c in found] == [c.summary.number for c in cycles]
    assert [c.start_ms for c in found] == sorted(c.start_ms for c in found)
    assert [c.capacity_ah for c in found] == [c.summary.capacity_ah for c in cycles]
    assert list(history.cycles("two", 1, limit=1)) == list(found[-1:])
    curves = history.histograms("two", 1)
    for (start, kind, curve), cycle in zip(curves, cycles, strict=True):
        assert (start, kind) == (cycle.summary.start_ms, cycle.summary.kind)
        assert curve.shape == (BINS,)
        np.testing.assert_array_equal(curve, cycle.histogram)
    events = history.events(limit=10_000)
    in_time = sorted(results.events, key=lambda e: e.alarm.timestamp_ms)
    assert [e.event_id for e in reversed(events)] == [e.event_id for e in in_time]
    assert list(history.events(limit=3)) == list(events[:3])
    alone = history.events(limit=10_000, members=False)
    assert [e.event_id for e in alone] == [e.event_id for e in events if e.group is None]
    own = history.events("one", limit=10_000)
    assert {e.alarm.asset for e in own} == {"one"}
    assert len(own) == sum(e.alarm.asset == "one" for e in events)


def test_a_peak_of_one_sample_survives_in_a_trace(store: Store) -> None:
    values = [-9.0 if k == 1234 else 55.0 if k == 2222 else 1.0 for k in range(3_000)]
    store.add([
        frame_in("p", Frame(v=1, timestamp_ms=T0 + 1000 * k, voltage_v=3.7 + 0.001 * (k % 7),
                            temperature_c=25.0, current_a=value))
        for k, value in enumerate(values)
    ])  # fmt: skip
    trace = store.history.trace("p", 0, 0, T0 * 2, points=100)
    assert 20 < len(trace) <= 104
    assert trace.current_a.min() == -9.0
    assert trace.current_a.max() == 55.0
    stretch_ms = 3_000_000 / 50
    at = trace.timestamp_ms[np.argmin(trace.current_a)]
    assert abs(at - (T0 + 1_234_000)) <= stretch_ms
    assert (np.diff(trace.timestamp_ms) >= 0).all()
    assert trace.timestamp_ms[0] >= T0
    assert trace.timestamp_ms[-1] <= T0 + 3_000_000
    part = store.history.trace("p", 0, T0 + 2_000_000, T0 + 2_400_000, points=50)
    assert part.timestamp_ms[0] >= T0 + 2_000_000
    assert part.timestamp_ms[-1] <= T0 + 2_400_000
    assert part.current_a.max() == 55.0
    assert part.current_a.min() == 1.0


def test_a_trace_of_more_rows_than_a_server_gives_at_once(store: Store) -> None:
    store.add([
        frame_in("q", Frame(v=1, timestamp_ms=T0 + 1000 * k, voltage_v=4.0 if k == 7_777 else 3.7))
        for k in range(12_000)
    ])  # fmt: skip
    while store.sink is not None and store.sink.state.inputs:
        store.sink.step()
    trace = store.history.trace("q", 0, 0, T0 * 2, points=1_000_000)
    assert len(trace) > 5_000
    assert trace.voltage_v.max() == 4.0


def test_values_that_are_missing_are_nan(store: Store) -> None:
    frames: list[Input] = [ConfigIn("gaps", make_config(2), T0)]
    volts: list[list[float | None] | None] = [[3.7, None], None, [None, 3.8], [3.6, 3.5]]
    for k, voltage in enumerate(volts):
        frame = Frame(v=1, timestamp_ms=T0 + 1000 * k, voltage_v=voltage,
                      temperature_c=[25.0 + k] if k % 2 else None,
                      current_a=None if k == 2 else 0.5)  # fmt: skip
        frames.append(frame_in("gaps", frame))
    store.add(frames)
    for cell in (0, 1):
        trace = store.history.trace("gaps", cell, T0, T0 + 10_000)
        assert trace.timestamp_ms.tolist() == [T0 + 1000 * k for k in range(4)]
        expected = [np.nan if v is None or v[cell] is None else v[cell] for v in volts]
        np.testing.assert_array_equal(trace.voltage_v, np.array(expected, float))
        np.testing.assert_array_equal(trace.current_a, [0.5, 0.5, np.nan, 0.5])
        np.testing.assert_array_equal(trace.temperature_c, [np.nan, 26.0, np.nan, 28.0])
        assert np.isnan(trace.ambient_c).all()


def test_a_config_is_found_and_is_the_newest(store: Store) -> None:
    for k in (1, 3, 2):
        config = AssetConfig(v=1, nominal_capacity_ah=float(k), cells=k, chemistry="\"\\\n' OR")
        frame = Frame(v=1, timestamp_ms=T0 + 60_000 * k, voltage_v=3.5)
        store.add(
            [
                ConfigIn("c", config, T0 + 1_000_000 + k * 0 + len(store.history.assets())),
                FrameIn(
                    "c",
                    frame,
                    T0,
                    b'{"v":1,"timestamp_ms":%d,"voltage_v":3.5}' % frame.timestamp_ms,
                ),
            ]
        )
        found = next(entry for entry in store.history.assets() if entry.name == "c")
    assert found.config == config


def test_a_server_that_is_not_there_is_a_store_error(free_port: int, tmp_path: Path) -> None:
    target = Target(f"http://127.0.0.1:{free_port}", ORG, BUCKET, TOKEN)
    for question in (InfluxHistory(target), SqliteHistory(tmp_path / "absent.sqlite")):
        with pytest.raises(StoreError) as caught:
            question.assets()
        assert TOKEN not in str(caught.value)
        with pytest.raises(StoreError):
            question.trace("a", 0, 0, 1)


def test_a_wrong_token_or_bucket_is_a_store_error(store: Store) -> None:
    if not isinstance(store.history, InfluxHistory):
        return
    url = store.history._query._target.url
    with pytest.raises(StoreError, match="401"):
        InfluxHistory(Target(url, ORG, BUCKET, "wrong")).assets()
    with pytest.raises(StoreError, match="database not found"):
        InfluxHistory(Target(url, ORG, "another", TOKEN)).events()


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "words",
    [*NO_HTTP.values(), HEAD + b"no JSON", HEAD + b"[" * 100_000, HEAD + b"\xff", HEAD + b"[1]",
     HEAD + b'{"results": [5]}', HEAD + b'{"results": 5}', HEAD + b'{"results": [{"series": 5}]}',
     HEAD + b'{"results": [{"series": [{}]}]}', b"HTTP/1.1 500 x\r\n\r\n" + b"[" * 100_000],
    ids=lambda _: "answer",
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_a_store_error(words: bytes) -> None:
    with saying(words) as url, pytest.raises(StoreError, match="InfluxDB") as caught:
        InfluxHistory(Target(url, ORG, BUCKET, TOKEN)).assets()
    assert TOKEN not in str(caught.value)
