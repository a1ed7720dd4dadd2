"""Makes physical what the clock has decided, and lets go of what is no longer kept. Exactness does not depend on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sessions_server.domain.commit import Commit
from sessions_server.domain.errors import DomainError, ShuttingDown, Unavailable
from sessions_server.domain.operations import Expire

if TYPE_CHECKING:
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.ports import Commits, ReadStore
    from sessions_server.domain.upkeep import Upkeep
    from sessions_server.service.rewrap import Rewrapper

logger = logging.getLogger(__name__)

STEP = 256
"""How many sessions, or rows, one step handles; callers get their turn between steps."""


class Sweeper:
    """Runs beside the service in every replica. Several at once do no harm: the writer decides each expiry."""

    def __init__(
        self,
        *,
        commits: Commits,
        store: ReadStore,
        upkeep: Upkeep,
        rewrapper: Rewrapper,
        interval_seconds: float,
    ) -> None:
        self._commits = commits
        self._store = store
        self._upkeep = upkeep
        self._rewrapper = rewrapper
        self._interval_seconds = interval_seconds
        self._stuck: dict[SessionKey, DomainError] = {}
        self._known_stuck = 0

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await self._drain_expiries()
            for step in (
                self._upkeep.sweep_records,
                self._upkeep.purge_requests,
                self._upkeep.compact,
                self._rewrapper.step,
                self._upkeep.shrink,
            ):
                await _drain(step)
            await asyncio.sleep(self._interval_seconds)

    async def expire(self, limit: int) -> int:
        """Records expiries that are due, at most so many; answers how many it tried."""
        due = await self._store.due(limit + len(self._stuck))
        keys = [key for key in due if key not in self._stuck][:limit]
        commits = (self._commits.submit(Commit(key=key, operations=(Expire(),))) for key in keys)
        for key, outcome in zip(keys, await asyncio.gather(*commits, return_exceptions=True), strict=True):
            if isinstance(outcome, BaseException):
                if not isinstance(outcome, DomainError) or isinstance(outcome, Unavailable | ShuttingDown):
                    raise outcome
                self._stuck[key] = outcome
        return len(keys)

    async def _drain_expiries(self) -> None:
        """What cannot be recorded, because its key is missing, say, does not keep the rest from being so."""
        self._stuck.clear()
        await _drain(self.expire)
        if self._stuck and len(self._stuck) != self._known_stuck:
            example = next(iter(self._stuck.values()))
            logger.warning("%s expiries cannot be recorded: %s", len(self._stuck), example)
        self._known_stuck = len(self._stuck)


class Eraser:
    """Runs beside the service in every replica, and erases what callers can no longer read as soon as it is hidden."""

    def __init__(self, upkeep: Upkeep, *, interval_seconds: float) -> None:
        self._upkeep = upkeep
        self._interval_seconds = interval_seconds

    async def run(self) -> None:
        """Erases until cancelled. What another server hid, or one that was killed, is found after the interval."""
        while True:
            await _drain(self._upkeep.erase)
            await self._upkeep.wait_for_erasures(self._interval_seconds)


async def _drain(step: Callable[[int], Awaitable[int]]) -> None:
    """Repeats a step while it finds work. A step that fails is tried again at the next sweep: no failure of it is worth
    the end of the service."""
    try:
        while await step(STEP):
            pass
    except DomainError as error:
        logger.warning("a sweep was cut short: %s", error)
    except Exception:
        logger.exception("a sweep was cut short")
