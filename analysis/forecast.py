"""The shipped forecast model for the page, read when a cell is first looked at.

The page asks a process of its own: ONNX Runtime takes memory that a page without it can spare, and
a forecast computes for longer than what moves on the page should wait.

    python -m analysis.forecast FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from monitor.contract import AssetConfig, CycleSummary
from monitor.dashboard.pages.outlook import Outlook, outlook
from monitor.errors import ModelError
from monitor.models.folder import load_model
from monitor.models.forecast import ForecastModel
from monitor.worker import Worker, serve

NICENESS = 5  # the live page and the monitor come first
ANSWER_S = 60.0


class ForecastProcess:
    """Asks the process, and starts it where there is none."""

    def __init__(self, folder: Path) -> None:
        self._worker = Worker(__name__, str(folder), answer_s=ANSWER_S)

    async def outlook(
        self, asset: str, config: AssetConfig, cycles: Sequence[CycleSummary]
    ) -> Outlook:
        """As `outlook_of`; raises ModelError also where the process ends."""
        question = _Question(asset, config, list(cycles))
        try:
            data = await self._worker.ask(msgspec.msgpack.encode(question))
        except (OSError, EOFError) as error:
            raise ModelError(f"{asset}: the process of the forecasts ended") from error
        answer = msgspec.msgpack.decode(data, type=_Answer)
        if answer.outlook is None:
            raise ModelError(answer.error)
        return answer.outlook

    async def aclose(self) -> None:
        """End the process."""
        await self._worker.close()


def outlook_of(
    folder: Path, asset: str, config: AssetConfig, cycles: Sequence[CycleSummary]
) -> Outlook:
    """The outlook of a cell from its finished half-cycles, oldest first, here and now.

    Raises ModelError where the folder's model cannot be used.
    """
    return outlook(forecast_model(folder), asset, config, cycles)


@lru_cache(maxsize=2)
def forecast_model(folder: Path) -> ForecastModel:
    """The forecast model in a folder; raises ModelError naming the file."""
    return load_model(ForecastModel, "forecast", folder)


class _Question(msgspec.Struct):
    asset: str
    config: AssetConfig
    cycles: list[CycleSummary]


class _Answer(msgspec.Struct):
    outlook: Outlook | None = None
    error: str = ""


def _answer(folder: Path, request: bytes) -> bytes:
    asked = msgspec.msgpack.decode(request, type=_Question)
    try:
        answer = _Answer(outlook_of(folder, asked.asset, asked.config, asked.cycles))
    except ModelError as error:
        answer = _Answer(error=str(error))
    return msgspec.msgpack.encode(answer)


def main() -> None:
    """The process."""
    folder = Path(sys.argv[1])
    serve(lambda request: _answer(folder, request), NICENESS)


if __name__ == "__main__":
    main()
