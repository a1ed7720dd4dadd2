"""Makes physical what the clock has decided, and lets go of what is no longer kept. Exactness does not depend on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from sessions_server.domain.commands import Expire
from sessions_server.domain.errors import DomainError

if TYPE_CHECKING:
    from sessions_server.domain.ports import ReadStore
    from sessions_server.service.sessions import Commands

logger = logging.getLogger(__name__)

STEP = 256
"""How many sessions, or rows, one step handles; callers get their turn between steps."""


class Upkeep(Protocol):
    """The bounded steps of maintenance. Each answers how much it did; 0 when nothing is left to do."""

    async def purge_requests(self, limit: int) -> int: ...

    async def compact(self, limit: int) -> int: ...


class Sweeper:
    """Runs beside the service in every replica. Several at once do no harm: the writer decides each expiry."""

    def __init__(
        self, *, commands: Commands, store: ReadStore, upkeep: Upkeep, interval_seconds: float
    ) -> None:
        self._commands = commands
        self._store = store
        self._upkeep = upkeep
        self._interval_seconds = interval_seconds

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            for step in (self.expire, self._purge, self._compact):
                await _drain(step)
            await asyncio.sleep(self._interval_seconds)

    async def expire(self) -> int:
        """Records the expiries that are due, at most STEP of them; answers how many it looked at."""
        keys = await self._store.due(STEP)
        await asyncio.gather(*(self._commands.submit(Expire(key=key)) for key in keys))
        return len(keys)

    async def _purge(self) -> int:
        return await self._upkeep.purge_requests(STEP)

    async def _compact(self) -> int:
        return await self._upkeep.compact(STEP)


async def _drain(step: Callable[[], Awaitable[int]]) -> None:
    """Repeats a step while it finds work. A step that fails is tried again at the next sweep."""
    try:
        while await step():
            pass
    except DomainError as error:
        logger.warning("a sweep was cut short: %s", error)
