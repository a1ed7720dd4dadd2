"""What a failed call raises."""

from __future__ import annotations

import pickle

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

import sessions_client
from sessions_client import (
    AlreadyExists,
    Code,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    OutOfRange,
    SessionsError,
    Unavailable,
    Violation,
    _errors,
)

INFO = error_details_pb2.ErrorInfo(
    reason="CURSOR_AHEAD", domain="sessions.v1", metadata={"last_sequence": "7"}
)


def failure(
    code: grpc.StatusCode, text: str | None = "A sentence.", *details: object
) -> grpc.aio.AioRpcError:
    status = status_pb2.Status(code=code.value[0], message=text)
    for detail in details:
        status.details.add().Pack(detail)
    packed = ("grpc-status-details-bin", status.SerializeToString())
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(packed), text)


def test_an_error_has_the_servers_sentence_reason_and_metadata() -> None:
    error = _errors.error_from(failure(grpc.StatusCode.OUT_OF_RANGE, "Too far.", INFO))
    assert isinstance(error, OutOfRange)
    assert str(error) == "Too far."
    assert (error.code, error.reason, error.metadata) == (
        "OUT_OF_RANGE",
        "CURSOR_AHEAD",
        {"last_sequence": "7"},
    )


def test_every_violation_arrives() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation
    request = error_details_pb2.BadRequest(
        field_violations=[violation(field="a", description="x"), violation(field="b", description="y")]
    )
    error = _errors.error_from(failure(grpc.StatusCode.INVALID_ARGUMENT, "Wrong.", request))
    assert error.violations == (Violation("a", "x"), Violation("b", "y"))


def test_the_servers_retry_delay_arrives_in_seconds() -> None:
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000))
    assert _errors.error_from(failure(grpc.StatusCode.UNAVAILABLE, "Later.", retry)).retry_after == 1.5


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.CANCELLED])
def test_each_code_has_its_class_or_is_a_plain_sessions_error(code: Code) -> None:
    error = _errors.error_from(failure(grpc.StatusCode[code.name]))
    special = {
        cls.code: cls
        for name in sessions_client.__all__
        if _is_special(cls := getattr(sessions_client, name))
    }
    assert type(error) is special.get(code, SessionsError)
    assert error.code is code


def _is_special(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, SessionsError) and cls is not SessionsError


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = {
        line.split("+-- ")[1].split()[0] for line in (_errors.__doc__ or "").splitlines() if "+--" in line
    }
    assert drawn == {cls.__name__ for cls in SessionsError.__subclasses__()}
    assert drawn <= set(sessions_client.__all__)


def test_another_services_error_info_is_not_taken_for_ours() -> None:
    foreign = error_details_pb2.ErrorInfo(reason="QUOTA", domain="proxy.example")
    assert _errors.error_from(failure(grpc.StatusCode.UNAVAILABLE, "No.", foreign)).reason == ""


def test_details_that_are_garbage_do_not_hide_the_error() -> None:
    metadata = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff\xff"))
    error = _errors.error_from(grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, metadata, metadata, "Gone."))
    assert isinstance(error, NotFound)
    assert str(error) == "Gone."


def test_an_error_without_a_message_shows_its_code() -> None:
    assert "INTERNAL" in str(_errors.error_from(failure(grpc.StatusCode.INTERNAL, None)))


def test_a_missed_deadline_says_what_to_do() -> None:
    error = _errors.error_from(failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))
    assert isinstance(error, DeadlineExceeded)
    assert isinstance(error, TimeoutError)
    assert "timeout=" in str(error)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
        (grpc.StatusCode.INTERNAL, "Internal error from Core"),
        (grpc.StatusCode.UNKNOWN, "Stream removed"),
        (grpc.StatusCode.CANCELLED, "CANCELLED"),
    ],
    ids=str,
)
def test_a_connection_broken_during_a_call_is_unavailable(code: grpc.StatusCode, text: str) -> None:
    error = _errors.error_from(failure(code, text))
    assert isinstance(error, Unavailable)
    assert "connection broke" in str(error)
    assert text in str(error)
    of_the_service = _errors.error_from(failure(code, text, INFO))
    assert of_the_service.code == code.name
    assert str(of_the_service) == text


def test_input_refused_by_the_client_reads_like_the_servers_refusal() -> None:
    error = _errors.refused("config.timeout", "must be positive.")
    assert isinstance(error, InvalidArgument)
    assert isinstance(error, ValueError)
    assert str(error) == "config.timeout: must be positive."
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


def test_an_error_can_be_sent_to_another_process() -> None:
    error = AlreadyExists("It is there.", reason="SESSION_ALREADY_EXISTS", metadata={"a": "b"})
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.reason, copy.metadata) == ("It is there.", "SESSION_ALREADY_EXISTS", {"a": "b"})
