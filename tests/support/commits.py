"""The commits of single calls, and the part of the result that each call returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from sessions_server.domain.commit import Commit, Committed, NewSession, RequestStamp
from sessions_server.domain.models import (
    Context,
    Message,
    MessageDraft,
    Session,
    SessionConfig,
    SessionKey,
    StorageOptions,
)
from sessions_server.domain.operations import (
    Append,
    ChangeContext,
    ClearHistory,
    ContextEtag,
    DeleteSession,
    Expire,
    ImportMessages,
    ImportSession,
    Move,
    Operation,
    Removed,
    SessionEtag,
    SetContext,
    Update,
    Verb,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sessions_server.domain.context import Change
    from sessions_server.domain.models import JsonObject

__all__ = ["Commit", "RequestStamp", "Verb"]

Answer: TypeAlias = "Session | Context | tuple[Message, ...] | int | None"
"""The return value of a single call: the session, the context, the messages, or the number of cleared messages."""


def answer(commit: Commit, committed: Committed) -> Answer:
    if commit.shows_session:
        return committed.session
    if commit.shows_context:
        return committed.context
    if any(isinstance(result, Removed) for result in committed.results):
        return committed.removed_count()
    return committed.messages() or None


def create(
    *,
    key: SessionKey,
    user_id: str = "u",
    metadata: JsonObject | None = None,
    config: SessionConfig | None = None,
    storage: StorageOptions | None = None,
    data_key: bytes | None = None,
    request: RequestStamp | None = None,
    return_existing: bool = False,
    id_is_derived: bool = False,
    log_id: str = "",
) -> Commit:
    new = NewSession(
        user_id=user_id,
        metadata=metadata or {},
        config=config or SessionConfig(),
        storage=storage or StorageOptions(),
        data_key=data_key,
        return_existing=return_existing,
        id_is_derived=id_is_derived,
        log_id=log_id,
    )
    return Commit(key=key, request=request, create=new)


def add_messages(
    *, key: SessionKey, drafts: Iterable[MessageDraft], request: RequestStamp | None = None
) -> Commit:
    operations = tuple(map(Append, drafts))
    return Commit(key=key, request=request, operations=operations, shows_session=False)


def clear_history(*, key: SessionKey, request: RequestStamp | None = None) -> Commit:
    return Commit(key=key, request=request, operations=(ClearHistory(),), shows_session=False)


def set_context(
    *,
    key: SessionKey,
    data: JsonObject,
    request: RequestStamp | None = None,
    etag: str = "",
    forget_past: bool = False,
) -> Commit:
    return _context(key, SetContext(data, forget_past), request, etag)


def update_context(
    *, key: SessionKey, changes: tuple[Change, ...], request: RequestStamp | None = None, etag: str = ""
) -> Commit:
    return _context(key, ChangeContext(changes), request, etag)


def _context(key: SessionKey, operation: Operation, request: RequestStamp | None, etag: str) -> Commit:
    return Commit(
        key=key,
        request=request,
        conditions=(ContextEtag(etag),) if etag else (),
        operations=(operation,),
        shows_session=False,
        shows_context=True,
    )


def update(
    *,
    key: SessionKey,
    paths: tuple[str, ...],
    metadata: JsonObject,
    config: SessionConfig,
    storage: StorageOptions,
    request: RequestStamp | None = None,
    etag: str = "",
) -> Commit:
    return _change(key, Update(paths, metadata, config, storage), request, etag)


def move(*, key: SessionKey, verb: Verb, request: RequestStamp | None = None, etag: str = "") -> Commit:
    return _change(key, Move(verb), request, etag)


def delete(*, key: SessionKey, request: RequestStamp | None = None, etag: str = "") -> Commit:
    return _change(key, DeleteSession(), request, etag, shows_session=False)


def expire(*, key: SessionKey) -> Commit:
    return Commit(key=key, operations=(Expire(),), shows_session=False)


def _change(
    key: SessionKey,
    operation: Operation,
    request: RequestStamp | None,
    etag: str,
    *,
    shows_session: bool = True,
) -> Commit:
    return Commit(
        key=key,
        request=request,
        conditions=(SessionEtag(etag),) if etag else (),
        operations=(operation,),
        shows_session=shows_session,
    )


def import_session(
    *,
    key: SessionKey,
    exported: Session,
    context: JsonObject,
    message_count: int,
    data_key: bytes | None = None,
    fail_if_exists: bool = False,
    moved: bool = False,
    log_id: str = "",
    request: RequestStamp | None = None,
) -> Commit:
    operation = ImportSession(exported, context, message_count, log_id, data_key, fail_if_exists, moved)
    return Commit(key=key, request=request, operations=(operation,))


def import_messages(*, key: SessionKey, messages: tuple[Message, ...], request_id: str = "") -> Commit:
    return Commit(key=key, operations=(ImportMessages(messages, request_id),), shows_session=False)
