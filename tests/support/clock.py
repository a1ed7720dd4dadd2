"""Clocks that tests set by hand, in this process or in a server's."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from sessions_server.domain.models import SECOND, Micros

START = Micros(1_700_000_000 * SECOND)

_CELL = struct.Struct("<q")


class HandClock:
    """Stands still until it is set."""

    def __init__(self, start: Micros = START) -> None:
        self._now = start

    def now(self) -> Micros:
        return self._now

    def turn(self, *, seconds: float = 0, micros: int = 0) -> None:
        self.turn_to(Micros(self.now() + round(seconds * SECOND) + micros))

    def turn_to(self, instant: Micros) -> None:
        self._now = instant


class SharedClock(HandClock):
    """A clock in a file, which a server in another process uses."""

    def __init__(self, path: Path, start: Micros = START) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(_CELL.pack(start))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _CELL.size)

    def now(self) -> Micros:
        return Micros(_CELL.unpack_from(self._memory)[0])

    def turn_to(self, instant: Micros) -> None:
        _CELL.pack_into(self._memory, 0, instant)
