"""Errors on the wire. The only module that names status codes.

Every error carries a `google.rpc.Status` with an ErrorInfo, and a BadRequest if fields are at fault. Its size is
bounded: details beyond the peer's metadata limit would replace the real status.
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
"""The maximum encoded size of an error's text and details. Proxies replace responses with larger headers by a page of
their own; nginx does so from 4 KiB."""
_MESSAGE_BYTES: Final = 640
_OTHER_HEADERS_BYTES: Final = 160
"""Header names and the status."""
_VALUE_BYTES: Final = 200
"""The maximum length of one value in an ErrorInfo, or of one violation."""
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
"""Codes that mean a fault of the server rather than of the caller."""


class Unimplemented(DomainError):
    reason = Reason.UNIMPLEMENTED

    def __init__(self) -> None:
        super().__init__("This server does not know the method; check its name, or use a newer server.")


class Internal(DomainError):
    """Does not reveal its cause, which is in the server's log with the same request id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"The server failed; report this with the request id {request_id}.", request_id=request_id
        )


class Refusal(NamedTuple):
    """The final status of a call."""

    code: grpc.StatusCode
    message: str
    status: bytes
    """The same as a serialized `google.rpc.Status`, with its details."""


def as_domain_error(error: BaseException, *, request_id: str) -> DomainError:
    """The error that the caller receives for any exception.

    A CancelledError here is not a cancellation of the call itself, but of something that it was waiting for.
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
        "The bytes are not a request of this method: check the message's type, that strings are UTF-8, and that "
        "nothing nests too deeply."
    )


def encoded_bytes(message: str) -> int:
    """The length of the text as a `grpc-message` header, which percent-encodes all but printable ASCII."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in message.encode(errors="replace"))


def printable(text: str) -> str:
    """A caller's text made safe for a log line: escaped and shortened."""
    return text[:200].encode("unicode_escape").decode("ascii")


def clip(text: str, size: int) -> str:
    """The longest prefix of the text that fits into `size` bytes of UTF-8."""
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
        room -= status.ByteSize() + 80  # packing overhead
        status.details.add().Pack(_bad_request(error, room))
    return bytes(status.SerializeToString(deterministic=True))


def _facts(error: DomainError) -> dict[str, str]:
    return {key: clip(value, _VALUE_BYTES) for key, value in error.metadata.items()}


def _bad_request(error: InvalidRequest, room: int) -> error_details_pb2.BadRequest:
    """The first violations, as many as fit."""
    details = error_details_pb2.BadRequest()
    for field, description in error.violations:
        details.field_violations.add(
            field=clip(field, _VALUE_BYTES), description=clip(description, _VALUE_BYTES)
        )
        if details.ByteSize() > room:
            del details.field_violations[-1]
            break
    return details
