"""The values of the domain. Immutable; times are microseconds since the Unix epoch in UTC.

What every call makes is a named tuple: these are made several times faster than frozen dataclasses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, NewType, TypeAlias

if TYPE_CHECKING:
    from sessions_server.domain.context import Change
    from sessions_server.domain.records import RecordChange

Micros = NewType("Micros", int)
"""An instant, in microseconds since 1970-01-01T00:00:00Z, or a span of microseconds."""

Sequence = NewType("Sequence", int)
"""A position in a session's log: 1, 2, 3, … without holes. 0 is the position before the first event."""

SECOND = Micros(1_000_000)

# `str | int | float | bool | None`, lists and string-keyed dicts of the same.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]


class SessionKey(NamedTuple):
    """A session's address. Its natural order is the order in which rows are locked."""

    tenant: str
    session_id: str


class State(StrEnum):
    CREATED = "created"
    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"
    EXPIRED = "expired"
    ARCHIVED = "archived"


class Overflow(StrEnum):
    TRUNCATE_OLDEST = "truncate_oldest"
    REJECT = "reject"
    TRUNCATE_TURNS = "truncate_turns"


class Persistence(StrEnum):
    PERMANENT = "permanent"
    TEMPORARY = "temporary"


class ExpiryAction(StrEnum):
    RETAIN = "retain"
    ARCHIVE = "archive"
    DELETE = "delete"


class StateReason(StrEnum):
    """Why a session changed its state."""

    CALLER = "caller"
    IDLE_TIMEOUT = "idle_timeout"
    TTL = "ttl"


class SessionConfig(NamedTuple):
    timeout: Micros | None = None
    """The span without a write after which the session expires; None: never."""
    max_messages: int = 0
    """How many messages the history holds; 0: no limit."""
    context_window: int = 0
    """How many messages GetHistory answers when not told; 0: the service's default."""
    overflow: Overflow = Overflow.TRUNCATE_OLDEST


class StorageOptions(NamedTuple):
    persistence: Persistence = Persistence.PERMANENT
    encryption: bool = False
    ttl: Micros | None = None
    """Lifetime counted from the session's creation; None: without end."""
    expiry_action: ExpiryAction = ExpiryAction.RETAIN


class ForkedFrom(NamedTuple):
    """The session, and the position in its log, that another one was forked from."""

    session_id: str
    sequence: Sequence


class Session(NamedTuple):
    key: SessionKey
    user_id: str
    state: State
    metadata: JsonObject
    config: SessionConfig
    storage: StorageOptions
    message_count: int
    last_sequence: Sequence
    revision: Sequence
    """The sequence of the event that last changed the session itself; its etag."""
    history_start: Sequence
    """No message before this position is part of the history."""
    log_start: Sequence
    """The first position that the log still keeps."""
    create_time: Micros
    update_time: Micros
    active_time: Micros
    """The last write that counts against the idle timeout."""
    start_time: Micros | None = None
    end_time: Micros | None = None
    archive_time: Micros | None = None
    expiry_reason: StateReason | None = None
    """Why an EXPIRED session expired."""
    data_key: bytes | None = None
    """The wrapped key of an encrypted session."""
    history_head: Sequence = Sequence(0)
    """The sequence of the newest message of the history; 0: it is empty."""
    log_id: str = ""
    """The identity of the log, see `lineage`: another one after the id was deleted and created or imported again, and
    one with a branch more after a failover of the database."""
    forked_from: ForkedFrom | None = None

    @property
    def expire_time(self) -> Micros | None:
        """The end of the session's ttl."""
        ttl = self.storage.ttl
        return None if ttl is None else Micros(self.create_time + ttl)


class ClaimedTime(NamedTuple):
    """A caller's own time stamp, kept exactly as it came."""

    seconds: int
    nanos: int


class MessageBody(NamedTuple):
    """What a caller says in a message."""

    role: str = ""
    content: str = ""
    name: str = ""
    tool_call_id: str = ""
    data: JsonObject | None = None
    metadata: JsonObject | None = None
    timestamp: ClaimedTime | None = None
    payload: bytes = b""
    """The provider's own form of the message, byte for byte."""
    payload_type: str = ""


class MessageDraft(NamedTuple):
    """A message to be added."""

    id: str
    body: MessageBody
    chosen: bool = False
    """The caller chose the id, so the message may have been stored before."""


class Message(NamedTuple):
    id: str
    sequence: Sequence
    create_time: Micros
    body: MessageBody


class Context(NamedTuple):
    data: JsonObject
    revision: Sequence
    """The sequence of the event that last changed it; its etag. 0: never written."""
    update_time: Micros


class EventType(StrEnum):
    CREATED = "created"
    MESSAGE = "message"
    STATE_CHANGE = "state_change"
    CONTEXT_CHANGE = "context_change"
    UPDATED = "updated"
    HISTORY_CLEARED = "history_cleared"
    HISTORY_TRUNCATED = "history_truncated"
    MESSAGE_ERASED = "message_erased"
    RECORDS_CHANGE = "records_change"
    IMPORTED = "imported"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Created:
    user_id: str
    state: State
    forked_from: ForkedFrom | None = None
    session: Session | None = None
    """As created. None where the log is read without its changes, as in all events below."""
    context: JsonObject | None = None
    """That of a fork; None: there is none yet."""


@dataclass(frozen=True, slots=True)
class StateChange:
    state: State
    previous_state: State
    reason: StateReason


@dataclass(frozen=True, slots=True)
class ContextChange:
    paths: tuple[str, ...]
    changes: tuple[Change, ...] | None = None
    """What was done, in order; SetContext is one `set` of the root. None also where it was erased."""


class Settings(NamedTuple):
    """The metadata, config and storage options of a session, or new values for some of them."""

    metadata: JsonObject
    config: SessionConfig
    storage: StorageOptions


@dataclass(frozen=True, slots=True)
class Updated:
    paths: tuple[str, ...]
    values: Settings | None = None
    """The new values of what the paths name; a `metadata.<key>` that is absent was removed."""
    session: Session | None = None
    """The session after it, for watchers who asked for changes; never stored."""


@dataclass(frozen=True, slots=True)
class HistoryCleared:
    cleared_count: int


@dataclass(frozen=True, slots=True)
class HistoryTruncated:
    removed_count: int
    head_sequence: Sequence
    """The sequence of the newest message that is left; 0: none is."""


@dataclass(frozen=True, slots=True)
class MessageErased:
    message_id: str
    sequence: Sequence
    """That of the message."""
    head_sequence: Sequence
    """The sequence of the newest message that is left; 0: none is."""


@dataclass(frozen=True, slots=True)
class RecordsChange:
    changes: tuple[RecordChange, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    message_count: int
    session: Session | None = None
    """As imported, before its messages."""
    context: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    pass


EventData: TypeAlias = (
    Created
    | Message
    | StateChange
    | ContextChange
    | Updated
    | HistoryCleared
    | HistoryTruncated
    | MessageErased
    | RecordsChange
    | Imported
    | Deleted
)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Event:
    """One committed change. Compared by identity, so that its encoding can be kept beside it."""

    key: SessionKey
    sequence: Sequence
    type: EventType
    time: Micros
    """When the server committed it."""
    request_id: str
    data: EventData | None
    """None when the content was erased."""
    imported: bool = False
    """A message that came with an import, which is not a write of its own."""

    @property
    def erased(self) -> bool:
        return self.data is None
