"""Benchmark results on disk, so that a long run can be made in pieces."""

from __future__ import annotations

from pathlib import Path

import msgspec

from training.thermal.benchmark import Result


def keep(result: Result, sites_per_group: int, folder: Path) -> None:
    """Write one detector's result."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"sites_per_group": sites_per_group, "result": result}
    (folder / f"{_file(result.name)}.json").write_bytes(msgspec.json.encode(kept))


def kept(folder: Path) -> dict[str, tuple[Result, int]]:
    """Every kept result by the detector's name, with its number of sites a group."""

    class Kept(msgspec.Struct):
        sites_per_group: int
        result: Result

    found = {}
    for path in sorted(folder.glob("*.json")):
        one = msgspec.json.decode(path.read_bytes(), type=Kept)
        found[one.result.name] = (one.result, one.sites_per_group)
    return found


def _file(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name).strip("-")
