"""What a subscription delivers: the events of a session's log, each with data of its own type."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  # resolves type hints at run time
from typing import Any, TypeAlias

from sessions_client._changes import Append, Increment, Merge, Remove, Set
from sessions_client._json_form import Model, plain
from sessions_client._models import EventType, ForkedFrom, Message, Session, SessionState, StateChangeReason
from sessions_client._records import RecordName


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedData(Model):
    """The session was created."""

    user_id: str
    state: SessionState
    forked_from: ForkedFrom | None = None
    """The origin of a session created by `fork`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChangeData(Model):
    """The session's state changed."""

    state: SessionState
    previous_state: SessionState
    reason: StateChangeReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextChangeData(Model):
    """The context changed."""

    paths: tuple[str, ...]
    """The changed paths; the empty path is the whole context."""
    etag: str
    changes: tuple[Set | Remove | Increment | Append | Merge, ...] = ()
    """The changes, with `include_changes=True`; `Set("", …)` replaced the whole context."""
    changes_omitted: bool = False
    """Whether `changes` is empty because the changes are too large (64 KiB) or were erased since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatedData(Model):
    """Metadata, configuration or storage options changed."""

    paths: tuple[str, ...]
    session: Session | None = None
    """The session after the change, with `include_changes=True`; None when it is larger than 64 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryClearedData(Model):
    """The history was cleared."""

    cleared_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedData(Model):
    """An import created the session, or replaced its data."""

    message_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedData(Model):
    """The session was deleted; no event follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryTruncatedData(Model):
    """Messages were removed from one end of the history."""

    removed_count: int
    head_sequence: int
    """The sequence of the newest remaining message; 0 if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordChange(Model):
    """One record was written or deleted."""

    name: RecordName
    etag: str
    """The record's new etag; if it was deleted, its last."""
    deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsChangeData(Model):
    """A commit of the session wrote or deleted records."""

    changes: tuple[RecordChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageErasedData(Model):
    """The content of one message was erased."""

    message_id: str
    sequence: int


EventData: TypeAlias = (
    CreatedData
    | Message
    | StateChangeData
    | ContextChangeData
    | UpdatedData
    | HistoryClearedData
    | ImportedData
    | DeletedData
    | HistoryTruncatedData
    | RecordsChangeData
    | MessageErasedData
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Model):
    """One committed change of a session.

    For a `message` event `data` is the `Message`, for `state_change` a `StateChangeData`, and so on.
    """

    session_id: str
    sequence: int
    """The event's position in the log: 1, 2, 3, … without gaps."""
    type: EventType
    time: datetime | None
    request_id: str
    """The request id of the call that caused the change; empty if it had none, and for changes by timers."""
    erased: bool
    """Whether the message's content was cleared or truncated since; `data` is then a `Message` without content."""
    data: Any
    """One of `EventData`, depending on `type`; None only if that is `unknown`. Typed as Any, because type checkers do
    not narrow it by `event.type == "message"`; `isinstance(event.data, Message)` works."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the event with its data under the name of its type, as in the protos: `{…, "type": "message",
        "message": {…}}`."""
        form = {
            "session_id": self.session_id,
            "sequence": self.sequence,
            "type": self.type.value,
            "time": plain(self.time),
            "request_id": self.request_id,
            "erased": self.erased,
        }
        return form if self.data is None else {**form, self.type.value: plain(self.data)}
