"""The import arrows of the house, held by walking every module's imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

PACKAGES = ("cellpulse", "bridge", "simulator", "training", "recordings", "monitor", "benchmarks")
MAY_IMPORT = {
    "monitor": (),
    "recordings": (),
    "bridge": ("monitor.contract", "monitor.errors", "monitor.mqtt_client"),
    "simulator": (
        "monitor.contract", "monitor.errors", "monitor.features", "monitor.refusals", "recordings",
    ),
    "training": ("recordings", "simulator", "monitor"),
    "benchmarks": ("cellpulse", "bridge", "simulator", "training", "recordings", "monitor"),
    "cellpulse": ("bridge", "simulator", "training", "recordings", "monitor", "benchmarks"),
}  # fmt: skip
PURE = (
    "contract", "features", "models", "alarms", "engine", "admission", "conditions", "rules",
    "latest", "fleet", "inputs", "jit", "errors", "risk", "fade", "anode", "charging", "advice",
    "alarm_commands", "alarm_groups", "operators", "quarantine", "refusals", "takeover",
)  # fmt: skip
IMPURE = {
    "asyncio", "aiomqtt", "paho", "sqlite3", "dash", "os", "time", "pathlib", "socket",
    "threading", "logging", "random", "datetime",
}  # fmt: skip


def imports(path: str) -> Iterator[str]:
    """The full names of what a file imports, `from a import b` as both `a` and `a.b`."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def files(package: str) -> list[str]:
    """The Python files of a package, as paths from the root."""
    found = sorted(str(p.relative_to(ROOT)) for p in (ROOT / package).rglob("*.py"))
    assert found, f"no files in {package}"
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_along_the_arrows(package: str) -> None:
    for path in files(package):
        for name in imports(path):
            top = name.split(".")[0]
            if top not in PACKAGES or top == package:
                continue
            allowed = MAY_IMPORT[package]
            # `from monitor import contract` names the package too; its parts are judged.
            if any(entry.startswith(f"{name}.") for entry in allowed):
                continue
            assert any(name == a or name.startswith(f"{a}.") for a in allowed), (
                f"{path} imports {name}; {package} may import {allowed}"
            )


@pytest.mark.parametrize("module", PURE)
def test_the_pure_core_touches_no_edge(module: str) -> None:
    for name in imports(f"monitor/{module}.py"):
        assert name.split(".")[0] not in IMPURE, f"monitor/{module}.py imports {name}"
        if name.startswith("monitor."):
            assert name.split(".")[1] in PURE, f"monitor/{module}.py imports {name}"


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


def test_the_command_line_imports_nothing_heavy() -> None:
    code = (
        "import sys; import cellpulse.cli;"
        "print([n for n in ('numpy', 'numba', 'dash', 'onnxruntime', 'scipy') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
