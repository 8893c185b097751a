"""InfluxDB behind a running monitor, and the settings that switch it on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import aiomqtt
import pytest

from cellpulse.embedded import embedded_broker
from cellpulse.wiring import connector
from monitor.config import Config, influx_token, load
from monitor.errors import ConfigurationError
from monitor.store.influx_history import InfluxHistory, make_history
from monitor.store.influx_sink import make_sink
from monitor.store.sqlite_history import SqliteHistory
from tests.influx_world import BUCKET, ORG, TOKEN, InfluxWorld
from tests.monitor.test_service import TOPICS, introduce, monitoring, told


async def until(condition: Callable[[], bool]) -> None:
    """Return once something outside this process is so."""
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def test_a_running_monitor_feeds_influxdb_and_goes_on_without_it(
    influx: InfluxWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("monitor", "influxdb_client", "urllib3"):
        caplog.set_level(logging.DEBUG, name)
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n")
    async with embedded_broker() as broker:
        config = Config(
            broker=broker, store=tmp_path / "store.sqlite", influx_url=influx.url, influx_org=ORG,
            influx_bucket=BUCKET, influx_token_file=token_file, influx_history=True,
        )  # fmt: skip
        async with (
            monitoring(config) as monitor,
            connector(config)(aiomqtt.Will("unused/will", b"")) as client,
        ):
            await client.subscribe("bms/+/alarm/#", 1)
            await introduce(client, 70.0)
            await told(client, TOPICS.of("pack", "alarm", "over_temperature", "t01"))
            await until(lambda: influx.count("cell", "voltage_v") == 5)
            influx.stop(kill=True)
            await introduce(client, 70.0, start=5)
            await until(lambda: SqliteHistory(config.store).frames() == 10)
            assert monitor.sink is not None
            await until(lambda: monitor.sink is not None and monitor.sink.state.inputs >= 5)
            figures = monitor.upkeep.figures()
            assert figures["outbox_inputs"] >= 5
            assert figures["outbox_lag_s"] > 0
            influx.start()
            await until(lambda: influx.count("cell", "voltage_v") == 10)
            await until(lambda: influx.count("event", "event_id") >= 1)
    history = make_history(config)
    assert isinstance(history, InfluxHistory)
    trace = history.trace("pack", 0, 0, 60_000)
    assert trace.timestamp_ms.tolist() == [1_000 * k for k in range(10)]
    assert trace.temperature_c.tolist() == [70.0] * 10
    local = SqliteHistory(config.store)
    assert history.events() == local.events()
    assert TOKEN not in caplog.text


def test_settings_of_influxdb(tmp_path: Path) -> None:
    file = tmp_path / "cellpulse.toml"
    file.write_text(
        'influx_url = "https://db.example:8086/"\ninflux_org = "o"\ninflux_history = true\n'
        'keep_raw_days = 7\nstore_max_mb = 500.5\ninflux_token = "from-file"\n'
    )
    config = load(file, {"CELLPULSE_INFLUX_TOKEN": "from-environment"})
    assert config.influx_url == "https://db.example:8086"
    assert (config.keep_raw_days, config.store_max_mb) == (7.0, 500.5)
    assert influx_token(config) == "from-environment"
    assert "from-environment" not in repr(config) + str(config)
    token = tmp_path / "token"
    token.write_text("  from-a-file \n")
    assert influx_token(load(file, {}, influx_token_file=token)) == "from-a-file"
    assert isinstance(make_history(Config()), SqliteHistory)
    assert make_sink(Config(store=tmp_path / "s")) is None


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"influx_url": "localhost:8086"}, "expected http://"),
        ({"influx_url": "ftp://x"}, "expected http://"),
        ({"influx_url": "http://x:99999"}, "expected http://"),
        ({"influx_url": "http://x/?token=abc"}, "expected http://"),
        ({"influx_url": "http://me:secret-of-mine@x"}, "influx_token_file"),
        ({"influx_history": "perhaps"}, "true or false"),
        ({"keep_raw_days": -1}, "keep_raw_days"),
        ({"store_max_mb": "much"}, "store_max_mb"),
        ({"influx_max_assets": 0}, "influx_max_assets"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(settings: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word) as caught:
        load(None, {}, **settings)
    assert "secret-of-mine" not in str(caught.value)


def test_a_token_file_that_is_none(tmp_path: Path) -> None:
    config = Config(store=tmp_path / "s", influx_url="http://x", influx_token_file=tmp_path / "no")
    with pytest.raises(ConfigurationError, match="influx_token_file"):
        make_sink(config)
    (tmp_path / "no").write_text("two\nlines")
    with pytest.raises(ConfigurationError, match="one line"):
        make_sink(config)
    with pytest.raises(ConfigurationError, match="needs influx_url"):
        make_history(Config(influx_history=True))
