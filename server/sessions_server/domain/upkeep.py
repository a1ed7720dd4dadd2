"""The contract of the store's maintenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from sessions_server.domain.errors import DomainError
    from sessions_server.domain.models import SessionKey


class Rewrapped(NamedTuple):
    """The result of one step of rewrapping the encrypted sessions."""

    last: SessionKey | None
    """The last session processed; None if there are no more."""
    looked_at: int
    changed: int
    failures: tuple[DomainError, ...]
    """Why some data keys could not be unwrapped; they stay unchanged."""


class Upkeep(Protocol):
    """The store as seen by maintenance: bounded steps, so that writers run in between.

    Each step may be repeated, and several servers may run them at once. Each raises Unavailable, StorageFull.
    """

    async def sweep_records(self, limit: int) -> int:
        """Deletes at most this many expired records. Returns how many."""

    async def purge_requests(self, limit: int) -> int:
        """Deletes at most this many request ids past their retention. Returns how many."""

    async def compact(self, limit: int) -> int:
        """Removes old events from at most this many logs. Returns how many logs it examined; 0 if nothing is left to do
        for now."""

    async def erase(self, limit: int) -> int:
        """Erases at most this many hidden rows. Returns how many it examined; 0 if none is left."""

    async def wait_for_erasures(self, timeout_seconds: float) -> None:
        """Returns when this server has hidden rows, or after the timeout."""

    async def shrink(self, limit: int) -> int:
        """Returns unused space of the database file to the disk, at most this many pages. Returns how many; 0 if little
        is unused."""

    async def rewrap(self, after: SessionKey | None, limit: int) -> Rewrapped:
        """Rewraps the data keys of the next encrypted sessions, ordered by key, with the keyring's current key. Data
        keys that cannot be unwrapped stay unchanged."""
