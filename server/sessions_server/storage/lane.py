"""The lane of searches: reads that may look at many more rows than they return, those of the past among them.

They have threads or connections of their own, so that no read of a single session waits for one. A few run at the same
time, a bounded number waits, and each is stopped after a while. One whose caller leaves is dropped, or stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from sessions_server.domain.errors import LimitExceeded, Unavailable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

SEARCHES: Final = 2
"""How many run at the same time: threads on SQLite, connections to PostgreSQL."""

MOST_WAITING: Final = 64
"""How many may wait for their turn."""

SEARCH_SECONDS: Final = 5.0
"""How long one may run."""


SECONDS_IN_A_WRITE: Final = 1.0
"""How long one may run that is a part of a write, where all other writes wait for it."""

_IS_OVER: Final = "is the search over"
"""Where a connection has what `check_time` asks."""


class Lane:
    def __init__(self, searches: int = SEARCHES) -> None:
        self._turns = asyncio.Semaphore(searches)
        self.seconds = SEARCH_SECONDS
        """How long a search may run."""
        self.waiting = 0
        self.running = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until a search may run; it runs as long as the context lasts. Raises Unavailable when too many wait."""
        if self.waiting >= MOST_WAITING:
            raise Unavailable("As many searches wait as the server holds; try again in a moment.")
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._turns.release()

    def too_long(self, field: str) -> LimitExceeded:
        return too_long(self.seconds, field)


def too_long(seconds: float, field: str) -> LimitExceeded:
    """For a search that ran out of time; `field` is the one of the request that says what to find."""
    if field == "at_sequence":
        return LimitExceeded(
            f"Reading the past took longer than {seconds:g} seconds and was stopped; read it as of another position, "
            "or when the server is less busy.",
            field=field,
        )
    return LimitExceeded(
        f"The search took longer than {seconds:g} seconds and was stopped; narrow it with further conditions, or "
        "compare with fewer values.",
        field=field,
    )


class SearchTooLong(Exception):
    """The time of a search is over."""


@contextmanager
def stopped_when(is_over: Callable[[], bool], connection: Connection) -> Iterator[None]:
    """While the context lasts, `check_time` on this connection asks whether the search is over."""
    connection.info[_IS_OVER] = is_over
    try:
        yield
    finally:
        del connection.info[_IS_OVER]


def check_time(connection: Connection) -> None:
    """For what computes much between short statements, of which the database notices nothing. Raises SearchTooLong."""
    is_over = connection.info.get(_IS_OVER)
    if is_over is not None and is_over():
        raise SearchTooLong
