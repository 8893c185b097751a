"""Health reports for the page, each made by a process of its own.

WeasyPrint computes for seconds; in the page's process that would hold up what moves there. The
process is `cellpulse report` itself, so the page and the command give the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from monitor.dashboard.texts import Language
from monitor.errors import CellpulseError

TIME_S = 300.0


class ReportMaker:
    """`monitor.dashboard.reports.Reports` over one store."""

    def __init__(self, store: Path, models: Path | None = None) -> None:
        self._store = store
        self._models = models

    async def of_asset(self, asset: str, language: Language) -> bytes:
        """The report on an asset of the store; raises CellpulseError."""
        return await self._run([asset, "--store", str(self._store)], language)

    async def of_saved(self, report: str, language: Language) -> bytes:
        """The report from its own JSON form; raises CellpulseError."""
        with tempfile.TemporaryDirectory(prefix="report-") as folder:
            path = Path(folder) / "report.json"
            await asyncio.to_thread(path.write_text, report, encoding="utf-8")
            return await self._run([str(path)], language)

    async def _run(self, what: Sequence[str], language: Language) -> bytes:
        models = [] if self._models is None else ["--models", str(self._models)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cellpulse", "report", *what, *models,
            "--lang", language, "--format", "pdf", "-o", "-",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TIME_S):
                pdf, said = await process.communicate()
        except TimeoutError as error:
            raise CellpulseError(f"the report took longer than {TIME_S / 60:g} minutes") from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.returncode != 0:
            lines = said.decode(errors="replace").strip().splitlines()
            reason = lines[-1].removeprefix("cellpulse: ") if lines else "the process ended early"
            reason = reason.replace(f"{self._store.parent}/", "")  # a browser need not know where
            raise CellpulseError(f"no report: {reason}")
        return pdf
