"""The objects that the service stores, as callers see them.

They are frozen and expose nothing of gRPC or protobuf. Every time is an aware `datetime` in UTC, every duration a
`timedelta`. The enums are strings, so `session.state == "active"` is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, Final, Literal, TypeAlias, TypedDict

from sessions_client._errors import refused
from sessions_client._json_form import Model, plain

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object: string keys, and values that are None, bool, int, float, str, or lists and objects of these."""

Span: TypeAlias = timedelta | float
"""A duration: a `timedelta` or a number of seconds."""


class NotGiven(Enum):
    """An argument that was not given, where None means JSON's null."""

    NOT_GIVEN = "not given"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


class SessionState(StrEnum):
    """The state of a session in its lifecycle."""

    CREATED = "created"
    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"
    EXPIRED = "expired"
    ARCHIVED = "archived"
    UNKNOWN = "unknown"
    """A state that this version of the client does not know."""


class IfExists(StrEnum):
    """What to do when the session id is taken."""

    FAIL = "fail"
    RETURN = "return"
    """`create` only: return the existing session."""
    REPLACE = "replace"
    """`import_` only: replace the existing session."""


class Overflow(StrEnum):
    """What happens to a message that would exceed `max_messages`."""

    TRUNCATE_OLDEST = "truncate_oldest"
    """The oldest messages are removed from the history permanently."""
    TRUNCATE_TURNS = "truncate_turns"
    """The oldest whole turns are removed permanently, so that the history never begins with an orphaned tool result."""
    REJECT = "reject"
    """The new message is refused with `ResourceExhausted`."""
    UNKNOWN = "unknown"


class HistoryWindow(StrEnum):
    """How the newest part of a history is measured."""

    EXACT = "exact"
    """The newest messages, exactly `limit` of them."""
    WHOLE_TURNS = "whole_turns"
    """The newest whole turns that fit into `limit`; a turn begins with a message of the role `user`."""
    UNKNOWN = "unknown"


class Persistence(StrEnum):
    """Whether the data outlives the session."""

    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    """Erased when the session ends or its `ttl` has passed."""
    UNKNOWN = "unknown"


class ExpiryAction(StrEnum):
    """What happens when the `ttl` has passed."""

    RETAIN = "retain"
    ARCHIVE = "archive"
    DELETE = "delete"
    UNKNOWN = "unknown"


class EventType(StrEnum):
    """The kind of change that an event describes."""

    CREATED = "created"
    MESSAGE = "message"
    STATE_CHANGE = "state_change"
    CONTEXT_CHANGE = "context_change"
    UPDATED = "updated"
    HISTORY_CLEARED = "history_cleared"
    IMPORTED = "imported"
    DELETED = "deleted"
    HISTORY_TRUNCATED = "history_truncated"
    RECORDS_CHANGE = "records_change"
    MESSAGE_ERASED = "message_erased"
    UNKNOWN = "unknown"
    """A type that this version of the client does not know."""


class StateChangeReason(StrEnum):
    """Why a session's state changed."""

    CALLER = "caller"
    IDLE_TIMEOUT = "idle_timeout"
    TTL = "ttl"
    UNKNOWN = "unknown"


class SessionConfigDict(TypedDict, total=False):
    """`config=` as a plain dict; the keys of `SessionConfig`."""

    timeout: Span | None
    max_messages: int | None
    context_window: int | None
    overflow: Overflow | Literal["truncate_oldest", "truncate_turns", "reject"] | None


class StorageOptionsDict(TypedDict, total=False):
    """`storage_options=` as a plain dict; the keys of `StorageOptions`."""

    persistence: Persistence | Literal["permanent", "temporary"]
    encryption: bool
    ttl: Span | None
    expiry_action: ExpiryAction | Literal["retain", "archive", "delete"]


class MessageDict(TypedDict, total=False):
    """`message=` as a plain dict. A message needs a `role`, or the provider's own form in `data` or `payload`."""

    id: str
    role: str
    content: str
    name: str | None
    tool_call_id: str | None
    data: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    timestamp: datetime | str | None
    payload: bytes
    payload_type: str


# The constructors are written out because they accept more than the fields' types: seconds for a duration, a name for
# an enum. `dataclasses.replace` works as usual.
@dataclass(frozen=True, slots=True, init=False)
class SessionConfig(Model):
    """How a session behaves. None means not given: `create` uses the server's default, and `update` leaves the value
    unchanged (a plain dict with a None clears it)."""

    timeout: timedelta | None
    """The idle time after which the session expires. None in a session that was read means never."""
    max_messages: int | None
    """The maximum length of the history. None in a session that was read means no limit."""
    context_window: int | None
    """How many messages `get_history` returns without a `limit`. None in a session that was read means the server's
    default, 100."""
    overflow: Overflow | None
    """What happens to a message beyond `max_messages`; always set in a session that was read."""

    def __init__(
        self,
        *,
        timeout: Span | None = None,
        max_messages: int | None = None,
        context_window: int | None = None,
        overflow: Overflow | Literal["truncate_oldest", "truncate_turns", "reject"] | None = None,
    ) -> None:
        _assign(
            self,
            timeout=_span(timeout, name="timeout"),
            max_messages=max_messages,
            context_window=context_window,
            overflow=_member(Overflow, overflow),
        )


@dataclass(frozen=True, slots=True, init=False)
class StorageOptions(Model):
    """How a session is stored. A `ttl` or `expiry_action` of None means not given. Only these two can be changed after
    creation: `update` uses whichever of them is given and ignores the other fields."""

    persistence: Persistence
    encryption: bool
    """Context and message content are encrypted at rest; metadata is not, since it can be searched."""
    ttl: timedelta | None
    """The lifetime, counted from `create_time`. None in a session that was read means unlimited."""
    expiry_action: ExpiryAction | None
    """What happens when the `ttl` has passed; always set in a session that was read."""

    def __init__(
        self,
        *,
        persistence: Persistence | Literal["permanent", "temporary"] | None = None,
        encryption: bool | None = None,
        ttl: Span | None = None,
        expiry_action: ExpiryAction | Literal["retain", "archive", "delete"] | None = None,
    ) -> None:
        _assign(
            self,
            persistence=_member(Persistence, persistence or Persistence.PERMANENT),
            encryption=False if encryption is None else encryption,
            ttl=_span(ttl, name="ttl"),
            expiry_action=_member(ExpiryAction, expiry_action),
        )


def _assign(frozen: object, **values: object) -> None:
    """Set a field of a frozen instance; for constructors only."""
    for name, value in values.items():
        object.__setattr__(frozen, name, value)


def _span(value: object, *, name: str) -> object:
    """Seconds as a timedelta. A value of any other type is kept, so that the request refuses it with its path."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise refused(name, "must be a finite number of seconds, at most 10,000 years.") from None


def _member(kind: type[StrEnum], value: str | None) -> object:
    """A name as the enum's member. A value of any other type is kept, so that the request refuses it with its path."""
    return kind(value) if isinstance(value, str) and value in set(kind) else value


ConfigInput: TypeAlias = SessionConfig | SessionConfigDict | Mapping[str, Any]
StorageInput: TypeAlias = StorageOptions | StorageOptionsDict | Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedFrom(Model):
    """The origin of a forked session."""

    session_id: str
    """The session that was forked; it may have been deleted since."""
    sequence: int
    """The last event of that session that the fork includes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Model):
    """One conversation of one user."""

    id: str
    user_id: str
    state: SessionState
    metadata: JsonObject = field(default_factory=dict)
    config: SessionConfig = field(default_factory=SessionConfig)
    storage_options: StorageOptions = field(default_factory=StorageOptions)
    message_count: int = 0
    """The number of messages in the history."""
    last_sequence: int = 0
    """The position of the session's newest event, for `subscribe(after_sequence=…)`."""
    etag: str = ""
    """Changes when the session itself changes; messages and context changes leave it as it is."""
    create_time: datetime | None = None
    update_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    archive_time: datetime | None = None
    expire_time: datetime | None = None
    """The end of the `ttl`; None means never."""
    forked_from: ForkedFrom | None = None
    """The origin of a session created by `fork`."""

    def __hash__(self) -> int:
        """Hash by the id alone, since metadata is a dict; two states of one session are unequal but share a hash."""
        return hash(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Model):
    """One message of a history. The server sets `id`, `sequence` and `create_time`."""

    id: str = ""
    sequence: int = 0
    """The message's position in the session's log; messages are ordered by it, never by time."""
    role: str = ""
    content: str = ""
    name: str | None = None
    tool_call_id: str | None = None
    data: JsonObject | None = None
    """The provider's own form (tool calls, multimodal parts), stored unchanged."""
    metadata: JsonObject = field(default_factory=dict)
    timestamp: datetime | None = None
    """When the sender says it was written, to the microsecond; the server only stores it."""
    create_time: datetime | None = None
    payload: bytes = b""
    """The provider's own form, byte for byte: unlike `data` it keeps key order, 1.0 and integers beyond 2^53."""
    payload_type: str = ""
    """The media type of `payload`, such as `application/json`."""

    def __hash__(self) -> int:
        """Hash by the id alone, since data and metadata are dicts."""
        return hash(self.id)


MessageInput: TypeAlias = Message | MessageDict | Mapping[str, Any]


class Context(dict[str, Any], Model):
    """A session's context: a `dict` with the `etag` and `update_time` of the state it was read from.

    When a single path was requested, the dict is empty and `value` holds the value at that path.
    """

    __slots__ = ("etag", "has_value", "update_time", "value")

    def __init__(
        self,
        data: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        *,
        etag: str = "",
        update_time: datetime | None = None,
        value: Any = None,
        has_value: bool = False,
    ) -> None:
        super().__init__(data)
        self.etag = etag
        """Pass it to a write as `etag=`, and the write fails with `Aborted` if the context has changed
        since."""
        self.update_time = update_time
        self.value = value
        """The value at the requested path; None without a path."""
        self.has_value = has_value
        """Distinguishes an absent value (False) from a JSON null (True)."""

    def to_dict(self) -> JsonObject:
        """Returns `data`, `etag` and `update_time`, and `value` if the requested path holds one."""
        form = {"data": dict(self), "etag": self.etag, "update_time": plain(self.update_time)}
        return {**form, "value": self.value} if self.has_value else form


class History(list[Message], Model):
    """Messages, oldest first: a `list` that also says whether there are more."""

    __slots__ = ("has_more",)

    def __init__(self, messages: Iterable[Message] = (), *, has_more: bool = False) -> None:
        super().__init__(messages)
        self.has_more = has_more
        """Whether there are messages before the first one (with `after_sequence`: after the last one)."""

    def to_dict(self) -> JsonObject:
        """Returns `messages` and `has_more`."""
        return {"messages": plain(list(self)), "has_more": self.has_more}
