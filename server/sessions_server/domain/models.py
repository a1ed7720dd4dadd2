"""The values of the domain. Immutable; times are microseconds since the Unix epoch in UTC.

Values created in every call are named tuples, which are created several times faster than frozen dataclasses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, NewType, TypeAlias, get_type_hints

if TYPE_CHECKING:
    from sessions_server.domain.context import Change
    from sessions_server.domain.records import RecordChange

Micros = NewType("Micros", int)
"""A time in microseconds since 1970-01-01T00:00:00Z, or a duration in microseconds."""

Sequence = NewType("Sequence", int)
"""A position in a session's log: 1, 2, 3, … without gaps. 0 is the position before the first event."""

SECOND = Micros(1_000_000)

# `str | int | float | bool | None`, and lists and string-keyed dicts of these.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]


class SessionKey(NamedTuple):
    """Identifies a session. The natural order is the order in which rows are locked."""

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
    """Why a session's state changed."""

    CALLER = "caller"
    IDLE_TIMEOUT = "idle_timeout"
    TTL = "ttl"


class SessionConfig(NamedTuple):
    timeout: Micros | None = None
    """How long without a write until the session expires; None means never."""
    max_messages: int = 0
    """The maximum length of the history; 0 means no limit."""
    context_window: int = 0
    """How many messages GetHistory returns by default; 0 means the service's default."""
    overflow: Overflow = Overflow.TRUNCATE_OLDEST


class StorageOptions(NamedTuple):
    persistence: Persistence = Persistence.PERMANENT
    encryption: bool = False
    ttl: Micros | None = None
    """The lifetime from the session's creation; None means unlimited."""
    expiry_action: ExpiryAction = ExpiryAction.RETAIN


class ForkedFrom(NamedTuple):
    """The session, and the position in its log, that another session was forked from."""

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
    """The sequence of the last event that changed the session itself; its etag."""
    history_start: Sequence
    """The history starts at this position or later."""
    log_start: Sequence
    """The first position that is still in the log."""
    create_time: Micros
    update_time: Micros
    active_time: Micros
    """The time of the last write that resets the idle timeout."""
    start_time: Micros | None = None
    end_time: Micros | None = None
    archive_time: Micros | None = None
    expiry_reason: StateReason | None = None
    """Why the session expired, if its state is EXPIRED."""
    data_key: bytes | None = None
    """The wrapped data key of an encrypted session."""
    history_head: Sequence = Sequence(0)
    """The sequence of the newest message of the history; 0 if the history is empty."""
    log_id: str = ""
    """The identity of the log, see `lineage`. It changes when the id is deleted and created or imported again, and
    gains a branch at a failover of the database."""
    forked_from: ForkedFrom | None = None

    @property
    def expire_time(self) -> Micros | None:
        """The end of the session's ttl."""
        ttl = self.storage.ttl
        return None if ttl is None else Micros(self.create_time + ttl)

    @property
    def settings(self) -> SessionSettings:
        """What an update can change."""
        return SessionSettings(self.metadata, self.config, self.storage)


class ClaimedTime(NamedTuple):
    """A caller's timestamp, kept exactly as received."""

    seconds: int
    nanos: int


class MessageBody(NamedTuple):
    """The caller's part of a message."""

    role: str = ""
    content: str = ""
    name: str = ""
    tool_call_id: str = ""
    data: JsonObject | None = None
    metadata: JsonObject | None = None
    timestamp: ClaimedTime | None = None
    payload: bytes = b""
    """The provider's original form of the message, byte for byte."""
    payload_type: str = ""


def _of_type(kind: type, hint: object) -> tuple[str, ...]:
    """The fields of a named tuple that have this type."""
    return tuple(name for name, found in get_type_hints(kind).items() if found == hint)


# Code that handles all fields of a type alike uses these, so that a new field needs no change there.
BODY_TEXTS: Final = _of_type(MessageBody, str)
BODY_BYTES: Final = _of_type(MessageBody, bytes)
OPTIONAL_TIMES: Final = _of_type(Session, Micros | None)


class MessageDraft(NamedTuple):
    """A message to be added."""

    id: str
    body: MessageBody
    chosen: bool = False
    """Whether the caller chose the id, so that the message may already be stored."""


class Message(NamedTuple):
    id: str
    sequence: Sequence
    create_time: Micros
    body: MessageBody


class Context(NamedTuple):
    data: JsonObject
    revision: Sequence
    """The sequence of the last event that changed it; its etag. 0 if it was never written."""
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
    """The created session. None if the log is read without changes; likewise in all events below."""
    context: JsonObject | None = None
    """The context of a fork; None if it has none yet."""


@dataclass(frozen=True, slots=True)
class StateChange:
    state: State
    previous_state: State
    reason: StateReason


@dataclass(frozen=True, slots=True)
class ContextChange:
    paths: tuple[str, ...]
    changes: tuple[Change, ...] | None = None
    """The changes, in order; SetContext is one `set` of the root. None also if they were erased."""


class SessionSettings(NamedTuple):
    """The metadata, config and storage options of a session, or new values for some of them."""

    metadata: JsonObject
    config: SessionConfig
    storage: StorageOptions


@dataclass(frozen=True, slots=True)
class Updated:
    paths: tuple[str, ...]
    values: SessionSettings | None = None
    """The new values at the paths; an absent `metadata.<key>` was removed."""
    session: Session | None = None
    """The session afterwards, for subscribers that asked for changes; never stored."""


@dataclass(frozen=True, slots=True)
class HistoryCleared:
    cleared_count: int


@dataclass(frozen=True, slots=True)
class HistoryTruncated:
    removed_count: int
    head_sequence: Sequence
    """The sequence of the newest remaining message; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class MessageErased:
    message_id: str
    sequence: Sequence
    """The sequence of the message."""
    head_sequence: Sequence
    """The sequence of the newest remaining message; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class RecordsChange:
    changes: tuple[RecordChange, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    message_count: int
    session: Session | None = None
    """The imported session, before its messages."""
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


@dataclass(slots=True, eq=False, weakref_slot=True)
class Event:
    """One committed change. Compared by identity, so that its encoding can be cached with it.

    Never modified. Not frozen, since creating a frozen one takes three times as long, and every message has one.
    """

    key: SessionKey
    sequence: Sequence
    type: EventType
    time: Micros
    """When the server committed it."""
    request_id: str
    data: EventData | None
    """None if the content was erased."""
    imported: bool = False
    """Whether the message is part of an import, which counts as one write."""

    @property
    def erased(self) -> bool:
        return self.data is None
