"""What the service stores, as the caller sees it.

Values are frozen and hold nothing of gRPC or protobuf. Every time is an aware `datetime` in UTC, every span a
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
"""A JSON object: string keys; values are None, bool, int, float, str, lists and objects of the same."""

Span: TypeAlias = timedelta | float
"""A span of time: a `timedelta` or a number of seconds."""


class NotGiven(Enum):
    """An argument that was left out, where None has a meaning of its own: JSON's null."""

    NOT_GIVEN = "not given"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


class SessionState(StrEnum):
    """Where a session stands in its life."""

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
    """`create` only: answer the session that is there."""
    REPLACE = "replace"
    """`import_` only: replace what is there."""


class Overflow(StrEnum):
    """What happens to a message that would exceed `max_messages`."""

    TRUNCATE_OLDEST = "truncate_oldest"
    """The oldest messages leave the history for good."""
    TRUNCATE_TURNS = "truncate_turns"
    """The oldest turns leave the history for good, so that it never begins with a tool result alone."""
    REJECT = "reject"
    """The new message is refused with `ResourceExhausted`."""
    UNKNOWN = "unknown"


class HistoryWindow(StrEnum):
    """Which messages make up the newest part of a history."""

    EXACT = "exact"
    """The newest messages, exactly `limit` of them."""
    WHOLE_TURNS = "whole_turns"
    """The newest whole turns that fit into `limit`; a turn begins with a message of the role `user`."""
    UNKNOWN = "unknown"


class Persistence(StrEnum):
    """Whether the data outlives the session."""

    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    """Erased when the session ends or its `ttl` is over."""
    UNKNOWN = "unknown"


class ExpiryAction(StrEnum):
    """What happens at the end of the `ttl`."""

    RETAIN = "retain"
    ARCHIVE = "archive"
    DELETE = "delete"
    UNKNOWN = "unknown"


class EventType(StrEnum):
    """What kind of change an event tells of."""

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
    """Why a session changed its state."""

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


# The constructors are written out because they take more than the fields show: seconds for a span, a name for an
# enum. A `replace` of the `dataclasses` module works as ever.
@dataclass(frozen=True, slots=True, init=False)
class SessionConfig(Model):
    """How a session behaves. What is None was not given: `create` takes the server's default for it, and `update`
    leaves it as it is (a plain dict with a None clears it)."""

    timeout: timedelta | None
    """The idle time after which the session expires; of a session that was read None is: never."""
    max_messages: int | None
    """How many messages the history holds; of a session that was read None is: no limit."""
    context_window: int | None
    """How many messages `get_history` returns when not told; of a session that was read None is: the server's
    default, 100."""
    overflow: Overflow | None
    """What happens to a message beyond `max_messages`; a session that was read always says it."""

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
    """How a session is stored. A `ttl` or `expiry_action` of None was not given. After the creation only these two can
    be changed: `update` looks at those of the two that are given, and at nothing else here."""

    persistence: Persistence
    encryption: bool
    """Context and message content are encrypted at rest; metadata is not, since it can be searched."""
    ttl: timedelta | None
    """Lifetime counted from `create_time`; of a session that was read None is: without end."""
    expiry_action: ExpiryAction | None
    """What happens at the end of the `ttl`; a session that was read always says it."""

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
    """What the constructor of a frozen class may do, and nobody else."""
    for name, value in values.items():
        object.__setattr__(frozen, name, value)


def _span(value: object, *, name: str) -> object:
    """Seconds as a timedelta. What is neither is kept, for the request to refuse it with its path."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise refused(name, "must be a finite number of seconds, at most 10,000 years.") from None


def _member(kind: type[StrEnum], value: str | None) -> object:
    """A name as the enum's member. What is neither is kept, for the request to refuse it with its path."""
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
    """How many messages the history holds."""
    last_sequence: int = 0
    """The position of the session's newest event; what `subscribe(after_sequence=…)` takes."""
    etag: str = ""
    """Changes with the session itself; neither messages nor context changes move it."""
    create_time: datetime | None = None
    update_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    archive_time: datetime | None = None
    expire_time: datetime | None = None
    """The end of the `ttl`; None: without end."""
    forked_from: ForkedFrom | None = None
    """The origin of a session that `fork` made."""

    def __hash__(self) -> int:
        """By the id alone, since metadata is a dict; two states of one session are unequal, with one hash."""
        return hash(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Model):
    """One message of a history. `id`, `sequence` and `create_time` are the server's."""

    id: str = ""
    sequence: int = 0
    """The message's position in the session's log; order is by it, never by a time."""
    role: str = ""
    content: str = ""
    name: str | None = None
    tool_call_id: str | None = None
    data: JsonObject | None = None
    """The provider's own form (tool calls, multimodal parts), stored unchanged."""
    metadata: JsonObject = field(default_factory=dict)
    timestamp: datetime | None = None
    """The sender's own claim, to the microsecond; plain data to the server."""
    create_time: datetime | None = None
    payload: bytes = b""
    """The provider's own form, byte for byte: unlike `data` it keeps key order, 1.0 and integers beyond 2^53."""
    payload_type: str = ""
    """What `payload` is, such as `application/json`."""

    def __hash__(self) -> int:
        """By the id alone, since data and metadata are dicts."""
        return hash(self.id)


MessageInput: TypeAlias = Message | MessageDict | Mapping[str, Any]


class Context(dict[str, Any], Model):
    """A session's context: a `dict` with the `etag` and `update_time` of the state it was read from.

    When one path was asked for, the dict is empty and `value` holds what stands there.
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
        """Give it to a write as `etag=` and the write fails with `Aborted` if the context has changed
        since."""
        self.update_time = update_time
        self.value = value
        """What stands at the path that was asked for; None without a path."""
        self.has_value = has_value
        """Tells an absent value (False) from a JSON null (True)."""

    def to_dict(self) -> JsonObject:
        """Returns `data`, `etag` and `update_time`, and `value` where one path was asked for and holds one."""
        form = {"data": dict(self), "etag": self.etag, "update_time": plain(self.update_time)}
        return {**form, "value": self.value} if self.has_value else form


class History(list[Message], Model):
    """Messages, oldest first: a `list`, which knows whether there are more beyond its end."""

    __slots__ = ("has_more",)

    def __init__(self, messages: Iterable[Message] = (), *, has_more: bool = False) -> None:
        super().__init__(messages)
        self.has_more = has_more
        """More messages stand before the first (with `after_sequence`: after the last)."""

    def to_dict(self) -> JsonObject:
        """Returns `messages` and `has_more`."""
        return {"messages": plain(list(self)), "has_more": self.has_more}
