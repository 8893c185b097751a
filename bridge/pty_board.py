"""A simulated board on a pseudo-terminal, with the faults of a real line.

Replies in pieces, noise before them, damaged bytes, slow answers and silence. POSIX only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import tty
from dataclasses import dataclass

from bridge.simulate import Board


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad the line is. Probabilities are per reply."""

    piece_bytes: int = 0  # replies arrive in pieces of at most so many bytes; 0: whole
    piece_gap_s: float = 0.01
    noise: float = 0.0
    delay_s: float = 0.0
    silence: float = 0.0
    damage: float = 0.0  # one byte of the reply is wrong


class Pty:
    """A board on a pseudo-terminal; `path` is the port that a bridge opens.

    The terminal stays open while the board is there, so a bridge may come and go.
    """

    def __init__(self, board: Board, faults: Faults | None = None, seed: int = 0) -> None:
        self._board = board
        self._faults = faults or Faults()
        self._rng = random.Random(seed)
        self._controller, self._terminal = os.openpty()
        tty.setraw(self._terminal)
        os.set_blocking(self._controller, False)
        self.path = os.ttyname(self._terminal)
        self.silent = False

    async def run(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[bytes] = asyncio.Queue(100)  # past it bytes are lost, as on a line

        def take() -> None:
            with contextlib.suppress(BlockingIOError, asyncio.QueueFull):
                arrived.put_nowait(os.read(self._controller, 4_096))

        loop.add_reader(self._controller, take)
        try:
            while True:
                for reply in self._board.receive(await arrived.get()):
                    await self._send(reply)
        finally:
            loop.remove_reader(self._controller)

    def close(self) -> None:
        """Unplug: whoever has the port open gets an error."""
        os.close(self._controller)
        os.close(self._terminal)

    async def _send(self, reply: bytes) -> None:
        faults, rng = self._faults, self._rng
        if self.silent or rng.random() < faults.silence:
            return
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if rng.random() < faults.damage:
            at = rng.randrange(len(reply))
            reply = reply[:at] + bytes((reply[at] ^ 1 << rng.randrange(8),)) + reply[at + 1 :]
        if rng.random() < faults.noise:
            reply = rng.randbytes(rng.randrange(1, 9)) + reply
        step = faults.piece_bytes or len(reply)
        for at in range(0, len(reply), step):
            if at:
                await asyncio.sleep(faults.piece_gap_s)
            with contextlib.suppress(BlockingIOError):  # nobody reads: the line's own loss
                os.write(self._controller, reply[at : at + step])
