"""How a database is run: what the store asks of SQLite's threads and of PostgreSQL's connections alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import Micros, SessionKey
    from sessions_server.storage.engine import Backend

T = TypeVar("T")


class Runner(Protocol):
    @property
    def backend(self) -> Backend: ...

    async def start(self) -> None:
        """Opens the database and brings its tables up to date. Raises StoreRefused, Unavailable."""

    async def close(self) -> None:
        """Waits for what runs, and lets go of the database."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in one durable transaction; what it raises rolls everything back. It may be run again, if another
        transaction came first. Raises Unavailable when it is unknown whether the commit happened."""

    async def read(self, work: Callable[[Connection], T], *, snapshot: bool) -> T:
        """Runs `work`, which only reads; with `snapshot`, all of its statements see the same state."""

    async def settle(self, key: SessionKey) -> None:
        """Returns when what was being written to the session is durable or undone. Raises SessionLocked when that takes
        long."""

    def now(self) -> Micros | None:
        """The present instant; None: ask the database."""

    def scrub_soon(self) -> None:
        """Content was erased: sees to it that it leaves the disk soon, wherever copies of it stand."""
