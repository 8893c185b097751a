"""The words of the report: `words.en.toml` and `words.zh.toml`, with the same keys."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from monitor.dashboard.texts import Language


@cache
def words(language: Language) -> dict[str, str]:
    """Every word of one language by its key."""
    path = Path(__file__).resolve().parent / f"words.{language}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def word(key: str, language: Language, **values: object) -> str:
    """The words of `key`; raises KeyError for an unknown one."""
    text = words(language)[key]
    return text.format(**values) if values else text
