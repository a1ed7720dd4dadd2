"""Stops a search that takes too long, or whose caller has left."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from sessions_server.storage import errors
from sessions_server.storage.lane import SearchTooLong, stopped_when
from sessions_server.storage.sqlite.connection import driver_of
from sessions_server.storage.sqlite.errors import primary_code

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")

_STEPS: Final = 10_000
"""How many steps of SQLite's virtual machine to run between checks; they take about a millisecond."""


class Search:
    """One search, which runs in a thread and can be stopped from any thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = 0.0
        self._stopped = False

    def stop(self) -> None:
        """Stops it, since its caller has left."""
        self._stopped = True

    def run(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        """Raises SearchTooLong."""
        driver: sqlite3.Connection = driver_of(connection)
        self._end = time.monotonic() + self._seconds
        driver.set_progress_handler(self._is_over, _STEPS)
        try:
            with stopped_when(self._is_over, connection):
                return work(connection)
        except Exception as error:
            cause = errors.driver_error(error)
            if isinstance(cause, sqlite3.Error) and primary_code(cause) == sqlite3.SQLITE_INTERRUPT:
                raise SearchTooLong from error
            raise
        finally:
            driver.set_progress_handler(None, 0)

    def _is_over(self) -> bool:
        return self._stopped or time.monotonic() >= self._end
