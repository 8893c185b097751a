"""Who may command: a device is not an operator. Pure.

The broker's ACL is the first guard. This is the second one, which holds without an ACL too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from monitor.contract import is_asset_name
from monitor.errors import ConfigurationError
from monitor.refusals import refusal

# The broker's users of the shipped stack that are programs; `device` was once the boards' user.
PROGRAMS = frozenset({"monitor", "simulator", "dashboard", "homeassistant", "device"})


@dataclass(frozen=True, slots=True)
class Operators:
    """The names that may command; none: every name but those of programs, assets and gateways."""

    names: frozenset[str] = frozenset()

    @staticmethod
    def parse(text: str) -> Operators:
        """Names parted by commas; raises ConfigurationError for one that is no person's."""
        names = frozenset(name.strip() for name in text.split(",") if name.strip())
        for name in sorted(names):
            if not is_asset_name(name):
                raise ConfigurationError(
                    f"operators: {name!r}: expected letters, digits, `.`, `_`, `-`, 1 to 64 of "
                    "them, and a comma between two names"
                )
            if name in PROGRAMS:
                raise ConfigurationError(
                    f"operators: {name!r} is a program's name; expected the names of people"
                )
        return Operators(names)

    def refusal(self, asset: str, user: str, is_device: Callable[[str], bool]) -> str | None:
        """Why `user` may not command `asset`, None where it may.

        `is_device` says whether a name is that of a known asset or gateway. It is not asked where
        names are listed: a device that takes a listed name must not silence its bearer.
        """
        if user == asset:
            return refusal("user_is_asset", user=user)
        if user in PROGRAMS:
            return refusal("user_is_program", user=user)
        if self.names:
            if user in self.names:
                return None
            return refusal("user_not_listed", user=user)
        if is_device(user):
            return refusal("user_is_device", user=user)
        return None


EVERYBODY = Operators()
