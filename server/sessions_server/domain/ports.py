"""Contracts for what the domain's users need from outside. `app.py` connects them to their implementations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence as Seq
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sessions_server.domain.commit import Commit, Committed
    from sessions_server.domain.filters import Condition
    from sessions_server.domain.fork import Fork
    from sessions_server.domain.imports import Import, Slice, Staged
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
    """The current time. Real in a server, set by hand in tests."""

    def now(self) -> Micros: ...


class Access(StrEnum):
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. The tenant comes only from the credential."""

    tenant: str
    access: Access = Access.WRITE
    subject: str = ""
    credential: str = ""
    """Distinguishes credentials of the same subject."""
    expires_at: Micros | None = None
    """When the credential expires; a stream that is still open then is ended shortly afterwards."""


class Authenticator(Protocol):
    """Identifies callers by their credentials."""

    def authenticate(
        self, authorization: Seq[bytes | str], *, now: Micros, needed: Access = Access.READ
    ) -> Caller:
        """The sender of these `authorization` headers. Raises Unauthenticated, then PermissionDenied.

        Called again with a stream's own headers to check whether it may continue: a token that has since expired or
        been revoked raises Unauthenticated.
        """


class Cell(NamedTuple):
    """The location of an encrypted value. It is authenticated with the value, so that ciphertext cannot be moved."""

    tenant: str
    session_id: str
    column: str
    row: str


class Cells(Protocol):
    """Encrypts and decrypts single values with a session's data key. Called from several threads."""

    def keyring(self) -> object:
        """An object that changes whenever the keyring does; None without a keyring."""

    def new_key(self, tenant: str, session_id: str) -> bytes:
        """A new data key, wrapped by the keyring's current key. Raises EncryptionNotConfigured."""

    def seal(self, wrapped: bytes, cell: Cell, plaintext: bytes) -> bytes:
        """The ciphertext for one location. Raises KeyNotAvailable, DataCorrupted."""

    def open(self, wrapped: bytes, cell: Cell, sealed: bytes) -> bytes:
        """The plaintext of one location, never an empty value instead. Raises KeyNotAvailable, DataCorrupted."""

    def rewrap(self, tenant: str, session_id: str, wrapped: bytes) -> bytes | None:
        """The same data key under the keyring's current key; None if it already is. Raises the same errors as
        `open`."""


class Envelope(Protocol):
    """Encrypts the records of one session while they are outside the database."""

    def seal(self, place: int, data: bytes) -> bytes:
        """Raises KeyNotAvailable, DataCorrupted."""

    def open(self, place: int, data: bytes) -> bytes:
        """The data that was sealed for the same location. Raises KeyNotAvailable, DataCorrupted."""


class LockWait(Enum):
    """How long a transaction waits for sessions that another one has locked."""

    NONE = "none"
    BRIEF = "brief"
    LONG = "long"


class Transaction(Protocol):
    """One write transaction, used by one thread at a time."""

    def load(self, commits: Seq[Commit], *, lock_wait: LockWait = LockWait.LONG) -> Workspace:
        """Locks everything that the commits need, in sorted order, and reads it. Idempotent within the transaction.

        Everything is evaluated at one time, that of the workspace. With `LockWait.NONE`, sessions locked by another
        transaction are left out of the workspace and listed there as busy. Otherwise raises SessionLocked if the wait
        takes too long.
        """

    def save(self, workspace: Workspace) -> list[Published]:
        """Writes the changes. Returns what to publish to watchers once the transaction is durable.

        Raises StorageFull, Unavailable, DataCorrupted, or any database error; the transaction is then lost.
        """

    def read(self, reads: Seq[Read]) -> tuple[ReadResult, ...]:
        """Reads several things, including what this transaction has written so far. Raises the same errors as
        ReadStore.read."""

    def begin_import(self, opening: Commit) -> Staged | None:
        """Reserves an id for an import whose slices follow in other transactions; until its end a session with the id
        can only be read. Returns None if the opening must be applied like any commit. Raises what refuses it."""

    def add_to_import(self, staged: Staged, part: Slice) -> Staged:
        """Stores the next slice, still invisible. Raises ImportCutShort, MessageExists."""

    def end_import(self, staged: Staged) -> tuple[Committed, list[Published]]:
        """Makes the slices visible. Raises ImportCutShort, InvalidState, KeyNotAvailable, DataCorrupted."""

    def give_up_import(self, staged: Staged) -> None:
        """Leaves the stored slices to the eraser."""


class WriteStore(Protocol):
    """The store as seen by its only writer."""

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Runs `work` in one durable transaction. An exception of `work` rolls everything back and is raised here.

        Cancellation does not interrupt it once it has started. Raises Unavailable if the store cannot be reached, also
        if it is unknown whether the transaction committed: a retry with the same request ids finds out.
        """

    async def fork(self, fork: Fork) -> tuple[Committed, list[Published]]:
        """Creates a session as a copy of another one, in one durable transaction that does not lock the source. Raises
        the same errors as `Commits.fork`."""


class TransactionObserver(Protocol):
    """Observes the writer's transactions, for metrics and traces."""

    def origin(self) -> object:
        """The trace context of the current call; kept with its commit until the transaction that contains it."""

    def transaction(self, origins: Seq[object]) -> AbstractContextManager[None]:
        """Encloses a transaction with the commits of these origins, until it is durable or has failed."""


class Commits(Protocol):
    """Decides commits in order of arrival and makes them durable."""

    def send(self, commit: Commit) -> Awaitable[Committed]:
        """Queues the commit at once: commits of one session are decided in the order in which they were sent. The
        awaitable may be dropped.

        The result is available once it is durable; a repeated request id returns the first result. Raises the
        DomainError that refuses the commit, Unavailable, StorageFull.
        """

    async def submit(self, commit: Commit) -> Committed:
        """Sends a commit and waits for its result."""

    async def import_(self, whole: Import) -> Committed:
        """Imports a session of any size, all of it or nothing, and returns the result of its opening.

        It is committed in slices, with other commits between them, and is visible only after the last one; writing an
        existing session until then raises ImportUnderWay. Raises the same errors as `send`, and ImportUnderWay.
        """

    async def fork(self, fork: Fork) -> Committed:
        """Forks a session. Raises SessionNotFound for a missing source, CursorAhead, EventsCompacted, SessionExists,
        EncryptionNotConfigured, RequestIdReused, Unavailable, StorageFull."""


class HistoryQuery(NamedTuple):
    limit: int = 0
    """The maximum number of messages; 0 means the session's context window."""
    before: Sequence | None = None
    after: Sequence | None = None
    at: Sequence | None = None
    """The position to read as of; None means now."""
    whole_turns: bool = False
    """Omits messages at the start, so that the page begins with a turn."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class HistoryPage:
    messages: tuple[Message, ...]
    """Oldest first."""
    has_more: bool


class LogPage(NamedTuple):
    """Events after a position, in order and without gaps."""

    events: tuple[Event, ...]
    head: Sequence
    """The log's head at the time of reading."""
    log_start: Sequence
    """The first position that is kept; above `after` + 1 if events were compacted."""
    delete_time: Micros | None
    """When the session was erased; None if it exists. No events of an erased session are left, only the head."""
    log_id: str = ""
    """The log's identity; empty if the session was erased."""
    create_time: Micros | None = None
    """When the session was created; None if it was erased."""
    fleeting: bool = False
    """Whether a timer will erase the session; what was read before must not be shown after that."""


class OrderBy(NamedTuple):
    column: str
    """`create_time` or `update_time`."""
    descending: bool


ListPlace: TypeAlias = "tuple[Micros, str]"
"""The position of a session in a list: the value of the ordering column, and the session's id."""


class Due(NamedTuple):
    """A session whose expiry is due. The natural order is the order in which expiries are recorded."""

    time: Micros
    key: SessionKey


class ListQuery(NamedTuple):
    tenant: str
    user_id: str
    """Empty for every user."""
    states: tuple[State, ...]
    """Empty for every state except ARCHIVED."""
    conditions: tuple[Condition, ...]
    """Conditions on the metadata; all must hold."""
    order: OrderBy
    limit: int
    after: ListPlace | None
    """The last position of the previous page."""

    @property
    def is_search(self) -> bool:
        """Whether the query may read many more sessions than it returns: those that a filter leaves out or, by
        `update_time`, all whose expiry is due but not recorded."""
        return bool(self.conditions) or self.order.column == "update_time"


class SessionPage(NamedTuple):
    sessions: list[Session]
    next: ListPlace | None
    """Where the next page begins; None if there is none. A page may be short or even empty and still have a next
    page."""


class RecordStore(Protocol):
    """The records as seen by readers: everything acknowledged before the call, in one snapshot.

    Each method raises Unavailable if the store cannot be reached, and KeyNotAvailable or DataCorrupted for values that
    cannot be decrypted. A read that restarts ttls is a write, and raises SessionLocked if the records are locked for
    long.
    """

    async def record(self, name: RecordName, *, refresh_ttl: bool = False) -> Record | None:
        """None if the record or its session does not exist. Waits for writes that may undo a due expiry."""

    async def records(self, query: RecordQuery) -> RecordPage:
        """One page. Raises InvalidRequest for an unsupported filter."""

    async def collections(self, query: CollectionQuery) -> CollectionPage:
        """The collections with at least one record, ordered by path."""

    async def shared_scopes(self, after: Scope | None, limit: int) -> list[Scope]:
        """The next users and tenants that have records, in order; empty at the end."""


class ReadStore(Protocol):
    """The store as seen by readers.

    Every read sees everything acknowledged before the call, and evaluates expiry at a single time: an expired session
    is returned as expired, and an erased one raises SessionNotFound as if it had never existed. Each method raises
    Unavailable if the store cannot be reached. Reads of one session wait for writes that may undo a due expiry, and
    raise SessionLocked if those take long; lists and heads do not wait.

    Reads as of an earlier position raise CursorAhead for a position after the log's end, and EventsCompacted if that
    state is no longer kept.
    """

    async def session(self, key: SessionKey, at: Sequence | None = None) -> Session: ...

    async def context(self, key: SessionKey, at: Sequence | None = None) -> Context:
        """The stored context; an empty one if it was never written. Raises KeyNotAvailable, DataCorrupted."""

    async def history(self, key: SessionKey, query: HistoryQuery) -> HistoryPage:
        """Raises KeyNotAvailable, DataCorrupted."""

    async def read(self, reads: Seq[Read]) -> tuple[ReadResult, ...]:
        """Several reads of one snapshot, in the given order; None for what does not exist. Raises the same errors as
        the single reads, except SessionNotFound."""

    async def log(self, key: SessionKey, after: Sequence, limit: int, *, changes: bool = False) -> LogPage:
        """Events after a position, from one snapshot: at most `limit`, fewer if they are large, and with their changes
        if requested. Raises SessionNotFound for an id that never existed, KeyNotAvailable, DataCorrupted. For a session
        that counts as erased but has not been erased yet, the position is treated as the head; a position beyond the
        head raises SessionNotFound."""

    async def sessions(self, query: ListQuery) -> SessionPage:
        """One page in the requested order; ties are ordered by session id. Raises InvalidRequest for an unsupported
        filter, LimitExceeded for a search that takes too long."""

    async def heads(self, keys: Seq[SessionKey]) -> Mapping[SessionKey, Sequence]:
        """The heads of the logs, including those of erased sessions; ids that never existed are left out."""

    async def due(self, limit: int, after: Due | None = None) -> list[Due]:
        """Sessions whose expiry is due, the longest overdue first; with `after`, those following it."""

    async def keys(self, after: SessionKey | None, limit: int) -> list[SessionKey]:
        """The next sessions of all tenants, ordered by key; empty at the end."""


class SessionStore(ReadStore, RecordStore, Protocol):
    """The store as seen by what reads whole sessions."""


class Feed(Protocol):
    """The hub's state for one watched session."""

    version: int
    """Increases with every wake-up."""
    erased_through: Sequence
    """Content up to this position may have been erased after it was read."""
    erasures: int
    """Increases when content is erased: data read before may include it."""
    foreign: int
    """Increases when another replica writes, which may have erased data read before."""
    head: Sequence
    """The furthest known position of the log; 0 if none is known."""

    def recent(self, after: Sequence, log_id: str) -> list[Event] | None:
        """The events after a position in this log, empty at the head; None if not all of them are cached."""

    def changed(self, since: int, timeout_seconds: float) -> Waiter:
        """Done when the version differs from `since`, or after the timeout; others may end it earlier."""

    def leave(self, woken: Waiter) -> None:
        """Forgets a wait that others may have ended."""

    def hint(self, head: Sequence) -> None:
        """Reports that the log has reached a position; cached events that end before it are out of date."""

    def compare(self, head: Sequence, seen: int) -> None:
        """Reports the head found by a read that began at version `seen`; if it is lower than a known head, the log was
        rolled back."""


class Hub(Protocol):
    """Wakes the watchers of a session."""

    def watch(self, key: SessionKey) -> AbstractContextManager[Feed]:
        """Watches a session while the context lasts."""


class Sink(Protocol):
    """Receives a follower's events one by one, in order. An exception ends the follower."""

    def event(self, event: Event) -> Awaitable[None]: ...

    async def checkpoint(self, position: Sequence, log_id: str) -> None: ...
