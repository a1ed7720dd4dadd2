"""The store as its upkeep sees it, as a contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from sessions_server.domain.errors import DomainError
    from sessions_server.domain.models import SessionKey


class Rewrapped(NamedTuple):
    """What one step of a walk through the encrypted sessions came to."""

    last: SessionKey | None
    """The last session that was looked at; None: there are no more."""
    looked_at: int
    changed: int
    failures: tuple[DomainError, ...]
    """Why data keys could not be opened, which stay as they are."""


class Upkeep(Protocol):
    """The store, as its upkeep sees it: bounded steps, so that writers get their turn between them.

    Each step may be repeated, and several servers may run them at once. Each raises Unavailable, StorageFull.
    """

    async def sweep_records(self, limit: int) -> int:
        """Deletes at most this many records that have expired. Returns how many."""

    async def purge_requests(self, limit: int) -> int:
        """Removes at most this many request ids that are no longer kept. Returns how many."""

    async def compact(self, limit: int) -> int:
        """Removes old events from at most this many logs. Returns how many logs it looked at; 0 when nothing is left to
        do for now."""

    async def erase(self, limit: int) -> int:
        """Erases at most this many rows that are hidden. Returns how many it looked at; 0: none is left."""

    async def wait_for_erasures(self, timeout_seconds: float) -> None:
        """Returns when this server has hidden rows, or after the timeout."""

    async def shrink(self, limit: int) -> int:
        """Gives unused room of the database's file back to the disk, at most this many pages. Returns how many; 0 when
        little is unused."""

    async def rewrap(self, after: SessionKey | None, limit: int) -> Rewrapped:
        """Brings the next encrypted sessions, in the order of their keys, under the keyring's current key. Those whose
        data keys cannot be opened stay as they are."""
