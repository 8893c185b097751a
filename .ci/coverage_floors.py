"""How much of each package's branches the tests take; fails below a floor.

    python .ci/coverage_floors.py REPORT.json

Branches alone: lines are easier, and would hide them. A floor is raised when more is covered, not
lowered.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FLOORS = {"monitor": 90.0, "bridge": 92.0, "recordings": 92.0}  # percent


def main(report: Path) -> None:
    """Print each package's share, and end with status 1 if one is below its floor."""
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    low = False
    for package, floor in FLOORS.items():
        sums = [about["summary"] for name, about in files.items() if Path(name).parts[0] == package]
        branches = sum(one["num_branches"] for one in sums)
        taken = sum(one["covered_branches"] for one in sums)
        if not branches:
            sys.exit(f"coverage: nothing of {package}/ was measured")
        share = 100.0 * taken / branches
        low |= share < floor
        print(
            f"{package:<10} {taken:>5} of {branches:>5} branches, {share:.1f} % (floor {floor} %)"
        )
    if low:
        sys.exit("coverage: below its floor; `.venv/bin/coverage report -m` says which branches")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
