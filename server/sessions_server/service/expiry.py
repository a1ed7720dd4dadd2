"""Records expiries and removes what is past its retention. The exactness of expiry does not depend on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sessions_server.domain.commit import Commit
from sessions_server.domain.errors import DomainError, ImportUnderWay, ShuttingDown, StillErasing, Unavailable
from sessions_server.domain.operations import Expire

if TYPE_CHECKING:
    from sessions_server.domain.ports import Commits, Due, ReadStore
    from sessions_server.domain.upkeep import Upkeep
    from sessions_server.service.rewrap import Rewrapper

logger = logging.getLogger(__name__)

STEP = 256
"""How many sessions or rows one step handles, so that callers run between steps."""

RETRY_SECONDS = 600.0
"""How long to wait before retrying expiries that could not be recorded."""

RETRIED_AT_ONCE = 16
"""How many of them one sweep retries: each may take a separate transaction."""


class Sweeper:
    """Runs in every replica. Concurrent sweepers are harmless: the writer decides each expiry.

    An expiry that cannot be recorded, for example because the session's key is missing, is skipped so that the rest can
    be. It is retried when the keyring has changed, and otherwise every ten minutes, a few at a time.
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
        """Expiries after this one have not been tried with this keyring."""
        self._retried: Due | None = None
        """The last skipped expiry that was retried; None to start from the first when it is time."""
        self._retry_at = 0.0
        self._skipped = 0
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
        """Records all due expiries that were not skipped, and retries some of those."""
        if (keyring := self._keyring()) is not self._tried_with:
            self._tried_with, self._skipped = keyring, 0
        if not self._skipped:
            self._after = None  # nothing was left out, and the clock may have been set back
        known, self._first_error = self._skipped, None
        await _drain(self.expire)
        if self._skipped > known:
            if not known:
                self._retry_at = asyncio.get_running_loop().time() + self._retry_seconds
            logger.warning(
                "%s expiries could not be recorded and were skipped; the first error was: %s",
                self._skipped - known,
                self._first_error,
            )
        await _drain(self._retry)

    async def expire(self, limit: int) -> int:
        """Records at most this many due expiries. Returns how many it tried."""
        due = await self._store.due(limit, self._after)
        errors = await self._try(due)
        self._first_error = self._first_error or (errors[0] if errors else None)
        self._skipped += len(errors)
        if due:
            self._after = due[-1]
        return len(due)

    async def _retry(self, _: int) -> int:
        """Retries a few skipped expiries. Returns 0, so that the next ones wait for the next sweep."""
        now = asyncio.get_running_loop().time()
        if self._after is None or not self._skipped or now < self._retry_at:
            return 0
        found = await self._store.due(RETRIED_AT_ONCE, self._retried)
        due = [each for each in found if each <= self._after]
        await self._try(due)
        self._retried = due[-1] if due else None
        if not due:
            self._retry_at = now + self._retry_seconds
        return 0

    async def _try(self, due: list[Due]) -> list[DomainError]:
        """Records expiries; returns the errors of those that cannot be recorded. Raises Unavailable, ShuttingDown."""
        commits = (self._commits.submit(Commit(key=each.key, operations=(Expire(),))) for each in due)
        errors: list[DomainError] = []
        for outcome in await asyncio.gather(*commits, return_exceptions=True):
            if isinstance(outcome, BaseException):
                if not isinstance(outcome, DomainError) or _concerns_all(outcome):
                    raise outcome
                errors.append(outcome)
        return errors


class Eraser:
    """Runs in every replica, and erases hidden content as soon as there is some."""

    def __init__(self, upkeep: Upkeep, *, interval_seconds: float) -> None:
        self._upkeep = upkeep
        self._interval_seconds = interval_seconds

    async def run(self) -> None:
        """Erases until cancelled. What another or a killed server hid is found after the interval."""
        while True:
            await _drain(self._upkeep.erase)
            await self._upkeep.wait_for_erasures(self._interval_seconds)


def _concerns_all(error: DomainError) -> bool:
    """Whether the other expiries cannot be recorded now either."""
    if isinstance(error, ImportUnderWay | StillErasing):
        return False
    return isinstance(error, Unavailable | ShuttingDown)


async def _drain(step: Callable[[int], Awaitable[int]]) -> None:
    """Repeats a step while it finds work. A failing step is retried at the next sweep: no failure justifies stopping
    the service."""
    try:
        while await step(STEP):
            pass
    except DomainError as error:
        logger.warning("a sweep was cut short: %s", error)
    except Exception:
        logger.exception("a sweep was cut short")
