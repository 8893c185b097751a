"""`cellpulse alarms`: list, watch, acknowledge, shelve, take out of service, count."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellpulse.cli_options import Broker, ConfigFile, Root, configured

if TYPE_CHECKING:
    from monitor.config import Config

app = typer.Typer(
    help="Alarms: list, watch, acknowledge, shelve, count.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Chinese = Annotated[bool, typer.Option("--zh", help="Texts in Chinese.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines.")]
Asset = Annotated[str, typer.Argument(help="The asset.")]
Code = Annotated[str, typer.Argument(help="The alarm's code, such as over_temperature.")]
CodeOrAsset = Annotated[str, typer.Argument(help="The alarm's code; `asset`: the whole asset.")]
Where = Annotated[str, typer.Argument(help="Its source: pack, c001, t01, group, ...")]
Who = Annotated[
    str | None, typer.Option("--user", help="Your name; the broker's user, else this account.")
]
Why = Annotated[str | None, typer.Option("--comment", help="Why; it goes into the journal.")]


@app.command("list")
def list_alarms(
    broker: Broker = None,
    root: Root = None,
    config: ConfigFile = None,
    zh: Chinese = False,
    as_json: AsJson = False,
) -> None:
    """Print every alarm that is not normal, the most severe first."""
    from monitor.contract import AlarmRecord, decode
    from monitor.mqtt.link import collect_retained

    settings = configured(config, broker=broker, root=root)

    async def work() -> None:
        found = await collect_retained(settings.broker, f"{settings.root}/+/alarm/+/+")
        alarms = sorted(
            (decode(AlarmRecord, payload) for payload in found.values()),
            key=lambda alarm: (-alarm.severity, -alarm.timestamp_ms),
        )
        for alarm in alarms:
            _print_alarm(alarm, zh, as_json)
        if not alarms and not as_json:
            print("没有报警" if zh else "no alarms")

    _run(work())


@app.command()
def watch(
    broker: Broker = None,
    root: Root = None,
    config: ConfigFile = None,
    zh: Chinese = False,
    as_json: AsJson = False,
) -> None:
    """Print every transition as it comes, until Ctrl-C; of a flood the group alone.

    `--json` prints them all.
    """
    from monitor.contract import Event, decode
    from monitor.mqtt.client import Client

    settings = configured(config, broker=broker, root=root)

    async def work() -> None:
        async with Client.to(settings.broker) as client:
            await client.subscribe(f"{settings.root}/+/event", 1)
            async for message in client.messages:
                event = decode(Event, bytes(message.payload))
                if as_json:
                    print(bytes(message.payload).decode(), flush=True)
                elif event.group is None:
                    print(f"{event.previous} -> ", end="")
                    _print_alarm(event.alarm, zh, as_json=False)
                    if event.user is not None or event.comment is not None:
                        print(f"    {event.cause} by {event.user}: {event.comment or ''}")

    _run(work())


@app.command()
def ack(
    asset: Asset, code: Code, source: Where = "pack", user: Who = None, comment: Why = None,
    broker: Broker = None, root: Root = None, config: ConfigFile = None,
) -> None:  # fmt: skip
    """Acknowledge an alarm."""
    alarm = _Alarm(asset, code, source)
    _command("acknowledge", alarm, configured(config, broker=broker, root=root), user, comment)


@app.command()
def comment(
    asset: Asset, code: Code, source: Where = "pack",
    text: Annotated[str, typer.Option("--text", help="What you have to say.")] = "",
    user: Who = None, broker: Broker = None, root: Root = None, config: ConfigFile = None,
) -> None:  # fmt: skip
    """Write a comment on an alarm into the journal."""
    alarm = _Alarm(asset, code, source)
    _command("comment", alarm, configured(config, broker=broker, root=root), user, text)


@app.command()
def shelve(
    asset: Asset, code: Code, source: Where = "pack",
    hours: Annotated[float, typer.Option(help="For how long; it ends by itself.")] = 1.0,
    user: Who = None, comment: Why = None,
    broker: Broker = None, root: Root = None, config: ConfigFile = None,
) -> None:  # fmt: skip
    """Shelve an alarm for a time."""
    alarm = _Alarm(asset, code, source)
    _command("shelve", alarm, configured(config, broker=broker, root=root), user, comment, hours)


@app.command()
def unshelve(
    asset: Asset, code: Code, source: Where = "pack", user: Who = None, comment: Why = None,
    broker: Broker = None, root: Root = None, config: ConfigFile = None,
) -> None:  # fmt: skip
    """Bring a shelved alarm back before its time."""
    alarm = _Alarm(asset, code, source)
    _command("unshelve", alarm, configured(config, broker=broker, root=root), user, comment)


@app.command("out-of-service")
def out_of_service(
    asset: Asset, code: CodeOrAsset = "asset", source: Where = "pack",
    user: Who = None, comment: Why = None,
    broker: Broker = None, root: Root = None, config: ConfigFile = None,
) -> None:  # fmt: skip
    """Take an alarm out of service for maintenance, or without a code the whole asset."""
    alarm = _Alarm(asset, code, source)
    _command("out_of_service", alarm, configured(config, broker=broker, root=root), user, comment)


@app.command("in-service")
def in_service(
    asset: Asset, code: CodeOrAsset = "asset", source: Where = "pack",
    user: Who = None, comment: Why = None,
    broker: Broker = None, root: Root = None, config: ConfigFile = None,
) -> None:  # fmt: skip
    """Put an alarm back into service, or without a code the whole asset."""
    alarm = _Alarm(asset, code, source)
    _command("in_service", alarm, configured(config, broker=broker, root=root), user, comment)


@app.command()
def stats(
    store: Annotated[
        Path | None, typer.Option(help="SQLite file, cellpulse.sqlite by default.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.2, help="Over the newest so many hours.")] = 24.0,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Count alarms after EEMUA 191: rates, floods, chattering and stale ones.

    What a grouped alarm speaks for did not ask for anybody's attention and is counted apart.
    """
    import msgspec

    from monitor.alarms.stats import alarm_stats
    from monitor.contract import AlarmRecord
    from monitor.store.sqlite_history import SqliteHistory

    events = list(SqliteHistory(configured(config, store=store).store).events(limit=100_000))
    standing: dict[tuple[str, str, str], AlarmRecord] = {}
    for event in reversed(events):
        standing[event.alarm.asset, event.alarm.code, event.alarm.source] = event.alarm
    now_ms = max((event.alarm.timestamp_ms for event in events), default=0)
    figures = alarm_stats(
        events,
        [alarm for alarm in standing.values() if alarm.state != "normal"],
        now_ms,
        int(hours * 3.6e6),
    )
    if as_json:
        print(msgspec.json.encode(figures).decode())
        return
    print(f"raised in {hours:g} h     {figures.raised}")
    print(f"in groups          {figures.grouped}  (a group counts as one above)")
    print(f"per 10 minutes     {figures.per_ten_minutes:.2f}  (EEMUA 191: about 1)")
    print(f"worst 10 minutes   {figures.worst_ten_minutes}  (flood: more than 10)")
    print(f"floods             {figures.floods}")
    print(f"by severity        {figures.by_severity}")
    for title, keys in (("chattering", figures.chattering), ("stale", figures.stale)):
        print(f"{title:<18} {', '.join('/'.join(key) for key in keys) or 'none'}")
    for code, times in figures.most_frequent:
        print(f"  {times:>6} x {code}")


@dataclass(frozen=True, slots=True)
class _Alarm:
    """Which alarm a command is about."""

    asset: str
    code: str
    source: str


def _command(
    action: Any, alarm: _Alarm, settings: Config, user: str | None, comment: str | None,
    hours: float | None = None,
) -> None:  # fmt: skip
    import asyncio
    import uuid

    import aiomqtt

    from monitor.contract import VERSION, Command, Reply, Topics, decode, encode
    from monitor.errors import CellpulseError
    from monitor.mqtt.client import Client

    topics = Topics(settings.root)
    who = user or settings.broker.user or getpass.getuser()
    command = Command(
        v=VERSION,
        id=uuid.uuid4().hex,
        action=action,
        code=alarm.code,
        source=alarm.source,
        duration_s=None if hours is None else hours * 3600.0,
        comment=comment,
    )

    async def answer() -> Reply:
        async with Client.to(settings.broker) as client:
            await client.subscribe(topics.of(alarm.asset, "reply"), 1)
            try:
                await client.publish(topics.of(alarm.asset, "command", who), encode(command), 1)
                async for message in client.messages:
                    reply = decode(Reply, bytes(message.payload))
                    if reply.id == command.id:
                        return reply
            except aiomqtt.MqttError as error:  # how mosquitto refuses a topic
                raise CellpulseError(
                    f"the broker closed the connection: may {settings.broker.user or 'this user'} "
                    f"command as {who}?"
                ) from error
        raise CellpulseError("the broker closed the connection")

    async def work() -> None:
        try:
            async with asyncio.timeout(10.0):
                reply = await answer()
        except TimeoutError as error:
            raise CellpulseError(
                f"no answer within 10 s: is the monitor running, and may {who} command?"
            ) from error
        if reply.result == "refused":
            raise CellpulseError(f"refused: {reply.reason}")
        print(f"{action} {alarm.asset} {alarm.code} {alarm.source}: done, by {who}")

    _run(work())


def _print_alarm(alarm: Any, zh: bool, as_json: bool) -> None:
    import msgspec

    if as_json:
        print(msgspec.json.encode(alarm).decode(), flush=True)
        return
    message = alarm.message_zh if zh else alarm.message
    action = alarm.action_zh if zh else alarm.action
    print(f"[{alarm.severity}] {alarm.state:<24} {alarm.code:<24} {message}. {action}", flush=True)


def _run(work: Coroutine[Any, Any, None]) -> None:
    import aiomqtt

    from cellpulse.process import run

    try:
        run(work)
    except aiomqtt.MqttError as error:
        print(f"cellpulse: broker: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
