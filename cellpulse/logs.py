"""Log lines for people or for machines: one record is one line, whatever a message holds.

A topic or a file's name may hold line ends and escape codes; they are written as `\\n`, `\\x1b`.
What stands between `://` and `@` in an address is a secret and never written.
"""

from __future__ import annotations

import datetime
import json
import logging
import re

from monitor.config import Config

_SECRET = re.compile(r"(?<=://)[^/\s@]+@")
_CONTROL = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_INDENTED = {code: text for code, text in _CONTROL.items() if code not in (9, 10)}


def start_logging(config: Config) -> None:
    """Send every record to standard error in the configured form, from the configured level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if config.log_format == "json" else TextLines())
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler])


class TextLines(logging.Formatter):
    """`WARNING monitor.mqtt.link: lost the broker ...`; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        line = f"{record.levelname} {record.name}: {_clean(record.getMessage())}"
        trace = _trace(self, record)
        return line if trace is None else f"{line}\n{trace}"


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _SECRET.sub("***@", record.getMessage()),
        }
        trace = _trace(self, record)
        if trace is not None:
            line["exception"] = trace
        return json.dumps(line)  # ASCII: no character of it ends a line


def _clean(text: str) -> str:
    return _SECRET.sub("***@", text).translate(_CONTROL)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    if not record.exc_info or record.exc_info[0] is None:
        return None
    return _SECRET.sub("***@", formatter.formatException(record.exc_info)).translate(_INDENTED)
