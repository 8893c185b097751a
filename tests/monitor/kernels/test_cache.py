"""A kernel that was compiled from other sources is never run."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from monitor.kernels.cache import SourcesCache, sources_key
from monitor.kernels.risk import _levels
from tests.conftest import ROOT

JUDGE = """
import numpy as np
from monitor.kernels import risk
from monitor.kernels.cell import empty_cells
from monitor.kernels.columns import RESULTS, Feature, Result
from monitor.kernels.frames import Outputs

def judged(judge):
    cells, out = empty_cells(1), Outputs(1)
    cells["config"]["temperature_max_c"] = 60.0
    out.features[:] = np.nan
    out.features[0, Feature.TEMPERATURE_C] = 80.0
    out.features[0, Feature.AMBIENT_C] = 24.0
    result = np.full((1, RESULTS), np.nan, np.float32)
    value, value_ms = np.full((1, RESULTS), np.nan), np.zeros((1, RESULTS), np.int64)
    assert judge(cells, value, value_ms, out.samples, result, 1)
    return int(result[0, Result.RISK]), int(result[0, Result.RISK_CAUSE])

compiled = risk._assess_inplace
print(judged(compiled), sum(compiled.stats.cache_hits.values()))
"""


def run(folder: Path, script: str, **environment: str) -> str:
    """What a script prints that imports the packages in `folder`; Numba caches beside the code."""
    inherited = {name: x for name, x in os.environ.items() if not name.startswith("NUMBA")}
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=folder,
        env={**inherited, "PYTHONPATH": str(folder), **environment},
    )  # fmt: skip
    return done.stdout.strip()


def test_a_kernel_of_other_sources_is_not_run(tmp_path: Path) -> None:
    """80 C where 60 C is the limit is a danger, whatever columns an earlier version had."""
    hidden = shutil.ignore_patterns("__pycache__", "assets")
    shutil.copytree(ROOT / "monitor", tmp_path / "monitor", ignore=hidden)
    right = "(3, 1)"
    assert run(tmp_path, JUDGE) == f"{right} 0"
    assert run(tmp_path, JUDGE) == f"{right} 1"  # the second start finds it compiled
    columns = tmp_path / "monitor" / "kernels" / "columns.py"
    before = columns.read_text(encoding="utf-8")
    places = {"TEMPERATURE_C = 22": "TEMPERATURE_C = 23", "AMBIENT_C = 23": "AMBIENT_C = 22"}
    after = re.sub("|".join(places), lambda found: places[found[0]], before)
    assert after != before
    columns.write_text(after, encoding="utf-8")
    assert run(tmp_path, JUDGE) == f"{right} 0"
    columns.write_text(before, encoding="utf-8")
    assert run(tmp_path, JUDGE) == f"{right} 1"  # and each version keeps its own


def test_checked_and_unchecked_kernels_share_a_folder(tmp_path: Path) -> None:
    script = (
        "import numpy as np\nfrom monitor.kernels.jit import kernel\n"
        "@kernel\ndef second(a, at):\n    return a[at]\n"
        "try:\n    second(np.zeros(4)[:1], 1)\n    print('read')\n"
        "except IndexError:\n    print('IndexError')\n"
    )
    (tmp_path / "reading.py").write_text(script, encoding="utf-8")
    for asked, end in (("1", "IndexError"), ("0", "read"), ("1", "IndexError")):
        found = run(
            ROOT, f"import runpy; runpy.run_path({str(tmp_path / 'reading.py')!r})",
            NUMBA_BOUNDSCHECK=asked, NUMBA_CACHE_DIR=str(tmp_path),
        )  # fmt: skip
        assert found == end


def test_numbas_private_names_are_where_they_were() -> None:
    """The cache replaces `_cache` of a dispatcher, which it reads and writes by `_cache_file`."""
    cache = _levels._cache  # type: ignore[attr-defined]
    assert isinstance(cache, SourcesCache)
    key = sources_key(_levels.py_func.__code__.co_filename)  # type: ignore[attr-defined]
    assert key in cache._cache_file._index_name
    _levels(25.0, 60.0, 0.0, 0.0, 0.0, 0.0, False, 0)
    assert list(Path(cache.cache_path).glob(f"*levels*{key}*.nbi"))


def test_what_is_compiled_uses_its_own_file_and_the_kernels_alone() -> None:
    """Else the cache would not notice a change: it looks at no other source of ours."""
    ours = ("monitor", "simulator", "training", "recordings", "benchmarks", "cellpulse", "analysis")
    looked_at = 0
    for package in ours:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            jitted = [
                node
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef)
                and {"njit", "kernel", "inlined"}
                & {name.id for name in node.decorator_list if isinstance(name, ast.Name)}
            ]
            foreign = {
                alias.asname or alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
                and str(node.module).split(".")[0] in ours
                and not str(node.module).startswith("monitor.kernels")
                for alias in node.names
            }
            looked_at += len(jitted)
            for function in jitted:
                used = {
                    name.id
                    for statement in function.body
                    for name in ast.walk(statement)
                    if isinstance(name, ast.Name)
                }
                assert not used & foreign, f"{path.name}: {function.name} uses {used & foreign}"
    assert looked_at > 30
