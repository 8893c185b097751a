"""Downloads of the battery health report, of an asset and of a file that was analysed.

The report is made by what the wiring passes in, see `Reports`. An analysed file is gone when its
report is asked for, so what the report needs of it is kept here for a while, by a token that only
the sender of the file was given.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import quote

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from monitor.contract import is_asset_name
from monitor.dashboard.analysis import Analysis
from monitor.dashboard.texts import Language, as_language, text
from monitor.errors import CellpulseError

MAX_AT_ONCE = 2
MAX_KEPT = 32
MAX_KEPT_BYTES = 64 * 1024 * 1024
KEPT_S = 3_600.0


class Reports(Protocol):
    """Makes reports as PDF; both raise CellpulseError with the reason in one sentence."""

    async def of_asset(self, asset: str, language: Language) -> bytes:
        """The report on an asset of the store."""
        ...

    async def of_saved(self, report: str, language: Language) -> bytes:
        """The report from its own JSON form."""
        ...


class KeptReports:
    """Reports of analysed files by token, the newest few, for an hour.

    `clock` gives seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, str, str]] = OrderedDict()

    def keep(self, asset: str, report: str) -> str:
        """A token for a report."""
        token = secrets.token_urlsafe(18)
        self._kept[token] = (self._clock(), asset, report)
        while len(self._kept) > MAX_KEPT or self._bytes() > MAX_KEPT_BYTES:
            self._kept.popitem(last=False)
        return token

    def find(self, token: str) -> tuple[str, str] | None:
        """The asset and its report; None where the token is unknown or too old."""
        found = self._kept.get(token)
        if found is None or self._clock() - found[0] > KEPT_S:
            return None
        return found[1], found[2]

    def with_tokens(self, found: list[Analysis]) -> list[Analysis]:
        """The analyses with a token in place of each report."""
        return [
            one
            if one.report is None
            else msgspec.structs.replace(one, report=self.keep(one.asset, one.report))
            for one in found
        ]

    def _bytes(self) -> int:
        return sum(len(report) for _, _, report in self._kept.values())


def mount_reports(server: FastAPI, reports: Reports, kept: KeptReports) -> None:
    """Add `GET /report/asset/NAME?lang=en` and `GET /report/file/TOKEN?lang=en`.

    The answer is a PDF to download, or plain words and a status of 400 and over.
    """
    places = asyncio.Semaphore(MAX_AT_ONCE)

    async def of_asset(asset: str, request: Request) -> Response:
        language = as_language(request.query_params.get("lang"))
        if not is_asset_name(asset):
            return PlainTextResponse(text("report_gone", language), 404)
        return await answer(asset, language, lambda: reports.of_asset(asset, language))

    async def of_file(token: str, request: Request) -> Response:
        language = as_language(request.query_params.get("lang"))
        found = kept.find(token)
        if found is None:
            return PlainTextResponse(text("report_gone", language), 404)
        return await answer(found[0], language, lambda: reports.of_saved(found[1], language))

    async def answer(
        asset: str, language: Language, make: Callable[[], Awaitable[bytes]]
    ) -> Response:
        if places.locked():
            return PlainTextResponse(text("report_busy", language), 503)
        async with places:
            try:
                pdf = await make()
            except CellpulseError as error:
                return PlainTextResponse(str(error), 500)
        name = quote(f"battery_health_report-{asset}.pdf")
        return Response(
            pdf,
            media_type="application/pdf",
            headers={
                "Content-Disposition": f'attachment; filename="{name}"',
                "Cache-Control": "no-store",
            },
        )

    server.add_api_route("/report/asset/{asset}", of_asset, include_in_schema=False)
    server.add_api_route("/report/file/{token}", of_file, include_in_schema=False)
