"""Errors that do not come from the service but from gRPC itself or a proxy in between. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple


class Code(StrEnum):
    """The canonical status codes; each compares equal to its name."""

    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"


class Meaning(NamedTuple):
    """A failure from the client's point of view."""

    code: Code
    message: str
    is_unreachable: bool = False
    """Whether no connection was made, so that nothing was sent."""


NO_ANSWER: Final = "The call did not finish within its timeout; try again, or give it a longer timeout=."

_BROKEN_OFF: Final = {
    # The second is grpc.aio's message for a request that could not be written. It replaces a status that the server may
    # have sent just before: https://github.com/grpc/grpc/issues/36066
    Code.INTERNAL: ("RST_STREAM", "Internal error from Core"),
    Code.UNKNOWN: ("Stream removed",),
}
"""How gRPC reports a connection that broke during a call, besides UNAVAILABLE and CANCELLED: the code and part of the
message."""

_UNREACHABLE: Final = re.compile(
    r"failed to connect|resolving|resolution failed|no addresses|connections to all backends failing|"
    r"connection attempt timed out"
)

_HTTP_STATUS: Final = re.compile(r"Received http2 header with status: (\d{3})")
"""gRPC's message for a response that is plain HTTP, such as a proxy's own."""

_OF_PROXY: Final = {
    401: (Code.UNAUTHENTICATED, "asks for credentials of its own; look at its configuration."),
    403: (Code.PERMISSION_DENIED, "forbids the call; look at its configuration."),
    404: (Code.UNIMPLEMENTED, "does not pass the call on; route the paths of `sessions.v1` to the server."),
    413: (
        Code.RESOURCE_EXHAUSTED,
        "takes no request of this size; raise its limit to 4 MiB and more (nginx: client_max_body_size 0).",
    ),
}


def meaning_of(code: Code, message: str) -> Meaning:
    """The meaning of an error without a reason; all errors of the service have one."""
    if status := _HTTP_STATUS.search(message):
        return _of_proxy(int(status[1]))
    if code is Code.DEADLINE_EXCEEDED:
        return Meaning(code, NO_ANSWER)
    # A call cancelled on this side raises CancelledError or "closed" and never gets here: the transport cancelled it.
    if code is Code.CANCELLED or any(part in message for part in _BROKEN_OFF.get(code, ())):
        return Meaning(Code.UNAVAILABLE, f"The connection broke during the call ({message}); try again.")
    if code is Code.UNAVAILABLE:
        text = f"The server cannot be reached ({message}); check its address, TLS, and that it runs."
        return Meaning(code, text, is_unreachable=_UNREACHABLE.search(message) is not None)
    if code is Code.UNIMPLEMENTED:
        return Meaning(
            code,
            f"This server does not know the call ({message}); check the address, and the server's version.",
        )
    return Meaning(code, message)


def _of_proxy(status: int) -> Meaning:
    code, what = _OF_PROXY.get(
        status, (Code.UNAVAILABLE, "failed, or does not reach the server; look at its log, and try again.")
    )
    return Meaning(code, f"A proxy between client and server (HTTP status {status}) {what}")
