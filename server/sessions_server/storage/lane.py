"""The lane of searches: reads that may look at many more rows than they return.

They have threads or connections of their own, so that no read of a single session waits for one. A few run at the same
time, a bounded number waits, and each is stopped after a while. One whose caller leaves is dropped, or stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sessions_server.domain.errors import LimitExceeded, Unavailable

SEARCHES: Final = 2
"""How many run at the same time: threads on SQLite, connections to PostgreSQL."""

MOST_WAITING: Final = 64
"""How many may wait for their turn."""

SEARCH_SECONDS: Final = 5.0
"""How long one may run."""


SECONDS_IN_A_WRITE: Final = 1.0
"""How long one may run that is a part of a write, where all other writes wait for it."""


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
    return LimitExceeded(
        f"The search took longer than {seconds:g} seconds and was stopped; narrow it with further conditions, or "
        "compare with fewer values.",
        field=field,
    )
