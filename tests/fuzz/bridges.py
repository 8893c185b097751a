"""Every translator and every board decoder, fed with broken and hostile input below the quarantine.

A case is its seed and number. Valid bytes are mutated, and values that the structure allows but no
battery has are put in their places, with checksums that hold. Whatever comes out is made into the
contract's messages, which must decode again; what is raised must be the documented error.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge import daly, daly_d2, jbd, jk, jk_ble, sparkplug
from bridge.ble import identity_of, reading_of
from bridge.conversation import Ask, FrameBuffer, finish
from bridge.conversation import Protocol as Spoken
from bridge.crc import crc16_modbus
from bridge.device import AssetOptions, alarm_changes, config_of, frame_of
from bridge.errors import FrameError, MappingError, NoAnswerError
from bridge.gateway import Gateway
from bridge.jsonpath import Path as JsonPath
from bridge.jsonpath import read_json
from bridge.mapping import TARGETS, Mapping, Rule, load
from bridge.modbus_map import AlarmBits, RegisterMap, Value
from bridge.modbus_map import load as load_map
from bridge.presets import NAMES as PRESETS
from bridge.presets import preset
from bridge.protocols import NAMES as PROTOCOLS
from bridge.protocols import Choices, protocol
from bridge.quarantine import Quarantine
from bridge.reading import Identity, Reading, plausible
from bridge.recording import play, read
from bridge.run_can import CanListener, open_database
from bridge.run_translate import Assets, Listener
from bridge.settings import TranslateSettings
from bridge.simulate import Board
from bridge.translate import MAX_ASSETS, MAX_VALUES, Timing, Translator
from monitor.contract import (
    AssetConfig,
    DeviceAlarm,
    Frame,
    Topics,
    decode,
    decode_telemetry,
    encode,
)

NOW = 1_700_000_000_000
LONG = "9" * 5_000
DEEP = "[" * 3_000
PACK = Reading(
    cell_voltage_v=(3.301, 3.302, 3.303, 3.304),
    temperature_c=(21.0, 22.0),
    mos_temperature_c=30.0,
    current_a=-12.5,
    pack_voltage_v=13.2,
    soc=0.5,
    remaining_capacity_ah=50.0,
    nominal_capacity_ah=100.0,
    cycles=7,
)
NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 3.3, -12.5, 100, 0.5, 1e6, 1e7, -1e300, 1e308, 5e-324, 2**31, 2**53, 2**64),
    *(10**400, -(10**400), float("nan"), float("inf"), -float("inf"), True, False, None),
)
TEXTS = (
    *("", "1", "-2.5", "nan", "inf", "1e999", "-1e-999", "٣.٣", "1_0", "²", LONG, "unavailable"),
    *("ON", "off", "offline", "\x00", "\ud800", "é", "x" * 5_000, "{", "[", '{"a": [1]}', DEEP),
    *("0x10", "Infinity", "+", "a/b", "Cell0", f"Cell{LONG}", "Cell4097", "{}", "null", "%s"),
)
DBC = """VERSION ""
NS_ :
BS_:
BU_: BMS
BO_ 256 PackStatus: 8 BMS
 SG_ PackVoltage : 0|16@1+ (0.1,0) [0|6553.5] "V" Vector__XXX
 SG_ PackCurrent : 16|16@1- (1e30,0) [0|0] "A" Vector__XXX
 SG_ StateOfCharge : 32|8@1+ (0.5,0) [0|100] "%" Vector__XXX
 SG_ Overheat : 40|1@1+ (1,0) [0|1] "" Vector__XXX
BO_ 257 Cells: 8 BMS
 SG_ Group M : 0|8@1+ (1,0) [0|255] "" Vector__XXX
 SG_ Cell1 m0 : 8|16@1+ (0.001,0) [0|65] "V" Vector__XXX
 SG_ Cell3 m1 : 8|16@1+ (0.001,0) [0|65] "V" Vector__XXX
BO_ 258 Floats: 8 BMS
 SG_ Cell9999999999 : 0|32@1- (1,0) [0|0] "V" Vector__XXX
 SG_ Cycles : 32|32@1- (1,0) [0|0] "" Vector__XXX
SIG_VALTYPE_ 258 Cell9999999999 : 1;
SIG_VALTYPE_ 258 Cycles : 1;
"""
SIGNALS = (
    Rule("PackStatus/PackVoltage", "pack_voltage_v"),
    Rule("PackStatus/PackCurrent", "current_a", scale=1e300),
    Rule("PackStatus/StateOfCharge", "soc", unit="%"),
    Rule("PackStatus/{name}", "alarm"),
    Rule("Cells/Cell{n}", "cell_voltage_v"),
    Rule("Floats/Cell{n}", "cell_voltage_v"),
    Rule("Floats/Cycles", "cycles"),
)


def run(seconds: float, seed: int) -> str:
    """Run cases for so many seconds of CPU time; returns one line of counts by kind.

    Raises AssertionError, which names the seed and the case, where anything else than the
    documented error is raised, or what comes out is not what the contract takes.
    """
    end_s = time.process_time() + seconds
    counts: Counter[str] = Counter()
    number = 0
    log = logging.getLogger("cellpulse.bridge")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        while time.process_time() < end_s:
            counts.update(one(seed, number))
            number += 1
    finally:
        log.setLevel(level)
    told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return f"{number} cases: {told}"


def one(seed: int, number: int) -> Counter[str]:
    """One case again; returns what it counted. Raises AssertionError as `run` does."""
    kinds = list(KINDS)
    kind = kinds[number % len(kinds)]
    world = World(random.Random(f"{seed} {number}"), Counter({kind: 1}))
    try:
        KINDS[kind](world)
    except Exception as error:
        raise AssertionError(
            f"tests.fuzz.bridges.case({seed}, {number}), {kind}: {type(error).__name__}: "
            f"{str(error)[:300]}"
        ) from error
    return world.counts


@dataclass
class World:
    """One case: its random numbers and what it counts."""

    rng: random.Random
    counts: Counter[str]

    def refuse(self) -> None:
        """A documented error came."""
        self.counts["refused"] += 1

    def check(self, reading: Reading, identity: Identity | None = None) -> None:
        """The contract takes all that is made of a reading."""
        identity = identity or Identity()
        reading, _ = plausible(reading)
        told = AssetOptions("a", "g", source="x" * self.rng.choice((1, 600)))
        frame = frame_of(reading, NOW, "s", 1)
        if decode_telemetry(encode(frame)) != [frame]:
            raise ValueError(f"{frame} is another when it is decoded")
        config = config_of(identity, reading, told)
        if config is not None:
            decode(AssetConfig, encode(config))
        for alarm in alarm_changes(None, reading, identity.alarm_names, NOW):
            decode(DeviceAlarm, encode(alarm))
        self.counts["readings"] += 1

    def number(self) -> Any:
        """A number, or what stands where one should."""
        if self.rng.random() < 0.3:
            return self.rng.uniform(-10, 70)
        return self.rng.choice(NUMBERS)

    def scalar(self) -> Any:
        """A value as a message may hold it."""
        return self.rng.choice(TEXTS) if self.rng.random() < 0.4 else self.number()

    def mutated(self, raw: bytes) -> bytes:
        """Bytes with some changed, left out, put in, or cut off."""
        data = bytearray(raw)
        for _ in range(self.rng.choice((0, 1, 1, 2, 5))):
            if not data:
                break
            at = self.rng.randrange(len(data))
            way = self.rng.randrange(5)
            if way == 0:
                data[at] ^= 1 << self.rng.randrange(8)
            elif way == 1:
                data[at] = self.rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            elif way == 2:
                del data[at : at + self.rng.randrange(1, 5)]
            elif way == 3:
                data[at:at] = self.rng.randbytes(self.rng.randrange(1, 5))
            else:
                del data[at:]
        return bytes(data)

    def document(self, depth: int = 0) -> Any:
        """A JSON value, of the keys that sources use."""
        rng = self.rng
        if depth > 4 or rng.random() < 0.3:
            return self.scalar()
        if rng.random() < 0.3:
            return [self.document(depth + 1) for _ in range(rng.randrange(4))]
        keys = ("value", "Dc", "0", "Voltages", "Alarms", "History", "ChargeCycles", "Soc", "Cell1")
        more = ("cells", "mv", "voltage_v", "device_soc", "alarms", "battery_current")
        chosen = [rng.choice((*keys, *more, *TEXTS)) for _ in range(rng.randrange(5))]
        return {key: self.document(depth + 1) for key in chosen}

    def payload(self) -> bytes:
        """A message's payload: JSON, text, or bytes."""
        rng = self.rng
        way = rng.random()
        if way < 0.55:
            document = self.document()
            if rng.random() < 0.2:
                document = {"value": json.dumps(document)}
            return (
                self.mutated(json.dumps(document).encode())
                if rng.random() < 0.2
                else (json.dumps(document).encode())
            )
        if way < 0.9:
            value = self.scalar()
            try:
                return str(value).encode(errors="surrogatepass")
            except ValueError:
                return LONG.encode()
        return rng.choice((rng.randbytes(rng.randrange(30)), DEEP.encode(), b"", b"[" * 200_000))


class Raising(Quarantine):
    """A quarantine that takes what is documented, and raises the rest again."""

    def set_aside(
        self, why: Exception | str, source: str, start: bytes = b"", asset: str | None = None
    ) -> None:
        """See Quarantine."""
        if not isinstance(why, (str, FrameError)):
            raise why
        super().set_aside(why, source, start, asset)


class Nowhere:
    """An outbox that checks what it is given."""

    def telemetry(self, asset: str, frame: Frame) -> None:
        """See Outbox."""
        Topics().of(asset, "telemetry")
        decode_telemetry(encode(frame))

    def alarm(self, asset: str, alarm: DeviceAlarm) -> None:
        """See Outbox."""
        decode(DeviceAlarm, encode(alarm))

    def config(self, asset: str, config: AssetConfig) -> None:
        """See Outbox."""
        decode(AssetConfig, encode(config))

    def status(self, asset: str, online: bool) -> None:
        """See Outbox."""
        Topics().of(asset, "status")


# Boards: whole conversations.


def _board(name: str) -> Callable[[World], None]:
    def speak(world: World) -> None:
        rng = world.rng
        pack = _pack(world) if rng.random() < 0.5 else PACK
        board = Board(name, lambda: pack)
        spoken = protocol(name, Choices(jk_cold_zero=rng.choice((99, 100))))
        identity = Identity()
        for start in (spoken.identify, spoken.poll, spoken.poll):
            try:
                result: Any = finish(start(), lambda ask: _answer(world, board, spoken, ask, name))
            except (FrameError, NoAnswerError):
                world.refuse()
                continue
            if isinstance(result, Identity):
                identity = result
                world.check(Reading(), identity)
            else:
                world.check(result, identity)

    return speak


def _pack(world: World) -> Reading:
    def value() -> Any:
        got = world.number()
        return got if got is None or isinstance(got, float) else None

    cells = world.rng.randrange(0, 33)
    return replace(
        PACK,
        cell_voltage_v=tuple(value() for _ in range(cells)),
        temperature_c=tuple(value() for _ in range(world.rng.randrange(9))),
        current_a=value(),
        pack_voltage_v=value(),
        remaining_capacity_ah=value(),
        nominal_capacity_ah=value(),
        cycles=world.rng.choice((0, 7, 2**40, None)),
    )


def _answer(world: World, board: Board, spoken: Spoken, ask: Ask, name: str) -> list[bytes]:
    rng = world.rng
    replies = board.receive(ask.request)
    if rng.random() < 0.6:
        replies = [_rebuilt(world, reply, name) for reply in replies]
    received = b"".join(replies)
    if rng.random() < 0.3:
        received = world.mutated(received)
    if rng.random() < 0.1:
        received = rng.randbytes(rng.randrange(200)) + received
    buffer = FrameBuffer(spoken.split)
    frames = []
    while received:
        size = rng.choice((1, 20, 8_192))
        frames += [frame for frame in buffer.feed(received[:size]) if ask.answers(frame)]
        received = received[size:]
    if len(frames) >= ask.count:
        return frames[: ask.count]
    if ask.optional:
        return []
    raise NoAnswerError("fuzz: no answer")


def _rebuilt(world: World, reply: bytes, name: str) -> bytes:
    """The reply with hostile contents and a checksum that holds."""
    rng = world.rng
    if name == "jbd":
        data = world.mutated(reply[4:-3])[:255]
        return jbd.reply(reply[1], data, rng.choice((0, 0, 0, 0x80)))
    if name == "daly":
        data = (world.mutated(reply[4:12]) + bytes(8))[:8]
        return daly.reply(reply[2], data)
    if name == "daly-d2":
        registers = bytearray(reply[3:-2])
        for _ in range(rng.randrange(6)):
            struct.pack_into(">H", registers, 2 * rng.randrange(len(registers) // 2), rng.choice(
                (0, 1, 8, 32, 33, 0x7FFF, 0xFFFF)
            ))  # fmt: skip
        return daly_d2.reply(bytes(registers))
    if name == "jk":
        return jk.reply(world.mutated(reply[11:-9])[:900])
    body = bytearray(reply[: jk_ble.LENGTH - 1])
    for _ in range(rng.randrange(6)):
        value = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000))
        struct.pack_into("<I", body, rng.randrange(6, len(body) - 4), value)
    return jk_ble.seal(bytes(body)) + reply[jk_ble.LENGTH :]


def _simulated(world: World) -> None:
    """A simulated board is asked nonsense."""
    name = world.rng.choice(PROTOCOLS)
    board = Board(name, lambda: PACK)
    d2 = struct.pack(">BBHH", 0xD2, 3, *(world.rng.choice((0, 1, 0xFFFF)) for _ in range(2)))
    asked = (
        jbd.request(world.rng.randrange(256)),
        daly.request(world.rng.randrange(256)),
        d2 + crc16_modbus(d2),
        jk.request(),
        jk_ble.request(world.rng.choice((0x161C, 0x161E, 0x1620, 0xFFFF))),
    )
    for _ in range(10):
        board.receive(world.mutated(world.rng.choice(asked)))


def _recording(world: World) -> None:
    """A recording of a board, with lines spoilt."""
    name = world.rng.choice(PROTOCOLS)
    board, spoken = Board(name, lambda: PACK), protocol(name)
    lines: list[str] = [json.dumps({"cellpulse_frames": 1, "protocol": name})]
    t_ms = NOW

    def tell(ask: Ask) -> list[bytes]:
        nonlocal t_ms
        received = b"".join(board.receive(ask.request))
        lines.append(json.dumps({"t": t_ms, "tx": ask.request.hex()}))
        kept = (
            _rebuilt(world, received, name) if world.rng.random() < 0.3 and received else received
        )
        if name == "daly":
            kept = received
        lines.append(json.dumps({"t": t_ms + 1, "rx": world.mutated(kept).hex()}))
        t_ms += 1_000
        return [frame for frame in FrameBuffer(spoken.split).feed(received) if ask.answers(frame)]

    for start in (spoken.identify, spoken.poll, spoken.poll):
        finish(start(), tell)
    if world.rng.random() < 0.3:
        at = world.rng.randrange(len(lines))
        odd = {"t": world.scalar(), "rx": world.scalar(), "protocol": world.scalar()}
        lines[at] = world.rng.choice((json.dumps(odd), DEEP, "", "null", "[]", LONG, lines[at][:9]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.frames")
        path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
        try:
            recording = read(path)
        except MappingError:
            world.refuse()
            return
    aside = Raising()
    sink = Gateway(Nowhere(), AssetOptions("a", "g"), "s", quarantine=aside)
    asyncio.run(play(recording, sink, _NoClock(), None, None, aside, "a"))


class _NoClock:
    def wall_ms(self) -> int:
        return NOW

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """No time passes."""


def _bluetooth(world: World) -> None:
    """What aiobmsble might make of a board."""
    keys = (
        *("cell_voltages", "temp_values", "battery_level", "battery_health", "cycles", "current"),
        *("voltage", "cycle_charge", "design_capacity", "balancer", "problem_code"),
    )
    sample: dict[str, Any] = {}
    for key in keys:
        if world.rng.random() < 0.7:
            many = key in keys[:2] and world.rng.random() < 0.9
            count = world.rng.choice((0, 1, 16, 5_000))
            sample[key] = [world.scalar() for _ in range(count)] if many else world.scalar()
    try:
        world.check(reading_of(sample), identity_of({"model": world.rng.choice(TEXTS)}))
    except FrameError:
        world.refuse()


def _modbus(world: World) -> None:
    """A random register map, and random registers."""
    rng = world.rng
    values: list[Value] = []
    while not values:
        try:
            values.append(
                Value(
                    rng.choice(TARGETS),
                    rng.choice((0, 100, 65_534, -1, 10**400)),
                    count=rng.choice((1, 2, 16, 5_000)),
                    type=rng.choice(("u16", "i16", "u32", "i32", "f32")),
                    unit=rng.choice((None, "%", "mV", "K", "1")),
                    scale=rng.choice((1.0, 0.0, 1e300, -1e-300, float("nan"))),
                    offset=rng.choice((0.0, 1e308, -1e308)),
                    sign=rng.choice((1, -1)),
                    words=rng.choice(("big", "little")),
                    first=rng.choice((1, 5, 4_096, 10**9)),
                )
            )
            registers = RegisterMap(values, [AlarmBits(0, ["a", "", "b"])])
        except (MappingError, OverflowError) as error:
            if isinstance(error, OverflowError):
                raise
            values = []
            world.refuse()
    found = {
        address + n: rng.choice(
            (0, 1, 0x7F80, 0x7FC0, 0x7FFF, 0x8000, 0xFFFF, rng.randrange(65536))
        )
        for address, count in registers.blocks()
        for n in range(count)
        if rng.random() < 0.9999
    }
    try:
        world.check(registers.reading(found))
    except FrameError:
        world.refuse()


_database: list[Any] = []


def _can(world: World) -> None:
    """Frames of a bus, right, wrong and unknown."""
    if not _database:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "x.dbc")
            path.write_text(DBC)
            _database.append(open_database(path))
    listener = CanListener(
        "virtual",
        "fuzz",
        None,
        _database[0],
        Translator(Mapping("m", SIGNALS), Timing(settle_ms=0), "a"),
        Gateway(Nowhere(), AssetOptions("a", "g"), "s", quarantine=Raising()),
        1_000,
    )
    for _ in range(20):
        data = world.rng.choice(
            (
                world.rng.randbytes(world.rng.randrange(9)),
                struct.pack("<ff", world.rng.choice((float("nan"), float("inf"), 3e38)), -1e30),
                bytes((world.rng.randrange(3),)) + world.rng.randbytes(7),
            )
        )
        try:
            listener.decode(world.rng.choice((256, 257, 258, 259, 2**31)), data, NOW)
        except FrameError:
            world.refuse()
    _all_told(world, listener.translator)


# Translators.


def _all_told(world: World, translator: Translator) -> None:
    for told in translator.due(NOW + 9_999):
        Topics().of(told.asset, "telemetry")
        if told.reading is not None:
            world.check(told.reading)
    wait_ms = translator.wait_ms(NOW)
    if wait_ms is not None and wait_ms < 0:
        raise ValueError(f"waits {wait_ms} ms")
    if len(translator._assets) > MAX_ASSETS or translator._values > MAX_VALUES:
        raise ValueError("more assets or values than are allowed")


def _listener(mapping: Mapping) -> Listener:
    aside = Raising()
    assets = Assets(Nowhere(), TranslateSettings(asset="", gateway="g"), mapping.name, aside)
    return Listener(
        None,  # type: ignore[arg-type]  # no broker is asked
        mapping,
        Translator(mapping, Timing(settle_ms=0)),
        assets,
        aside,
    )


def _topic(world: World, pattern: str) -> str:
    levels = (*TEXTS, "a", "pack1", "2", "4096", "a/b", "_gateway", "x" * 2_000)
    return "/".join(
        world.rng.choice(levels) if "+" in level or "{" in level else level
        for level in pattern.split("/")
    )


def _translated(world: World, mapping: Mapping) -> None:
    listener = _listener(mapping)
    edge = sparkplug.Edge()
    patterns = listener.translator.filters()
    for _ in range(world.rng.randrange(1, 30)):
        rule = world.rng.choice(mapping.rules)
        if world.rng.random() < 0.5:
            topic = _topic(world, rule.topic.replace("{prefix}", ""))
            payload = _shaped(world, rule)
        else:
            topic, payload = _topic(world, world.rng.choice(patterns)), world.payload()
        _take(world, listener, edge, topic, payload)
    _all_told(world, listener.translator)


def _shaped(world: World, rule: Rule) -> bytes:
    """A payload that the rule's path leads into, with a hostile value at its end."""
    rng = world.rng
    value = world.scalar()
    for step in reversed(JsonPath(rule.path)._steps if rule.path is not None else []):
        if isinstance(step, str):
            value = {step: value}
        elif isinstance(step, int) or rng.random() < 0.3:
            value = [value] * rng.choice((1, 16, 5_000) if isinstance(value, float) else (1, 2))
        else:
            keys = ("Cell1", "Cell2", "0", "x", f"Cell{LONG}", "Cell٣", rng.choice(TEXTS))
            value = {rng.choice(keys): value for _ in range(3)}
        if rng.random() < 0.1 and not isinstance(value, str):
            value = json.dumps(value)
    if rule.path is not None:
        return json.dumps(value).encode()
    return (
        repr(value).encode() if isinstance(value, float) else json.dumps(value).strip('"').encode()
    )


def _take(
    world: World, listener: Listener, edge: sparkplug.Edge, topic: str, payload: bytes
) -> None:
    world.counts["messages"] += 1
    listener._asset_of(topic)
    try:
        listener.decode(topic, payload, edge, NOW, world.rng.random() < 0.3)
    except FrameError:
        world.refuse()


def _preset(name: str) -> Callable[[World], None]:
    return lambda world: _translated(world, preset(name, device="x"))


def _generic(world: World) -> None:
    """A random mapping, random documents."""
    rng = world.rng
    rules: list[Rule] = []
    while not rules:
        try:
            rules = [
                Rule(
                    rng.choice(("r/{asset}/s", "r/{asset}/{n}", "r/{name}/{asset}", "{asset}/{_}")),
                    rng.choice(TARGETS),
                    path=rng.choice(
                        (None, "$", "$.*", "$[*]", "$.value[*]", "$[0].*", "$..", "$[-1]")
                    ),
                    unit=rng.choice((None, None, "%", "1", "mV", "K")),
                    sign=rng.choice((1, -1)),
                    scale=rng.choice((1.0, 1e300, -1e-300, 0.0)),
                    n=rng.choice((None, None, 1, 4_096)),
                )
                for _ in range(rng.randrange(1, 4))
            ]
            mapping = Mapping("m", tuple(rules))
            mapping.compiled()
        except MappingError:
            rules = []
            world.refuse()
    _translated(world, mapping)


def _jsonpath(world: World) -> None:
    """Random paths over random documents, and JSON as others write it."""
    steps = (".a", ".*", "[*]", "[0]", "[-1]", "['b c']", "[*]", ".value", '[""]', "[99999]", "..")
    text = "$" + "".join(world.rng.choice(steps) for _ in range(world.rng.randrange(6)))
    try:
        path = JsonPath(text if world.rng.random() < 0.9 else world.rng.choice(TEXTS))
        list(path.find(world.document()))
        list(path.find(read_json(world.payload())))
    except (MappingError, FrameError):
        world.refuse()


# Sparkplug by its wire format.


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def _field(world: World, number: int, wire: int) -> bytes:
    rng = world.rng
    tag = _varint(number << 3 | wire)
    if wire == 0:
        return tag + _varint(rng.choice((0, 1, 5, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 2**69)))
    if wire == 1:
        return tag + struct.pack("<d", rng.choice((float("nan"), float("inf"), 1e308, 3.3)))
    if wire == 5:
        return tag + struct.pack("<f", rng.choice((float("nan"), -float("inf"), 3e38, 3.3)))
    content = rng.choice(TEXTS).encode(errors="surrogatepass")
    return tag + _varint(len(content)) + content


def _metric(world: World, born: bool) -> bytes:
    rng = world.rng
    names = (
        *("current_a", "voltage_v/1", "voltage_v[0]", "voltage_v", "temperature_c[3]", "a/b/c"),
        *(
            f"voltage_v[{LONG}]",
            "voltage_v[4096]",
            "voltage_v[٣]",
            "x" * 3_000,
            "alarms/hot",
            "[0]",
        ),
        *("device_soc", "nominal_capacity_ah", "alarms/\ud800", ""),
    )
    out = b""
    if born or rng.random() < 0.5:
        name = rng.choice(names).encode(errors="surrogatepass")
        out += b"\x0a" + _varint(len(name)) + name
    wires = {2: 0, 4: 0, 7: 0, 10: 0, 11: 0, 12: 5, 13: 1, 14: 0, 15: 2}
    for number, wire in wires.items():
        if rng.random() < (0.7 if number == 2 else 0.25):
            out += _field(world, number, wire if rng.random() < 0.85 else rng.choice((0, 1, 2, 5)))
    return out


def _sparkplug(world: World) -> None:
    """Births, data by alias and by name, deaths; whole, spoilt, and of another wire type."""
    listener, edge = _listener(preset("sparkplug")), sparkplug.Edge()
    rng = world.rng
    for _ in range(rng.randrange(1, 30)):
        kind = rng.choice(("NBIRTH", "DBIRTH", "DDATA", "NDATA", "DDEATH", "NDEATH", "DCMD", "x"))
        topic = f"spBv1.0/{rng.choice('gh')}/{kind}/{rng.choice(('n', 'm', '٣'))}"
        if kind.startswith("D"):
            topic += f"/{rng.choice(('d', 'e', 'x' * 2_000, ''))}"
        payload = b"".join(
            b"\x12" + _varint(len(metric)) + metric
            for metric in (_metric(world, "BIRTH" in kind) for _ in range(rng.randrange(6)))
        )
        _take(
            world, listener, edge, topic, world.mutated(payload) if rng.random() < 0.3 else payload
        )
        if len(edge._names) > sparkplug.MAX_DEVICES:
            raise ValueError("more devices than are allowed")
    _all_told(world, listener.translator)


def _files(world: World) -> None:
    """Mappings, register maps and databases, with something spoilt."""
    values = (
        LONG,
        DEEP,
        "nan",
        "-1",
        "0",
        "true",
        '"x"',
        "[]",
        "{}",
        "1e400",
        "1979-05-27",
        "+",
        '"',
    )
    rule = (
        f'[[rule]]\ntopic = "a/{{asset}}"\nto = "current_a"\n'
        f"{world.rng.choice(('n', 'scale', 'sign', 'path', 'unit', 'name', 'x', 'to'))} = "
        f"{world.rng.choice(values)}\n"
    )
    value = (
        f'device = {world.rng.choice(values)}\n[[value]]\nto = "current_a"\naddress = 1\n'
        f"{world.rng.choice(('count', 'scale', 'first', 'absent', 'offset', 'type'))} = "
        f"{world.rng.choice(values)}\n"
    )
    rare = world.rng.random() < 0.05
    opened: list[tuple[Callable[[Path], Any], str]] = [(load, rule), (load_map, value)]
    if rare:  # slow to read
        opened.append((open_database, DBC))
    with tempfile.TemporaryDirectory() as folder:
        for opener, text in opened:
            path = Path(folder, "x.dbc")
            raw = text.encode()
            path.write_bytes(world.mutated(raw) if rare or world.rng.random() < 0.4 else raw)
            try:
                opener(path)
            except MappingError:
                world.refuse()


KINDS: dict[str, Callable[[World], None]] = {
    **{name: _board(name) for name in PROTOCOLS},
    **{name: _preset(name) for name in PRESETS if name != "sparkplug"},
    "sparkplug": _sparkplug,
    "generic": _generic,
    "jsonpath": _jsonpath,
    "bluetooth": _bluetooth,
    "modbus": _modbus,
    "can": _can,
    "simulated": _simulated,
    "recording": _recording,
    "files": _files,
}
