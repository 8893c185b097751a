"""Who may import whom, held by walking every module's imports; and which touch the world."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from tests.conftest import ROOT

# What a package may import of the others.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "monitor": (),
    "recordings": (),
    "bridge": ("monitor.contract", "monitor.errors", "monitor.mqtt", "monitor.supervisor"),
    "simulator": (
        "monitor.contract", "monitor.errors", "monitor.kernels", "monitor.refusals",
        "monitor.supervisor", "recordings",
    ),
    "training": ("recordings", "simulator", "monitor"),
    "analysis": ("recordings", "simulator", "monitor"),
    "cellpulse": (
        "analysis", "bridge", "simulator", "training", "recordings", "monitor", "benchmarks",
    ),
    "benchmarks": (
        "cellpulse", "analysis", "bridge", "simulator", "training", "recordings", "monitor",
    ),
}  # fmt: skip
# What a folder of the monitor may import of the monitor. Its top level, the way of a frame, may
# import them all but the page; nobody imports the page but `cellpulse` and `analysis`.
LEAVES = ("contract", "errors", "config", "gaps", "inputs", "refusals")
WITHIN: dict[str, tuple[str, ...]] = {
    "kernels": (),  # the cache of their machine code knows no other source
    "models": ("contract", "errors", "kernels"),
    "alarms": (*LEAVES, "kernels"),
    "charging": ("contract", "errors", "models"),
    "mqtt": (*LEAVES, "supervisor"),
    "store": (*LEAVES, "kernels", "supervisor", "worker", "results"),
    "notify": (*LEAVES, "store", "supervisor"),
    "web": (*LEAVES, "models", "mqtt", "supervisor", "engine", "pipeline"),
    "dashboard": (*LEAVES, "web", "mqtt", "store", "models", "kernels", "charging", "alarms",
                  "supervisor", "fade", "risk"),
}  # fmt: skip
# The modules of the monitor that speak to clock, disk, network or a thread. All others are pure:
# they import none of IMPURE and nothing that does.
EDGES = frozenset(
    [
        "config",
        "delivery",
        "outgoing",
        "pipeline",
        "recovery",
        "service",
        "supervisor",
        "worker",
        "dashboard.analysis",
        "dashboard.app",
        "dashboard.callbacks",
        "dashboard.reports",
        "dashboard.live.feed",
        "dashboard.live.hub",
        "dashboard.live.socket",
        "kernels.cache",
        "models.folder",
        "models.timing",
        "mqtt.address",
        "mqtt.client",
        "mqtt.client_id",
        "mqtt.former_session",
        "mqtt.link",
        "mqtt.receive",
        "notify.webhook",
        "store.checkpoint",
        "store.influx",
        "store.influx_history",
        "store.influx_query",
        "store.influx_sink",
        "store.journal",
        "store.lines",
        "store.minutes",
        "store.minutes_process",
        "store.outbox",
        "store.sqlite_history",
        "store.upkeep",
        "store.wal",
        "web.health",
        "web.login",
        "web.login_guard",
        "web.origin_guard",
        "web.scrape",
        "web.server",
    ]
)
# Reads the sources of kernels for the cache of their machine code, which no result can show.
COMPILES = "monitor.kernels.cache"
DRAWS = "dashboard.pages."  # Dash's components, and nothing else of the world
IMPURE = frozenset(
    [
        "aiomqtt",
        "asyncio",
        "concurrent",
        "contextvars",
        "dash",
        "dash_ag_grid",
        "dash_mantine_components",
        "datetime",
        "fastapi",
        "gzip",
        "http",
        "importlib",
        "influxdb_client",
        "io",
        "iotcore",
        "logging",
        "multiprocessing",
        "os",
        "paho",
        "pathlib",
        "queue",
        "random",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "starlette",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "typer",
        "urllib",
        "uvicorn",
        "webbrowser",
        "websockets",
        "zipfile",
    ]
)
DASH = {"dash", "dash_ag_grid", "dash_mantine_components"}


@functools.cache
def modules() -> Mapping[str, str]:
    """Every module of ours by its full name: its path from the root."""
    found = {
        str(path.relative_to(ROOT))[:-3].replace("/", ".").removesuffix(".__init__"): str(
            path.relative_to(ROOT)
        )
        for package in MAY_IMPORT
        for path in sorted((ROOT / package).rglob("*.py"))
    }
    assert len(found) > 200
    return found


@functools.cache
def imports(module: str) -> frozenset[str]:
    """The full names of what a module imports, also inside of functions.

    `from a import b` is `a.b` where that is a module, else `a`.
    """
    path = modules()[module]
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for name in node.names:
                full = f"{node.module}.{name.name}"
                found.add(full if full in modules() else str(node.module))
    return frozenset(found)


def under(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def cycles() -> Iterator[list[str]]:
    """Every group of modules that import one another (Tarjan 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(module: str) -> Iterator[list[str]]:
        number[module] = lowest[module] = len(number)
        path.append(module)
        for other in sorted(imports(module) & modules().keys()):
            if other not in number:
                yield from visit(other)
            if other in path:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == number[module]:
            ring = path[path.index(module) :]
            del path[path.index(module) :]
            if len(ring) > 1:
                yield ring

    for module in modules():
        if module not in number:
            yield from visit(module)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_along_the_arrows(package: str) -> None:
    for module in modules():
        if not under(module, (package,)):
            continue
        for name in imports(module):
            top = name.split(".")[0]
            if top in MAY_IMPORT and top != package:
                assert under(name, MAY_IMPORT[package]), (
                    f"{module} imports {name}; {package} may import {MAY_IMPORT[package]}"
                )


@pytest.mark.parametrize("folder", WITHIN)
def test_the_monitors_folders_import_only_along_the_arrows(folder: str) -> None:
    own = f"monitor.{folder}"
    allowed = (own, *(f"monitor.{name}" for name in WITHIN[folder]))
    for module in modules():
        if under(module, (own,)):
            for name in imports(module):
                assert not under(name, ("monitor",)) or under(name, allowed), (
                    f"{module} imports {name}; {own} may import {WITHIN[folder]}"
                )


def test_only_the_page_imports_the_page() -> None:
    for module in modules():
        if under(module, ("monitor",)) and not under(module, ("monitor.dashboard",)):
            found = [name for name in imports(module) if under(name, ("monitor.dashboard",))]
            assert not found, f"{module} imports {found}"


def test_no_modules_import_one_another() -> None:
    found = sorted(cycles())
    assert found == []


def test_what_touches_the_world_is_listed_and_all_else_is_pure() -> None:
    edges = {f"monitor.{name}" for name in EDGES}
    unknown = edges - modules().keys()
    assert unknown == set(), f"no such modules: {unknown}"
    for module in modules():
        if not under(module, ("monitor",)):
            continue
        draws = module.startswith(f"monitor.{DRAWS}")
        touched = {name.split(".")[0] for name in imports(module)} & IMPURE
        touched |= imports(module) & (edges - {COMPILES})
        if module in edges:
            assert touched, f"{module} is pure: take it off the list of edges"
        else:
            assert touched <= (DASH if draws else set()), f"{module} imports {touched}"


def test_the_monitor_needs_no_training_package() -> None:
    """River is one that it does need, once a cell has had so many cycles: imported then."""
    heavy = ["torch", "sklearn", "xgboost", "pandas", "matplotlib", "river", "onnx", "gymnasium"]
    code = (
        "import sys; import monitor.service, monitor.dashboard.app, cellpulse.wiring;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_the_page_imports_neither_numba_nor_onnxruntime() -> None:
    """Forecasts and files that are sent are for processes of their own."""
    code = (
        "import sys; from cellpulse import wiring; from monitor.config import Config;"
        "import asyncio, contextlib;"
        "serving = lambda started: wiring.run_dashboard(Config(dashboard_port=0), started);"
        "exec(sys.argv[1]); asyncio.run(main());"
        "print([n for n in ('numba', 'llvmlite', 'onnxruntime', 'scipy') if n in sys.modules])"
    )
    start = """
async def main():
    started = asyncio.Event()
    page = asyncio.create_task(serving(started))
    await started.wait()
    page.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await page
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, start],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.strip() == "[]"


def test_the_command_line_imports_nothing_heavy() -> None:
    code = (
        "import sys; import cellpulse.cli;"
        "print([n for n in ('numpy', 'numba', 'dash', 'onnxruntime', 'scipy') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
