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
    REJECT = "reject"
    """The new message is refused with `ResourceExhausted`."""
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
    UNKNOWN = "unknown"
    """A type that this version of the client does not know."""


class StateChangeReason(StrEnum):
    """Why a session changed its state."""

    CALLER = "caller"
    IDLE_TIMEOUT = "idle_timeout"
    TTL = "ttl"
    UNKNOWN = "unknown"


StateName: TypeAlias = SessionState | Literal["created", "active", "paused", "ended", "expired", "archived"]
EventTypeName: TypeAlias = (
    EventType
    | Literal[
        "created",
        "message",
        "state_change",
        "context_change",
        "updated",
        "history_cleared",
        "imported",
        "deleted",
    ]
)


class SessionConfigDict(TypedDict, total=False):
    """`config=` as a plain dict; the keys of `SessionConfig`."""

    timeout: Span | None
    max_messages: int | None
    context_window: int | None
    overflow: Overflow | Literal["truncate_oldest", "reject"] | None


class StorageOptionsDict(TypedDict, total=False):
    """`storage_options=` as a plain dict; the keys of `StorageOptions`."""

    persistence: Persistence | Literal["permanent", "temporary"]
    encryption: bool
    ttl: Span | None
    expiry_action: ExpiryAction | Literal["retain", "archive", "delete"]


class MessageDict(TypedDict, total=False):
    """`message=` as a plain dict. A message needs a `role` with `content`, or the provider's own form in
    `data`."""

    id: str
    role: str
    content: str
    name: str | None
    tool_call_id: str | None
    data: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    timestamp: datetime | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """How a session behaves."""

    timeout: timedelta | None = None
    """The idle time after which the session expires; None: never."""
    max_messages: int | None = None
    """How many messages the history holds; None: no limit."""
    context_window: int | None = None
    """How many messages `get_history` answers when not told; None: the server's default, 100."""
    overflow: Overflow = Overflow.TRUNCATE_OLDEST


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageOptions:
    """How a session is stored."""

    persistence: Persistence = Persistence.PERMANENT
    encryption: bool = False
    """Context and message content are encrypted at rest; metadata is not, since it can be searched."""
    ttl: timedelta | None = None
    """Lifetime counted from `create_time`; None: without end."""
    expiry_action: ExpiryAction = ExpiryAction.RETAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
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


class Context(dict[str, Any]):
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


class History(list[Message]):
    """Messages, oldest first: a `list`, which knows whether there are more beyond its end."""

    __slots__ = ("has_more",)

    def __init__(self, messages: Iterable[Message] = (), *, has_more: bool = False) -> None:
        super().__init__(messages)
        self.has_more = has_more
        """More messages stand before the first (with `after_sequence`: after the last)."""
