"""What a commit is made of: the operations on one session, the conditions they depend on, and their results.

Each operation and condition says what has to be read before it can be decided; `decide` holds what it does. Those on
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
        """Adds what has to be read before the operation can be decided."""


class Condition(Protocol):
    def need(self, needs: Needs) -> None:
        """Adds what has to be read before the condition can be judged."""


class Verb(StrEnum):
    """The moves of a session's life that a caller asks for."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    END = "end"
    ARCHIVE = "archive"


class Part(StrEnum):
    """Which part of the history a truncation removes."""

    AFTER = "after_sequence"
    THROUGH = "through_sequence"
    NEWEST = "newest"
    OLDEST = "oldest"


class NeedsNothing:
    """An operation or a condition that is decided from the session's own row."""

    __slots__ = ()

    def need(self, needs: Needs) -> None:
        """Adds nothing."""


class Append(NamedTuple):
    """Adds a message. One with a chosen id that is in the history already stays, if it says the same."""

    draft: MessageDraft

    def need(self, needs: Needs) -> None:
        needs.appended += 1
        if self.draft.chosen:
            needs.message_ids.add(self.draft.id)


@dataclass(frozen=True, slots=True)
class Truncate:
    """Removes a part of the history, and its content from the log."""

    part: Part
    amount: int
    """A sequence, of AFTER and THROUGH; a number of messages, of NEWEST and OLDEST."""
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
    """Erases the context's past values from the log."""

    def need(self, needs: Needs) -> None:
        needs.context = True


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """Applies changes to the context, in order."""

    changes: tuple[Change, ...]
    forget_past: bool = False
    """Erases the context's past values from the log."""

    def need(self, needs: Needs) -> None:
        needs.context = True


@dataclass(frozen=True, slots=True)
class Update:
    """Replaces what `paths` name by the given values; a `metadata.<key>` that is absent from `metadata` is removed."""

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
class Move(NeedsNothing):
    """Changes the state, as a caller asks."""

    verb: Verb


@dataclass(frozen=True, slots=True)
class DeleteSession(NeedsNothing):
    """Erases the session; the last operation of its commit."""


@dataclass(frozen=True, slots=True)
class Expire(NeedsNothing):
    """Records an expiry that is due; without effect when none is."""


@dataclass(frozen=True, slots=True)
class ImportSession(NeedsNothing):
    """Begins an import: recreates the session, or replaces its metadata, config, context and history."""

    exported: Session
    context: JsonObject
    message_count: int
    """How many messages the `ImportMessages` of later parts add."""
    log_id: str = ""
    """The identity of the new log."""
    data_key: bytes | None = None
    """The wrapped key of a session that is to be encrypted."""
    fail_if_exists: bool = False
    moved: bool = False
    """The session moves here from another database: its positions and its idle timer continue from where they were."""


@dataclass(frozen=True, slots=True)
class ImportMessages(NeedsNothing):
    """Appends exported messages, in the same transaction as their `ImportSession`."""

    messages: tuple[Message, ...]
    request_id: str = ""
    """That of the import, which its first part records."""


@dataclass(frozen=True, slots=True)
class ImportRecords:
    """Adds exported records, in the same transaction as their `ImportSession`."""

    records: tuple[Record, ...]
    """Named in the session that they are imported into."""

    def need(self, needs: Needs) -> None:
        needs.records.update(record.name for record in self.records)


@dataclass(frozen=True, slots=True)
class SessionEtag(NeedsNothing):
    """The session's etag is this one."""

    etag: str


@dataclass(frozen=True, slots=True)
class ContextEtag:
    """The context's etag is this one."""

    etag: str

    def need(self, needs: Needs) -> None:
        needs.context = True


@dataclass(frozen=True, slots=True)
class HistoryHead(NeedsNothing):
    """The newest message of the history has this sequence; 0: the history is empty."""

    sequence: Sequence


@dataclass(frozen=True, slots=True)
class LastSequence(NeedsNothing):
    """The log ends with this sequence."""

    sequence: Sequence


@dataclass(frozen=True, slots=True)
class Removed:
    """The result of Truncate, ClearHistory and EraseMessage."""

    count: int
    messages: tuple[Message, ...] = ()
    """The removed messages, oldest first; of a truncation that was asked to return them, and only then."""


class ContextWritten(NamedTuple):
    """The result of SetContext and ChangeContext."""

    revision: Sequence
    """The context's etag after the whole run of context operations that this one belongs to."""


class Done(NamedTuple):
    """The result of operations of which there is nothing more to say."""
