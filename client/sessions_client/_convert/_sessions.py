"""Sessions from the wire, and the requests that create, change, find and move them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

from sessions_client._convert import _scalars as scalars
from sessions_client._convert._json import fill_struct, read_struct
from sessions_client._errors import Violation, refusal, refused
from sessions_client._models import (
    ConfigInput,
    ExpiryAction,
    ForkedFrom,
    Overflow,
    Persistence,
    Session,
    SessionConfig,
    StorageInput,
    StorageOptions,
)
from sessions_proto.v1 import commits_pb2 as commits_pb, sessions_pb2 as pb

_CONFIG_KEYS = tuple(field.name for field in fields(SessionConfig))
_STORAGE_KEYS = tuple(field.name for field in fields(StorageOptions))
_CHANGEABLE_STORAGE_KEYS = ("ttl", "expiry_action")


def read_session(wire: pb.Session) -> Session:
    """A session from the wire."""
    return Session(
        id=wire.id,
        user_id=wire.user_id,
        state=scalars.STATES.from_wire(wire.state),
        metadata=read_struct(wire.metadata),
        config=_config_of(wire.config.SerializeToString()),
        storage_options=_storage_of(wire.storage_options.SerializeToString()),
        message_count=wire.message_count,
        last_sequence=wire.last_sequence,
        etag=wire.etag,
        create_time=scalars.read_timestamp(wire.create_time) if wire.HasField("create_time") else None,
        update_time=scalars.read_timestamp(wire.update_time) if wire.HasField("update_time") else None,
        start_time=scalars.read_timestamp(wire.start_time) if wire.HasField("start_time") else None,
        end_time=scalars.read_timestamp(wire.end_time) if wire.HasField("end_time") else None,
        archive_time=scalars.read_timestamp(wire.archive_time) if wire.HasField("archive_time") else None,
        expire_time=scalars.read_timestamp(wire.expire_time) if wire.HasField("expire_time") else None,
        forked_from=read_forked_from(wire.forked_from) if wire.HasField("forked_from") else None,
    )


def read_forked_from(wire: pb.ForkedFrom) -> ForkedFrom:
    """The origin of a forked session."""
    return ForkedFrom(session_id=wire.session_id, sequence=wire.sequence)


def create_request(
    user_id: str,
    *,
    metadata: Mapping[str, Any] | None,
    config: ConfigInput | None,
    storage_options: StorageInput | None,
    session_id: str | None,
    if_exists: str | None,
    request_id: str | None,
) -> pb.CreateSessionRequest:
    request = pb.CreateSessionRequest(
        session_id=scalars.text(session_id, field="session_id"),
        request_id=scalars.new_request_id(request_id),
    )
    fill_new_session(
        request,
        user_id,
        metadata=metadata,
        config=config,
        storage_options=storage_options,
        if_exists=if_exists,
    )
    return request


def fill_new_session(
    out: pb.CreateSessionRequest | commits_pb.NewSession,
    user_id: str,
    *,
    metadata: Mapping[str, Any] | None,
    config: ConfigInput | None,
    storage_options: StorageInput | None,
    if_exists: str | None,
) -> None:
    """Fills an empty wire message with a new session. Raises InvalidArgument."""
    out.user_id = scalars.text(user_id, field="user_id")
    if metadata is not None:
        fill_struct(out.metadata, metadata, field="metadata")
    if config is not None:
        _fill_config(out.config, _config_items(config))
    if storage_options is not None:
        _fill_storage(out.storage_options, _storage_items(storage_options))
    if if_exists is not None:
        out.if_exists = scalars.IF_EXISTS.to_wire(if_exists, field="if_exists")


def fork_request(
    session_id: str,
    *,
    at_sequence: int | None,
    new_session_id: str | None,
    user_id: str | None,
    metadata: Mapping[str, Any] | None,
    request_id: str | None,
) -> pb.ForkSessionRequest:
    request = pb.ForkSessionRequest(
        session_id=scalars.text(session_id, field="session_id"),
        at_sequence=scalars.position(at_sequence),
        new_session_id=scalars.text(new_session_id, field="new_session_id"),
        user_id=scalars.text(user_id, field="user_id"),
        request_id=scalars.new_request_id(request_id),
    )
    if metadata is not None:
        fill_struct(request.metadata, metadata, field="metadata")
    return request


def get_request(session_id: str, *, at_sequence: int | None) -> pb.GetSessionRequest:
    return pb.GetSessionRequest(
        session_id=scalars.text(session_id, field="session_id"),
        at_sequence=scalars.position(at_sequence),
    )


def update_request(
    session_id: str,
    *,
    metadata: Mapping[str, Any] | None,
    config: ConfigInput | None,
    storage_options: StorageInput | None,
    update_mask: Iterable[str] | None,
    etag: str | None,
    request_id: str | None,
) -> pb.UpdateSessionRequest:
    """Without a mask, exactly what is given is changed: metadata as a whole, configuration key by key, and the
    changeable storage options."""
    request = pb.UpdateSessionRequest(**scalars.target(session_id, etag=etag, request_id=request_id))
    given: list[str] = []
    if metadata is not None:
        fill_struct(request.session.metadata, metadata, field="metadata")
        given.append("metadata")
    if config is not None:
        items = _config_items(config)
        _fill_config(request.session.config, items)
        given += [f"config.{key}" for key in items]
    if storage_options is not None:
        items = _storage_items(storage_options)
        _fill_storage(request.session.storage_options, items)
        given += [f"storage_options.{key}" for key in _CHANGEABLE_STORAGE_KEYS if key in items]
        if update_mask is None and not isinstance(storage_options, StorageOptions):
            _check_changeable(items)
    paths = given if update_mask is None else _mask(update_mask)
    if not paths:
        raise refused("update_mask", "names nothing to change; give metadata=, config= or storage_options=.")
    request.update_mask.paths.extend(paths)
    return request


def _check_changeable(storage_options: Mapping[str, Any]) -> None:
    """An object always has all its options; a dict has only those to be changed."""
    fixed = [key for key in storage_options if key not in _CHANGEABLE_STORAGE_KEYS]
    if fixed:
        rule = "is fixed when the session is created; leave it out, or create another session."
        raise refusal([Violation(f"storage_options.{key}", rule) for key in fixed])


def _mask(paths: Iterable[str]) -> list[str]:
    return [scalars.text(path, field="update_mask") for path in scalars.each(paths, field="update_mask")]


def list_request(
    *,
    user_id: str | None,
    status: str | Iterable[str] | None,
    page_size: int | None,
    page_token: str | None,
    order_by: str | None,
) -> pb.ListSessionsRequest:
    return pb.ListSessionsRequest(
        user_id=scalars.text(user_id, field="user_id"),
        states=[scalars.STATES.to_wire(state, field="status") for state in _states(status)],
        page_size=scalars.integer(page_size, field="page_size", bits=32),
        page_token=scalars.text(page_token, field="page_token"),
        order_by=scalars.text(order_by, field="order_by"),
    )


def search_request(
    listing: pb.ListSessionsRequest, *, metadata_filter: Mapping[str, Any] | None
) -> pb.SearchSessionsRequest:
    """A search is a listing with a filter."""
    request = pb.SearchSessionsRequest(
        user_id=listing.user_id,
        states=listing.states,
        page_size=listing.page_size,
        page_token=listing.page_token,
        order_by=listing.order_by,
    )
    if metadata_filter is not None:
        fill_struct(request.metadata_filter, metadata_filter, field="metadata_filter")
    return request


def delete_request(session_id: str, *, etag: str | None, request_id: str | None) -> pb.DeleteSessionRequest:
    return pb.DeleteSessionRequest(**scalars.target(session_id, etag=etag, request_id=request_id))


def read_page(wire: pb.ListSessionsResponse | pb.SearchSessionsResponse) -> tuple[list[Session], str]:
    """The sessions of a page, and the token of the next one."""
    return [read_session(session) for session in wire.sessions], wire.next_page_token


def _states(status: str | Iterable[str] | None) -> tuple[str, ...]:
    """The states in `status=`, which is one or several."""
    if status is None:
        return ()
    return (status,) if isinstance(status, str) else tuple(scalars.each(status, field="status"))


def _config_items(config: ConfigInput) -> dict[str, Any]:
    if isinstance(config, SessionConfig):
        return _set_fields(config, _CONFIG_KEYS)
    return dict(scalars.known_keys(config, _CONFIG_KEYS, field="config"))


def _storage_items(options: StorageInput) -> dict[str, Any]:
    if isinstance(options, StorageOptions):
        return _set_fields(options, _STORAGE_KEYS)
    return dict(scalars.known_keys(options, _STORAGE_KEYS, field="storage_options"))


def _set_fields(values: SessionConfig | StorageOptions, keys: Iterable[str]) -> dict[str, Any]:
    """The given fields, without values from a later server that this client does not know."""
    given = {key: getattr(values, key) for key in keys}
    return {key: value for key, value in given.items() if value is not None and value != "unknown"}


def _fill_config(out: pb.SessionConfig, items: Mapping[str, Any]) -> None:
    out.SetInParent()
    if items.get("timeout") is not None:
        out.timeout.CopyFrom(scalars.duration(items["timeout"], field="config.timeout"))
    out.max_messages = scalars.integer(items.get("max_messages"), field="config.max_messages", bits=32)
    out.context_window = scalars.integer(items.get("context_window"), field="config.context_window", bits=32)
    if items.get("overflow") is not None:
        out.overflow = scalars.OVERFLOWS.to_wire(items["overflow"], field="config.overflow")


def _fill_storage(out: pb.StorageOptions, items: Mapping[str, Any]) -> None:
    out.SetInParent()
    if items.get("persistence") is not None:
        out.persistence = scalars.PERSISTENCES.to_wire(
            items["persistence"], field="storage_options.persistence"
        )
    out.encryption = _flag(items.get("encryption"), field="storage_options.encryption")
    if items.get("ttl") is not None:
        out.ttl.CopyFrom(scalars.duration(items["ttl"], field="storage_options.ttl"))
    if items.get("expiry_action") is not None:
        out.expiry_action = scalars.EXPIRY_ACTIONS.to_wire(
            items["expiry_action"], field="storage_options.expiry_action"
        )


def _flag(value: object, *, field: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise refused(field, f"must be True or False, not {type(value).__name__}.")
    return bool(value)


# Every response about a session has its settings, and the sessions of a program have few different ones.
@lru_cache(maxsize=256)
def _config_of(encoded: bytes) -> SessionConfig:
    wire = pb.SessionConfig.FromString(encoded)
    return SessionConfig(
        timeout=scalars.read_duration(wire.timeout) if wire.HasField("timeout") else None,
        max_messages=wire.max_messages or None,
        context_window=wire.context_window or None,
        overflow=scalars.OVERFLOWS.from_wire(wire.overflow, default=Overflow.TRUNCATE_OLDEST),
    )


@lru_cache(maxsize=256)
def _storage_of(encoded: bytes) -> StorageOptions:
    wire = pb.StorageOptions.FromString(encoded)
    return StorageOptions(
        persistence=scalars.PERSISTENCES.from_wire(wire.persistence, default=Persistence.PERMANENT),
        encryption=wire.encryption,
        ttl=scalars.read_duration(wire.ttl) if wire.HasField("ttl") else None,
        expiry_action=scalars.EXPIRY_ACTIONS.from_wire(wire.expiry_action, default=ExpiryAction.RETAIN),
    )
