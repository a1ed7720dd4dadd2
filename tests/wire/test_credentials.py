"""Credentials and tenants: the same error for every invalid credential, and no tenant sees another."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.http2 import Http2, framed
from tests.wire.deployments import EXPIRED, READER, WRITER
from tests.wire.stubs import SERVICE, Caller, Refusal, message, refusal_of, refused

if TYPE_CHECKING:
    from tests.support.server import Server

Headers = Iterable[tuple[str, str | bytes]]


def with_headers(server: Server, headers: Headers) -> Refusal:
    with Caller(server) as caller, pytest.raises(grpc.RpcError) as caught:
        caller.raw("GetSession", b"\xff", metadata=headers)
    return refusal_of(caught.value)


BAD: dict[str, Headers] = {
    "none": [],
    "empty": [("authorization", "")],
    "another scheme": [("authorization", f"Basic {WRITER}")],
    "no scheme": [("authorization", WRITER)],
    "unknown": [("authorization", "Bearer nobody")],
    "expired": [("authorization", f"Bearer {EXPIRED}")],
    "two": [("authorization", f"Bearer {WRITER}"), ("authorization", f"Bearer {READER}")],
    "twice the same": [("authorization", f"Bearer {WRITER}"), ("authorization", f"Bearer {WRITER}")],
    "in another header": [("x-authorization", f"Bearer {WRITER}")],
}


def test_every_invalid_credential_gets_the_same_error(guarded: Server) -> None:
    answers = {name: with_headers(guarded, headers) for name, headers in BAD.items()}
    assert {answer.code for answer in answers.values()} == {"UNAUTHENTICATED"}
    assert len({(answer.message, answer.details) for answer in answers.values()}) == 1


def test_a_non_ascii_credential_gets_that_error_too(guarded: Server) -> None:
    headers = [(b"authorization", "Bearer t\N{LATIN SMALL LETTER O WITH DIAERESIS}ken".encode())]
    with Http2(guarded.address) as raw:
        answer = raw.call(f"{SERVICE}GetSession".encode(), framed(b""), headers=headers)
    assert answer.broken or answer.code == 16


def test_a_reader_may_read(writer: Caller, reader: Caller) -> None:
    session = writer.new_id()
    assert reader.GetSession(session_id=session).session.id == session
    assert len(reader.log(session)) == 1


@pytest.mark.parametrize(
    "method",
    [
        "CreateSession",
        "UpdateSession",
        "DeleteSession",
        "StartSession",
        "PauseSession",
        "ResumeSession",
        "EndSession",
        "ArchiveSession",
        "SetContext",
        "UpdateContext",
        "AddMessage",
        "AddMessages",
        "ClearHistory",
    ],
)
def test_a_reader_is_refused_before_its_request_is_validated(reader: Caller, method: str) -> None:
    assert refused(reader.raw, method, b"\xff").reason == "PERMISSION_DENIED"


def test_an_import_by_a_reader_is_refused(reader: Caller) -> None:
    assert refused(reader.ImportSession, iter([])).reason == "PERMISSION_DENIED"


def test_a_foreign_session_a_deleted_one_and_a_missing_one_look_alike(
    writer: Caller, stranger: Caller
) -> None:
    foreign, deleted = writer.new_id(), stranger.new_id()
    stranger.DeleteSession(session_id=deleted)
    for method in ("GetSession", "GetContext", "GetHistory", "DeleteSession", "StartSession", "ClearHistory"):
        answers = {
            refused(getattr(stranger, method), session_id=name).details
            for name in (foreign, deleted, "missing")
        }
        assert len(answers) == 1


def test_nothing_of_another_tenant_is_listed_or_can_be_written(writer: Caller, stranger: Caller) -> None:
    session = writer.new_id(user_id="shared-user", session_id="shared-id")
    assert stranger.ListSessions(user_id="shared-user").sessions == []
    assert refused(stranger.AddMessage, session_id=session, message=message()).code == "NOT_FOUND"
    own = stranger.new_id(session_id="shared-id")
    stranger.AddMessage(session_id=own, message=message("theirs"))
    assert writer.history(session) == []


def test_a_tenant_named_in_metadata_is_ignored(guarded: Server, writer: Caller) -> None:
    session = writer.new_id()
    request = pb.GetSessionRequest(session_id=session).SerializeToString()
    headers = [
        *writer.metadata,
        ("tenant", "globex"),
        ("x-tenant-id", "globex"),
        ("sessions-tenant", "globex"),
    ]
    answer = pb.GetSessionResponse.FromString(writer.raw("GetSession", request, metadata=headers))
    assert answer.session.id == session


def test_callers_cannot_forge_a_log_line(guarded: Server, writer: Caller) -> None:
    session = writer.new_id()
    fields: dict[str, Any] = {"session_id": session, "request_id": "r\nforged\x1b[31m", "etag": "stale"}
    assert refused(writer.StartSession, **fields).reason == "ETAG_MISMATCH"
    refused(writer.raw, "Nothing\n\x1b[31mforged", b"")
    for line in guarded.log.splitlines():
        assert not line.startswith("forged")
        assert "\x1b[31m" not in line
        json.loads(line)
