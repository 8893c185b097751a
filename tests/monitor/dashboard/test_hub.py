"""The hub and what it is made of: pure, no network, time given.

The module is long because the hub, its rows and its traces are told by the same made messages.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any, get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from monitor.alarms.book import Cause
from monitor.contract import AlarmState, Frame, SimulatorState, Truth
from monitor.dashboard.live.asset_state import RING_SAMPLES
from monitor.dashboard.live.hub import SETTLE_MS, STALE_CHECK_MS, Hub, View
from monitor.dashboard.live.rows import make_row, risk_of
from monitor.dashboard.texts import TEXTS
from monitor.gaps import OLD_FRAMES, gap_ms
from monitor.risk import ThermalSigns
from monitor.store.thinning import mark_gaps, thin_rows
from tests.dashboard_world import (
    START_MS,
    make_alarm,
    make_config,
    make_cycle,
    make_estimate,
    make_frame,
)

NOW = 1_800_000_000_000
FLEET = View("fleet")


def connected() -> Hub:
    hub = Hub()
    hub.on_feed(True, NOW)
    return hub


def read(hub: Hub, view: View, since: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(hub.frame(view, since))
    return answer


def test_a_client_gets_all_first_and_then_only_what_changed() -> None:
    hub = connected()
    for name in ("a", "b", "c"):
        hub.on_frame(name, make_frame(1, START_MS), NOW)
    hub.tick(NOW)
    first = read(hub, FLEET)
    assert first["full"]
    assert {row["id"] for row in first["rows"]} == {"a", "b", "c"}
    hub.on_frame("b", make_frame(2, START_MS + 1), NOW + 100)
    hub.tick(NOW + 100)
    second = read(hub, FLEET, first["to"])
    assert [row["id"] for row in second["rows"]] == ["b"]
    assert not second["full"]


def test_a_client_that_was_skipped_misses_no_sample() -> None:
    hub = connected()
    view = View("asset", "a", 0)
    hub.on_frame("a", make_frame(0, START_MS), NOW)
    hub.tick(NOW)
    since = read(hub, view)["to"]
    for step in range(1, 8):
        hub.on_frame("a", make_frame(step, START_MS + step), NOW + step)
        hub.tick(NOW + 100 * step)
    skipped = read(hub, view, since)
    assert skipped["s"][0] == [START_MS + step for step in range(1, 8)]


def test_samples_of_the_open_version_come_once() -> None:
    hub = connected()
    view = View("asset", "a", 0)
    hub.on_frame("a", make_frame(0, START_MS), NOW)
    hub.tick(NOW)
    hub.on_frame("a", make_frame(1, START_MS + 1), NOW)
    early = read(hub, view)
    hub.tick(NOW + 100)
    late = read(hub, view, early["to"])
    assert early["s"][0] + late["s"][0] == [START_MS, START_MS + 1]


def test_frames_of_one_tick_are_encoded_once() -> None:
    hub = connected()
    hub.on_frame("a", make_frame(0, START_MS), NOW)
    hub.tick(NOW)
    assert hub.frame(FLEET, 0) is hub.frame(FLEET, 0)


def test_stale_is_flagged_on_a_silent_stream_and_gone_when_it_speaks() -> None:
    hub = connected()
    config = msgspec.structs.replace(make_config(), expected_interval_ms=2_000)
    hub.on_config("a", config)
    hub.on_frame("a", make_frame(0, START_MS), NOW)
    hub.tick(NOW)
    assert read(hub, FLEET)["rows"][0]["stale"] is False
    hub.tick(NOW + gap_ms(config, OLD_FRAMES))
    assert read(hub, FLEET)["rows"][0]["stale"] is False
    hub.tick(NOW + gap_ms(config, OLD_FRAMES) + 1_000)
    row = read(hub, FLEET)["rows"][0]
    assert row.get("stale", True)
    assert row["at"] == NOW
    hub.on_frame("a", make_frame(1, START_MS + 1), NOW + 8_000)
    hub.tick(NOW + 8_000)
    assert read(hub, FLEET)["rows"][0]["stale"] is False


def test_after_an_hour_of_silence_it_goes_on_by_itself() -> None:
    hub = Hub()
    hub.on_feed(True, NOW)
    hub.on_config("a", make_config())
    hub.on_frame("a", make_frame(1, NOW), NOW)
    hub.tick(NOW)
    version = hub.version
    for second in range(1, 3_601):  # nothing but the clock
        hub.tick(NOW + 1_000 * second)
    assert hub.version <= version + 2  # grown stale once, and not a version a second
    silent = msgspec.json.decode(hub.frame(View("fleet"), version))
    assert silent["rows"][0].get("stale", True)  # what is left out is the default
    later = NOW + 3_601_000
    hub.on_frame("a", make_frame(2, later), later)
    hub.tick(later)
    fresh = msgspec.json.decode(hub.frame(View("asset", "a"), version))
    assert fresh["row"]["stale"] is False
    assert fresh["s"][0][-1] == later


def test_a_lost_feed_makes_everything_stale() -> None:
    hub = connected()
    hub.on_frame("a", make_frame(0, START_MS), NOW)
    hub.tick(NOW)
    hub.on_feed(False, NOW + 600)
    hub.tick(NOW + 600)
    frame = read(hub, FLEET)
    assert frame["head"]["feed"] is False
    assert frame["head"]["stale"] == 1


def test_retained_estimates_do_not_make_an_asset_live() -> None:
    hub = connected()
    hub.on_estimate("a", make_estimate(0, START_MS))
    hub.tick(NOW)
    row = read(hub, FLEET)["rows"][0]
    assert row.get("stale", True)
    assert "at" not in row


def test_offline_by_its_own_or_its_gateway_status() -> None:
    hub = connected()
    hub.on_config("a", msgspec.structs.replace(make_config(), gateway="g1"))
    hub.on_frame("a", make_frame(0, START_MS), NOW)
    hub.on_gateway_status("g1", False)
    hub.tick(NOW)
    assert read(hub, FLEET)["rows"][0]["off"] is True
    hub.on_gateway_status("g1", True)
    hub.on_status("a", False)
    hub.tick(NOW + 100)
    assert read(hub, FLEET)["rows"][0]["off"] is True


def test_a_late_frame_is_not_the_newest_but_a_restart_is() -> None:
    hub = connected()
    hub.on_frame("a", make_frame(5, START_MS + 5_000), NOW)
    hub.on_frame("a", make_frame(4, START_MS + 4_000), NOW)
    assert hub.newest_ms("a") == START_MS + 5_000
    restarted = msgspec.structs.replace(make_frame(0, START_MS), session="w2")
    hub.on_frame("a", restarted, NOW)
    assert hub.newest_ms("a") == START_MS


def test_a_clock_that_stays_back_is_believed() -> None:
    hub = connected()
    hub.on_frame("a", make_frame(0, START_MS + 10**9), NOW)
    for step in range(25):
        hub.on_frame("a", make_frame(step, START_MS + step), NOW)
    assert hub.newest_ms("a") == START_MS + 24


def test_alarms_count_until_they_return() -> None:
    hub = connected()
    hub.on_frame("a", make_frame(0, START_MS), NOW)
    alarm = make_alarm("a", severity=5)
    hub.on_alarm("a", alarm.code, alarm.source, alarm)
    hub.tick(NOW)
    frame = read(hub, View("alarms"))
    assert frame["head"]["unack"] == 1
    assert frame["head"]["worst"] == 5
    assert frame["alarms"][0]["asset"] == "a"
    hub.on_alarm("a", alarm.code, alarm.source, None)
    hub.tick(NOW + 100)
    assert read(hub, View("alarms"), frame["to"])["alarms"] == []


def test_a_forgotten_asset_leaves_every_page() -> None:
    hub = connected()
    hub.on_config("a", make_config())
    hub.on_config("b", make_config())
    hub.tick(NOW)
    since = read(hub, FLEET)["to"]
    hub.on_config("a", None)
    hub.tick(NOW + 100)
    frame = read(hub, FLEET, since)
    assert frame["full"]
    assert [row["id"] for row in frame["rows"]] == ["b"]


def test_the_asset_page_gets_cycles_truth_config_and_its_cell_of_the_pack() -> None:
    hub = connected()
    hub.on_config("p", make_config(4))
    hub.on_frame("p", make_frame(3, START_MS, 4), NOW)
    hub.on_estimate("p", make_estimate(3, START_MS, 4))
    hub.on_cycle("p", make_cycle("p", 1, cell=2))
    hub.on_cycle("p", make_cycle("p", 2, cell=0))
    hub.on_truth("p", Truth(v=1, timestamp_ms=START_MS, soh=0.9))
    hub.tick(NOW)
    frame = read(hub, View("asset", "p", 2))
    assert frame["config"]["cells"] == 4
    assert [cycle["cell"] for cycle in frame["c"]] == ["c003"]
    assert frame["truth"]["soh"] == 0.9
    voltages = make_frame(3, START_MS, 4).voltage_v
    assert frame["pack"]["v"] == voltages
    assert frame["s"][1] == [voltages[2]]  # type: ignore[index]  # a pack has a list
    assert frame["now_cell"]["soh"] == 0.867


def test_an_unknown_asset_is_said_to_be_missing() -> None:
    hub = connected()
    hub.tick(NOW)
    assert read(hub, View("asset", "nobody"))["missing"] is True


def test_rings_stay_bounded_however_many_assets_there_are() -> None:
    hub = connected()
    for step in range(RING_SAMPLES + 50):
        hub.on_frame("a", make_frame(step, START_MS + step), NOW)
    hub.tick(NOW)
    assert len(read(hub, View("asset", "a"))["s"][0]) == RING_SAMPLES
    for n in range(3_000):
        hub.on_config(f"x{n}", make_config(96))
    hub.on_frame("a", make_frame(2_000, START_MS + 5_000), NOW)
    hub.tick(NOW + 100)
    assert len(read(hub, View("asset", "a"))["s"][0]) == 16


def test_large_fleets_are_sent_less_often() -> None:
    hub = connected()
    assert hub.interval_ms(FLEET) == 100
    for n in range(1_001):
        hub.on_status(f"x{n}", True)
    assert hub.interval_ms(FLEET) == 1_000
    assert hub.interval_ms(View("asset", "x1")) == 100


def test_a_pack_is_summed_up_by_its_weakest_cell() -> None:
    row = make_row("p", make_config(4), make_frame(0, START_MS, 4), make_estimate(0, 0, 4), [])
    voltages = make_frame(0, START_MS, 4).voltage_v
    assert isinstance(voltages, list)
    known = [value for value in voltages if value is not None]
    assert row.v == sum(known)
    assert (row.vmin, row.vmax) == (min(known), max(known))
    assert row.soh == 0.865
    assert row.st == "ok"


def test_missing_values_stay_missing() -> None:
    frame = Frame(v=1, timestamp_ms=START_MS, voltage_v=[3.7, None], temperature_c=None)
    row = make_row("p", make_config(2), frame, None, [])
    assert row.v is None
    assert row.i is None
    assert row.t is None
    assert row.vmin == 3.7


def test_words_stand_where_no_soh_is_known() -> None:
    row = make_row("a", None, None, make_estimate(0, 0, soh=None), [])
    assert row.soh is None
    assert row.st == "not_enough_seen"


def test_the_risk_lamp_follows_the_score_and_thermal_alarms() -> None:
    assert risk_of(None, []) == "unknown"
    calm = ThermalSigns(temperature_c=25.0, temperature_max_c=60.0, score=0.2)
    assert risk_of(calm, []) == "ok"
    assert risk_of(replace(calm, score=0.8), []) == "watch"
    assert risk_of(replace(calm, score=1.1), []) == "warning"
    assert risk_of(replace(calm, score=3.5), []) == "danger"
    assert risk_of(replace(calm, temperature_c=None), []) == "watch"
    assert risk_of(calm, [make_alarm("a", severity=4)]) == "warning"
    assert risk_of(calm, [make_alarm("a", severity=5)]) == "danger"
    assert risk_of(None, [make_alarm("a", severity=1)]) == "watch"
    shelved = msgspec.structs.replace(make_alarm("a"), state="shelved")
    assert risk_of(calm, [shelved]) == "ok"
    assert risk_of(calm, [make_alarm("a", code="under_voltage")]) == "ok"


def test_a_faulty_thermometer_never_reads_as_safe() -> None:
    estimate = make_estimate(0, START_MS)
    frame = make_frame(0, START_MS)
    assert make_row("a", make_config(), frame, estimate, []).risk == "ok"
    faulty = msgspec.structs.replace(estimate, quality=[["temperature_frozen"]])
    assert make_row("a", make_config(), frame, faulty, []).risk == "watch"
    assert make_row("a", make_config(), None, estimate, []).risk == "unknown"


number = st.one_of(st.none(), st.floats(-1e6, 1e6))


@given(st.lists(st.tuples(st.integers(), number, number), max_size=400), st.integers(8, 60))
def test_thinning_keeps_every_columns_extremes_and_the_order(
    rows: list[tuple[float | None, ...]], limit: int
) -> None:
    kept = list(thin_rows(rows, limit, columns=(1, 2)))
    assert len(kept) <= max(limit + 2, 6)
    places = [index for index, row in enumerate(rows) if any(row is one for one in kept)]
    assert [rows[index] for index in places if rows[index] in kept] == kept or len(rows) == 0
    for column in (1, 2):
        known = [row[column] for row in rows if row[column] is not None]
        if known:
            left = [row[column] for row in kept if row[column] is not None]
            assert max(left) == max(known)  # type: ignore[type-var]  # no None is left
            assert min(left) == min(known)  # type: ignore[type-var]  # no None is left


def test_a_line_is_broken_where_nothing_was_heard_and_nowhere_else() -> None:
    rows: list[tuple[float | None, ...]] = [(k * 1_000, 3.7, 0.0) for k in range(9_000)]
    rows[200:260] = [(k * 1_000, 3.7 + 0.01 * (k % 7), 1.0) for k in range(200, 260)]
    rows[5_000:] = [(t + 7_200_000, v, i) for t, v, i in rows[5_000:]]  # type: ignore[operator]
    kept = list(thin_rows(mark_gaps(rows, 10), 120, columns=(1, 2)))
    empty = [k for k, row in enumerate(kept) if row[1:] == (None, None)]
    assert [kept[k][0] for k in empty] == [4_999_001]
    assert kept[empty[0] - 1][0] == 4_999_000
    assert kept[empty[0] + 1][0] == 12_200_000


def test_every_text_has_both_languages_and_the_same_places_to_fill() -> None:
    for key, (english, chinese) in TEXTS.items():
        assert english, key
        assert chinese, key
        names = {part.split("}")[0] for part in english.split("{")[1:]}
        assert names == {part.split("}")[0] for part in chinese.split("{")[1:]}, key


def test_every_state_and_cause_of_an_alarm_has_words() -> None:
    assert {f"state_{state}" for state in get_args(AlarmState)} <= TEXTS.keys()
    assert {f"cause_{cause}" for cause in get_args(Cause)} <= TEXTS.keys()


def test_ten_thousand_assets_make_one_frame() -> None:
    hub = connected()
    for n in range(10_000):
        hub.on_frame(f"x{n}", make_frame(n, START_MS + n), NOW)
    hub.tick(NOW)
    assert len(read(hub, FLEET)["rows"]) == 10_000
    hub.on_frame("x5", make_frame(1, START_MS + 10**7), NOW)
    hub.tick(NOW + 100)
    assert [row["id"] for row in read(hub, FLEET, hub.version - 1)["rows"]] == ["x5"]


def test_not_a_number_never_reaches_the_browser() -> None:
    hub = connected()
    hub.on_frame("a", Frame(v=1, timestamp_ms=START_MS, voltage_v=math.nan), NOW)
    hub.tick(NOW)
    assert b"NaN" not in hub.frame(View("asset", "a"), 0)


def test_a_fleet_page_opens_with_the_newest_voltages_of_each_asset() -> None:
    hub = connected()
    for step in range(120):
        hub.on_frame("a", make_frame(step, START_MS + step, cells=2), NOW + step)
    hub.tick(NOW + 200)
    first = read(hub, FLEET)
    newest = make_frame(119, START_MS, cells=2).voltage_v
    assert isinstance(newest, list)
    assert len(first["trails"]["a"]) == 90
    assert math.isclose(first["trails"]["a"][-1], sum(newest) / 2, abs_tol=1e-4)  # type: ignore[arg-type]  # none is None
    hub.on_frame("a", make_frame(120, START_MS + 120, cells=2), NOW + 300)
    hub.tick(NOW + 300)
    assert "trails" not in read(hub, FLEET, first["to"])


def test_a_replays_state_goes_with_its_assets_until_it_is_away() -> None:
    hub = connected()
    view = View("asset", "a", 0)
    hub.on_config("a", make_config())
    hub.on_simulator("world", SimulatorState(v=1, recordings=["a", "b"], playing=["a"]))
    hub.tick(NOW)
    first = read(hub, view)
    assert first["simulator"]["playing"] == ["a"]
    assert "refused_zh" not in first
    hub.on_frame("a", make_frame(1, START_MS), NOW + 100)
    hub.tick(NOW + 100)
    second = read(hub, view, first["to"])
    assert "simulator" not in second  # nothing new of it
    reason = "seek: that is past the recording's end"
    hub.on_simulator("world", SimulatorState(1, ["a", "b"], ["a"], refused=reason))
    hub.tick(NOW + 150)
    third = read(hub, view, second["to"])
    assert (third["simulator"]["refused"], third["refused_zh"]) == (reason, "跳转：超出记录的末尾")
    hub.on_gateway_status("world", False)  # its will: nobody listens any more
    hub.tick(NOW + 200)
    assert read(hub, view, second["to"])["simulator"] is None


def test_a_replay_that_went_back_is_a_new_run() -> None:
    hub = connected()
    view = View("asset", "a", 0)
    hub.on_frame("a", make_frame(5, START_MS + 50), NOW)
    hub.tick(NOW)
    first = read(hub, view)
    again = msgspec.structs.replace(make_frame(0, START_MS), session="w-1")
    hub.on_frame("a", again, NOW + 100)
    hub.tick(NOW + 100)
    second = read(hub, view, first["to"])
    assert second["run"] == first["run"] + 1
    assert second["s"][0] == [START_MS]


def test_what_ended_while_the_broker_was_away_ends_here_too() -> None:
    hub = connected()
    hub.on_monitor_status("m", True)
    hub.on_monitor_status("gone", True)
    for asset in ("a", "b"):
        hub.on_frame(asset, make_frame(1, START_MS), NOW)
        hub.on_alarm(asset, "x", "pack", make_alarm(asset, "x"))
    hub.on_group("x", "all", make_alarm("_group", "x"))
    hub.on_feed(False, NOW)
    hub.on_feed(True, NOW)
    hub.doubt(NOW)
    hub.on_monitor_status("m", True)
    hub.on_alarm("b", "x", "pack", make_alarm("b", "x"))  # retained, so told again
    hub.tick(NOW + SETTLE_MS - 1)
    assert len(hub.alarms()) == 3  # nothing ends before there was time to tell it
    hub.tick(NOW + SETTLE_MS)
    assert [record.asset for record in hub.alarms()] == ["b"]
    hub.tick(NOW + SETTLE_MS + 1)
    assert read(hub, View("alarms"))["head"]["monitor"] is True
    assert [alarm["asset"] for alarm in read(hub, View("alarms"))["alarms"]] == ["b"]


def test_without_a_monitor_alarms_stand_until_there_is_one_that_would_tell_them() -> None:
    hub = connected()
    hub.on_monitor_status("m", True)
    for code in ("x", "y"):
        hub.on_alarm("a", code, "pack", make_alarm("a", code))
    hub.doubt(NOW)
    hub.tick(NOW + SETTLE_MS)
    hub.tick(NOW + 60_000)
    assert len(hub.alarms()) == 2
    assert read(hub, View("alarms"))["head"]["monitor"] is False
    hub.on_monitor_status("m", True)
    hub.on_alarm("a", "y", "pack", make_alarm("a", "y"))
    hub.tick(NOW + 60_000 + SETTLE_MS - 1)
    assert len(hub.alarms()) == 2
    hub.tick(NOW + 60_000 + SETTLE_MS)
    assert [record.code for record in hub.alarms()] == ["y"]


def test_after_an_hour_of_silence_it_is_stale_and_with_the_next_reading_live() -> None:
    hub = connected()
    hub.on_config("a", make_config())
    hub.on_frame("a", make_frame(1, START_MS), NOW)
    hub.tick(NOW)
    since = read(hub, FLEET)["to"]
    hour_ms = 3_600_000
    for now in range(NOW, NOW + hour_ms, 60_000):  # as seldom as a sleeping machine may tick
        hub.tick(now)
    hub.tick(NOW + hour_ms)
    (row,) = read(hub, FLEET, since)["rows"]
    assert row.get("stale", True)
    assert row["at"] == NOW
    hub.on_frame("a", make_frame(2, START_MS + hour_ms), NOW + hour_ms + 10)
    hub.tick(NOW + hour_ms + STALE_CHECK_MS)
    (row,) = read(hub, FLEET, since)["rows"]
    assert row["stale"] is False
