"""No password in the process list: one in an address on the command line moves to the environment.

The process starts itself again (same process id) without it. It was visible for the tenth of a
second that Python takes to start; `broker_password_file` is never visible.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from urllib.parse import unquote

PASSWORD = "CELLPULSE_BROKER_PASSWORD"
_ADDRESS = re.compile(r"\A((?:--[a-z-]+=)?mqtts?://[^/?#:@]*):([^/?#]*)@(.*)\Z", re.DOTALL)


def hide_passwords() -> None:
    """Start this process again without the password in its arguments, where there is one."""
    arguments, passwords = without_passwords(sys.orig_argv)
    if len(set(passwords)) == 1 and os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, arguments, {**os.environ, PASSWORD: passwords[0]})


def without_passwords(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments with `user@` for `user:password@` in MQTT addresses, and the passwords."""
    kept, passwords = [], []
    for argument in arguments:
        match = _ADDRESS.match(argument)
        if match is not None and match[2]:
            passwords.append(unquote(match[2]))
            argument = f"{match[1]}@{match[3]}"
        kept.append(argument)
    return kept, passwords
