"""Lets readers of a SQLite file in, and keeps them out for a moment, so that the write-ahead log can be emptied.

Readers that overlap keep the log in use for as long as they come, and it grows with every write. A read takes
milliseconds, so the gate waits for those inside. A search may take seconds: while one is inside the gate stays open for
reads, and no other search comes in before the log was emptied.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

GATE_SECONDS: Final = 0.02
"""How long the writer waits until nobody reads, so that the log can be emptied; then another time is waited for."""


class Emptied(Enum):
    """What became of an attempt to empty the write-ahead log."""

    DONE = auto()
    INSIDE = auto()
    """Somebody of this process reads."""
    BUSY = auto()
    """Another program reads, or the disk fails."""


class Gate:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reading = 0
        self._searching = 0
        self._is_closed = False
        self._keeps_searches_out = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_closed)
            self._reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()

    @contextmanager
    def searching(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_closed and not self._keeps_searches_out)
            self._searching += 1
        try:
            yield
        finally:
            with self._changed:
                self._searching -= 1
                self._changed.notify_all()

    @contextmanager
    def closed(self, seconds: float) -> Iterator[bool]:
        """Keeps readers out. Whether nobody is inside: those inside may take this long to leave."""
        with self._changed:
            self._is_closed = not self._searching
            is_empty = self._is_closed and self._changed.wait_for(lambda: not self._reading, seconds)
            self._open_unless(is_empty)
        try:
            yield is_empty
        finally:
            with self._changed:
                self._open_unless(False)

    def keep_searches_out(self, keeps_out: bool, /) -> None:
        """Whether searches that come wait until this is taken back."""
        with self._changed:
            self._keeps_searches_out = keeps_out
            self._changed.notify_all()

    def _open_unless(self, stays_closed: bool, /) -> None:
        if not stays_closed:
            self._is_closed = False
            self._changed.notify_all()


def empty(driver: sqlite3.Connection, gate: Gate) -> Emptied:
    """Moves the log into the file. Raises sqlite3.Error."""
    # Most of the work, and all waiting for the disk, while readers continue.
    driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    with gate.closed(GATE_SECONDS) as is_empty:
        if not is_empty:
            return Emptied.INSIDE
        busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return Emptied.BUSY if busy else Emptied.DONE
