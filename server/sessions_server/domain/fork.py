"""Forks: a new session that starts as a copy of another one at a position of its log. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.commit import Commit, ForkedContent, NewSession
from sessions_server.domain.models import ForkedFrom, SessionConfig, StorageOptions

if TYPE_CHECKING:
    from sessions_server.domain.commit import RequestStamp
    from sessions_server.domain.models import Context, JsonObject, Sequence, Session, SessionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A caller's request to fork."""

    source: SessionKey
    key: SessionKey
    """The new session."""
    at: Sequence | None = None
    """The position in the source's log; None for its head."""
    request: RequestStamp | None = None
    user_id: str = ""
    """Empty for the source's."""
    metadata: JsonObject | None = None
    """None for the source's at that position."""
    data_key: bytes | None = None
    """A wrapped key for the new session, used if the source is encrypted."""
    log_id: str = ""
    id_is_derived: bool = False
    """The new session's id was derived from the request id, not chosen by the caller."""


class Origin(NamedTuple):
    """The source of a fork at the position."""

    session: Session
    context: Context | None
    at: Sequence
    message_count: int
    """How many of its messages still exist."""
    is_head: bool


def stub_of(fork: Fork) -> Commit:
    """The part of the commit that is known before the source is read: the locks it needs, the request id, and that it
    creates a session."""
    unknown = NewSession(
        user_id=fork.user_id,
        metadata={},
        config=SessionConfig(),
        storage=StorageOptions(),
        log_id=fork.log_id,
    )
    return Commit(key=fork.key, request=fork.request, create=unknown)


def commit_of(fork: Fork, origin: Origin) -> Commit:
    """The commit that creates the new session."""
    session, context = origin.session, origin.context
    return Commit(
        key=fork.key,
        request=fork.request,
        create=NewSession(
            user_id=fork.user_id or session.user_id,
            metadata=session.metadata if fork.metadata is None else fork.metadata,
            config=session.config,
            storage=session.storage,
            data_key=fork.data_key if session.storage.encryption else None,
            log_id=fork.log_id,
            id_is_derived=fork.id_is_derived,
            forked=ForkedContent(
                ForkedFrom(fork.source.session_id, origin.at),
                None if context is None else context.data,
                origin.message_count,
            ),
        ),
    )
