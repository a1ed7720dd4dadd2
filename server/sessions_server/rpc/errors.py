"""What a refusal looks like on the wire. The only module that names status codes.

Every error carries a `google.rpc.Status` with an ErrorInfo, and a BadRequest beside it when fields are at fault. It is
kept small: details beyond the peer's limit on metadata would take the place of the real status.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc
from google.rpc import error_details_pb2, status_pb2

from sessions_server.domain.errors import (
    DomainError,
    InvalidRequest,
    MalformedRequest,
    Reason,
    Unavailable,
)

if TYPE_CHECKING:
    from sessions_proto.v1 import commits_pb2 as commits_pb

DOMAIN: Final = "sessions.v1"
DETAILS_KEY: Final = "grpc-status-details-bin"
HEADERS_BYTES: Final = 4000
"""How much the text and the details of an error take at most, as they are encoded. Proxies put a page of their own in
the place of an answer with larger headers; nginx does from 4 KiB on."""
_MESSAGE_BYTES: Final = 640
_OTHER_HEADERS_BYTES: Final = 160
"""The names of the headers, and the status."""
_VALUE_BYTES: Final = 200
"""How much of one fact in an ErrorInfo is kept, as of one violation."""
_FACTS_BYTES: Final = 1000

OK: Final = grpc.StatusCode.OK.name
NOT_FOUND: Final = grpc.StatusCode.NOT_FOUND
RESOURCE_EXHAUSTED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED
CANCELLED: Final = grpc.StatusCode.CANCELLED.name

CODES: Final[dict[Reason, grpc.StatusCode]] = {
    Reason.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MALFORMED_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.SESSION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.SESSION_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.MESSAGE_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.INVALID_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PATH_CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ETAG_MISMATCH: grpc.StatusCode.ABORTED,
    Reason.REQUEST_ID_REUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CURSOR_AHEAD: grpc.StatusCode.OUT_OF_RANGE,
    Reason.EVENTS_COMPACTED: grpc.StatusCode.OUT_OF_RANGE,
    Reason.LIMIT_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.HISTORY_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STORAGE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.TOO_MANY_STREAMS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.ENCRYPTION_NOT_CONFIGURED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.KEY_NOT_AVAILABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.DATA_CORRUPTED: grpc.StatusCode.DATA_LOSS,
    Reason.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.LOG_REPLACED: grpc.StatusCode.OUT_OF_RANGE,
    Reason.RECORD_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.DRAFT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
}

FAULTS: Final = frozenset(
    {grpc.StatusCode.INTERNAL.name, grpc.StatusCode.DATA_LOSS.name, grpc.StatusCode.UNAVAILABLE.name}
)
"""Codes that are about the server, not about what the caller did."""


class Unimplemented(DomainError):
    reason = Reason.UNIMPLEMENTED

    def __init__(self) -> None:
        super().__init__("This server does not know the method; check its name, or use a newer server.")


class Internal(DomainError):
    """Says nothing of its cause, which stands in the server's log beside the same request id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"The server failed; report this with the request id {request_id}.", request_id=request_id
        )


class Refusal(NamedTuple):
    """The status that a call ends with."""

    code: grpc.StatusCode
    message: str
    status: bytes
    """The same as a serialised `google.rpc.Status`, with its details."""


def as_domain_error(error: BaseException, *, request_id: str) -> DomainError:
    """What the caller is told of an error of any kind.

    A CancelledError that comes here was not the call's own: something that the call waited for was cut off.
    """
    if isinstance(error, DomainError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Unavailable("The server cut the call short; retry with the same request_id.")
    return Internal(request_id)


def refusal(error: DomainError) -> Refusal:
    code = CODES[error.reason]
    message = clip(error.message, _MESSAGE_BYTES)
    while encoded_bytes(message) > _MESSAGE_BYTES:
        message = clip(message, len(message.encode(errors="replace")) * 3 // 4)
    return Refusal(code, message, _details(error, code, message))


def put_failure(target: commits_pb.CommitFailure, error: DomainError) -> None:
    """The same inside a response, for one commit of a stream."""
    target.code = CODES[error.reason].value[0]
    target.reason = error.reason
    target.message = clip(error.message, _MESSAGE_BYTES)
    target.metadata.update(_facts(error))


def malformed() -> MalformedRequest:
    return MalformedRequest(
        "The bytes are not a request of this method: check the message's type, that texts are UTF-8, and that "
        "nothing nests too deeply."
    )


def encoded_bytes(message: str) -> int:
    """How long the text is as the header `grpc-message`, which writes all but printable ASCII as `%XX`."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in message.encode(errors="replace"))


def printable(text: str) -> str:
    """A caller's text for a line of log: no line breaks or escape codes, and not much of it."""
    return text[:200].encode("unicode_escape").decode("ascii")


def clip(text: str, size: int) -> str:
    """As much of the text as fits into `size` bytes of UTF-8."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= size else encoded[: size - 3].decode(errors="ignore") + "…"


def _details(error: DomainError, code: grpc.StatusCode, message: str) -> bytes:
    status = status_pb2.Status(code=code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_facts(error))
    while info.ByteSize() > _FACTS_BYTES:
        info.metadata.pop(max(info.metadata, key=lambda key: len(info.metadata[key])))
    status.details.add().Pack(info)
    if isinstance(error, InvalidRequest):
        room = (HEADERS_BYTES - _OTHER_HEADERS_BYTES - encoded_bytes(message)) * 3 // 4  # base64
        room -= status.ByteSize() + 80  # what packing adds
        status.details.add().Pack(_bad_request(error, room))
    return bytes(status.SerializeToString(deterministic=True))


def _facts(error: DomainError) -> dict[str, str]:
    return {key: clip(value, _VALUE_BYTES) for key, value in error.metadata.items()}


def _bad_request(error: InvalidRequest, room: int) -> error_details_pb2.BadRequest:
    """The violations, from the first on, as far as there is room for them."""
    details = error_details_pb2.BadRequest()
    for field, description in error.violations:
        details.field_violations.add(
            field=clip(field, _VALUE_BYTES), description=clip(description, _VALUE_BYTES)
        )
        if details.ByteSize() > room:
            del details.field_violations[-1]
            break
    return details
