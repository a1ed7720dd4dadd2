"""Admits readers of a SQLite file, and blocks them briefly, so that the write-ahead log can be truncated.

Overlapping readers keep the log in use, and it grows with every write. A read takes milliseconds, so the gate waits for
current ones. A search may take seconds: during one the gate stays open for reads, and no other search is admitted until
the log has been truncated.
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
"""How long the writer waits until nobody reads; if that fails, it tries again later."""


class Emptied(Enum):
    """The result of an attempt to truncate the write-ahead log."""

    DONE = auto()
    INSIDE = auto()
    """A reader of this process is active."""
    BUSY = auto()
    """Another program is reading, or the disk fails."""


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
        """Blocks readers; yields whether none is active. Active ones have this long to finish."""
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
        """Sets whether new searches have to wait."""
        with self._changed:
            self._keeps_searches_out = keeps_out
            self._changed.notify_all()

    def _open_unless(self, stays_closed: bool, /) -> None:
        if not stays_closed:
            self._is_closed = False
            self._changed.notify_all()


def empty(driver: sqlite3.Connection, gate: Gate) -> Emptied:
    """Moves the log into the file and truncates it. Raises sqlite3.Error."""
    # Does most of the work, and all the waiting for the disk, while readers continue.
    driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    with gate.closed(GATE_SECONDS) as is_empty:
        if not is_empty:
            return Emptied.INSIDE
        busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return Emptied.BUSY if busy else Emptied.DONE
