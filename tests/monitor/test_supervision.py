"""A running monitor whose helpers fail: it takes frames all the while, and says which ones do."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from cellpulse.embedded import embedded_broker
from cellpulse.wiring import connector
from monitor.config import Config
from monitor.contract import MonitorMetrics, decode
from monitor.errors import ConfigurationError, StoreError
from monitor.mqtt.address import BrokerAddress
from monitor.service import Monitor
from tests.monitor.notify.test_webhook import NO_HTTP, SECRET, TOKEN, Receiver, saying, serving
from tests.monitor.test_service import introduce, monitoring, told
from tests.monitor.web.test_health import parsed

WITHIN_S = 5.0  # a failing helper is shown within that


@pytest.fixture
async def broker() -> AsyncIterator[BrokerAddress]:
    async with embedded_broker() as address:
        yield address


class World:
    """A monitor, its health page, and a device."""

    def __init__(self, monitor: Monitor, client: aiomqtt.Client) -> None:
        self.monitor = monitor
        self.client = client
        self._sent = 0

    async def ask(self, path: str) -> tuple[int, str]:
        port = self.monitor.config.health_port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            answer = (await reader.read()).decode()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), body

    async def health(self) -> dict[str, Any]:
        status, body = await self.ask("/healthz")
        assert status == 200, body
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def until(self, condition: Callable[[dict[str, Any]], bool], name: str) -> dict[str, Any]:
        """The state of a task once it is so, which it has to be within 5 s; 200 all the while."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                task: dict[str, Any] = (await self.health())["tasks"][name]
                if condition(task):
                    return task
                await asyncio.sleep(0.02)

    async def takes_frames(self) -> None:
        """Five more frames are journalled."""
        before = self.monitor.engine.counters.frames
        await introduce(self.client, 70.0, self._sent)
        self._sent += 5
        async with asyncio.timeout(20):
            while self.monitor.engine.counters.frames != before + 5:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def world(config: Config) -> AsyncIterator[World]:
    async with (
        monitoring(config) as monitor,
        connector(config)(aiomqtt.Will("unused/will", b"")) as client,
    ):
        await client.subscribe("bms/+/event", 1)
        await client.subscribe("bms/_monitor/monitor/metrics", 0)
        yield World(monitor, client)


def is_failing(task: dict[str, Any]) -> bool:
    return bool(task["state"] == "failing")


def is_ok(task: dict[str, Any]) -> bool:
    return bool(task["state"] == "ok")


@pytest.mark.parametrize("kind", ["mail", "tls", "long header", "many headers"])
async def test_a_receiver_that_answers_no_http_harms_nothing(
    broker: BrokerAddress, tmp_path: Path, free_port: int, kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with saying(NO_HTTP[kind]) as url:
        config = Config(
            broker=broker, store=tmp_path / "store.sqlite", health_port=free_port, webhook=url,
            webhook_header=f"Authorization: {TOKEN}",
        )  # fmt: skip
        async with world(config) as w:
            await w.takes_frames()  # hot: an alarm is raised
            task = await w.until(is_failing, "webhook")
            assert "does not answer as HTTP" in task["reason"]
            await w.takes_frames()
            found = parsed((await w.ask("/metrics"))[1])
            assert found["cellpulse_task_up{task=webhook}"] == 0
            assert found["cellpulse_task_up{task=checkpoints}"] == 1
            assert found["cellpulse_task_failures_total{task=webhook}"] >= 1
            shown = json.dumps(await w.health())
    for secret in (SECRET, TOKEN):
        assert secret not in shown
        assert secret not in caplog.text


async def test_a_full_disk_under_the_cursor_and_a_token_that_is_put_right(
    broker: BrokerAddress, tmp_path: Path, free_port: int
) -> None:
    receiver = Receiver(401)
    fresh = tmp_path / "store.sqlite.webhook.new"
    with serving(receiver) as url:
        config = Config(
            broker=broker, store=tmp_path / "store.sqlite", health_port=free_port, webhook=url
        )
        async with world(config) as w:
            await w.until(lambda _: (tmp_path / "store.sqlite.webhook").exists(), "webhook")
            fresh.symlink_to("/dev/full")
            await w.takes_frames()
            task = await w.until(is_failing, "webhook")
            assert task["reason"].endswith("answers 401; is the token in webhook_header right?")
            receiver.statuses = [200]
            await w.until(lambda task: "No space left" in (task["reason"] or ""), "webhook")
            await w.takes_frames()
            fresh.unlink()
            await w.until(is_ok, "webhook")
            assert [body["cause"] for body in receiver.bodies] == ["raise"]


async def test_a_helper_that_dies_is_shown_and_comes_back(
    broker: BrokerAddress, tmp_path: Path, free_port: int
) -> None:
    """Where a checkpoint is to be written something stands in the way."""
    config = Config(
        broker=broker, store=tmp_path / "store.sqlite", health_port=free_port, checkpoint_s=0.1
    )
    blocks = [tmp_path / f"store.sqlite.checkpoint-{which}.new" for which in "ab"]
    for block in blocks:
        block.mkdir()
    async with world(config) as w:
        task = await w.until(is_failing, "checkpoints")
        assert "Is a directory" in task["reason"]
        topic = "bms/_monitor/monitor/metrics"
        payload = await told(w.client, topic, lambda payload: b'"failing":[]' not in payload)
        assert decode(MonitorMetrics, payload).failing == ["checkpoints"]
        await w.takes_frames()
        for block in blocks:
            block.rmdir()
        await w.until(is_ok, "checkpoints")


async def test_a_mistake_of_ours_in_a_helper_ends_nothing(
    broker: BrokerAddress, tmp_path: Path, free_port: int
) -> None:
    config = Config(
        broker=broker, store=tmp_path / "store.sqlite", health_port=free_port, checkpoint_s=0.1,
        homeassistant="homeassistant",
    )  # fmt: skip
    async with world(config) as w:
        await w.until(is_ok, "homeassistant")

        def mistaken(*_: object) -> None:
            raise ZeroDivisionError("with-a-secret")

        stale_after_s = w.monitor.engine.stale_after_s
        w.monitor.engine.stale_after_s = mistaken  # type: ignore[assignment]  # a fault put in
        await w.takes_frames()
        task = await w.until(is_failing, "homeassistant")
        assert task["reason"] == "ZeroDivisionError, see the log"
        w.monitor.engine.stale_after_s = stale_after_s  # type: ignore[method-assign]  # the fault taken out
        await w.until(is_ok, "homeassistant")
        await w.takes_frames()


async def test_a_request_that_fails_fails_alone(
    broker: BrokerAddress, tmp_path: Path, free_port: int
) -> None:
    config = Config(broker=broker, store=tmp_path / "store.sqlite", health_port=free_port)
    async with world(config) as w:
        works = w.monitor.upkeep.figures

        def mistaken() -> dict[str, Any]:
            raise ZeroDivisionError

        w.monitor.upkeep.figures = mistaken  # type: ignore[method-assign]  # a fault put in
        assert (await w.ask("/metrics"))[0] == 500
        await w.takes_frames()
        w.monitor.upkeep.figures = works  # type: ignore[method-assign]  # the fault taken out
        assert (await w.ask("/metrics"))[0] == 200


@pytest.mark.parametrize(
    "settings", [{"webhook": "http://x:port/secret"}, {"webhook_header": "secret\n"}]
)
async def test_a_webhook_that_cannot_be_refuses_to_start(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = Config(store=tmp_path / "store.sqlite", **{"webhook": "http://x/", **settings})
    with pytest.raises(ConfigurationError, match="expected") as caught:
        Monitor(config, None, None)
    assert "secret" not in str(caught.value)


async def test_a_bad_rules_file_is_shown_until_it_is_mended(
    broker: BrokerAddress, tmp_path: Path, free_port: int
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("")
    config = Config(
        broker=broker, store=tmp_path / "store.sqlite", health_port=free_port, rules=rules
    )
    async with world(config) as w:
        await w.until(is_ok, "rules")
        rules.write_text("[over_temperature]\nlimits = 3\n")
        task = await w.until(is_failing, "rules")
        assert "over_temperature.limits is unknown" in task["reason"]
        rules.write_text("[over_temperature]\nenabled = false\n")
        await w.until(is_ok, "rules")


async def test_rules_that_the_store_cannot_take_are_tried_until_it_can(
    broker: BrokerAddress, tmp_path: Path, free_port: int
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("")
    config = Config(
        broker=broker, store=tmp_path / "store.sqlite", health_port=free_port, rules=rules
    )
    async with world(config) as w:
        await w.takes_frames()  # hot: an alarm is raised

        def alarm() -> str:
            records = w.monitor.engine.alarm_records()
            return next(record.state for record in records if record.code == "over_temperature")

        async def until(state: str) -> str | None:
            async with asyncio.timeout(WITHIN_S):
                while (task := w.monitor.supervisor.states()["rules"]).state != state:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            return task.reason

        def full(results: object) -> None:
            raise StoreError("the disk is full")

        await until("ok")
        assert alarm() == "unacknowledged"
        commit = w.monitor.journal.commit
        w.monitor.journal.commit = full  # type: ignore[method-assign]  # a fault put in
        await introduce(w.client, 70.0, 5)
        async with asyncio.timeout(WITHIN_S):
            while w.monitor.checks()["store"]:  # noqa: ASYNC110 - until it has noticed
                await asyncio.sleep(0.01)
        rules.write_text("[over_temperature]\nenabled = false\n")
        reason = await until("failing")
        assert reason == "the store cannot take the change of the rules; trying again"
        assert alarm() == "unacknowledged"
        w.monitor.journal.commit = commit  # type: ignore[method-assign]  # the fault taken out
        assert await until("ok") is None
        assert alarm() == "returned-unacknowledged"
        assert w.monitor.checks()["store"]
