"""The wiring of `cellpulse bridge translate`: listen to foreign topics, publish ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from dataclasses import dataclass, replace
from pathlib import Path

import aiomqtt

from bridge import sparkplug
from bridge.backoff import Backoff
from bridge.clock import SystemClock
from bridge.errors import FrameError, MappingError
from bridge.gateway import Gateway, Outbox
from bridge.mapping import Mapping, load
from bridge.presets import preset
from bridge.publisher import Publisher
from bridge.quarantine import Quarantine
from bridge.run import session
from bridge.serve import serve
from bridge.settings import TranslateSettings, legal_name, milliseconds
from bridge.translate import MAX_NAMED, MAX_PAYLOAD_BYTES, Timing, Told, Translator
from monitor.mqtt.address import BrokerAddress
from monitor.mqtt.client import Client

_log = logging.getLogger("cellpulse.bridge")
_QUEUE = 10_000
_LASTED_S = 30.0  # a connection after which the next is tried at once


async def run_translate(settings: TranslateSettings) -> None:
    """Translate until cancelled."""
    mapping = mapping_of(settings)
    gateway = settings.gateway or f"translate-{legal_name(mapping.name)}"
    settings = replace(settings, gateway=gateway)
    outbox = Publisher(
        settings.address(), settings.topics(), gateway, wall_ms=SystemClock().wall_ms
    )
    translator = Translator(
        mapping,
        Timing(stale_ms=milliseconds("stale_s", settings.stale_s)),
        settings.asset or None,
    )
    source = settings.source()
    aside = Quarantine(outbox.quarantined)
    assets = Assets(outbox, settings, mapping.name, aside)
    listener = Listener(source, mapping, translator, assets, aside)
    outbox.count(lambda: {"ignored": translator.ignored, "assets": len(listener.assets.names)})
    await serve(outbox, [listener.run], listener.assets.names, quarantine=aside)


def mapping_of(settings: TranslateSettings) -> Mapping:
    """The mapping that was asked for; raises MappingError."""
    if (settings.preset is None) == (settings.mapping is None):
        raise MappingError("translate: expected either --from or --mapping")
    if settings.preset is not None:
        return preset(settings.preset, settings.base, settings.device)
    return load(Path(settings.mapping or ""))


class Assets:
    """A gateway for each asset that a source names, made when it is first heard of."""

    def __init__(
        self, outbox: Outbox, settings: TranslateSettings, source: str, quarantine: Quarantine
    ) -> None:
        # Checked once, before anything runs: later only the asset's name differs.
        replace(settings, asset=settings.asset or "pack").told(source)
        self._outbox = outbox
        self._quarantine = quarantine
        self._settings = settings
        self._source = source
        self._session = session()
        self._gateways: dict[str, Gateway] = {}
        self.names: list[str] = []

    def of(self, asset: str) -> Gateway:
        """The asset's gateway."""
        if asset not in self._gateways:
            told = replace(self._settings, asset=asset).told(f"translated from {self._source}")
            self._gateways[asset] = Gateway(
                self._outbox, told, self._session, self._settings.choices(), self._quarantine
            )
            self.names.append(asset)
        return self._gateways[asset]


@dataclass(frozen=True, slots=True)
class Listener:
    """Listens at the source's broker, reconnecting with back-off.

    A message is acknowledged as it is taken from the wire, whatever becomes of it here: one that
    cannot be used is set aside, and does not come again.
    """

    source: BrokerAddress
    mapping: Mapping
    translator: Translator
    assets: Assets
    quarantine: Quarantine

    async def run(self) -> None:
        """Listen until cancelled."""
        backoff = Backoff(0.5, 30.0)
        tls = self.source.tls_context()
        while True:
            began_s = time.monotonic()
            try:
                async with self._client(tls) as client:
                    client.on_unreadable = self._unreadable
                    filters = [sparkplug.FILTER] if self.mapping.sparkplug else []
                    for wanted in filters or self.translator.filters():
                        await client.subscribe(wanted, qos=1)
                    _log.info("listening to %s at %s", self.mapping.name, self.source)
                    await self._listen(client)
            except aiomqtt.MqttError as error:
                _log.warning("source %s: %s", self.source, error)
            except Exception:
                # paho lets through what broken packets and sockets bring; the link is gone.
                _log.warning("source %s: connecting again after", self.source, exc_info=True)
            if time.monotonic() - began_s >= _LASTED_S:  # not one that a message ends each time
                backoff.reset()
            await asyncio.sleep(backoff.wait_s())

    async def _listen(self, client: aiomqtt.Client) -> None:
        edge = sparkplug.Edge()
        clock = SystemClock()
        messages = aiter(client.messages)
        coming: asyncio.Task[aiomqtt.Message] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(messages))
                wait_ms = self.translator.wait_ms(clock.wall_ms())
                done, _ = await asyncio.wait(
                    {coming}, timeout=None if wait_ms is None else wait_ms / 1000
                )
                if done:
                    message, coming = coming.result(), None
                    self._take(message, edge, clock.wall_ms())
                with self.quarantine.guard(self.mapping.name):
                    for told in self.translator.due(clock.wall_ms()):
                        with self.quarantine.guard(f"asset {told.asset}", asset=told.asset):
                            self._tell(told)
        finally:
            if coming is not None:
                coming.cancel()
                with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                    await coming

    def _tell(self, told: Told) -> None:
        gateway = self.assets.of(told.asset)
        if told.reading is None:
            gateway.offline("its source says so")
        else:
            gateway.reading(told.reading, told.timestamp_ms)

    def _take(self, message: aiomqtt.Message, edge: sparkplug.Edge, now_ms: int) -> None:
        topic = str(message.topic)
        payload = message.payload if isinstance(message.payload, bytes) else b""
        try:
            unusable = self.decode(topic, payload, edge, now_ms, message.retain)
        except Exception as error:
            self.quarantine.set_aside(error, topic, payload, self._asset_of(topic))
            return
        for reason in unusable:
            self.quarantine.set_aside(reason, topic, payload)

    def decode(
        self, topic: str, payload: bytes, edge: sparkplug.Edge, now_ms: int, retained: bool
    ) -> list[str]:
        """Take one message, unguarded; returns what of it is no usable value, in words.

        Raises FrameError for a message that cannot be read.
        """
        if not self.mapping.sparkplug:
            return self.translator.receive(topic, payload, now_ms, retained)
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise FrameError(f"{len(payload)} bytes: expected at most {MAX_PAYLOAD_BYTES}")
        heard = edge.receive(topic, payload)
        if isinstance(heard, sparkplug.Known):
            unusable = self.translator.receive_value(heard.topic, heard.metrics, now_ms)
            return [*heard.unusable[:MAX_NAMED], *unusable]
        if isinstance(heard, sparkplug.Death):
            self.translator.lost(heard.prefix, now_ms)
        return []

    def _asset_of(self, topic: str) -> str | None:
        """The asset that an alarm can be told of: one that has had a reading."""
        if self.mapping.sparkplug:
            topic = sparkplug.place_of(topic) or topic
        asset = self.translator.asset_of(topic)
        return asset if asset in self.assets.names else None

    def _unreadable(self, error: Exception, payload: bytes) -> None:
        self.quarantine.set_aside(FrameError(f"a topic that is none: {error}"), "MQTT", payload)

    def _client(self, tls: ssl.SSLContext | None) -> Client:
        return Client.to(
            self.source,
            tls=tls,
            # Past this a burst loses messages: their values are told again in the next round.
            max_queued_incoming_messages=_QUEUE,
            timeout=10,
        )
