"""A commit: operations that happen together or not at all, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sessions_server.domain.models import Message, SessionKey
from sessions_server.domain.operations import ContextWritten, Done, Removed
from sessions_server.domain.records import RecordsDeleted, RecordWritten

if TYPE_CHECKING:
    from sessions_server.domain.models import (
        Context,
        ForkedFrom,
        JsonObject,
        Session,
        SessionConfig,
        StorageOptions,
    )
    from sessions_server.domain.operations import Condition, Operation
    from sessions_server.domain.reads import Read, ReadResult

Result: TypeAlias = Message | Removed | ContextWritten | RecordWritten | RecordsDeleted | Done
"""What one operation came to; of `Append` the message."""


_NO_SESSION = "/"
"""Begins the id of a key that is not a session's: no session id has this character."""


def without_session(tenant: str, unique: str) -> SessionKey:
    """The key of a commit without a session; two with the same key are decided one after the other."""
    return SessionKey(tenant, _NO_SESSION + unique)


def is_session(key: SessionKey) -> bool:
    """Whether a commit's key is that of a session."""
    return not key.session_id.startswith(_NO_SESSION)


class RequestStamp(NamedTuple):
    """A caller's request id, and what it was used for: a second use must be equal in both."""

    id: str
    method: str
    payload_hash: bytes


class ForkedContent(NamedTuple):
    """What a fork begins with, beside the messages and records that the store copies."""

    origin: ForkedFrom
    context: JsonObject | None
    message_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session to be created before the operations."""

    user_id: str
    metadata: JsonObject
    config: SessionConfig
    storage: StorageOptions
    data_key: bytes | None = None
    """The wrapped key of a session that is to be encrypted."""
    return_existing: bool = False
    """Continue with the session that is there, if there is one."""
    log_id: str = ""
    """The identity of the new log."""
    id_is_derived: bool = False
    """The session id was derived from the request id, not chosen by the caller."""
    forked: ForkedContent | None = None


class Commit(NamedTuple):
    """All that is to happen to one session, to records, or to both. Its decision needs nothing else."""

    key: SessionKey
    """The session. Of a commit without one, `without_session` makes one."""
    request: RequestStamp | None = None
    create: NewSession | None = None
    conditions: tuple[Condition, ...] = ()
    """All hold before anything is done; judged before `create`."""
    operations: tuple[Operation, ...] = ()
    reads: tuple[Read, ...] = ()
    """Made right after the operations, in the same transaction."""
    shows_session: bool = True
    """Whether the caller is told the session as it is afterwards."""
    numbers_errors: bool = False
    """Whether an error names the index of its operation or condition in its metadata, as `operation`, `condition`."""
    shows_context: bool = False
    """Whether the caller is told the context as it is afterwards."""


class Committed(NamedTuple):
    """What a commit came to. Of a repeated request, what the first call was told, without what was erased since."""

    results: tuple[Result, ...] = ()
    """One for each operation."""
    session: Session | None = None
    """As it is after the commit; None: erased, without a session, or not asked for."""
    context: Context | None = None
    """As it is after the commit, where that was asked for."""
    reads: tuple[ReadResult, ...] = ()
    """One for each read."""

    def session_after(self) -> Session:
        """The session of a commit that shows it."""
        if self.session is None:
            raise LookupError("the commit does not show its session")
        return self.session

    def context_after(self) -> Context:
        """The context of a commit that shows it."""
        if self.context is None:
            raise LookupError("the commit does not show its context")
        return self.context

    def messages(self) -> tuple[Message, ...]:
        """What its appends came to."""
        return tuple(result for result in self.results if isinstance(result, Message))

    def removed_count(self) -> int:
        """How many messages left the history."""
        return sum(result.count for result in self.results if isinstance(result, Removed))
