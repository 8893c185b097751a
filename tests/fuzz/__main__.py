"""Fuzz one part of the product: `python -m tests.fuzz NAME --seconds 60 --seed 1`.

A failure names the seed and the case; `--case` repeats it. Kernels check their bounds where
NUMBA_BOUNDSCHECK=1 is set before the start.
"""

from __future__ import annotations

import argparse
import importlib
import time

NAMES = ("pipeline", "readers", "bridges", "page")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="repeat one case of a seed (not of `page`)")
    parser.add_argument("--recoveries", type=int, help="of `pipeline`: so many, instead of a time")
    asked = parser.parse_args()
    module = importlib.import_module(f"tests.fuzz.{asked.name}")
    if asked.case is not None:
        print(module.one(asked.seed, asked.case))
        return
    more = {} if asked.recoveries is None else {"recoveries": asked.recoveries}
    began = time.process_time()
    done = module.run(asked.seconds, asked.seed, **more)
    print(f"{asked.name}: {done}; {time.process_time() - began:.0f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
