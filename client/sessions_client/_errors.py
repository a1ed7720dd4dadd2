"""The errors that calls raise, and their construction from a gRPC status.

    SessionsError
     +-- InvalidArgument     the request itself is wrong; also a ValueError, and raised before anything is sent
     +-- Unauthenticated     the credential is missing or not valid
     +-- PermissionDenied    the credential does not allow this
     +-- NotFound            there is no such session
     +-- AlreadyExists       the id is taken
     +-- FailedPrecondition  the session's state does not allow this
     +-- Aborted             the etag is stale; read again and retry
     +-- OutOfRange          the position is ahead of the log, or no longer kept
     +-- ResourceExhausted   a limit is reached
     +-- DataLoss            stored data failed its authentication
     +-- Unavailable         the service cannot be reached now; retried before it is raised
     +-- DeadlineExceeded    no response within the timeout; also a TimeoutError

Any other status is a plain SessionsError with its `code`. The message of an error is the server's sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from sessions_client._transport import NO_ANSWER, Code, meaning_of

if TYPE_CHECKING:
    from google.protobuf import any_pb2

_DOMAIN = "sessions.v1"
_DETAILS_KEY = "grpc-status-details-bin"


class Violation(NamedTuple):
    """One fault of a request."""

    field: str
    """The field's path, such as `config.timeout` or `message.data.parts.0`."""
    description: str


class SessionsError(Exception):
    """A failed call. `code` and `reason` are for programs, the message is for people."""

    code: Code = Code.UNKNOWN
    """The canonical status code; compares equal to its name, such as "NOT_FOUND"."""

    def __init__(
        self,
        message: str,
        *,
        code: Code | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.message = message
        self.reason = reason
        """A name from the service's ErrorReason, such as "CURSOR_AHEAD"; empty when the error does not come
        from the service."""
        self.metadata = dict(metadata or {})
        """Details of the reason, such as `current_etag` or `oldest_sequence`."""
        self.violations: tuple[Violation, ...] = tuple(violations)
        """All faults of the request; empty unless the code is INVALID_ARGUMENT."""
        self.retry_after = retry_after
        """How many seconds the server asks to wait before the next attempt; None if it does not say."""
        self.request_id = ""
        """The request id of a failed write: repeating the call with it is safe. Empty for a read."""
        self.may_have_happened = False
        """Whether the write may have taken effect although it failed."""
        self._is_unreachable = False


class InvalidArgument(SessionsError, ValueError):
    """The request itself is invalid; `violations` names every fault."""

    code = Code.INVALID_ARGUMENT


class Unauthenticated(SessionsError):
    """The credential is missing, expired or not valid."""

    code = Code.UNAUTHENTICATED


class PermissionDenied(SessionsError):
    """The credential is valid but does not allow this call."""

    code = Code.PERMISSION_DENIED


class NotFound(SessionsError):
    """The session does not exist in this tenant."""

    code = Code.NOT_FOUND


class AlreadyExists(SessionsError):
    """A session or message with this id already exists."""

    code = Code.ALREADY_EXISTS


class FailedPrecondition(SessionsError):
    """The session's state, the context's shape or the server's configuration does not allow this call."""

    code = Code.FAILED_PRECONDITION


class Aborted(SessionsError):
    """The etag is stale; `metadata["current_etag"]` is the current one."""

    code = Code.ABORTED


class OutOfRange(SessionsError):
    """A position is ahead of the log (CURSOR_AHEAD), no longer kept (EVENTS_COMPACTED) or from another log
    (LOG_REPLACED)."""

    code = Code.OUT_OF_RANGE


class ResourceExhausted(SessionsError):
    """A limit is reached: of a size, of the number of messages or streams, or of the disk."""

    code = Code.RESOURCE_EXHAUSTED


class DataLoss(SessionsError):
    """Stored data failed its authentication; nothing was returned and nothing overwritten."""

    code = Code.DATA_LOSS


class Unavailable(SessionsError):
    """The service could not be reached, and every retry within the timeout failed too."""

    code = Code.UNAVAILABLE


class DeadlineExceeded(SessionsError, TimeoutError):
    """No response arrived in time. A write may or may not have taken effect; retrying it with the same request id
    is safe."""

    code = Code.DEADLINE_EXCEEDED


_CLASSES: dict[Code, type[SessionsError]] = {
    cls.code: cls
    for cls in (
        InvalidArgument,
        Unauthenticated,
        PermissionDenied,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        ResourceExhausted,
        DataLoss,
        Unavailable,
        DeadlineExceeded,
    )
}


def refusal(violations: Sequence[Violation]) -> InvalidArgument:
    """The error for input that is refused before it is sent, worded like the server's."""
    text = "; ".join(f"{field}: {description}" for field, description in violations)
    return InvalidArgument(text, reason="INVALID_REQUEST", violations=violations)


def refused(field: str, description: str) -> InvalidArgument:
    """The refusal of one field."""
    return refusal([Violation(field, description)])


def closed() -> RuntimeError:
    """The error of every call on a closed client, and of calls interrupted by closing it."""
    return RuntimeError("This client is closed; make a new one.")


def no_answer() -> DeadlineExceeded:
    """The error of a call whose timeout has passed."""
    return DeadlineExceeded(NO_ANSWER)


def callback_cancelled() -> RuntimeError:
    """Replaces a CancelledError raised by a callback, which would look like a cancellation of the task that waits for
    the subscription."""
    return RuntimeError(
        "The callback ended with CancelledError; catch it there when it awaits cancelled tasks."
    )


def error_from(failure: grpc.RpcError) -> SessionsError:
    """The error of a failed call, from its status and details."""
    code, message, is_unreachable = Code[failure.code().name], failure.details() or "", False
    info, violations, retry_after = _details(_trailing_metadata(failure))
    if not info.reason:
        code, message, is_unreachable = meaning_of(code, message)
    error = _CLASSES.get(code, SessionsError)(
        message or f"The call failed with {code}.",
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        violations=violations,
        retry_after=retry_after,
    )
    error._is_unreachable = is_unreachable
    return error


def error_of(code: int, message: str, *, reason: str, metadata: Mapping[str, str]) -> SessionsError:
    """The error of a refusal inside a response; `code` is a `google.rpc.Code`."""
    known = Code[code_pb2.Code.Name(code)] if code in code_pb2.Code.values() else Code.UNKNOWN
    return _CLASSES.get(known, SessionsError)(message, code=known, reason=reason, metadata=metadata)


def _trailing_metadata(failure: grpc.RpcError) -> Iterable[tuple[str, str | bytes]]:
    if isinstance(failure, grpc.Future) and failure.cancelled():
        # Cancelled locally: the server's status never arrived, and asking for its metadata would raise.
        return ()
    # Pairs in both of gRPC's APIs, though their types differ.
    return cast("Iterable[tuple[str, str | bytes]]", failure.trailing_metadata() or ())


def _details(
    metadata: Iterable[tuple[str, str | bytes]],
) -> tuple[error_details_pb2.ErrorInfo, list[Violation], float | None]:
    """The ErrorInfo (empty if there is none), the violations of a BadRequest, and the delay of a RetryInfo."""
    info = error_details_pb2.ErrorInfo()
    violations: list[Violation] = []
    retry_after: float | None = None
    for detail in _packed_details(metadata):
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            candidate = error_details_pb2.ErrorInfo.FromString(detail.value)
            info = candidate if candidate.domain == _DOMAIN else info
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest.FromString(detail.value)
            violations += [Violation(one.field, one.description) for one in request.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
            retry_after = delay.seconds + delay.nanos / 1e9
    return info, violations, retry_after


def _packed_details(metadata: Iterable[tuple[str, str | bytes]]) -> Iterable[any_pb2.Any]:
    packed = next((value for key, value in metadata if key == _DETAILS_KEY and isinstance(value, bytes)), b"")
    try:
        return cast("Iterable[any_pb2.Any]", status_pb2.Status.FromString(packed).details)
    except DecodeError:
        # Written by a proxy; the code and the message are still valid.
        return ()
