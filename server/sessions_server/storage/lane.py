"""The lane of searches: reads that may look at many more rows than they return, those of the past among them.

They have threads or connections of their own, so that no read of a single session waits for one. A few run at the same
time, a bounded number waits, and each is stopped after a while. One whose caller leaves is dropped, or stopped.
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
"""How many run at the same time: threads on SQLite, connections to PostgreSQL."""

MOST_WAITING: Final = 64
"""How many of one tenant may wait for their turn."""

MOST_IN_ALL: Final = 1_024
"""How many of all tenants may wait."""

SEARCH_SECONDS: Final = 5.0
"""How long one may run."""


SECONDS_IN_A_WRITE: Final = 1.0
"""How long one may run that is a part of a write, where all other writes wait for it."""

_IS_OVER: Final = "is the search over"
"""Where a connection has what `check_time` asks."""


class Lane:
    """The tenants whose searches wait have their turns one after another, so that none waits for all of another's."""

    def __init__(self, searches: int = SEARCHES) -> None:
        self._free = searches
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        """The searches that wait, by tenant; the next turn is of the first tenant."""
        self.seconds = SEARCH_SECONDS
        """How long a search may run."""
        self.waiting = 0
        self.running = 0

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Waits until a search may run; it runs as long as the context lasts. Raises Unavailable when too many of the
        tenant's wait, or too many in all."""
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
            raise Unavailable("As many searches wait as the server holds; try again in a moment.")
        self._queues[tenant] = queue
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                queue.remove(turn)
                if not queue:
                    del self._queues[tenant]
            else:  # it was given its turn as it left
                self._pass_on()
            raise
        finally:
            self.waiting -= 1

    def _pass_on(self) -> None:
        """Gives a turn that is free to the next that waits."""
        if not self._queues:
            self._free += 1
            return
        tenant = next(iter(self._queues))
        queue = self._queues.pop(tenant)
        queue.popleft().set_result(None)
        if queue:
            self._queues[tenant] = queue

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
