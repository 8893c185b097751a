"""The documentation is alive: it builds without a warning, and its commands and settings exist."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from playwright.async_api import async_playwright

from cellpulse.cli import app
from monitor.config import Config
from tests.cellpulse.test_demo import CHROMIUM_FLAGS
from tests.conftest import ROOT, need

PAGES = sorted(
    path
    for folder in ("", "docs", "docs/course/en", "docs/course/zh")
    for path in (ROOT / folder).glob("*.md")
)
FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(path: Path, *languages: str) -> Iterator[str]:
    for language, text in FENCE.findall(path.read_text(encoding="utf-8")):
        if language in languages:
            yield text


def commands(path: Path) -> Iterator[list[str]]:
    """Every `cellpulse ...` in the shell blocks of a page, split as a shell would."""
    for text in blocks(path, "sh", "console", "bash"):
        for line in text.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line, comments=True)
            except ValueError:
                continue
            for i, word in enumerate(words):
                first = i == 0 or words[i - 1] in ("&&", "sudo") or "=" in words[i - 1]
                if first and (word == "cellpulse" or word.endswith("/cellpulse")):
                    yield words[i + 1 :]


def wrong(words: list[str]) -> str | None:
    """What of a command line does not exist."""
    command = typer.main.get_command(app)
    rest = list(words)
    while getattr(command, "commands", None):
        if not rest or rest[0].startswith("-"):
            return None if "--help" in rest else f"{' '.join(words)}: no such command"
        name = rest.pop(0)
        if name not in command.commands:  # type: ignore[attr-defined]  # a group
            return f"{' '.join(words)}: no command {name}"
        command = command.commands[name]  # type: ignore[attr-defined]  # a group
    known = {"--help"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    for word in rest:
        if word in ("|", ">", "&&", "&"):
            break
        if re.fullmatch(r"-\w|--[a-z][\w-]*(=.*)?", word) and word.split("=")[0] not in known:
            return f"{' '.join(words)}: no option {word}"
    return None


def test_every_command_in_the_documentation_exists() -> None:
    found = [(page, words) for page in PAGES for words in commands(page)]
    assert len(found) > 30
    problems = [f"{page.name}: {text}" for page, words in found if (text := wrong(words))]
    assert not problems, "\n".join(problems)


def test_every_setting_in_the_documentation_exists() -> None:
    known = {field.name for field in fields(Config)}
    for page in PAGES:
        for name in re.findall(r"\bCELLPULSE_([A-Z_]+)\b", page.read_text(encoding="utf-8")):
            assert name == "DATA" or name.lower() in known, f"{page.name}: CELLPULSE_{name}"


def test_toml_in_the_documentation_is_toml() -> None:
    for page in PAGES:
        for text in blocks(page, "toml"):
            tomllib.loads(text)


@pytest.fixture(scope="module")
def site() -> Path:
    """The built site; the build is strict and checks links and what is loaded from outside."""
    result = subprocess.run(
        [sys.executable, "docs/build.py"], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "No issues found" in result.stdout + result.stderr
    return ROOT / "build" / "site"


def test_the_site_has_every_page(site: Path) -> None:
    for page in ("index", "tutorial", "reference/commands", "course/zh/week-01", "results-soh"):
        assert (site / f"{page}.html").is_file(), page
    assert "InfluxDB" in (site / "reference" / "configuration.html").read_text(encoding="utf-8")
    assert "timestamp_ms" in (site / "reference" / "messages.html").read_text(encoding="utf-8")


async def test_search_works_without_a_network(site: Path) -> None:
    binary = shutil.which("chromium")
    need(binary is not None, "chromium")
    asked: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=CHROMIUM_FLAGS)
        tab = await browser.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        await tab.goto((site / "tutorial.html").as_uri())
        await tab.get_by_role("button", name="Search").first.click()
        await tab.keyboard.type("plateau")
        await tab.get_by_text("SOH, SOC, resistance, knees").first.wait_for(timeout=30_000)
        await browser.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))]


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html">x</a><a href="a.html#none">y</a><script src="https://far/x.js"></script>'
    )
    spec = importlib.util.spec_from_file_location("links", ROOT / "docs" / "links.py")
    assert spec is not None
    assert spec.loader is not None
    links = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(links)
    found = links.problems(tmp_path)
    assert len(found) == 3, found


def test_the_messages_in_the_reference_are_the_schemas() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    named = {message for _, message, _, _ in generate.TOPICS if message}
    written = {path.stem for path in (ROOT / "docs" / "schema").glob("*.json")}
    messages = {
        name for name in written
        if "timestamp_ms" in json.dumps(json.loads((ROOT / f"docs/schema/{name}.json").read_text()))
        or name in named
    }  # fmt: skip
    assert named <= written
    assert messages - named <= {"health_report"}, "a message that no topic of the page carries"


@pytest.mark.parametrize("page", ["tutorial", "howto", "operations", "faq"])
def test_python_in_the_documentation_runs(page: str, tmp_path: Path) -> None:
    code = "\n".join(blocks(ROOT / "docs" / f"{page}.md", "python"))
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
