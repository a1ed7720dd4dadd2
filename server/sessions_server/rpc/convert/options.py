"""Conversion of a session's config and storage options. Defaults become explicit here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.models import (
    ExpiryAction,
    Micros,
    Overflow,
    Persistence,
    SessionConfig,
    StorageOptions,
)
from sessions_server.rpc.convert.scalars import (
    EXPIRY_ACTION_NAMES,
    EXPIRY_ACTIONS,
    OVERFLOW_NAMES,
    OVERFLOWS,
    PERSISTENCE_NAMES,
    PERSISTENCES,
    put_span,
)

if TYPE_CHECKING:
    from sessions_server.rpc.convert.check import Check


def read_config(check: Check, field: str, given: pb.SessionConfig) -> SessionConfig:
    return SessionConfig(
        timeout=read_timeout(check, field, given),
        max_messages=check.not_negative(f"{field}.max_messages", given.max_messages),
        context_window=read_window(check, field, given),
        overflow=read_overflow(check, field, given),
    )


def read_timeout(check: Check, field: str, given: pb.SessionConfig) -> Micros | None:
    return check.span(f"{field}.timeout", given.timeout) if given.HasField("timeout") else None


def read_window(check: Check, field: str, given: pb.SessionConfig) -> int:
    window = check.not_negative(f"{field}.context_window", given.context_window)
    return min(window, check.limits.page_size)


def read_overflow(check: Check, field: str, given: pb.SessionConfig) -> Overflow:
    overflow = check.known(
        f"{field}.overflow", given.overflow, OVERFLOW_NAMES, default=Overflow.TRUNCATE_OLDEST
    )
    return overflow or Overflow.TRUNCATE_OLDEST


def read_storage(check: Check, field: str, given: pb.StorageOptions) -> StorageOptions:
    """Temporary sessions always have a ttl and are always deleted at its end."""
    persistence = check.known(
        f"{field}.persistence", given.persistence, PERSISTENCE_NAMES, default=Persistence.PERMANENT
    )
    ttl, action = read_ttl(check, field, given), read_expiry_action(check, field, given)
    if persistence is Persistence.TEMPORARY:
        if given.expiry_action not in (
            pb.EXPIRY_ACTION_UNSPECIFIED,
            EXPIRY_ACTIONS[ExpiryAction.DELETE],
        ):
            check.wrong(
                f"{field}.expiry_action", "Temporary data is always deleted; leave this out, or say DELETE."
            )
        ttl, action = ttl or check.limits.temporary_ttl, ExpiryAction.DELETE
    return StorageOptions(persistence or Persistence.PERMANENT, given.encryption, ttl, action)


def read_ttl(check: Check, field: str, given: pb.StorageOptions) -> Micros | None:
    return check.span(f"{field}.ttl", given.ttl) if given.HasField("ttl") else None


def read_expiry_action(check: Check, field: str, given: pb.StorageOptions) -> ExpiryAction:
    action = check.known(
        f"{field}.expiry_action", given.expiry_action, EXPIRY_ACTION_NAMES, default=ExpiryAction.RETAIN
    )
    return action or ExpiryAction.RETAIN


def put_config(target: pb.SessionConfig, config: SessionConfig) -> None:
    if config.timeout is not None:
        put_span(target.timeout, config.timeout)
    target.max_messages = config.max_messages
    target.context_window = config.context_window
    target.overflow = OVERFLOWS[config.overflow]


def put_storage(target: pb.StorageOptions, storage: StorageOptions) -> None:
    target.persistence = PERSISTENCES[storage.persistence]
    target.encryption = storage.encryption
    if storage.ttl is not None:
        put_span(target.ttl, storage.ttl)
    target.expiry_action = EXPIRY_ACTIONS[storage.expiry_action]
