"""The port between the store and a database. Each database implements it in its own folder.

To add a database, add such a folder and a line in `databases.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.engine import URL, Connection

    from sessions_server.domain.filters import Condition
    from sessions_server.domain.models import Micros, SessionKey
    from sessions_server.domain.ports import Clock
    from sessions_server.domain.replica_ports import Channel
    from sessions_server.storage.lane import Lane
    from sessions_server.storage.recent_sessions import RecentSessions
    from sessions_server.storage.statements import Prepared

T = TypeVar("T")

SETTING: Final = "SESSIONS_DATABASE_URL"

ENGINE_OPTIONS: Final[dict[str, Any]] = {"hide_parameters": True}
"""Options of every engine: no error message or log line may show a parameter."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options for running a database. Each database uses those that apply to it."""

    clock: Clock | None = None
    """None for the database's own clock, or the system's if the database has none."""
    pool_size: int = 8
    """Connections to a database server."""
    scrub_seconds: float = 1.0
    """The delay before erased content is cleared from a database file."""
    clears_gaps: bool = True
    """Whether to clear the unused parts of a database file's pages."""
    allow_unsafe: bool = False
    """Whether to accept a database server that may lose acknowledged writes."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The state of a database, found without changing it."""

    name: str
    """The database and its location, without a password: `SQLite 3.50.1 at sessions.db`."""
    schema: str | None = None
    """Its last migration; None if it has none of our tables."""
    wrappings: tuple[bytes, ...] = ()
    """A prefix of each kind of wrapped data key in it, long enough to identify the wrapping key."""
    seconds_ahead: float = 0.0
    """How far its clock, or the last write to its file, is ahead of this machine's clock; negative if behind."""
    served_by: str = ""
    """The process that holds it exclusively, such as `process (17)`; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks that several writers of one database need besides row locks. Each statement returns the time afterwards
    as its last column."""

    absent: Prepared
    """Waits for locks on the keys of sessions without a row. Also returns the transaction's number."""
    absent_if_free: Prepared
    """Tries to lock these keys without waiting. Returns for each whether it was locked, and the transaction's
    number."""
    numbers: Prepared
    """Waits for locks on pairs of 32-bit numbers, in order, each held by one transaction at a time."""
    wait_long: Prepared
    """Raises this transaction's lock timeout."""


class Backend(ABC):
    """A database, as identified by a URL. Creating it has no effect; a runner does the work."""

    scheme: ClassVar[str]
    """The scheme of its URLs, without aliases."""
    example: ClassVar[str]
    """An example URL for the error about an unknown scheme."""

    locks: ClassVar[Locks | None] = None
    """None if there is only one writer."""
    joins_laterally: ClassVar[bool]
    """Whether one statement can look up a bounded number of rows for each of many sessions."""

    @classmethod
    @abstractmethod
    def from_url(cls, url: URL, text: str) -> Self:
        """Parses the URL, which has this scheme. Raises StoreRefused."""

    @abstractmethod
    def condition(self, condition: Condition, document: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """A condition on a JSON column in the database's SQL."""

    @abstractmethod
    def search_in_write(self, connection: Connection, search: Callable[[], T]) -> T:
        """Runs a search within a write transaction; if all other writes wait for it, only for a short time. Raises
        LimitExceeded if it takes longer; the transaction is then lost."""

    @abstractmethod
    def transaction_number(self, connection: Connection) -> int:
        """The number of this write transaction. A reader that stops before the numbers of running transactions misses
        nothing and sees transactions in order."""

    def number_in_log(self, connection: Connection) -> int:
        """The same, for a caller that adds to logs after all other changes, and stores the number with the sessions of
        these logs."""
        return self.transaction_number(connection)

    def store_number(self, connection: Connection) -> None:
        """Must be called after the other statements of each transaction that may change logs, except for a fork."""
        return

    @abstractmethod
    def epoch(self, connection: Connection) -> str:
        """Identifies the server that the connection leads to, as eight characters: it changes at every failover, and at
        every restore from a backup. Empty if there is only one server, or it is unknown."""

    def recent_sessions(self, _connection: Connection) -> RecentSessions | None:
        """The sessions kept with the only writing connection; None if there are several."""
        return None

    @abstractmethod
    def runner(self, options: RunOptions) -> Runner:
        """A runner that is not started yet. Raises StoreRefused if a package is missing."""

    @abstractmethod
    def channel(self) -> Channel | None:
        """Wake-ups between the servers that share the database; None if only one process can use it."""

    @abstractmethod
    def when_failed_over(self, callback: Callable[[], None]) -> None:
        """Registers `callback`, which is called, before anything is read, whenever another server takes over the
        database and may lack the last events of its predecessor."""

    @abstractmethod
    def is_missing(self) -> bool:
        """Whether opening the database would create a new one."""

    @abstractmethod
    def check(self) -> None:
        """Checks the URL before anything is opened. Raises StoreRefused."""

    @abstractmethod
    async def survey(self, *, allow_unsafe: bool = False) -> Survey:
        """Examines the database without changing it. Raises errors that `opening` explains."""

    @abstractmethod
    def vacuum(self) -> tuple[int, int]:
        """Rewrites the database without its unused space; nobody else may have it open. Returns its size before and
        after, in bytes. Raises StoreRefused if the database does that by itself, StoreInUse, StorageFull,
        Unavailable."""

    @abstractmethod
    def explain(self, error: Exception) -> str | None:
        """Why the database cannot be used and what to do, as a sentence for the operator. None for errors that say so
        themselves, or are unexpected. The sentence contains neither the URL, which may have a password, nor the
        database's own message."""


class Runner(ABC):
    """Runs transactions on SQLite's threads or on PostgreSQL's connections."""

    lane: Lane
    """Where searches wait for their turn."""

    @abstractmethod
    async def start(self) -> None:
        """Opens the database and migrates its tables. Raises StoreRefused, Unavailable."""

    @abstractmethod
    async def close(self) -> None:
        """Waits for running work and closes the database. May be called twice."""

    @abstractmethod
    def abandon(self) -> None:
        """Closes the database immediately, without waiting for running work."""

    @abstractmethod
    async def ping(self, *, in_doubt: bool) -> None:
        """Returns if the database can be written to; otherwise raises Unavailable, StorageFull. With `in_doubt`, after
        a failed write, it tries a write. Takes a bounded time."""

    @abstractmethod
    async def write(self, work: Callable[[Connection], T], *, bulk: bool = False) -> T:
        """Runs `work` in one durable transaction; an exception of `work` rolls everything back. `work` may be run again
        if another transaction won a conflict. With `bulk`, for any number of rows, all of its statements see the same
        state. Raises Unavailable if it is unknown whether the transaction committed."""

    @abstractmethod
    async def read(self, work: Callable[[Connection], T], *, snapshot: bool) -> T:
        """Runs `work`, which only reads; with `snapshot`, all of its statements see the same state."""

    @abstractmethod
    async def search(self, work: Callable[[Connection], T], *, tenant: str, field: str) -> T:
        """Runs `work`, which reads one snapshot of a tenant's data and may examine many rows, in the search lane.
        Cancellation stops it. Raises LimitExceeded, naming the field of the request, if it takes too long; Unavailable
        if too many searches are waiting."""

    @abstractmethod
    async def shrink(self, pages: int) -> int:
        """Returns unused space of the database file to the disk, at most this many pages. Returns how many; 0 if little
        is unused."""

    @abstractmethod
    async def settle(self, key: SessionKey) -> None:
        """Returns when pending writes to the session are durable or undone. Raises SessionLocked if that takes long."""

    @abstractmethod
    def now(self) -> Micros | None:
        """The current time; None to ask the database."""

    @property
    def log_bytes(self) -> int:
        """The size of a file's write-ahead log after the last write; 0 if the database manages its own."""
        return 0

    @property
    def log_limit_bytes(self) -> int:
        """The size at which it is truncated; 0 if there is none."""
        return 0

    @abstractmethod
    def scrub_soon(self) -> None:
        """Content was erased: soon clears copies of it from the disk, if the database leaves any."""
