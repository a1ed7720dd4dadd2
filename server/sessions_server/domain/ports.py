"""What the domain's users need from outside, as contracts. `app.py` is where each meets its implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence as Seq
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sessions_server.domain.commit import Commit, Committed
    from sessions_server.domain.filters import Condition
    from sessions_server.domain.fork import Fork
    from sessions_server.domain.models import (
        Context,
        Event,
        Message,
        Micros,
        Sequence,
        Session,
        SessionKey,
        State,
    )
    from sessions_server.domain.reads import Read, ReadResult
    from sessions_server.domain.record_reads import CollectionPage, CollectionQuery, RecordPage, RecordQuery
    from sessions_server.domain.records import Record, RecordName, Scope
    from sessions_server.domain.replica_ports import Waiter
    from sessions_server.domain.workspace import Published, Workspace

T = TypeVar("T")


class Clock(Protocol):
    """The time. Real in a server, turned by hand in tests."""

    def now(self) -> Micros: ...


class Access(StrEnum):
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. The tenant comes from the credential alone."""

    tenant: str
    access: Access = Access.WRITE
    subject: str = ""
    credential: str = ""
    """Tells credentials of one subject apart."""
    expires_at: Micros | None = None
    """When the credential ends; a stream that lives longer is ended soon after."""


class Authenticator(Protocol):
    """Knows callers by their credentials."""

    def authenticate(
        self, authorization: Seq[bytes | str], *, now: Micros, needed: Access = Access.READ
    ) -> Caller:
        """Who sent these `authorization` headers. Raises Unauthenticated, then PermissionDenied.

        Called again with a stream's own headers it says whether the stream may continue: a token that has ended or was
        revoked since raises Unauthenticated.
        """


class Cell(NamedTuple):
    """One encrypted value's place. It is authenticated with the value, so ciphertext cannot be moved."""

    tenant: str
    session_id: str
    column: str
    row: str


class Cells(Protocol):
    """Encrypts and decrypts single values with a session's own data key. Called from several threads."""

    def keyring(self) -> object:
        """Another object whenever the keyring has changed; None without one."""

    def new_key(self, tenant: str, session_id: str) -> bytes:
        """A fresh data key, wrapped by the keyring's current key. Raises EncryptionNotConfigured."""

    def seal(self, wrapped: bytes, cell: Cell, plaintext: bytes) -> bytes:
        """The ciphertext for one place. Raises KeyNotAvailable, DataCorrupted."""

    def open(self, wrapped: bytes, cell: Cell, sealed: bytes) -> bytes:
        """The plaintext of one place. Raises KeyNotAvailable, DataCorrupted; never answers empty instead."""

    def rewrap(self, tenant: str, session_id: str, wrapped: bytes) -> bytes | None:
        """The same data key under the keyring's current key; None when it is already. Raises as `open`."""


class Envelope(Protocol):
    """What the records of one session are put into while they lie outside the database."""

    def seal(self, place: int, data: bytes) -> bytes:
        """Raises KeyNotAvailable, DataCorrupted."""

    def open(self, place: int, data: bytes) -> bytes:
        """The data that was sealed for the same place. Raises KeyNotAvailable, DataCorrupted."""


class LockWait(Enum):
    """How long a transaction waits for sessions that another one has locked."""

    NONE = "none"
    BRIEF = "brief"
    LONG = "long"


class Transaction(Protocol):
    """One write transaction, used by one thread at a time."""

    def load(self, commits: Seq[Commit], *, lock_wait: LockWait = LockWait.LONG) -> Workspace:
        """Locks, in sorted order, and reads all that the commits need. Idempotent within the transaction.

        All is judged at one instant, that of the workspace. Without lock_wait, sessions that another transaction has
        locked are left out of the workspace and named there as busy. Else raises SessionLocked when the wait was too
        long.
        """

    def save(self, workspace: Workspace) -> list[Published]:
        """Writes the changes. Returns what watchers are told once the transaction is durable.

        Raises StorageFull, Unavailable, DataCorrupted, or any error of the database: the transaction is then lost.
        """

    def read(self, reads: Seq[Read]) -> tuple[ReadResult, ...]:
        """Reads several things, as this transaction has left them so far. Raises as ReadStore.read does."""


class WriteStore(Protocol):
    """The store, as its one writer sees it."""

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` in one durable transaction; what it raises rolls everything back and is raised here.

        Once begun it is not cut by cancellation. Raises Unavailable when the store cannot be reached, also when it is
        unknown whether the commit happened: the commands' request ids tell on the next try.
        """

    async def fork(self, fork: Fork) -> tuple[Committed, list[Published]]:
        """Creates a session that begins as another one was, in one durable transaction, which does not lock that one.
        Raises as `Commits.fork`."""


class TransactionObserver(Protocol):
    """Sees the write transactions of the writer, for metrics and traces."""

    def origin(self) -> object:
        """What the running call is to a trace; kept with its commit until the transaction that holds it."""

    def transaction(self, origins: Seq[object]) -> AbstractContextManager[None]:
        """Around one transaction with the commits of these origins; entered before it begins, left when it is durable
        or has failed."""


class Commits(Protocol):
    """Where commits are decided, in the order in which they come, and made durable."""

    def send(self, commit: Commit) -> Awaitable[Committed]:
        """Takes the commit at once: commits of one session are decided in the order in which they were sent. What
        waits for the result may be dropped.

        The result comes once it is durable; of a repeated request id it is the first one again. Raises the DomainError
        that refuses the commit, Unavailable, StorageFull.
        """

    async def submit(self, commit: Commit) -> Committed:
        """Sends a commit and waits for its result."""

    async def submit_parts(self, parts: Callable[[], Iterator[Commit]]) -> Committed:
        """Decides the parts of one commit, one after another, in one transaction, and returns the first one's result.

        Stops after the first when it has no effect, as a repeated request has none. Any refusal undoes all of them.
        """

    async def fork(self, fork: Fork) -> Committed:
        """Forks a session. Raises SessionNotFound for a missing source, CursorAhead, EventsCompacted, SessionExists,
        EncryptionNotConfigured, RequestIdReused, Unavailable, StorageFull."""


class HistoryQuery(NamedTuple):
    limit: int = 0
    """At most so many messages; 0: the session's context window."""
    before: Sequence | None = None
    after: Sequence | None = None
    at: Sequence | None = None
    """The position as of which to read; None: now."""
    whole_turns: bool = False
    """Leaves out the oldest of them, so that the page begins with a turn."""


class HistoryPage(NamedTuple):
    messages: tuple[Message, ...]
    """Oldest first."""
    has_more: bool


class LogPage(NamedTuple):
    """Events after a position, in order and without a hole between them."""

    events: tuple[Event, ...]
    head: Sequence
    """The log's head at the time of reading."""
    log_start: Sequence
    """The first position that is kept; above `after` + 1 when events were compacted."""
    delete_time: Micros | None
    """When the session was erased; None: it lives. Of an erased session no events are left, only the head."""
    log_id: str = ""
    """The log's identity; of an erased session, empty."""
    create_time: Micros | None = None
    """When the session was created; None: it was erased."""
    fleeting: bool = False
    """The clock will erase the session some day; from then on nothing may be shown that was read before."""


class OrderBy(NamedTuple):
    column: str
    """`create_time` or `update_time`."""
    descending: bool


ListPlace: TypeAlias = "tuple[Micros, str]"
"""Where a session is in a list: the value of the column that it is ordered by, and the session's id."""


class Due(NamedTuple):
    """A session whose expiry is due. The natural order is that in which they are recorded."""

    time: Micros
    key: SessionKey


class ListQuery(NamedTuple):
    tenant: str
    user_id: str
    """Empty: every user."""
    states: tuple[State, ...]
    """Empty: every state but ARCHIVED."""
    conditions: tuple[Condition, ...]
    """What the metadata must satisfy, all of it."""
    order: OrderBy
    limit: int
    after: ListPlace | None
    """Where the page before ended."""

    @property
    def is_search(self) -> bool:
        """Whether many more sessions may be looked at than are returned: what a filter leaves out, or, by
        `update_time`, all whose expiry is due and not recorded yet."""
        return bool(self.conditions) or self.order.column == "update_time"


class SessionPage(NamedTuple):
    sessions: list[Session]
    next: ListPlace | None
    """Where the next page begins; None: there is none. A page may be short, or even empty, and have a next one."""


class RecordStore(Protocol):
    """The records, as readers see them: all that was acknowledged before, at one instant.

    Each raises Unavailable when the store cannot be reached, KeyNotAvailable and DataCorrupted for values that cannot
    be opened. A read that starts ttls again is a write, and raises SessionLocked when others hold the records for long.
    """

    async def record(self, name: RecordName, *, refresh_ttl: bool = False) -> Record | None:
        """None: it is absent, or its session is. Waits for writes that may undo an expiry that is due."""

    async def records(self, query: RecordQuery) -> RecordPage:
        """One page. Raises InvalidRequest for a filter that cannot be asked."""

    async def collections(self, query: CollectionQuery) -> CollectionPage:
        """The collections with at least one record, in the order of their paths."""

    async def shared_scopes(self, after: Scope | None, limit: int) -> list[Scope]:
        """The next users and tenants that have records, in order; none at the end."""


class ReadStore(Protocol):
    """The store, as readers see it.

    Every read sees all that was acknowledged before it was called, and judges expiry by one instant: a session that has
    expired is answered as expired, one that is erased by then raises SessionNotFound like one that never was.
    Each raises Unavailable when the store cannot be reached. What is read of one session waits for writes that may undo
    an expiry that is due, and raises SessionLocked when they take long; lists and heads do not wait.

    As of an earlier position, each read of one session raises CursorAhead for a position after the log's end, and
    EventsCompacted for one whose state is no longer kept.
    """

    async def session(self, key: SessionKey, at: Sequence | None = None) -> Session: ...

    async def context(self, key: SessionKey, at: Sequence | None = None) -> Context:
        """The stored context; an empty one when it was never written. Raises KeyNotAvailable, DataCorrupted."""

    async def history(self, key: SessionKey, query: HistoryQuery) -> HistoryPage:
        """Raises KeyNotAvailable, DataCorrupted."""

    async def read(self, reads: Seq[Read]) -> tuple[ReadResult, ...]:
        """Several reads of one snapshot, in their order; what is missing is None. Raises as the single reads do,
        but never SessionNotFound."""

    async def log(self, key: SessionKey, after: Sequence, limit: int, *, changes: bool = False) -> LogPage:
        """Events after a position, from one snapshot: at most so many, and fewer where they are large; with what they
        changed, if that is asked for. Raises SessionNotFound for an id that never was, KeyNotAvailable, DataCorrupted.
        A session that is to be treated as erased, but is not yet, answers as if the position were its head, and raises
        SessionNotFound for a position beyond that."""

    async def sessions(self, query: ListQuery) -> SessionPage:
        """One page in the asked order, ties by session id. Raises InvalidRequest for a filter that cannot be asked,
        LimitExceeded for a search that takes too long."""

    async def heads(self, keys: Seq[SessionKey]) -> Mapping[SessionKey, Sequence]:
        """The logs' heads, of erased sessions too; a key that never was is left out."""

    async def due(self, limit: int, after: Due | None = None) -> list[Due]:
        """Sessions whose expiry is due, the longest due first; with `after`, those that come after that one."""

    async def keys(self, after: SessionKey | None, limit: int) -> list[SessionKey]:
        """The next sessions of all tenants, in the order of their keys; none at the end."""


class Feed(Protocol):
    """What the hub knows of one watched session."""

    version: int
    """Grows with every wake-up."""
    erased_through: Sequence
    """Content up to this position may have been erased since it was read."""
    erasures: int
    """Grows when content was erased: what was read before may show it."""
    foreign: int
    """Grows when another replica has written, which may have erased what was read before."""
    head: Sequence
    """The furthest position of the log that is known; 0: none is."""

    def recent(self, after: Sequence, log_id: str) -> list[Event] | None:
        """The events after a position in this log, if all are at hand; empty at the head; None: ask the log."""

    async def changed(self, since: int, timeout_seconds: float, *, beside: set[Waiter] | None = None) -> None:
        """Returns when the version is no longer `since`, after the timeout, or when its future in `beside` is set."""

    def hint(self, head: Sequence) -> None:
        """The log has reached a position: if what is at hand does not, it is out of date."""

    def compare(self, head: Sequence, seen: int) -> None:
        """A read begun at version `seen` found the head there: if it was further before, the log has gone back."""


class Hub(Protocol):
    """Wakes those who watch a session."""

    def watch(self, key: SessionKey) -> AbstractContextManager[Feed]:
        """Registers interest in a session, for as long as the context lasts."""


class Sink(Protocol):
    """Where a follower's events go, one by one and in order. What it raises ends the follower."""

    async def event(self, event: Event) -> None: ...

    async def checkpoint(self, position: Sequence, log_id: str) -> None: ...
