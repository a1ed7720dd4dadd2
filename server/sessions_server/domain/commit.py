"""A commit, which is a group of operations applied all or none, and its result."""

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
"""The result of one operation; for `Append` the message."""


_NO_SESSION = "/"
"""The prefix of keys that do not belong to a session: no session id contains this character."""


def without_session(tenant: str, unique: str) -> SessionKey:
    """The key of a commit without a session; commits with the same key are decided one after another."""
    return SessionKey(tenant, _NO_SESSION + unique)


def is_session(key: SessionKey) -> bool:
    """Whether the key of a commit is that of a session."""
    return not key.session_id.startswith(_NO_SESSION)


class RequestStamp(NamedTuple):
    """A caller's request id and what it was used for; a repetition must be equal in both."""

    id: str
    method: str
    payload_hash: bytes


class ForkedContent(NamedTuple):
    """The initial content of a fork, besides the messages and records that the store copies."""

    origin: ForkedFrom
    context: JsonObject | None
    message_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session to create before the operations."""

    user_id: str
    metadata: JsonObject
    config: SessionConfig
    storage: StorageOptions
    data_key: bytes | None = None
    """The wrapped data key, if the session is to be encrypted."""
    return_existing: bool = False
    """Whether to use an existing session if there is one."""
    log_id: str = ""
    """The identity of the new log."""
    id_is_derived: bool = False
    """Whether the session id was derived from the request id rather than chosen by the caller."""
    forked: ForkedContent | None = None


class Commit(NamedTuple):
    """Everything to do to one session, to records, or to both. Deciding it needs nothing else."""

    key: SessionKey
    """The session; for a commit without one, a key from `without_session`."""
    request: RequestStamp | None = None
    create: NewSession | None = None
    conditions: tuple[Condition, ...] = ()
    """All must hold before anything is done; evaluated before `create`."""
    operations: tuple[Operation, ...] = ()
    reads: tuple[Read, ...] = ()
    """Made after the operations, in the same transaction."""
    shows_session: bool = True
    """Whether to return the session as it is afterwards."""
    numbers_errors: bool = False
    """Whether errors have the index of their operation or condition in the metadata, as `operation` or `condition`."""
    shows_context: bool = False
    """Whether to return the context as it is afterwards."""


class Committed(NamedTuple):
    """The result of a commit. For a repeated request it is the first result, without anything erased since."""

    results: tuple[Result, ...] = ()
    """One per operation."""
    session: Session | None = None
    """The session after the commit; None if it was erased, there is none, or it was not requested."""
    context: Context | None = None
    """The context after the commit, if requested."""
    reads: tuple[ReadResult, ...] = ()
    """One per read."""

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
        """The appended messages."""
        return tuple(result for result in self.results if isinstance(result, Message))

    def removed_count(self) -> int:
        """How many messages left the history."""
        return sum(result.count for result in self.results if isinstance(result, Removed))
