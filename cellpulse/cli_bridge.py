"""`cellpulse bridge`: boards and foreign messages in, the telemetry contract out.

Everything heavy is imported inside the command that needs it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Connect a BMS, or a bridge that you already run.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

BrokerUrl = Annotated[
    str,
    typer.Option(
        envvar="CELLPULSE_BROKER", help="mqtt://[user:password@]host[:port], mqtts:// for TLS."
    ),
]
BrokerCa = Annotated[
    Path | None, typer.Option(help="File of a private certificate authority, for mqtts.")
]
RootTopic = Annotated[str, typer.Option(help="Root topic.")]
AssetName = Annotated[
    str | None, typer.Option(help="The pack's name; made up from the port where left out.")
]
GatewayName = Annotated[
    str | None, typer.Option(help="This bridge's name; the asset's where left out.")
]
Interval = Annotated[float, typer.Option(min=0.05, help="Seconds between polls.")]
Capacity = Annotated[
    float | None, typer.Option(help="Nominal capacity, for a board that does not say it.")
]
ChemistryName = Annotated[
    str | None, typer.Option(help="LFP, NMC or LTO: sets the limits; else the board's word.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]
InvertCurrent = Annotated[
    bool, typer.Option("--invert-current", help="For a board whose discharge shows as charge.")
]
Share = Annotated[float, typer.Option(min=0, max=1, help="Share of the answers.")]


@app.command()
def serial(
    port: Annotated[
        str, typer.Option(help="/dev/ttyUSB0, COM3, socket://host:port, rfc2217://host:port.")
    ],
    protocol: Annotated[
        str, typer.Option(help="jbd, daly, daly-d2, jk, jk-pb, or auto: try each in turn.")
    ] = "auto",
    broker: BrokerUrl = "mqtt://localhost",
    broker_ca: BrokerCa = None,
    asset: AssetName = None,
    gateway: GatewayName = None,
    root: RootTopic = "bms",
    interval_s: Interval = 1.0,
    baud: Annotated[int | None, typer.Option(help="Instead of the protocol's own.")] = None,
    board: Annotated[int, typer.Option(help="Address on a shared bus, 1 to 15.")] = 1,
    capacity_ah: Capacity = None,
    chemistry: ChemistryName = None,
    invert_current: InvertCurrent = False,
    jk_cold: Annotated[
        int, typer.Option(help="JK UART below 0 C: 100 (the document) or 99 (batmon-ha).")
    ] = 100,
    record: Annotated[
        Path | None, typer.Option(help="Append the raw frames, with times, to this file.")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Poll a board on a serial port, a TCP serial server or RFC 2217."""
    from bridge.entry import hand_over
    from bridge.settings import SerialSettings, legal_name

    settings = SerialSettings(
        broker=broker,
        broker_ca=str(broker_ca) if broker_ca else None,
        root=root,
        asset=asset or legal_name(f"{protocol}-{port.rsplit('/', 1)[-1]}"),
        gateway=gateway,
        interval_s=interval_s,
        capacity_ah=capacity_ah,
        chemistry=chemistry,
        invert_current=invert_current,
        port=port,
        protocol=protocol,
        baud=baud,
        board=board,
        jk_cold_zero=jk_cold,
        record=str(record) if record else None,
    )
    hand_over("serial", settings, verbose)


@app.command()
def play(
    path: Annotated[Path, typer.Argument(help="What `bridge serial --record` wrote.")],
    broker: BrokerUrl = "mqtt://localhost",
    broker_ca: BrokerCa = None,
    asset: AssetName = None,
    gateway: GatewayName = None,
    root: RootTopic = "bms",
    speed: Annotated[float, typer.Option(min=0, help="0 is as fast as it goes.")] = 1.0,
    capacity_ah: Capacity = None,
    chemistry: ChemistryName = None,
    verbose: Verbose = False,
) -> None:
    """Replay recorded frames: the same decoder, the recorded times."""
    from bridge.entry import execute
    from bridge.run import run_replay
    from bridge.settings import Common, legal_name

    settings = Common(
        broker=broker,
        broker_ca=str(broker_ca) if broker_ca else None,
        root=root,
        asset=asset or legal_name(path.stem),
        gateway=gateway,
        capacity_ah=capacity_ah,
        chemistry=chemistry,
    )
    execute(run_replay(settings, path, speed or None), verbose)


@app.command()
def translate(
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="batmon-ha, dbus-serialbattery, battery-emulator, esphome, opendtu-onbattery, "
            "statestream or sparkplug.",
        ),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="A TOML file of rules, for anything else.")
    ] = None,
    broker: BrokerUrl = "mqtt://localhost",
    broker_ca: BrokerCa = None,
    source_broker: Annotated[
        str | None, typer.Option(help="Where the source publishes, if at another broker.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The source's base topic, where it was changed.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Entities' prefix, for statestream.")] = None,
    asset: Annotated[
        str | None, typer.Option(help="The pack's name, instead of the source's own.")
    ] = None,
    gateway: GatewayName = None,
    root: RootTopic = "bms",
    capacity_ah: Capacity = None,
    chemistry: ChemistryName = None,
    invert_current: InvertCurrent = False,
    stale_s: Annotated[
        float, typer.Option(min=1, help="A value not told again for so long is not known.")
    ] = 300.0,
    verbose: Verbose = False,
) -> None:
    """Translate another bridge's topics."""
    from bridge.entry import hand_over
    from bridge.settings import TranslateSettings

    settings = TranslateSettings(
        broker=broker,
        broker_ca=str(broker_ca) if broker_ca else None,
        root=root,
        asset=asset or "",
        gateway=gateway,
        capacity_ah=capacity_ah,
        chemistry=chemistry,
        invert_current=invert_current,
        preset=source,
        mapping=str(mapping) if mapping else None,
        base=base,
        device=device,
        source_broker=source_broker,
        stale_s=stale_s,
    )
    hand_over("translate", settings, verbose)


@app.command()
def modbus(
    port: Annotated[
        str, typer.Option(help="tcp://host[:port], rtu+tcp://host:port or a serial port.")
    ],
    register_map: Annotated[Path, typer.Option("--map", help="A TOML register map.")],
    broker: BrokerUrl = "mqtt://localhost",
    broker_ca: BrokerCa = None,
    asset: Annotated[str, typer.Option(help="The pack's name.")] = "modbus",
    gateway: GatewayName = None,
    root: RootTopic = "bms",
    interval_s: Interval = 1.0,
    baud: Annotated[int, typer.Option(help="Of a serial port.")] = 9_600,
    parity: Annotated[str, typer.Option(help="Of a serial port: N, E or O.")] = "N",
    capacity_ah: Capacity = None,
    chemistry: ChemistryName = None,
    invert_current: InvertCurrent = False,
    verbose: Verbose = False,
) -> None:
    """Read a pack over Modbus TCP or RTU by a register map."""
    from bridge.entry import hand_over
    from bridge.settings import ModbusSettings

    settings = ModbusSettings(
        broker=broker,
        broker_ca=str(broker_ca) if broker_ca else None,
        root=root,
        asset=asset,
        gateway=gateway,
        interval_s=interval_s,
        capacity_ah=capacity_ah,
        chemistry=chemistry,
        invert_current=invert_current,
        port=port,
        map=str(register_map),
        baud=baud,
        parity=parity,
    )
    hand_over("modbus", settings, verbose)


@app.command()
def can(
    dbc: Annotated[Path, typer.Option(help="The DBC file of the bus.")],
    mapping: Annotated[Path, typer.Option(help="A TOML file of rules for its signals.")],
    interface: Annotated[str, typer.Option(help="python-can's name of the adapter.")] = "socketcan",
    channel: Annotated[str, typer.Option(help="can0, PCAN_USBBUS1, ...")] = "can0",
    bitrate: Annotated[int | None, typer.Option(help="Where the adapter sets it.")] = None,
    broker: BrokerUrl = "mqtt://localhost",
    broker_ca: BrokerCa = None,
    asset: Annotated[str, typer.Option(help="The pack's name.")] = "can",
    gateway: GatewayName = None,
    root: RootTopic = "bms",
    interval_s: Annotated[float, typer.Option(min=0.05, help="Seconds between readings.")] = 1.0,
    capacity_ah: Capacity = None,
    chemistry: ChemistryName = None,
    invert_current: InvertCurrent = False,
    stale_s: Annotated[
        float, typer.Option(min=1, help="A signal not sent for so long is not known.")
    ] = 30.0,
    verbose: Verbose = False,
) -> None:
    """Listen to a pack on CAN by a DBC file."""
    from bridge.entry import hand_over
    from bridge.settings import CanSettings

    settings = CanSettings(
        broker=broker,
        broker_ca=str(broker_ca) if broker_ca else None,
        root=root,
        asset=asset,
        gateway=gateway,
        interval_s=interval_s,
        capacity_ah=capacity_ah,
        chemistry=chemistry,
        invert_current=invert_current,
        dbc=str(dbc),
        mapping=str(mapping),
        interface=interface,
        channel=channel,
        bitrate=bitrate,
        stale_s=stale_s,
    )
    hand_over("can", settings, verbose)


@app.command()
def ble(
    device: Annotated[str, typer.Option(help="The board's Bluetooth address or name.")],
    broker: BrokerUrl = "mqtt://localhost",
    broker_ca: BrokerCa = None,
    asset: AssetName = None,
    gateway: GatewayName = None,
    root: RootTopic = "bms",
    interval_s: Interval = 2.0,
    capacity_ah: Capacity = None,
    chemistry: ChemistryName = None,
    invert_current: InvertCurrent = False,
    verbose: Verbose = False,
) -> None:
    """Poll a board over Bluetooth LE (Python 3.12 or later, aiobmsble)."""
    from bridge.entry import hand_over
    from bridge.settings import BleSettings, legal_name

    settings = BleSettings(
        broker=broker,
        broker_ca=str(broker_ca) if broker_ca else None,
        root=root,
        asset=asset or legal_name(f"ble-{device}"),
        gateway=gateway,
        interval_s=interval_s,
        capacity_ah=capacity_ah,
        chemistry=chemistry,
        invert_current=invert_current,
        address_or_name=device,
    )
    hand_over("ble", settings, verbose)


@app.command()
def simulate(
    protocol: Annotated[str, typer.Option(help="jbd, daly, daly-d2, jk or jk-pb.")] = "jbd",
    cells: Annotated[int, typer.Option(min=1, max=32, help="Of the digital twin.")] = 16,
    capacity_ah: Annotated[float, typer.Option(min=0.1, help="Of the digital twin.")] = 100.0,
    hot_cell: Annotated[
        int | None, typer.Option(help="A cell with an internal short, from 1.")
    ] = None,
    recording: Annotated[
        Path | None, typer.Option(help="Play a recording instead of the twin.")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.01, help="Event seconds a second.")] = 1.0,
    link: Annotated[
        Path | None, typer.Option(help="A symbolic link to the port, for a steady name.")
    ] = None,
    piece_bytes: Annotated[int, typer.Option(min=0, help="Answer in pieces; 0: whole.")] = 0,
    noise: Share = 0.0,
    damage: Share = 0.0,
    silence: Share = 0.0,
    delay_s: Annotated[float, typer.Option(min=0, help="Before each answer.")] = 0.0,
    verbose: Verbose = False,
) -> None:
    """A simulated board on a pseudo-terminal: prints the port to give to `bridge serial`."""
    import asyncio

    from bridge.entry import execute
    from bridge.pty_board import Faults, Pty
    from bridge.simulate import Board
    from cellpulse.bridge_pack import RecordedPack, TwinPack

    pack = RecordedPack(recording) if recording else TwinPack(cells, capacity_ah, hot_cell)
    faults = Faults(piece_bytes, 0.01, noise, delay_s, silence, damage)

    async def work() -> None:
        board = Pty(Board(protocol, pack), faults)
        typer.echo(board.path)
        with _linked(link, board.path):
            async with asyncio.TaskGroup() as group:
                group.create_task(board.run(), name="board")
                loop = asyncio.get_running_loop()
                last_s = loop.time()
                while True:
                    await asyncio.sleep(0.5)
                    now_s = loop.time()
                    pack.advance((now_s - last_s) * speed)
                    last_s = now_s

    execute(work(), verbose)


def is_recording(path: Path) -> bool:
    """Whether a file holds raw frames that `play` replays."""
    from bridge.recording import is_recording as found

    return found(path)


@contextlib.contextmanager
def _linked(link: Path | None, target: str) -> Iterator[None]:
    if link is None:
        yield
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    try:
        yield
    finally:
        link.unlink(missing_ok=True)
