"""What a caller, or a timer, may ask to be done to one session. A command says all that its decision needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    from sessions_server.domain.context import Change
    from sessions_server.domain.models import (
        JsonObject,
        Message,
        MessageDraft,
        Session,
        SessionConfig,
        SessionKey,
        StorageOptions,
    )


class Verb(StrEnum):
    """The moves of a session's life that a caller asks for."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    END = "end"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class RequestStamp:
    """A caller's request id, and what it was used for: a second use must be equal in both."""

    id: str
    method: str
    payload_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    key: SessionKey
    request: RequestStamp | None = None
    etag: str = ""
    """The etag that the caller saw; empty: whatever it is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create(Base):
    user_id: str
    metadata: JsonObject
    config: SessionConfig
    storage: StorageOptions
    data_key: bytes | None = None
    """The wrapped key of a session that is to be encrypted."""
    return_existing: bool = False
    id_is_derived: bool = False
    """The session id was derived from the request id, not chosen by the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update(Base):
    """Replaces what `paths` name by the given values; a `metadata.<key>` that is absent from `metadata` is removed."""

    paths: tuple[str, ...]
    metadata: JsonObject
    config: SessionConfig
    storage: StorageOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Move(Base):
    verb: Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(Base):
    METHOD: ClassVar[str] = "DeleteSession"
    """Of its request stamp. A record of this method has no content, and outlives what is erased later: a late repeat
    must not delete another session that was created under the id since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetContext(Base):
    data: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateContext(Base):
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddMessages(Base):
    drafts: tuple[MessageDraft, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearHistory(Base):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Import(Base):
    """Opens an import: the session as exported, its context, and how many messages `ImportMessages` will bring."""

    exported: Session
    context: JsonObject
    message_count: int
    data_key: bytes | None = None
    fail_if_exists: bool = False
    moved: bool = False
    """The session moves here from another database: its positions and its idle timer go on from where they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportMessages(Base):
    """Appends exported messages, in the same transaction as their `Import`."""

    messages: tuple[Message, ...]
    request_id: str = ""
    """That of the `Import`, for the events. It is recorded there, so it is no `request` here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire(Base):
    """Makes physical what the clock has decided; without effect when nothing is due."""


Command: TypeAlias = (
    Create
    | Update
    | Move
    | Delete
    | SetContext
    | UpdateContext
    | AddMessages
    | ClearHistory
    | Import
    | ImportMessages
    | Expire
)
