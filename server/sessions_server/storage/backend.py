"""The port between the store and a database. Each database implements it in a folder of its own.

A third database is one more such folder, and one more line in `databases.py`.
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
    from sessions_server.storage.statements import Prepared

T = TypeVar("T")

SETTING: Final = "SESSIONS_DATABASE_URL"

ENGINE_OPTIONS: Final[dict[str, Any]] = {"hide_parameters": True}
"""How every engine is made: no error message and no log line shows a parameter."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a database is run. Each database takes what concerns it."""

    clock: Clock | None = None
    """None: the database's own clock, or the system's where the database has none."""
    pool_size: int = 8
    """Connections to a database server."""
    scrub_seconds: float = 1.0
    """How soon erased content is cleared from a database file."""
    clears_gaps: bool = True
    """Whether the unused parts of a database file's pages are cleared."""
    allow_unsafe: bool = False
    """Accepts a database server that may lose what it has acknowledged."""


@dataclass(frozen=True, slots=True)
class Survey:
    """A database as it was found, without a change to it."""

    name: str
    """What it is and where, without a password: `SQLite 3.50.1 at sessions.db`."""
    schema: str | None = None
    """The last migration that it has; None where it has no tables of ours."""
    wrappings: tuple[bytes, ...] = ()
    """The beginning of each kind of wrapped data key that it holds, long enough to name the key that wrapped it."""
    seconds_ahead: float = 0.0
    """By how much its clock, or the last write to its file, is ahead of this machine's clock; negative when behind."""
    served_by: str = ""
    """The process that has it and keeps others out, such as `process (17)`; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Locks:
    """What several writers of one database need, beyond the locks of rows. Each returns the time at last."""

    absent: Prepared
    """Waits for the keys of sessions that have no row to be locked."""
    absent_if_free: Prepared
    """Does not wait, and says of each key whether it is locked now."""
    numbers: Prepared
    """Waits for pairs of 32-bit numbers, one after another, each held by one transaction at a time."""
    wait_long: Prepared
    """Lets this transaction wait longer."""


class Backend(ABC):
    """A database, as a URL names it. Making one touches nothing; a runner does the work."""

    scheme: ClassVar[str]
    """What its URLs begin with."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """What they may begin with instead."""
    example: ClassVar[str]
    """A URL for those who gave one that no database knows."""

    locks: ClassVar[Locks | None] = None
    """None where there is only one writer."""
    joins_laterally: ClassVar[bool]
    """Whether one statement can look up a bounded number of rows for each of many sessions."""

    @classmethod
    @abstractmethod
    def from_url(cls, url: URL, text: str) -> Self:
        """The database of a URL with this scheme, parsed and as it was given. Raises StoreRefused."""

    @abstractmethod
    def condition(self, condition: Condition, document: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """A condition on a column of JSON in the database's SQL."""

    @abstractmethod
    def search_in_write(self, connection: Connection, search: Callable[[], T]) -> T:
        """Runs a search that is a part of a write transaction; where all other writes wait for it, for a short time
        only. Raises LimitExceeded when it takes longer; the transaction is then lost."""

    @abstractmethod
    def transaction_number(self, connection: Connection) -> int:
        """The number of this write transaction. A reader that stops before the numbers of transactions that still run
        misses nothing and sees them in order."""

    @abstractmethod
    def epoch(self, connection: Connection) -> str:
        """Which of the servers that had this database one after another the connection leads to, as eight characters:
        another one after every failover, and every restore from a backup. Empty where there is only one, or it does not
        say."""

    @abstractmethod
    def runner(self, options: RunOptions) -> Runner:
        """A runner, not started yet. Raises StoreRefused where a package is missing."""

    @abstractmethod
    def channel(self) -> Channel | None:
        """Wake-ups between the servers that share the database; None where one process has it to itself."""

    @abstractmethod
    def when_failed_over(self, tell: Callable[[], None]) -> None:
        """Has `tell` called, before anything is read from it, whenever another server takes the database over, which
        may lack what the one before had last."""

    @abstractmethod
    def is_missing(self) -> bool:
        """Whether opening the database would make a new one."""

    @abstractmethod
    def check(self) -> None:
        """Looks at the URL before anything is opened. Raises StoreRefused."""

    @abstractmethod
    async def survey(self, *, allow_unsafe: bool = False) -> Survey:
        """Looks at the database and changes nothing. Raises what `opening` explains."""

    @abstractmethod
    def vacuum(self) -> tuple[int, int]:
        """Writes the database anew without its unused room; nobody else may have it open. Returns its bytes before and
        after. Raises StoreRefused where the database does so by itself, StoreInUse, StorageFull, Unavailable."""

    @abstractmethod
    def explain(self, error: Exception) -> str | None:
        """Why the database cannot be used, and what to do, as a sentence for the operator. None for an error that says
        so itself, or that nobody expected. The sentence never has the URL, which may hold a password, nor the
        database's own message."""


class Runner(ABC):
    """Runs transactions on SQLite's threads or on PostgreSQL's connections."""

    lane: Lane
    """Where searches wait for their turn."""

    @abstractmethod
    async def start(self) -> None:
        """Opens the database and brings its tables up to date. Raises StoreRefused, Unavailable."""

    @abstractmethod
    async def close(self) -> None:
        """Waits for what runs, and lets go of the database. May be called twice."""

    @abstractmethod
    def abandon(self) -> None:
        """Lets go of the database at once, because what runs takes too long to be waited for."""

    @abstractmethod
    async def ping(self, *, in_doubt: bool) -> None:
        """Returns when the database can be written to; raises Unavailable, StorageFull when it cannot. With `in_doubt`,
        because a write has failed, it is tried. It takes a bounded time."""

    @abstractmethod
    async def write(self, work: Callable[[Connection], T], *, snapshot: bool = False) -> T:
        """Runs `work` in one durable transaction; what it raises rolls everything back. It may be run again, if another
        transaction came first. With `snapshot`, all of its statements see the same state. Raises Unavailable when it is
        unknown whether the commit happened."""

    @abstractmethod
    async def read(self, work: Callable[[Connection], T], *, snapshot: bool) -> T:
        """Runs `work`, which only reads; with `snapshot`, all of its statements see the same state."""

    @abstractmethod
    async def search(self, work: Callable[[Connection], T], *, tenant: str, field: str) -> T:
        """Runs `work`, which reads one snapshot of a tenant's data and may look at many rows, in the lane of searches.
        Cancelling it stops the work. Raises LimitExceeded, which names the field of the request, when it takes too
        long; Unavailable when too many searches wait."""

    @abstractmethod
    async def shrink(self, pages: int) -> int:
        """Gives unused room of the database's file back to the disk, at most this many pages. Returns how many; 0 when
        little is unused."""

    @abstractmethod
    async def settle(self, key: SessionKey) -> None:
        """Returns when what was being written to the session is durable or undone. Raises SessionLocked when that takes
        long."""

    @abstractmethod
    def now(self) -> Micros | None:
        """The present instant; None: ask the database."""

    @property
    def log_bytes(self) -> int:
        """The size of a file's write-ahead log, as of the last write; 0 where the database looks after its own."""
        return 0

    @property
    def log_limit_bytes(self) -> int:
        """The size from which on it is emptied; 0 where there is none."""
        return 0

    @abstractmethod
    def scrub_soon(self) -> None:
        """Content was erased: clears copies of it from the disk soon, wherever the database leaves some."""
