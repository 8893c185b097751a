"""What a report says: its figures from made-up lives whose answers are known, and from a store."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.replayed import file_sha256
from analysis.report.content import make_report
from analysis.report.make import make
from analysis.report.material import Material, from_recording, from_store
from analysis.report.record import Report, from_json, json_schema, to_json
from analysis.report.samples import Peaks, Samples
from monitor.contract import AssetConfig, Frame
from monitor.kernels.columns import Phase, Quality
from monitor.models.folder import load_model, models_folder
from simulator.demo_file import demo_recording
from tests.conftest import ROOT
from tests.report_world import (
    HOUR_MS,
    START_MS,
    material,
    report_of,
    result_row,
    shorting,
    soh_at,
    write_store,
)  # fmt: skip
from training.forecast.run import forecast_series


@pytest.fixture(scope="module")
def aged() -> Report:
    return report_of(material())


@pytest.fixture(scope="module")
def short() -> Material:
    return from_recording(shorting(), demo_recording(), models_folder())


def test_health_is_the_last_complete_discharge(aged: Report) -> None:
    health = aged.health
    assert health.measured is not None
    assert health.measured.soh == pytest.approx(soh_at(59))
    assert health.measured.capacity_ah == pytest.approx(2.0 * soh_at(59))
    assert health.first_measured is not None
    assert health.first_measured.soh == pytest.approx(soh_at(0))
    assert health.fade_per_100 == pytest.approx(0.5)
    assert health.estimated is not None
    assert (health.estimated.kind, health.estimated.number) == ("discharge", 60)
    assert health.knee.state == "none"
    assert not health.in_training


def test_use_is_counted(aged: Report) -> None:
    use = aged.use
    out_ah = sum(2.0 * soh_at(k) for k in range(60))
    assert use.charge_out_ah == pytest.approx(out_ah)
    assert use.charge_in_ah == pytest.approx(out_ah / 0.99)
    assert use.equivalent_cycles == pytest.approx((out_ah + out_ah / 0.99) / 4.0)
    assert use.hours == pytest.approx(239.0)
    assert use.hours_rest == pytest.approx(239.0)
    assert sum(band.hours for band in use.bands) == pytest.approx(239.0)
    assert use.efficiency_newest is not None
    assert use.efficiency_newest.energy == pytest.approx(0.9)
    assert use.efficiency_newest.charge == pytest.approx(0.99)
    assert (use.charges_complete, use.discharges_complete) == (60, 60)


def test_resistance_grows_as_it_was_made_to(aged: Report) -> None:
    found = aged.resistance
    assert found.first_ohm == pytest.approx(0.102)
    assert found.newest_ohm == pytest.approx(0.157)
    assert found.growth_ohm_per_100 == pytest.approx(0.1)


def test_the_forecast_is_that_of_the_forecast_command(aged: Report) -> None:
    assert aged.forecast is not None
    from training.forecast.run import ForecastModel

    model = load_model(ForecastModel, "forecast", models_folder())
    series = np.array([soh_at(k) for k in range(60)])
    told = forecast_series(model, "made-up", "nasa-18650", series)
    assert aged.forecast.soh[:10] == pytest.approx(told.soh[:10], abs=1e-4)
    assert aged.forecast.remaining == told.remaining
    assert aged.forecast.ahead[:10] == list(range(1, 11))


def test_a_forecast_that_cannot_be_made_says_why() -> None:
    assert report_of(material(20)).forecast_missing == "too_few_cycles"
    assert report_of(material(60, cell_type=None)).forecast_missing == "unknown_family"
    assert make_report(material(60), [], None).forecast_missing == "no_model"


def test_a_pack_is_judged_by_its_weakest_cell() -> None:
    found = report_of(material(10, cells=3))
    assert found.about.cell == "c002"
    assert found.health.measured is not None
    assert found.health.measured.soh == pytest.approx(soh_at(9) - 0.04)
    assert "pack" in found.remarks
    assert found.use.energy_all_cells_wh > 2.9 * (found.use.energy_in_wh + found.use.energy_out_wh)


def test_a_published_capacity_goes_before_the_count() -> None:
    life = material(5)
    last = next(c for c, _ in reversed(life.cycles) if c.kind == "discharge")
    life.truths = [(last.start_ms - 1_000, 0.5)]
    report = report_of(life)
    found = report.health.measured
    assert found is not None
    assert (found.soh, found.published) == (0.5, True)
    # No cell fades like that from one discharge to the next, and the reader is told.
    assert "sudden" in report.remarks
    assert "sudden" not in report_of(material(5)).remarks


def test_what_is_unknown_is_marked_unknown() -> None:
    life = material(1)
    life.cycles.clear()
    found = report_of(life)
    states = {p.code: p.state for p in found.regulation}
    assert states["remaining_capacity"] == "unknown"
    assert states["manufacturing_date"] == "unknown"
    assert states["certified_energy"] == "unknown"
    assert states["energy_throughput"] == "partly"
    assert found.health.measured is None
    assert {"no_soh", "no_forecast"} <= set(found.remarks)
    assert [p.part for p in found.regulation] == ["A"] * 6 + ["B"] * 8


def test_values_that_were_flagged_do_not_count() -> None:
    samples = Samples(AssetConfig(v=1, nominal_capacity_ah=2.0))
    good = Frame(v=1, timestamp_ms=0, current_a=1.0, voltage_v=3.7, temperature_c=25.0)
    bad = Frame(v=1, timestamp_ms=1_000, current_a=900.0, voltage_v=9.0, temperature_c=999.0)
    flags = Quality.VOLTAGE_IMPOSSIBLE | Quality.CURRENT_IMPOSSIBLE | Quality.TEMPERATURE_IMPOSSIBLE
    samples.take([good, bad], [result_row(), result_row(int(flags))])
    assert (samples.voltage.high, samples.current.high, samples.temperature.high) == (3.7, 1.0, 25)
    assert samples.flags == {
        "voltage_impossible": 1, "current_impossible": 1, "temperature_impossible": 1
    }  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.integers(1, 300), min_size=2, max_size=40),
    cuts=st.lists(st.integers(1, 39), max_size=5),
    seed=st.integers(0, 1000),
)
def test_sums_do_not_depend_on_where_a_stream_is_cut(
    steps: list[int], cuts: list[int], seed: int
) -> None:
    draw = np.random.default_rng(seed)
    times = np.cumsum(steps) * 1_000
    frames = [
        Frame(
            v=1, timestamp_ms=int(t), session="s", seq=int(k + (k > 9)),
            current_a=float(draw.normal()), voltage_v=[3.7, float(draw.uniform(3, 4))],
            temperature_c=[float(draw.uniform(-5, 70))] if draw.random() < 0.9 else None,
        )
        for k, t in enumerate(times)
    ]  # fmt: skip
    rows = [
        result_row(phase=int(draw.integers(0, 5)), score=float(draw.uniform(0, 2)), cells=2)
        for _ in frames
    ]
    config = AssetConfig(v=1, nominal_capacity_ah=2.0, cells=2, max_gap_ms=120_000)
    whole, parts = Samples(config), Samples(config)
    whole.take(frames, list(rows))
    edges = sorted({0, len(frames), *(min(cut, len(frames)) for cut in cuts)})
    for a, b in pairwise(edges):
        parts.take(frames[a:b], list(rows[a:b]))
    plain = np.diff(times) / 1_000.0
    covered = float(plain[plain <= 120].sum()) / 3_600.0
    for one in (whole, parts):
        assert one.hours["all"] == pytest.approx(covered)
        assert one.gaps == int((plain > 120).sum())
        assert one.missing == (1 if len(frames) > 10 else 0)
        assert one.frames == len(frames)
    discharging = [int(r[0, 8]) == int(Phase.DISCHARGE) for r in rows[:-1]]
    expected = float(plain[(plain <= 120) & discharging].sum()) / 3_600.0
    assert whole.hours["discharge"] == pytest.approx(expected)
    assert parts.hours == pytest.approx(whole.hours)
    assert parts.bands == pytest.approx(whole.bands)
    assert parts.hot == whole.hot
    np.testing.assert_array_equal(parts.peaks.points(), whole.peaks.points())


def test_a_store_that_trimmed_its_samples_says_since_when() -> None:
    life = material(30)
    whole = report_of(life)
    assert "trimmed" not in whole.remarks
    assert whole.source.samples_from_ms == whole.source.first_ms == START_MS
    life.samples.first_ms += 50 * HOUR_MS
    trimmed = report_of(life)
    assert "trimmed" in trimmed.remarks
    assert trimmed.source.first_ms == START_MS
    assert trimmed.source.samples_from_ms == START_MS + 50 * HOUR_MS


def test_data_without_a_date_say_so() -> None:
    life = material(2)
    assert "undated" not in report_of(life).remarks
    life.samples.first_ms = 0
    assert "undated" in report_of(life).remarks


def test_peaks_survive_the_thinning() -> None:
    peaks = Peaks()
    times = np.arange(START_MS, START_MS + 4_000 * 60_000, 60_000, dtype=np.int64)
    heat = np.full(len(times), 25.0)
    heat[3_217] = 88.0
    for part in np.array_split(np.arange(len(times)), 7):
        peaks.take(times[part], heat[part], np.full(len(part), np.nan))
    points = peaks.points()
    assert len(points) <= Peaks.MOST
    hottest = max(points, key=lambda point: point[1])
    assert hottest[1] == 88.0
    assert abs(hottest[0] - times[3_217]) <= peaks.width_ms


def test_the_short_of_the_demo_is_seen(short: Material) -> None:
    found = report_of(short)
    assert found.thermal.risk == "danger"
    assert found.thermal.segments
    assert found.thermal.segments[0].peak_score > 3
    assert "thermal_anomaly" in {line.code for line in found.alarms.lines}
    assert found.remarks[:2] == ["synthetic", "thermal"]
    assert found.source.sha256 == file_sha256(demo_recording())


def test_a_store_tells_what_the_file_tells(short: Material, tmp_path: Path) -> None:
    """The same frames through a monitor's journal give the same figures."""
    write_store(tmp_path / "store.sqlite", shorting())
    by_store = report_of(from_store(tmp_path / "store.sqlite", "twin-shorting"))
    by_file = report_of(short)
    for part in ("use", "health", "fade", "resistance", "thermal", "alarms", "regulation"):
        assert getattr(by_store, part) == getattr(by_file, part), part
    assert by_store.source.kind == "store"
    assert by_store.quality.rejected is None
    again = make("twin-shorting", models=models_folder(), store=tmp_path / "store.sqlite")
    assert again.advice is not None  # the charging policy is installed
    assert [card.name for card in again.models] == ["soh", "thermal", "forecast", "charging"]
    again = msgspec.structs.replace(again, advice=None, models=by_store.models)
    assert to_json(again) == to_json(by_store)


def test_the_json_fits_its_schema_and_comes_back(aged: Report) -> None:
    data = to_json(aged)
    jsonschema.Draft202012Validator(json_schema()).validate(json.loads(data))
    assert from_json(data) == aged
    assert to_json(from_json(data)) == data


def test_the_committed_schema_is_the_code_s() -> None:
    path = ROOT / "docs/schema/report/battery_health_report.json"
    assert json.loads(path.read_text(encoding="utf-8")) == json_schema(), "run `cellpulse schema`"


def test_gaps_and_late_clocks_are_counted() -> None:
    samples = Samples(AssetConfig(v=1, nominal_capacity_ah=2.0, max_gap_ms=60_000))
    frames = [
        Frame(v=1, timestamp_ms=t, current_a=0.0, voltage_v=3.7)
        for t in (0, 1_000, HOUR_MS, HOUR_MS + 1_000, 5_000)
    ]
    samples.take(frames, [result_row() for _ in frames])
    assert (samples.gaps, samples.clock_jumps) == (1, 1)
    assert samples.gap_longest_s == pytest.approx(3_599.0)
    assert samples.hours["all"] == pytest.approx(2.0 / 3_600.0)


@pytest.mark.long
def test_a_real_cell(shared_data: Path) -> None:
    path = shared_data / "nasa" / "mat" / "B0005.reconstructed.mat"
    found = make(str(path), models=models_folder())
    assert found.health.measured is not None
    assert found.health.measured.soh == pytest.approx(0.6625, abs=1e-4)
    assert found.health.in_training
    assert found.forecast is not None
    assert found.forecast.remaining == 0
    assert found.thermal.risk == "watch"  # eight minutes at 0.94 of the threshold, as on the page
