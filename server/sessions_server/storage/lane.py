"""The search lane: for reads that may examine many more rows than they return, including reads of the past.

They have separate threads or connections, so that reads of a single session never wait for them. A few run at the same
time, a bounded number waits, and each is stopped after a time. If the caller leaves, its search is dropped or stopped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from sessions_server.domain.errors import LimitExceeded, Unavailable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

SEARCHES: Final = 2
"""How many run concurrently: threads on SQLite, connections on PostgreSQL."""

MOST_WAITING: Final = 64
"""How many searches of one tenant may wait."""

MOST_IN_ALL: Final = 1_024
"""How many searches of all tenants together may wait."""

SEARCH_SECONDS: Final = 5.0
"""The time limit of one search."""


SECONDS_IN_A_WRITE: Final = 1.0
"""The time limit of a search within a write, while all other writes wait for it."""

_IS_OVER: Final = "is the search over"
"""The key under which a connection has the function that `check_time` calls."""


class Lane:
    """Tenants with waiting searches take turns, so that no tenant waits for all searches of another."""

    def __init__(self, searches: int = SEARCHES) -> None:
        self._free = searches
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        """The waiting searches, by tenant; the first tenant has the next turn."""
        self.seconds = SEARCH_SECONDS
        """The time limit of a search."""
        self.waiting = 0
        self.running = 0

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Waits until a search may run; its turn lasts as long as the context. Raises Unavailable if too many searches
        of the tenant, or of all tenants, are waiting."""
        if self._free and not self._queues:
            self._free -= 1
        else:
            await self._wait(tenant)
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._pass_on()

    async def _wait(self, tenant: str) -> None:
        queue = self._queues.get(tenant, deque())
        if len(queue) >= MOST_WAITING or self.waiting >= MOST_IN_ALL:
            raise Unavailable("Too many searches are waiting; try again in a moment.")
        self._queues[tenant] = queue
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn came while it was being cancelled
                self._pass_on()
            elif turn in queue:
                queue.remove(turn)
                if not queue:
                    del self._queues[tenant]
            raise
        finally:
            self.waiting -= 1

    def _pass_on(self) -> None:
        """Gives the free turn to the next waiting search."""
        while self._queues:
            tenant = next(iter(self._queues))
            queue = self._queues.pop(tenant)
            turn = queue.popleft()
            if queue:
                self._queues[tenant] = queue
            if not turn.done():  # otherwise it is being cancelled
                turn.set_result(None)
                return
        self._free += 1

    def too_long(self, field: str) -> LimitExceeded:
        return too_long(self.seconds, field)


def too_long(seconds: float, field: str) -> LimitExceeded:
    """The error of a search that ran out of time; `field` is the field of the request that says what to find."""
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
    """The time limit of a search was exceeded."""


@contextmanager
def stopped_when(is_over: Callable[[], bool], connection: Connection) -> Iterator[None]:
    """Within the context, `check_time` on this connection calls this function to learn whether to stop."""
    connection.info[_IS_OVER] = is_over
    try:
        yield
    finally:
        del connection.info[_IS_OVER]


def check_time(connection: Connection) -> None:
    """For long computations between short statements, which the database cannot stop. Raises SearchTooLong."""
    is_over = connection.info.get(_IS_OVER)
    if is_over is not None and is_over():
        raise SearchTooLong
