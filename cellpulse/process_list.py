"""No secret in the process list: one on the command line moves to the environment.

These are a password in a broker's address, and a webhook's address, whose path is often a secret.

The process starts itself again (same process id) without it. It was visible for the tenth of a
second that Python takes to start; `broker_password_file` is never visible.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from urllib.parse import unquote

PASSWORD, WEBHOOK = "CELLPULSE_BROKER_PASSWORD", "CELLPULSE_WEBHOOK"
_ADDRESS = re.compile(r"\A((?:--[a-z-]+=)?mqtts?://[^/?#:@]*):([^/?#]*)@(.*)\Z", re.DOTALL)


def hide_secrets() -> None:
    """Start this process again without the secrets in its arguments, where there are any."""
    arguments, secrets = without_secrets(sys.orig_argv)
    if secrets and os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, arguments, {**os.environ, **secrets})


def without_secrets(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments with `user@` for `user:password@` in MQTT addresses and without `--webhook`.

    Then what goes to the environment instead. Two passwords that differ stay where they are, since
    the environment has room for one.
    """
    kept: list[str] = []
    secrets: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        match = _ADDRESS.match(argument)
        if match is not None and match[2]:
            password = unquote(match[2])
            if secrets.setdefault(PASSWORD, password) == password:
                argument = f"{match[1]}@{match[3]}"
        elif argument == "--webhook" and (url := next(rest, None)) is not None:
            secrets[WEBHOOK] = url
            continue
        elif argument.startswith("--webhook="):
            secrets[WEBHOOK] = argument.partition("=")[2]
            continue
        kept.append(argument)
    return kept, secrets
