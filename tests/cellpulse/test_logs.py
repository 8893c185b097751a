"""A log record is one line, holds no secret, and as JSON can be read back."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from cellpulse.logs import JsonLines, TextLines


def record(message: str, *arguments: object, failure: bool = False) -> logging.LogRecord:
    trace = None
    if failure:
        try:
            raise ValueError("mqtt://user:secret@host \x1b[31m")
        except ValueError:
            trace = sys.exc_info()
    return logging.LogRecord("monitor.x", logging.WARNING, "x.py", 1, message, arguments, trace)


def test_json_has_the_parts() -> None:
    line = json.loads(JsonLines().format(record("took %d ms", 7)))
    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "logger": "monitor.x", "message": "took 7 ms"}


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_a_record_is_one_line_whatever_it_holds(form: logging.Formatter) -> None:
    line = form.format(record("refused %s", "bms/a\nERROR forged: \x1b[2J\x07\u2028\x9b"))
    assert len(line.splitlines()) == 1
    assert line.isprintable()


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_no_secret_of_an_address_is_written(form: logging.Formatter) -> None:
    line = form.format(record("lost %s", "mqtts://ann:se:cret@h:8883", failure=True))
    assert "secret" not in line
    assert "cret" not in line
    assert "***@h:8883" in line
    assert "ValueError" in line
    assert "\x1b" not in line
