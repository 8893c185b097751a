"""The page in both languages: its protocol runs, its files load, its options exist."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import pytest
import typer

from bridge import mapping, modbus_map
from bridge.conversation import FrameBuffer, finish
from bridge.errors import FrameError
from bridge.presets import NAMES as PRESETS
from bridge.protocols import NAMES as PROTOCOLS
from bridge.reading import Identity, Reading
from cellpulse.cli_bridge import app
from tests.conftest import ROOT

PAGES = ("connect-your-bms.md", "connect-your-bms.zh-CN.md")


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    """The page in one language."""
    text: str = (ROOT / "docs" / request.param).read_text(encoding="utf-8")
    return text


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_example_protocol_works(page: str) -> None:
    (source,) = blocks(page, "python")
    names: dict[str, Any] = {}
    exec(compile(source, "the page", "exec"), names)
    acme = names["ACME"]
    body = b"\xac\x02" + struct.pack(">hHH", -125, 3301, 3302)
    frame = body + bytes((sum(body) & 0xFF,))
    expected = Reading(cell_voltage_v=(3.301, 3.302), current_a=-12.5, pack_voltage_v=6.603)
    assert finish(acme.poll(), lambda ask: [frame]) == expected
    assert finish(acme.identify(), lambda ask: [frame]) == Identity(model="ACME", cells=2)
    buffer = FrameBuffer(acme.split)
    stream = b"\x00\xac\x01" + frame + b"\xff" + frame
    assert [found for byte in stream for found in buffer.feed(bytes((byte,)))] == [frame, frame]
    for at in range(len(frame)):
        damaged = frame[:at] + bytes((frame[at] ^ 1,)) + frame[at + 1 :]
        with pytest.raises(FrameError):
            names["decode"](damaged)


def test_the_files_load(page: str, tmp_path: Path) -> None:
    rules, registers, signals = blocks(page, "toml")
    path = tmp_path / "file.toml"
    path.write_text(rules, encoding="utf-8")
    assert len(mapping.load(path).rules) == 4
    path.write_text(signals, encoding="utf-8")
    assert len(mapping.load(path).rules) == 2
    path.write_text(registers, encoding="utf-8")
    assert modbus_map.load(path).alarm_names == ("overvoltage", "overheat")


def test_the_commands_and_options_exist(page: str) -> None:
    group = typer.main.get_command(app)
    known = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()  # type: ignore[attr-defined]  # a group
    }
    used = re.findall(r"cellpulse bridge (\w+)([^\n`#]*)", page)
    assert len(used) > 15
    for name, rest in used:
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in known[name] | {"--help"}, (name, option)
    everything = set().union(*known.values()) | {"--help", "--device"}
    for option in re.findall(r"`(--[a-z-]+)", page):
        assert option in everything, option


def test_the_names_are_those_of_the_code(page: str) -> None:
    for name in (*PROTOCOLS, *PRESETS, *mapping.TARGETS):
        assert f"`{name}`" in page, name


def test_both_languages_say_the_same() -> None:
    english, chinese = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in PAGES)

    def shape(text: str) -> list[int]:
        return [
            len(re.findall(pattern, text, re.MULTILINE))
            for pattern in (r"^#+ ", r"^\|", r"^```", r"^- ", r"^\d\. ")
        ]

    assert shape(english) == shape(chinese)
