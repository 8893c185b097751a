"""Replay recordings to a broker: pacing, commands, status with a will.

The pure half is `replay`. Here one loop waits until messages are due, publishes them at QoS 1 and
obeys `_simulator/<id>/command`: pause, resume, step, speed, seek, inject, play. What it has and
does stands on `_simulator/<id>/state`.

When the broker goes away it waits for it as a device would, says again what it is, sends again what
was not acknowledged, and goes on where it was: neither an outage nor a sleep of the machine is made
up for in a hurry.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace

import aiomqtt

from monitor.contract import (
    VERSION,
    Frame,
    SimulatorCommand,
    SimulatorState,
    Topics,
    decode,
    encode,
)
from monitor.errors import CellpulseError, PayloadError
from monitor.refusals import refusal
from monitor.supervisor import Report
from recordings.types import Recording, RecordingError
from simulator.faults_live import inject_now, resumed
from simulator.replay import ReplayOptions, Timed, asset_config, merged
from simulator.twin import load_parameters

log = logging.getLogger(__name__)

IN_FLIGHT = 200  # messages sent before their acknowledgements are waited for
LONGEST_SLEEP_S = 0.25
LONGEST_DEBT_S = 2.0  # what is more than so late was slept through, and sets the pace anew
WAIT_S = (0.25, 0.75)  # between two tries to find the broker again
Connect = Callable[[aiomqtt.Will], AbstractAsyncContextManager[aiomqtt.Client]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay has come."""

    frames: int
    offset_ms: int
    finished: bool = False


@dataclass(slots=True)
class Player:
    """Replays `recordings`, each as an asset of its own. `run` returns when all have ended.

    `offers` are those that can be chosen by a command; where it is empty, the `recordings`.
    """

    recordings: Sequence[Recording]
    options: ReplayOptions
    topics: Topics
    simulator_id: str = "simulator"
    report: Callable[[Progress], None] = lambda progress: None
    offers: Sequence[Recording] = ()
    _paused: bool = False
    _steps: int = 0
    _speed: float | None = None
    _seek: int | None = None  # operation to go to
    _choice: list[Recording] | None = None  # to be played from their beginning
    _jumps: int = 0
    _refused: str | None = None
    _faults: list[SimulatorCommand] = field(default_factory=list)  # to be injected
    # Where it is, kept from one connection to the next.
    _known: bool = False  # a broker has once heard of it
    _lost: aiomqtt.MqttError | None = None  # the connection, as whoever listens found out
    _played: ReplayOptions = field(default_factory=ReplayOptions)
    _source: Iterator[Timed] | None = None
    _held: Timed | None = None  # the first message that is not due
    _due: Sequence[Timed] = ()  # on their way, not acknowledged
    _frames: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, connect: Connect) -> None:
        """Publish config and status, replay, say offline.

        Raises RecordingError where a recording breaks, aiomqtt.MqttError where there is no broker
        to begin with.
        """
        self._speed = self.options.speed
        self._played = self.options
        self.offers = self.offers or self.recordings
        report = Report("replay", lambda: time.time_ns() // 1_000_000)
        while True:
            try:
                async with connect(aiomqtt.Will(self._status_topic, b"offline", 1, True)) as client:
                    await self._introduce_all(client)
                    report.well()
                    await self._perform(client)
                    return
            except aiomqtt.MqttError as error:
                if not self._known:
                    raise
                report.trouble(f"the broker is away: {error}")
            await asyncio.sleep(random.uniform(*WAIT_S))

    async def _introduce_all(self, client: aiomqtt.Client) -> None:
        """Say on a new connection what there is; the broker may have forgotten all of it."""
        client.pending_calls_threshold = 4 * IN_FLIGHT  # it warns past ten, and we send more
        await client.publish(self._status_topic, b"online", 1, True)
        for recording in self.recordings:
            await self._introduce(client, recording)
        await self._tell(client)
        await client.subscribe(self.topics.ours("simulator", self.simulator_id, "command"), 1)
        self._known = True

    async def _perform(self, client: aiomqtt.Client) -> None:
        """Replay and obey on one connection; raises aiomqtt.MqttError when it is lost."""
        self._lost = None
        listener = asyncio.create_task(self._obey(client), name="simulator-commands")
        try:
            await self._play(client)
        except aiomqtt.MqttError:
            raise  # there is nobody to say goodbye to
        except BaseException:
            with suppress(aiomqtt.MqttError):
                await self._say_goodbye(client)
            raise
        else:
            await self._say_goodbye(client)
        finally:
            listener.cancel()
            await asyncio.wait({listener})

    async def _say_goodbye(self, client: aiomqtt.Client) -> None:
        for recording in self.recordings:
            name = recording.info.asset
            await client.publish(self.topics.of(name, "status"), b"offline", 1, True)
        await client.publish(self._status_topic, b"offline", 1, True)
        await client.publish(self._state_topic, b"", 1, True)

    @property
    def _status_topic(self) -> str:
        return self.topics.ours("gateway", self.simulator_id, "status")

    @property
    def _state_topic(self) -> str:
        return self.topics.ours("simulator", self.simulator_id, "state")

    async def _tell(self, client: aiomqtt.Client) -> None:
        """Say what there is and what is played."""
        state = SimulatorState(
            v=VERSION,
            recordings=[recording.info.asset for recording in self.offers],
            playing=[recording.info.asset for recording in self.recordings],
            speed=self._speed,
            paused=self._paused,
            refused=self._refused,
        )
        await client.publish(self._state_topic, encode(state), 1, True)

    async def _choose(self, client: aiomqtt.Client, chosen: Sequence[Recording]) -> None:
        """These recordings in place of those that play, which go offline."""
        names = {recording.info.asset for recording in chosen}
        for recording in self.recordings:
            if recording.info.asset not in names:
                topic = self.topics.of(recording.info.asset, "status")
                await client.publish(topic, b"offline", 1, True)
        self.recordings = chosen
        for recording in chosen:
            await self._introduce(client, recording)
        await self._tell(client)

    def _jumped(self, options: ReplayOptions, operation: int) -> ReplayOptions:
        """From that operation on, in a session of its own: what follows may be earlier again."""
        self._jumps += 1
        session = f"{self.options.session}-{self._jumps}"
        return replace(options, start_operation=operation, session=session)

    async def _introduce(self, client: aiomqtt.Client, recording: Recording) -> None:
        name = recording.info.asset
        config = asset_config(recording.info, self.options, self.simulator_id)
        await client.publish(self.topics.of(name, "config"), encode(config), 1, True)
        await client.publish(self.topics.of(name, "status"), b"online", 1, True)

    async def _play(self, client: aiomqtt.Client) -> None:
        if self._source is None:
            await self._follow(merged(self.recordings, self._played))
        await self._send(client)  # again, what the broker that was lost has not acknowledged
        while True:
            self._changed.clear()  # before it is looked at what there is to do, not after
            await self._turn(client)
            if self._held is None:
                break
            await self._play_on(client)
        self.report(Progress(self._frames, 0, finished=True))

    async def _follow(self, source: Iterator[Timed]) -> None:
        self._source, self._held = source, await asyncio.to_thread(next, source, None)

    async def _play_on(self, client: aiomqtt.Client) -> None:
        """Send what is due when it is due, until the end or until something changes."""
        loop = asyncio.get_running_loop()
        speed = self._speed
        base_s, base_ms = loop.time(), 0 if self._held is None else self._held.offset_ms
        while self._held is not None and not self._changed.is_set():
            if self._paused and self._steps == 0:
                await self._changed.wait()
                return
            now_ms = float("inf")
            if speed is not None and self._steps == 0:
                now_ms = base_ms + (loop.time() - base_s) * 1000.0 * speed
                wait_s = (self._held.offset_ms - now_ms) / 1000.0 / speed
                if wait_s > 0.0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(wait_s, LONGEST_SLEEP_S)):
                            await self._changed.wait()
                    continue
                if wait_s < -LONGEST_DEBT_S:
                    base_s, base_ms = loop.time(), self._held.offset_ms
                    now_ms = base_ms
            # As fast as possible fills the window with whole batches of every asset.
            most = self._steps or IN_FLIGHT * self.options.batch
            self._due, self._held = await asyncio.to_thread(
                _take, self._source or iter(()), self._held, now_ms, most
            )
            self._steps = max(0, self._steps - len(self._due))
            await self._send(client)

    async def _send(self, client: aiomqtt.Client) -> None:
        """Publish what is due, and keep it until all of it is acknowledged."""
        if self._due:
            self._frames += await self._publish(client, self._due)
            last_ms, self._due = self._due[-1].offset_ms, ()
            self.report(Progress(self._frames, last_ms))

    async def _turn(self, client: aiomqtt.Client) -> None:
        """Do what has been commanded; what is not done when the broker is lost is done later."""
        if self._lost is not None:
            raise self._lost
        if self._choice is not None:
            await self._choose(client, self._choice)
            self._choice = None
            self._seek = 0 if self._seek is None else self._seek
        if self._seek is not None:
            self._played, self._seek = self._jumped(self._played, self._seek), None
            await self._follow(merged(self.recordings, self._played))
        while self._faults and self._held is not None:
            command = self._faults.pop(0)
            if await self._inject(client, command, self._held):
                await self._follow(resumed(self.recordings, self._played, self._held))
                for recording in self.recordings:
                    await self._introduce(client, recording)  # it is synthetic from here on

    async def _inject(self, client: aiomqtt.Client, command: SimulatorCommand, held: Timed) -> bool:
        """Put a fault into a recording from now on; whether it could be done."""
        try:
            self.recordings = await asyncio.to_thread(
                inject_now, self.recordings, command.asset, command.fault or "", held.offset_ms,
                self._played, load_parameters("nasa-18650"),
            )  # fmt: skip
        except (CellpulseError, RecordingError) as error:
            await self._refuse(client, error)
            return False
        return True

    async def _publish(self, client: aiomqtt.Client, due: Sequence[Timed]) -> int:
        """Send messages, frames of one asset together as far as `batch` allows."""
        waiting: dict[int, list[Frame]] = {}
        sends = []
        frames = 0

        def send(track: int) -> None:
            batch = waiting.pop(track, [])
            if batch:
                topic = self.topics.of(self.recordings[track].info.asset, "telemetry")
                payload = encode(batch[0]) if len(batch) == 1 else encode(batch)
                sends.append(client.publish(topic, payload, 1))

        for timed in due:
            if isinstance(timed.message, Frame):
                frames += 1
                waiting.setdefault(timed.track, []).append(timed.message)
                if len(waiting[timed.track]) >= self.options.batch:
                    send(timed.track)
            else:
                name = self.recordings[timed.track].info.asset
                sends.append(
                    client.publish(self.topics.of(name, "truth"), encode(timed.message), 1)
                )
        for track in list(waiting):
            send(track)
        await asyncio.gather(*sends)
        return frames

    async def _obey(self, client: aiomqtt.Client) -> None:
        """Obey until the connection is lost, which a replay that is paused would not notice."""
        try:
            await self._listen(client)
        except aiomqtt.MqttError as error:
            self._lost = error
            self._changed.set()

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if message.retain or not isinstance(message.payload, bytes):
                continue
            try:
                command = decode(SimulatorCommand, message.payload)
                self._refused = None
                await self._command(command)
                await self._tell(client)
            except (CellpulseError, RecordingError) as error:
                await self._refuse(client, error)

    async def _refuse(self, client: aiomqtt.Client, error: Exception) -> None:
        log.warning("replay command refused: %s", error)
        self._refused = str(error)[:500]
        await self._tell(client)

    async def _command(self, command: SimulatorCommand) -> None:
        if command.action == "pause":
            self._paused = True
        elif command.action == "resume":
            self._paused = False
        elif command.action == "step":
            self._steps += 1
        elif command.action == "speed":
            if command.speed is None:
                raise PayloadError(refusal("replay_speed"))
            self._speed = command.speed
        elif command.action == "seek":
            self._seek = await asyncio.to_thread(self._operation_of, command)
        elif command.action == "play":
            self._choice = self._named(command.asset)
        else:
            if not command.fault:
                raise PayloadError(refusal("replay_fault"))
            self._faults.append(command)
        self._changed.set()

    def _named(self, asset: str | None) -> list[Recording]:
        """The recording of that name, or all of them."""
        found = [one for one in self.offers if asset is None or one.info.asset == asset]
        if not found:
            listed = ", ".join(recording.info.asset for recording in self.offers)
            raise PayloadError(refusal("replay_recording", asset=asset, known=listed))
        return found

    def _operation_of(self, command: SimulatorCommand) -> int:
        if command.cycle is None and command.time_s is None:
            raise PayloadError(refusal("replay_seek"))
        first_ms: int | None = None
        named = [one for one in self.recordings if one.info.asset == command.asset]
        for operation in (named or self.recordings)[0].operations():
            first_ms = operation.start_ms if first_ms is None else first_ms
            if command.cycle is not None:
                if operation.cycle >= command.cycle:
                    return operation.index
            elif command.time_s is not None and len(operation):
                end_ms = operation.start_ms + operation.time_s[-1] * 1000.0
                if end_ms - first_ms >= command.time_s * 1000.0:
                    return operation.index
        raise PayloadError(refusal("replay_past_end"))


def _take(
    source: Iterator[Timed], held: Timed, now_ms: float, most: int
) -> tuple[list[Timed], Timed | None]:
    """What is due by `now_ms`, at most `most`, and the first message that is not."""
    due = [held]
    for timed in source:
        if timed.offset_ms > now_ms or len(due) >= most:
            return due, timed
        due.append(timed)
    return due, None
