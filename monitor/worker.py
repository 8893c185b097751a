"""A process of its own that answers one request after another, and ends where we do.

What computes for long, or needs libraries that cost memory, is asked here: it holds up neither this
process's other threads nor its event loop. A request and an answer are bytes behind their length.
The process ends where its input does: with the one that asks, however that ends.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections.abc import Callable
from typing import BinaryIO

LENGTH = struct.Struct(">I")
MOST_BYTES = 256 * 1024 * 1024


class Worker:
    """Asks `python -m MODULE ARGUMENTS`, which calls `serve`; starts it where there is none."""

    def __init__(self, module: str, *arguments: str, answer_s: float) -> None:
        """An answer that takes longer than `answer_s` is not waited for."""
        self._command = (sys.executable, "-m", module, *arguments)
        self._answer_s = answer_s
        self._process: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The process's number, None where there is none."""
        return None if self._process is None else self._process.pid

    async def ask(self, request: bytes = b"") -> bytes:
        """The process's answer. Raises OSError or EOFError where it ended or is too slow.

        It is ended then, and also where whoever waits is cancelled: the next request begins anew.
        """
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(self._answer_s):
                    return await self._asked(request)
            except BaseException:
                await self.close()
                raise

    async def _asked(self, request: bytes) -> bytes:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us, who end this
            )  # fmt: skip
        if process.stdin is None or process.stdout is None:
            raise BrokenPipeError("the process has no pipes")
        process.stdin.write(LENGTH.pack(len(request)) + request)
        await process.stdin.drain()
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        if length > MOST_BYTES:
            raise OSError(f"an answer of {length:,} bytes")
        return await process.stdout.readexactly(length)

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()


def serve(answer: Callable[[bytes], bytes], niceness: int) -> None:
    """The process: answer what comes on standard input until it ends, behind us in priority.

    What is printed meanwhile goes to standard error.
    """
    if hasattr(os, "nice"):  # Windows has none
        os.nice(niceness)
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with out:
        while (request := _read(sys.stdin.buffer)) is not None:
            data = answer(request)
            block = memoryview(LENGTH.pack(len(data)) + data)
            try:
                while block:
                    block = block[out.write(block) :]
            except BrokenPipeError:
                return  # nobody waits for it any more


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    request = stream.read(length)
    return request if len(request) == length else None
