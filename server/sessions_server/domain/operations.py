"""The elements of a commit: operations on one session, conditions, and results.

Each operation and condition declares what must be read before it can be decided; `decide` implements it. Those on
records are in `records`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from sessions_server.domain.context import Change
    from sessions_server.domain.models import (
        JsonObject,
        Message,
        MessageDraft,
        Sequence,
        Session,
        SessionConfig,
        StorageOptions,
    )
    from sessions_server.domain.needs import Needs
    from sessions_server.domain.records import Record


class Operation(Protocol):
    def need(self, needs: Needs) -> None:
        """Adds what must be read before the operation can be decided."""


class Condition(Protocol):
    def need(self, needs: Needs) -> None:
        """Adds what must be read before the condition can be evaluated."""


class Verb(StrEnum):
    """The state changes that callers can request."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    END = "end"
    ARCHIVE = "archive"


class Part(StrEnum):
    """The part of the history that a truncation removes."""

    AFTER = "after_sequence"
    THROUGH = "through_sequence"
    NEWEST = "newest"
    OLDEST = "oldest"


class NeedsNothing:
    """An operation or condition that needs only the session's own row."""

    __slots__ = ()

    def need(self, needs: Needs) -> None:
        """Adds nothing."""


class Append(NamedTuple):
    """Adds a message. If the history already has a message with the chosen id and the same content, that one stays."""

    draft: MessageDraft

    def need(self, needs: Needs) -> None:
        needs.appended += 1
        if self.draft.chosen:
            needs.message_ids.add(self.draft.id)


@dataclass(frozen=True, slots=True)
class Truncate:
    """Removes part of the history, and its content from the log."""

    part: Part
    amount: int
    """A sequence for AFTER and THROUGH; a number of messages for NEWEST and OLDEST."""
    return_removed: bool = False

    def need(self, needs: Needs) -> None:
        needs.truncate(self)


@dataclass(frozen=True, slots=True)
class ClearHistory(NeedsNothing):
    """Removes the whole history, and its content from the log."""


@dataclass(frozen=True, slots=True)
class EraseMessage:
    """Removes one message from the history, and its content from the log."""

    message_id: str

    def need(self, needs: Needs) -> None:
        needs.erased += 1
        needs.message_ids.add(self.message_id)


@dataclass(frozen=True, slots=True)
class SetContext:
    """Replaces the context."""

    data: JsonObject
    forget_past: bool = False
    """Whether to erase the context's past values from the log."""

    def need(self, needs: Needs) -> None:
        needs.context = True


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """Applies changes to the context, in order."""

    changes: tuple[Change, ...]
    forget_past: bool = False
    """Whether to erase the context's past values from the log."""

    def need(self, needs: Needs) -> None:
        needs.context = True


@dataclass(frozen=True, slots=True)
class Update:
    """Replaces the fields named by `paths` with the given values; a `metadata.<key>` that `metadata` lacks is
    removed."""

    paths: tuple[str, ...]
    metadata: JsonObject
    config: SessionConfig
    storage: StorageOptions

    def need(self, needs: Needs) -> None:
        needs.limit_messages(self.config)


@dataclass(frozen=True, slots=True)
class MergeMetadata(NeedsNothing):
    """Sets the given keys of the metadata; other keys stay."""

    values: JsonObject


@dataclass(frozen=True, slots=True)
class Move:
    """Changes the state at a caller's request."""

    verb: Verb

    def need(self, needs: Needs) -> None:
        needs.erases |= self.verb is Verb.END  # erases a temporary session


@dataclass(frozen=True, slots=True)
class DeleteSession:
    """Erases the session. Must be the last operation of its commit."""

    def need(self, needs: Needs) -> None:
        needs.erases = True


@dataclass(frozen=True, slots=True)
class Expire(NeedsNothing):
    """Records an expiry that is due; does nothing if none is."""


@dataclass(frozen=True, slots=True)
class ImportSession:
    """Starts an import: recreates the session, or replaces its metadata, config, context and history."""

    exported: Session
    context: JsonObject
    message_count: int
    """How many messages the `ImportMessages` of later parts add in total."""
    log_id: str = ""
    """The identity of the new log."""
    data_key: bytes | None = None
    """The wrapped data key, if the session is to be encrypted."""
    fail_if_exists: bool = False
    moved: bool = False
    """Whether the session moves here from another database: its positions and its idle timer then continue."""

    def need(self, needs: Needs) -> None:
        needs.creates = True


@dataclass(frozen=True, slots=True)
class ImportMessages(NeedsNothing):
    """Appends exported messages, after their `ImportSession` and visible together with it."""

    messages: tuple[Message, ...]
    request_id: str = ""
    """The request id of the import, which its first part records."""


@dataclass(frozen=True, slots=True)
class ImportRecords:
    """Adds exported records, after their `ImportSession` and visible together with it."""

    records: tuple[Record, ...]
    """Their scope is the session that they are imported into."""

    def need(self, needs: Needs) -> None:
        needs.records.update(record.name for record in self.records)


@dataclass(frozen=True, slots=True)
class SessionEtag(NeedsNothing):
    """The session has this etag."""

    etag: str


@dataclass(frozen=True, slots=True)
class ContextEtag:
    """The context has this etag."""

    etag: str

    def need(self, needs: Needs) -> None:
        needs.context = True


@dataclass(frozen=True, slots=True)
class HistoryHead(NeedsNothing):
    """The newest message of the history has this sequence; 0 if the history is empty."""

    sequence: Sequence


@dataclass(frozen=True, slots=True)
class LastSequence(NeedsNothing):
    """The log ends at this sequence."""

    sequence: Sequence


@dataclass(frozen=True, slots=True)
class Removed:
    """The result of Truncate, ClearHistory and EraseMessage."""

    count: int
    messages: tuple[Message, ...] = ()
    """The removed messages, oldest first, if the truncation was asked to return them."""


class ContextWritten(NamedTuple):
    """The result of SetContext and ChangeContext."""

    revision: Sequence
    """The context's etag after the run of context operations that includes this one."""


class Done(NamedTuple):
    """The result of operations that have nothing else to return."""
