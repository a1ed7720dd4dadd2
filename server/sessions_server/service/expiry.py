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
    from sessions_server.domain.ports import Commits, Due, ReadStore
    from sessions_server.domain.upkeep import Upkeep
    from sessions_server.service.rewrap import Rewrapper

logger = logging.getLogger(__name__)

STEP = 256
"""How many sessions, or rows, one step handles; callers get their turn between steps."""

RETRY_SECONDS = 600.0
"""How long expiries that could not be recorded are left alone."""

RETRIED_AT_ONCE = 16
"""How many of them one sweep tries again: each may cost a transaction of its own."""


class Sweeper:
    """Runs beside the service in every replica. Several at once do no harm: the writer decides each expiry.

    An expiry that cannot be recorded, because the session's key is missing, say, is set aside, so that the rest can be.
    It is tried again when the keyring has changed, and otherwise every ten minutes, a few at a time.
    """

    def __init__(
        self,
        *,
        commits: Commits,
        store: ReadStore,
        upkeep: Upkeep,
        rewrapper: Rewrapper,
        keyring: Callable[[], object],
        interval_seconds: float,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._commits = commits
        self._store = store
        self._upkeep = upkeep
        self._rewrapper = rewrapper
        self._keyring = keyring
        self._interval_seconds = interval_seconds
        self._retry_seconds = retry_seconds
        self._tried_with: object = None
        self._after: Due | None = None
        """What comes after this has not been tried with this keyring."""
        self._retried: Due | None = None
        """How far those set aside were tried again; None: from the first on, when it is time."""
        self._retry_at = 0.0
        self._aside = 0
        self._first_error: DomainError | None = None

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            await self.sweep_expiries()
            for step in (
                self._upkeep.sweep_records,
                self._upkeep.purge_requests,
                self._upkeep.compact,
                self._rewrapper.step,
                self._upkeep.shrink,
            ):
                await _drain(step)
            await asyncio.sleep(self._interval_seconds)

    async def sweep_expiries(self) -> None:
        """Records all expiries that are due and were not set aside, and tries a few of those again."""
        if (keyring := self._keyring()) is not self._tried_with:
            self._tried_with, self._after, self._aside = keyring, None, 0
        known, self._first_error = self._aside, None
        await _drain(self.expire)
        if self._aside > known:
            if not known:
                self._retry_at = asyncio.get_running_loop().time() + self._retry_seconds
            logger.warning(
                "%s expiries could not be recorded and were set aside; the first error was: %s",
                self._aside - known,
                self._first_error,
            )
        await _drain(self._retry)

    async def expire(self, limit: int) -> int:
        """Records expiries that are due, at most this many. Returns how many it tried."""
        due = await self._store.due(limit, self._after)
        errors = await self._try(due)
        self._first_error = self._first_error or (errors[0] if errors else None)
        self._aside += len(errors)
        if due:
            self._after = due[-1]
        return len(due)

    async def _retry(self, _: int) -> int:
        """Tries a few of those again that were set aside. Returns 0: the next few have their turn at the next sweep."""
        now = asyncio.get_running_loop().time()
        if self._after is None or not self._aside or now < self._retry_at:
            return 0
        found = await self._store.due(RETRIED_AT_ONCE, self._retried)
        due = [each for each in found if each <= self._after]
        await self._try(due)
        self._retried = due[-1] if due else None
        if not due:
            self._retry_at = now + self._retry_seconds
        return 0

    async def _try(self, due: list[Due]) -> list[DomainError]:
        """Why expiries cannot be recorded. Raises Unavailable, ShuttingDown."""
        commits = (self._commits.submit(Commit(key=each.key, operations=(Expire(),))) for each in due)
        errors: list[DomainError] = []
        for outcome in await asyncio.gather(*commits, return_exceptions=True):
            if isinstance(outcome, BaseException):
                if not isinstance(outcome, DomainError) or isinstance(outcome, Unavailable | ShuttingDown):
                    raise outcome
                errors.append(outcome)
        return errors


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
