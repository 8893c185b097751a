"""`python -m tests.many_assets PAGE_PORT`: a whole demo of 96 assets at about 10 Hz each.

They are the bundled recording's cells under other names. How many frames the broker has
acknowledged is printed as it grows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cellpulse.process import run
from cellpulse.wiring import Show, run_show
from monitor.config import Config
from recordings.open import open_recording
from recordings.types import Operation, Recording, RecordingInfo
from simulator.demo_file import demo_recording
from simulator.player import Progress
from simulator.replay import ReplayOptions

ASSETS = 96
SPEED = 50.0  # the recording has a sample every 5 s


@dataclass(frozen=True)
class Renamed:
    """A recording under another name."""

    recording: Recording
    info: RecordingInfo

    def operations(self, start: int = 0) -> Iterator[Operation]:
        """Those of the recording."""
        return self.recording.operations(start)


def main() -> None:
    """Run until interrupted."""
    bundled = open_recording(demo_recording())
    recordings = [
        Renamed(one, replace(one.info, asset=f"asset-{k:02d}"))
        for k in range(ASSETS)
        for one in [bundled[k % len(bundled)]]
    ]

    def report(progress: Progress) -> None:
        print(progress.frames, flush=True)

    show = Show(recordings, ReplayOptions(speed=SPEED, longest_gap_s=60.0), report=report)
    run(run_show(Config(dashboard_port=int(sys.argv[1])), show))


if __name__ == "__main__":
    main()
