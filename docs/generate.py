"""Reference pages made from the program itself: commands, settings, messages, models, Python."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import tokenize
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOPICS = (
    ("bms/<asset>/config", "config", "device", "1, retained"),
    ("bms/<asset>/status", None, "device, or its will", "1, retained"),
    ("bms/_gateway/<id>/status", None, "gateway, or its will", "1, retained"),
    ("bms/<asset>/telemetry", "telemetry", "device", "1"),
    ("bms/<asset>/device_alarm", "device_alarm", "device", "1"),
    ("bms/<asset>/truth", "truth", "simulator only", "1"),
    ("bms/<asset>/estimate", "estimate", "monitor", "0, retained, expires"),
    ("bms/<asset>/cycle", "cycle", "monitor", "1"),
    ("bms/<asset>/alarm/<code>/<source>", "alarm", "monitor", "1, retained while not normal"),
    ("bms/<asset>/event", "event", "monitor", "1"),
    ("bms/<asset>/command/<user>", "command", "operator", "1"),
    ("bms/<asset>/reply", "reply", "monitor", "1"),
    ("bms/_simulator/<id>/command", "simulator_command", "operator", "1"),
    ("bms/_simulator/<id>/state", "simulator_state", "simulator", "1, retained"),
    ("bms/_monitor/<id>/status", None, "monitor, or its will", "1, retained"),
    ("bms/_monitor/<id>/metrics", "metrics", "monitor", "0"),
    ("bms/_monitor/<id>/rejected", "rejected", "monitor", "0"),
)
PYTHON = {
    "The monitor": (
        "monitor.contract", "monitor.engine", "monitor.kernels.update", "monitor.models.onnx",
        "monitor.alarms.book", "monitor.alarms.rules", "monitor.config", "monitor.store.history",
    ),
    "Recordings": (
        "recordings.types", "recordings.open", "recordings.lookup", "recordings.analysis",
        "recordings.knee",
    ),
    "Simulator": ("simulator.twin", "simulator.faults", "simulator.replay"),
}  # fmt: skip


def commands() -> str:
    """The command line, every command with its arguments and options."""
    import typer

    from cellpulse.cli import app

    parts = ["# Command line", "", "Written from the program: what `--help` says, on one page.", ""]

    def walk(command: Any, path: tuple[str, ...]) -> None:
        inner = getattr(command, "commands", None)
        if command.hidden:
            return
        help_text = inspect.cleandoc(command.help or "")
        if path and not inner:
            parts.extend([f"## {' '.join(path)}", "", help_text, ""])
            usage = [parameter for parameter in command.params if not parameter.hidden]
            if usage:
                parts.extend(["| | | default |", "|---|---|---|"])
            for parameter in usage:
                is_option = parameter.param_type_name == "option"
                names = [*parameter.opts, *parameter.secondary_opts] if is_option else []
                name = ", ".join(f"`{one}`" for one in names or [parameter.name])
                default = parameter.default
                said = default not in (None, False, (), []) and not callable(default)
                shown = f"`{default}`" if said else ""
                text = (getattr(parameter, "help", None) or "").replace("|", "\\|")
                required = "required" if parameter.required else shown
                parts.append(f"| {name} | {' '.join(text.split())} | {required} |")
            parts.append("")
        for name, child in sorted((inner or {}).items()):
            walk(child, (*path, name))

    walk(typer.main.get_command(app), ("cellpulse",))
    return "\n".join(parts)


def configuration() -> str:
    """Every setting, with the comment that stands beside it in the source."""
    from monitor.config import Config

    notes = _comments(inspect.getsource(Config))
    lines = [
        "# Configuration", "",
        "A setting is a key in a TOML file (`--config FILE`), an environment variable "
        "(`CELLPULSE_` and the key in capitals), or a flag. Flags win over the environment, which "
        "wins over the file.", "",
        "| key | default | |", "|---|---|---|",
    ]  # fmt: skip
    for field in dataclasses.fields(Config):
        if field.default is not dataclasses.MISSING:
            default: Any = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        else:
            default = ""
        shown = "" if default is None else f"`{default}`"
        note = notes.get(field.name, "").replace("|", "\\|")
        lines.append(f"| `{field.name}` | {shown} | {note} |")
    return "\n".join([*lines, ""])


def _comments(source: str) -> dict[str, str]:
    """The comment at the end of each field's line."""
    found: dict[str, str] = {}
    name = None
    for token in tokenize.generate_tokens(io.StringIO(inspect.cleandoc(source)).readline):
        if token.type == tokenize.NAME and token.line.lstrip().startswith(f"{token.string}:"):
            name = token.string
        elif token.type == tokenize.COMMENT and name is not None:
            found[name] = token.string.lstrip("# ").strip()
    return found


def messages() -> str:
    """Topics, and the fields of every message, from the types."""
    from monitor.contract import json_schemas

    schemas = json_schemas()
    lines = [
        "# Topics and messages", "",
        "`bms` is the root topic and can be set. Each message has a JSON Schema in `docs/schema`.",
        "**Positive current charges.** Names carry their unit; fractions run 0 to 1; times are "
        "milliseconds of UTC.", "",
        "| topic | who publishes | QoS, retain | message |", "|---|---|---|---|",
    ]  # fmt: skip
    for topic, message, who, qos in TOPICS:
        link = f"[{message}](#{message.replace('_', '-')})" if message else "`online`, `offline`"
        lines.append(f"| `{topic}` | {who} | {qos} | {link} |")
    for name, schema in schemas.items():
        lines += ["", f"## {name} {{#{name.replace('_', '-')}}}", ""]
        lines += _fields(schema)
    return "\n".join([*lines, ""])


def _fields(document: dict[str, Any]) -> list[str]:
    definitions = document.get("$defs", {})
    main = document
    while "properties" not in main:
        reference = main.get("$ref") or next(
            (one.get("$ref") or one.get("items", {}).get("$ref") for one in main.get("anyOf", [])),
            None,
        )
        if reference is None:
            return [f"`{json.dumps(document)[:200]}`"]
        main = definitions[reference.rsplit("/", 1)[-1]]
    lines = []
    if main.get("description"):
        lines += [inspect.cleandoc(main["description"]), ""]
    lines += ["| field | type | |", "|---|---|---|"]
    required = set(main.get("required", []))
    for field, shape in main["properties"].items():
        if field in required:
            note = "required"
        elif shape.get("default") is None:
            note = ""
        else:
            note = f"default `{json.dumps(shape['default'])}`"
        lines.append(f"| `{field}` | {_type(shape)} | {note} |")
    return lines


def _type(shape: dict[str, Any]) -> str:
    if "enum" in shape:
        return ", ".join(f"`{json.dumps(value)}`" for value in shape["enum"])
    if "anyOf" in shape:
        return " or ".join(dict.fromkeys(_type(one) for one in shape["anyOf"]))
    if "$ref" in shape:
        return str(shape["$ref"]).rsplit("/", 1)[-1]
    if shape.get("type") == "array":
        return f"list of {_type(shape.get('items', {}))}"
    return str(shape.get("type", "any"))


def models() -> str:
    """What the cards of the shipped models say."""
    lines = ["# Models", "", "From the cards beside the files in `models/`.", ""]
    for path in sorted((ROOT / "models").glob("*.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        size = path.with_suffix(".onnx").stat().st_size / 1024
        lines += [
            f"## {card['name']}", "", card["description"], "",
            f"* **Protocol**: {card['protocol']}",
            f"* **Made by** `{card['command']}`, seed {card['seed']}, opset {card['opset']}; "
            f"{size:,.0f} KiB",
            f"* **Trained on** {len(card['training_data'])} recordings, by hash in the card: "
            + ", ".join(sorted(card["training_data"])),
        ]  # fmt: skip
        limits = card.get("limits") or []
        lines += [f"* **Limit**: {limit}" for limit in limits]
        lines += ["", "| output | |", "|---|---|"]
        lines += [f"| `{name}` | {unit} |" for name, unit in card["outputs"]]
        lines.append("")
    return "\n".join(lines)


def python() -> str:
    """Pages of the public modules, from their docstrings."""
    lines = ["# Python", "", "The modules that others build on, from their docstrings.", ""]
    for title, modules in PYTHON.items():
        lines += [f"**{title}**", ""]
        for module in modules:
            lines += [f"::: {module}", ""]
    return "\n".join(lines)


PAGES = {
    "commands": commands,
    "configuration": configuration,
    "messages": messages,
    "models": models,
    "python": python,
}
