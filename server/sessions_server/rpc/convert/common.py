"""What most requests have in common: the session they name, and the stamp that makes a repetition known."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from sessions_server.domain.commands import RequestStamp
from sessions_server.domain.models import SessionKey
from sessions_server.rpc.convert.check import REQUEST_ID_CHARACTERS, Check

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits


class OfSession(Protocol):
    session_id: str


class Repeatable(Protocol):
    request_id: str

    def SerializeToString(self, *, deterministic: bool = False) -> bytes: ...


def read_key(check: Check, tenant: str, request: OfSession) -> SessionKey:
    return SessionKey(tenant, check.id("session_id", request.session_id))


def read_stamp(check: Check, request: Repeatable) -> RequestStamp | None:
    """What tells a repetition of this request from another use of its request id; None without one."""
    request_id = request.request_id
    if not request_id:
        return None
    check.stored_text("request_id", request_id, REQUEST_ID_CHARACTERS)
    method = type(request).__name__.removesuffix("Request")
    return RequestStamp(request_id, method, _digest(request))


def read_named(request: OfSession, *, tenant: str, limits: Limits) -> SessionKey:
    """The session that a request names, of one that says nothing else."""
    check = Check(limits)
    key = read_key(check, tenant, request)
    check.done()
    return key


def _digest(request: Repeatable) -> bytes:
    """Equal for equal fields, in whatever order maps were sent."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
