"""Conversion of requests that create, change, move or delete a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from google.protobuf.struct_pb2 import Struct

from sessions_proto.v1 import commits_pb2 as commits_pb, sessions_pb2 as pb
from sessions_server.domain import operations as o
from sessions_server.domain.commit import Commit, NewSession
from sessions_server.domain.fork import Fork
from sessions_server.domain.models import JsonObject, SessionConfig, SessionKey, StorageOptions
from sessions_server.domain.reads import ReadSession
from sessions_server.rpc.convert.check import Check
from sessions_server.rpc.convert.common import read_key, read_stamp
from sessions_server.rpc.convert.messages import read_position
from sessions_server.rpc.convert.options import (
    read_config,
    read_expiry_action,
    read_overflow,
    read_storage,
    read_timeout,
    read_ttl,
    read_window,
)

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits

_MASK: Final = "update_mask"
_CONFIG: Final = ("timeout", "max_messages", "context_window", "overflow")
_PATHS: Final = frozenset(
    {
        "metadata",
        "config",
        *(f"config.{name}" for name in _CONFIG),
        "storage_options.ttl",
        "storage_options.expiry_action",
    }
)
_KEY_PREFIX: Final = "metadata."

Move: TypeAlias = (
    pb.StartSessionRequest
    | pb.PauseSessionRequest
    | pb.ResumeSessionRequest
    | pb.EndSessionRequest
    | pb.ArchiveSessionRequest
)
"""A request to change the state."""

Change: TypeAlias = Move | pb.UpdateSessionRequest | pb.DeleteSessionRequest


def read_create(request: pb.CreateSessionRequest, *, tenant: str, limits: Limits) -> Commit:
    check = Check(limits)
    if request.session_id:
        check.id("session_id", request.session_id)
    commit = Commit(
        key=SessionKey(tenant, request.session_id),
        request=read_stamp(check, request),
        create=read_new_session(check, request),
    )
    check.done()
    return commit


def read_fork(request: pb.ForkSessionRequest, *, tenant: str, limits: Limits) -> Fork:
    check = Check(limits)
    if request.new_session_id:
        check.id("new_session_id", request.new_session_id)
    if request.user_id:
        check.user_id("user_id", request.user_id)
    metadata = None
    if request.HasField("metadata"):
        metadata = check.json_object("metadata", request.metadata, searched=True)
        check.metadata_size("metadata", metadata)
    fork = Fork(
        source=read_key(check, tenant, request),
        key=SessionKey(tenant, request.new_session_id),
        at=read_position(check, request.at_sequence),
        request=read_stamp(check, request),
        user_id=request.user_id,
        metadata=metadata,
    )
    check.done()
    return fork


def read_new_session(
    check: Check, given: pb.CreateSessionRequest | commits_pb.NewSession, prefix: str = ""
) -> NewSession:
    """`prefix` precedes field names where the session is part of a commit."""
    metadata = check.json_object(f"{prefix}metadata", given.metadata, searched=True)
    check.metadata_size(f"{prefix}metadata", metadata)
    if given.if_exists not in (pb.IF_EXISTS_UNSPECIFIED, pb.IF_EXISTS_FAIL, pb.IF_EXISTS_RETURN):
        check.wrong(f"{prefix}if_exists", "Must be FAIL or RETURN; the default is FAIL.")
    return NewSession(
        user_id=check.user_id(f"{prefix}user_id", given.user_id),
        metadata=metadata,
        config=read_config(check, f"{prefix}config", given.config),
        storage=read_storage(check, f"{prefix}storage_options", given.storage_options),
        return_existing=given.if_exists == pb.IF_EXISTS_RETURN,
    )


def read_update(request: pb.UpdateSessionRequest, *, tenant: str, limits: Limits) -> Commit:
    check = Check(limits)
    paths = _read_paths(check, request)
    update = o.Update(
        paths=paths,
        metadata=_masked_metadata(check, request.session, paths),
        config=_masked_config(check, request.session.config, paths),
        storage=_masked_storage(check, request.session.storage_options, paths),
    )
    return _commit(check, tenant, request, update)


def read_move(request: Move, *, verb: o.Verb, tenant: str, limits: Limits) -> Commit:
    return _commit(Check(limits), tenant, request, o.Move(verb))


def read_delete(request: pb.DeleteSessionRequest, *, tenant: str, limits: Limits) -> Commit:
    return _commit(Check(limits), tenant, request, o.DeleteSession())


def read_get(request: pb.GetSessionRequest, *, tenant: str, limits: Limits) -> ReadSession:
    check = Check(limits)
    wanted = ReadSession(read_key(check, tenant, request), read_position(check, request.at_sequence))
    check.done()
    return wanted


def _commit(check: Check, tenant: str, request: Change, operation: o.Operation) -> Commit:
    commit = Commit(
        key=read_key(check, tenant, request),
        request=read_stamp(check, request),
        conditions=(o.SessionEtag(request.etag),) if request.etag else (),
        operations=(operation,),
    )
    check.done()
    return commit


def _read_paths(check: Check, request: pb.UpdateSessionRequest) -> tuple[str, ...]:
    """The distinct paths of the mask; without a mask, the populated fields."""
    paths = tuple(dict.fromkeys(request.update_mask.paths)) or _populated(request.session)
    most = check.limits.metadata_keys + len(_PATHS)
    if not paths:
        check.wrong(_MASK, "Must name at least one field to change, such as `metadata`.")
    if len(paths) > most:
        check.wrong(_MASK, f"Must have at most {most} paths; name `metadata` to replace it as a whole.")
        return ()
    if request.update_mask.ByteSize() > check.limits.wire_bytes:
        check.too_large(_MASK, "Must be shorter; all paths have to fit into one event.")
    for path in paths:
        if "\0" in path or not (path in _PATHS or path.removeprefix(_KEY_PREFIX) not in ("", path)):
            check.wrong(_MASK, f"Must be one of {', '.join(sorted(_PATHS))}, or `metadata.` and a key.")
    return paths


def _populated(session: pb.Session) -> tuple[str, ...]:
    """Only populated fields that can be changed, so that omitting a field never erases it."""
    config, storage = session.config, session.storage_options
    paths = ["metadata"] if session.HasField("metadata") else []
    paths += [f"config.{field.name}" for field, _ in config.ListFields() if field.name in _CONFIG]
    paths += ["storage_options.ttl"] if storage.HasField("ttl") else []
    paths += ["storage_options.expiry_action"] if storage.expiry_action else []
    return tuple(paths)


def _masked_metadata(check: Check, session: pb.Session, paths: tuple[str, ...]) -> JsonObject:
    named = {path.removeprefix(_KEY_PREFIX) for path in paths if path.startswith(_KEY_PREFIX)}
    if not named and "metadata" not in paths:
        return {}
    given = session.metadata
    if "metadata" not in paths:
        given = Struct(fields={key: value for key, value in given.fields.items() if key in named})
    metadata = check.json_object("session.metadata", given, searched=True)
    check.metadata_size("session.metadata", metadata)
    return metadata


def _masked_config(check: Check, given: pb.SessionConfig, paths: tuple[str, ...]) -> SessionConfig:
    field = "session.config"
    if "config" in paths:
        return read_config(check, field, given)
    config = SessionConfig()
    number = check.not_negative
    return SessionConfig(
        read_timeout(check, field, given) if "config.timeout" in paths else config.timeout,
        number(f"{field}.max_messages", given.max_messages) if "config.max_messages" in paths else 0,
        read_window(check, field, given) if "config.context_window" in paths else 0,
        read_overflow(check, field, given) if "config.overflow" in paths else config.overflow,
    )


def _masked_storage(check: Check, given: pb.StorageOptions, paths: tuple[str, ...]) -> StorageOptions:
    field, storage = "session.storage_options", StorageOptions()
    action = "storage_options.expiry_action" in paths
    return StorageOptions(
        ttl=read_ttl(check, field, given) if "storage_options.ttl" in paths else storage.ttl,
        expiry_action=read_expiry_action(check, field, given) if action else storage.expiry_action,
    )
