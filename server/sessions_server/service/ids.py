"""Ids that the server makes up."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import uuid_utils

if TYPE_CHECKING:
    from sessions_server.domain.commit import RequestStamp


def new_message_id() -> str:
    """Ordered by time."""
    return str(uuid_utils.uuid7())


def new_log_id() -> str:
    """Random: two lives of one session id never share it."""
    return uuid_utils.uuid4().hex


def new_replica_name() -> str:
    """Random: no other process has it, nor this one after a restart."""
    return uuid_utils.uuid4().hex


def new_session_id(tenant: str, request: RequestStamp | None) -> str:
    """Ordered by time, or derived from the request id so that a retry finds what the first call created."""
    if request is None:
        return str(uuid_utils.uuid7())
    digest = hashlib.sha256(f"{len(tenant)}:{tenant}{request.id}".encode()).digest()
    return str(uuid_utils.UUID(bytes=digest[:16], version=8))
