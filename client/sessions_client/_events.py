"""What a subscription delivers: the events of a session's log, each with data of its own type."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  # for whoever asks for the type hints at run time
from typing import Any, TypeAlias

from sessions_client._models import EventType, Message, SessionState, StateChangeReason


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedData:
    """The session was created."""

    user_id: str
    state: SessionState


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChangeData:
    """The session moved from one state to another."""

    state: SessionState
    previous_state: SessionState
    reason: StateChangeReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextChangeData:
    """The context changed."""

    paths: tuple[str, ...]
    """The changed paths; the empty path is the whole context."""
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatedData:
    """Metadata, configuration or storage options changed."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryClearedData:
    """The history was cleared."""

    cleared_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedData:
    """An import created the session, or replaced its data."""

    message_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedData:
    """The session was deleted; no event follows."""


EventData: TypeAlias = (
    CreatedData
    | Message
    | StateChangeData
    | ContextChangeData
    | UpdatedData
    | HistoryClearedData
    | ImportedData
    | DeletedData
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One committed change of a session.

    Of a `message` event `data` is the `Message`; of `state_change` a `StateChangeData`; and so on."""

    session_id: str
    sequence: int
    """The event's position in the log: 1, 2, 3, … without holes."""
    type: EventType
    time: datetime | None
    request_id: str
    """The request id of the call that caused the change; empty when it had none, and for a timer's change."""
    erased: bool
    """The message's content was cleared or truncated since; `data` is then a `Message` without content."""
    data: Any
    """One of `EventData`, as `type` says; None only when that is `unknown`. It is typed as Any, because a type
    checker does not conclude from `event.type == "message"` what it is; `isinstance(event.data, Message)` it
    understands."""
