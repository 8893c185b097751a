"""The client id beside the store: kept, private, and an upgrade that loses nothing of the queue."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import aiomqtt
import pytest

from monitor.config import Config
from monitor.contract import Frame, Topics, encode
from monitor.errors import ConfigurationError
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.client_id import client_id
from monitor.mqtt.link import MqttLink
from monitor.service import INGEST
from monitor.store.sqlite_history import SqliteHistory
from tests.acl_broker import guarded_broker
from tests.engine_world import T0
from tests.monitor.test_kill import wait_for_frames
from tests.monitor.test_service import monitoring

TOPICS = Topics("bms")
QUEUED = 100


def test_an_id_is_made_once_and_is_private(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    made = client_id(store, "m1", had_store=False)
    assert made.path == tmp_path / "store.sqlite.client-id"
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert made.former is None
    assert made.value.startswith("cellpulse-m1-")
    assert len(made.value.removeprefix("cellpulse-m1-")) == 32
    # Another monitor_id is another name on topics; the queue hangs on the id, which stays.
    assert client_id(store, "m2", had_store=True) == made
    assert client_id(tmp_path / "other.sqlite", "m1", had_store=False).value != made.value
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "other.sqlite.client-id", "store.sqlite.client-id",
    ]  # fmt: skip


def test_a_store_of_an_earlier_version_remembers_whose_queue_to_empty(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    made = client_id(store, "m1", had_store=True)
    assert made.former == "cellpulse-m1"
    assert client_id(store, "m1", had_store=True) == made  # after a kill in between
    done = made.without_former()
    assert client_id(store, "m1", had_store=True) == done
    assert (done.value, done.former) == (made.value, None)


@pytest.mark.parametrize(
    "content", [b"", b"short\n", b"x" * 20 + b"\ny\nz\n", b"\xff" * 20, b"a b c d e f g h i"]
)
def test_a_damaged_file_is_not_passed_over(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.sqlite.client-id"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"client-id: .*bring it back from a copy, or del"):
        client_id(tmp_path / "store.sqlite", "m", had_store=True)
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_read_or_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite.client-id").mkdir()
    with pytest.raises(ConfigurationError, match="Is a directory"):
        client_id(tmp_path / "store.sqlite", "m", had_store=True)
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        client_id(tmp_path / "none" / "store.sqlite", "m", had_store=False)


def frame(k: int) -> bytes:
    return encode(
        Frame(v=1, session="s", seq=k, timestamp_ms=T0 + 1_000 * k, voltage_v=3.7, current_a=1.0)
    )


async def send(address: BrokerAddress, numbers: range) -> None:
    async with aiomqtt.Client(
        address.host, address.port, username=address.user, password=address.password
    ) as device:
        for k in numbers:
            await device.publish("bms/rack7/telemetry", frame(k), 1)


async def stored(store: Path, at_least: int) -> int:
    """How many frames the journal holds, once it is so many."""
    await asyncio.to_thread(wait_for_frames, store, at_least)
    return SqliteHistory(store).frames()


async def test_a_device_cannot_wipe_the_queue(
    mosquitto_binary: str, free_port: int, tmp_path: Path
) -> None:
    """It knows the monitor's name and has a password of the broker."""
    with guarded_broker(mosquitto_binary, free_port, tmp_path) as broker:
        config = Config(broker=broker.address("monitor"), store=tmp_path / "store.sqlite")
        async with monitoring(config):
            pass
        await send(broker.address("rack7"), range(QUEUED))
        for name in ("monitor", "cellpulse-monitor"):
            async with aiomqtt.Client(
                "127.0.0.1", broker.port, username="rack7", password="rack7", identifier=name
            ):
                pass
        async with monitoring(config) as again:
            assert await stored(config.store, QUEUED) == QUEUED
            assert again.engine.counters.missed == 0
            assert again.link.taken_over == 0


@pytest.mark.parametrize("stays", [True, False])
async def test_an_upgrade_takes_what_the_broker_kept_under_the_old_id(
    mosquitto: BrokerAddress, tmp_path: Path, stays: bool
) -> None:
    """All of it, in order, and once; where the broker has lost the session, there is nothing."""
    config = Config(broker=mosquitto, store=tmp_path / "store.sqlite")
    async with monitoring(config):
        pass
    (tmp_path / "store.sqlite.client-id").unlink()  # as an earlier version left the folder
    former = MqttLink(
        mosquitto, "cellpulse-monitor", keeps_session=stays,
        subscriptions=[(f"bms/{topic}", 1) for topic in INGEST],
    )  # fmt: skip
    await asyncio.to_thread(former.open)
    assert former.subscribed.wait(10)
    await asyncio.to_thread(former.close)
    await send(mosquitto, range(QUEUED))
    async with monitoring(config) as monitor:
        await send(mosquitto, range(QUEUED, QUEUED + 5))
        whole = QUEUED + 5 if stays else 5
        assert await stored(config.store, whole) == whole
        counters = monitor.engine.counters
        assert (counters.frames, counters.late, counters.missed) == (whole, 0, 0)
        assert len((tmp_path / "store.sqlite.client-id").read_text().splitlines()) == 1
        gone = MqttLink(mosquitto, "cellpulse-monitor", keeps_session=True)
        await asyncio.to_thread(gone.open)
        await asyncio.to_thread(gone.close)
        assert not gone.session_kept
