"""Refusals on the wire: one code per reason, machine-readable details, and a bounded size."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from sessions_proto.v1 import errors_pb2
from sessions_server.domain.errors import (
    DomainError,
    EtagMismatch,
    InvalidRequest,
    Reason,
    SessionNotFound,
    Unavailable,
    Violation,
)
from sessions_server.rpc.errors import CODES, HEADERS_BYTES, as_domain_error, clip, encoded_bytes, refusal


def status_of(error: DomainError) -> status_pb2.Status:
    return status_pb2.Status.FromString(refusal(error).status)


def info_of(error: DomainError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert status_of(error).details[0].Unpack(info)
    return info


def bad_request_of(error: DomainError) -> error_details_pb2.BadRequest:
    details = error_details_pb2.BadRequest()
    assert status_of(error).details[1].Unpack(details)
    return details


def test_the_reasons_match_the_wire() -> None:
    names = errors_pb2.ErrorReason.DESCRIPTOR.values_by_name
    wire = {name.removeprefix("ERROR_REASON_") for name in names}
    assert {reason.value for reason in Reason} == wire - {"UNSPECIFIED"}


def test_every_reason_has_a_code_other_than_unknown() -> None:
    assert set(CODES) == set(Reason)
    assert not {grpc.StatusCode.UNKNOWN, grpc.StatusCode.OK, grpc.StatusCode.CANCELLED} & set(CODES.values())


def test_a_refusals_status_and_details_agree() -> None:
    error = EtagMismatch("18")
    code, message, _ = refusal(error)
    status = status_of(error)
    assert (code.value[0], message) == (status.code, status.message)
    info = info_of(error)
    assert (info.reason, info.domain) == ("ETAG_MISMATCH", "sessions.v1")
    assert dict(info.metadata) == {"current_etag": "18"}


def test_every_violation_is_in_the_details() -> None:
    error = InvalidRequest([Violation("a", "Give one."), Violation("b.c", "Give another.")])
    violations = bad_request_of(error).field_violations
    assert [(each.field, each.description) for each in violations] == list(error.violations)
    assert refusal(error).message == "a: Give one; b.c: Give another."


def test_only_an_invalid_request_has_violations() -> None:
    assert len(status_of(SessionNotFound()).details) == 1


def header_bytes(error: DomainError) -> int:
    """The size of the headers that a peer receives, as defined in RFC 9113, before HTTP/2 compression."""
    code, message, details = refusal(error)
    headers = {
        "grpc-status": len(str(code.value[0])),
        "grpc-message": encoded_bytes(message),
        "grpc-status-details-bin": (len(details) + 2) // 3 * 4,
    }
    return sum(len(name) + size for name, size in headers.items())


TEXTS = {"plain": "Give less. ", "beyond ASCII": "\N{SNOWMAN}", "percents": "%"}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_error_never_exceeds_the_header_limit_of_proxies(text: str) -> None:
    error = InvalidRequest(Violation(f"field[{n}]", text * 20) for n in range(1000))
    assert header_bytes(error) < HEADERS_BYTES
    assert bad_request_of(error).field_violations
    facts = {f"fact_{n}": text * 1000 for n in range(20)}
    assert header_bytes(DomainError(text * 1000, **facts)) < HEADERS_BYTES


def test_excess_violations_are_dropped_whole_from_the_end() -> None:
    error = InvalidRequest(Violation(f"messages[{n}].content", "Must be a string.") for n in range(13))
    violations = bad_request_of(error).field_violations
    assert [(each.field, each.description) for each in violations] == list(error.violations)
    assert header_bytes(error) < HEADERS_BYTES


def test_missing_and_foreign_sessions_give_identical_errors() -> None:
    assert refusal(SessionNotFound()) == refusal(SessionNotFound())


@pytest.mark.parametrize("text", ["short", "x" * 64, "\N{SNOWMAN}" * 64, "\N{GRINNING FACE}" * 64])
def test_strings_are_clipped_between_characters(text: str) -> None:
    clipped = clip(text, 64)
    assert len(clipped.encode()) <= 64
    assert text.startswith(clipped.removesuffix("…"))


def test_an_unexpected_error_shows_nothing_but_a_request_id() -> None:
    error = as_domain_error(ValueError("postgresql://user:secret@db/x"), request_id="r-1")
    assert error.reason is Reason.INTERNAL
    assert "secret" not in repr(refusal(error))
    assert dict(info_of(error).metadata) == {"request_id": "r-1"}
    assert "r-1" in error.message


def test_a_cancelled_dependency_makes_the_call_retryable() -> None:
    assert isinstance(as_domain_error(asyncio.CancelledError(), request_id=""), Unavailable)
