"""Every method over HTTP: as JSON, by GET, as JSON lines; with details, tokens and deadlines."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import grpc
import pytest

from sessions_proto.v1 import commits_pb2, records_pb2, sessions_pb2 as pb
from tests.support.server import Server, start_server
from tests.support.web import JSON, Web, path_of
from tests.wire.deployments import EXPIRED, READER, WRITER, tokens_file

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_server(tmp_path_factory.mktemp("http"), http=True) as server:
        yield server


@pytest.fixture
def web(served: Server) -> Web:
    return Web(served.url)


@pytest.fixture(scope="module")
def guarded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("guarded")
    with start_server(folder, http=True, env={"SESSIONS_TOKENS": str(tokens_file(folder))}) as server:
        yield server.url


def new_id(web: Web, **fields: Any) -> str:
    return str(web.done("CreateSession", {"userId": "u1", **fields})["session"]["id"])


def query_of(request: object) -> str:
    return f"?connect=v1&encoding=json&message={quote(json.dumps(request))}"


def test_a_session_is_made_filled_and_read_as_json(web: Web) -> None:
    session = new_id(web, metadata={"tries": 3, "half": 0.5, "tags": ["a", None, True]})
    web.done("AddMessage", {"sessionId": session, "message": {"role": "user", "content": "Hello"}})
    kept = web.done("GetSession", {"sessionId": session})["session"]
    assert kept["metadata"] == {"tries": 3, "half": 0.5, "tags": ["a", None, True]}
    assert isinstance(kept["metadata"]["tries"], int)
    [message] = web.done("GetHistory", {"session_id": session})["messages"]
    assert (message["role"], message["content"], message["sequence"]) == ("user", "Hello", "2")


def test_the_same_call_as_protobuf(web: Web) -> None:
    session = new_id(web)
    body = pb.GetSessionRequest(session_id=session).SerializeToString()
    answer = web.send("POST", path_of("GetSession"), body, {"content-type": "application/proto"})
    assert answer.headers["content-type"] == "application/proto"
    assert pb.GetSessionResponse.FromString(answer.body).session.id == session


def test_get_works_for_reads_only(web: Web) -> None:
    session = new_id(web)
    answer = web.get(path_of("GetSession") + query_of({"sessionId": session}))
    assert answer.json["session"]["id"] == session
    assert answer.headers["cache-control"] == "no-store"
    refused = web.get(path_of("DeleteSession") + query_of({"sessionId": session}))
    assert (refused.status, refused.headers["allow"], refused.reason) == (405, "POST", "MALFORMED_REQUEST")
    assert web.send("PUT", path_of("GetSession")).headers["allow"] == "GET, POST"
    assert web.call("GetSession", {"sessionId": session}).status == 200


def test_an_error_has_its_http_status_and_the_details_of_grpc(web: Web) -> None:
    missing = web.call("GetSession", {"sessionId": "none"})
    assert (missing.status, missing.json["code"], missing.reason) == (404, "not_found", "SESSION_NOT_FOUND")
    wrong = web.call("AddMessage", {"sessionId": "-", "message": {"role": "x" * 65}})
    assert (wrong.status, wrong.json["code"], wrong.reason) == (400, "invalid_argument", "INVALID_REQUEST")
    [bad] = [each["debug"] for each in wrong.json["details"] if each["type"] == "google.rpc.BadRequest"]
    assert "message.role" in {violation["field"] for violation in bad["fieldViolations"]}


def test_malformed_json_is_reported(web: Web) -> None:
    for body in (b"{", b'{"nothing": 1}', b'{"sessionId": 5}', b"[]", b'{"sessionId": "\xff"}'):
        answer = web.send("POST", path_of("GetSession"), body, JSON)
        assert (answer.status, answer.reason) == (400, "MALFORMED_REQUEST"), body


def test_a_whole_session_moves_as_json_lines(web: Web) -> None:
    session = new_id(web, metadata={"n": 1})
    for number in range(3):
        web.done("AddMessage", {"sessionId": session, "message": {"role": "user", "content": str(number)}})
    exported = web.send("POST", path_of("ExportSession"), json.dumps({"sessionId": session}).encode(), JSON)
    assert exported.headers["content-type"] == "application/x-ndjson"
    records = [json.loads(line) for line in exported.body.splitlines()]
    lines = b"".join(
        json.dumps({"sessionId": f"{session}-copy", **record}).encode() + b"\n" for record in records
    )
    imported = web.send("POST", path_of("ImportSession"), lines, {"content-type": "application/x-ndjson"})
    assert imported.status == 200, imported
    assert imported.json["session"]["messageCount"] == "3"


def test_json_lines_are_refused_by_status_at_first_and_by_the_last_line_later(
    web: Web,
) -> None:
    refused = web.send("POST", path_of("ExportSession"), b'{"sessionId": "none"}', JSON)
    assert (refused.status, refused.reason) == (404, "SESSION_NOT_FOUND")
    session = new_id(web)
    broken = b'{"sessionId": "%s"}\n{"record": {}}\n' % session.encode()
    answer = web.send("POST", path_of("ImportSession"), broken, {"content-type": "application/x-ndjson"})
    assert (answer.status, answer.reason) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "kind", ["Application/JSON", "application/json ; charset=utf-8", "APPLICATION/X-NDJSON"]
)
def test_a_content_type_in_other_words_means_the_same(web: Web, kind: str) -> None:
    session = new_id(web)
    named = json.dumps({"sessionId": session}).encode()
    exported = web.send("POST", path_of("ExportSession"), named, {"content-type": kind})
    assert exported.status == 200, exported
    assert json.loads(exported.body.splitlines()[0])["record"]["header"]["session"]["id"] == session


def test_a_stream_of_requests_is_answered_in_its_own_format(web: Web) -> None:
    session = new_id(web)
    named = json.dumps({"sessionId": session}).encode()
    records = web.send("POST", path_of("ExportSession"), named, JSON).body.splitlines()
    copy = [json.dumps({"sessionId": f"{session}-copy", **json.loads(each)}).encode() for each in records]
    body = b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in copy)
    answer = web.send("POST", path_of("ImportSession"), body, {"content-type": "application/connect+JSON"})
    assert answer.status == 200, answer
    size = int.from_bytes(answer.body[1:5], "big")
    assert json.loads(answer.body[5 : 5 + size])["session"]["id"] == f"{session}-copy"


def test_a_deadline_ends_a_call(web: Web) -> None:
    answer = web.call("GetSession", {"sessionId": "any"}, connect_timeout_ms="0")
    assert (answer.status, answer.json["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("token", ["", "unknown", EXPIRED], ids=["none", "unknown", "expired"])
def test_an_unknown_caller_is_refused_before_the_request_is_read(guarded_url: str, token: str) -> None:
    web = Web(guarded_url, token=token)
    for path in (path_of("GetSession"), path_of("CreateSession")):
        answer = web.send("POST", path, b"\xff", JSON)
        assert (answer.status, answer.reason) == (401, "UNAUTHENTICATED")
    for path in ("/v1/sessions/s/events", "/v1/sessions/s/events?offset=-1", "/v1/caller"):
        assert (web.get(path).status, web.get(path).reason) == (401, "UNAUTHENTICATED")


def test_a_reader_reads_and_may_not_write(guarded_url: str) -> None:
    writer, reader = Web(guarded_url, token=WRITER), Web(guarded_url, token=READER)
    session = new_id(writer)
    assert reader.done("GetSession", {"sessionId": session})["session"]["id"] == session
    refused = reader.call("DeleteSession", {"sessionId": session})
    assert (refused.status, refused.reason) == (403, "PERMISSION_DENIED")
    known = reader.get("/v1/caller").json
    assert (known["tenant"], known["access"], known["authenticated"]) == ("acme", "read", True)


def services() -> list[ServiceDescriptor]:
    return [
        service
        for each in (pb, commits_pb2, records_pb2)
        for service in each.DESCRIPTOR.services_by_name.values()
    ]


@pytest.mark.parametrize("service", services(), ids=lambda service: str(service.name))
def test_http_serves_every_grpc_method(served: Server, web: Web, service: ServiceDescriptor) -> None:
    with grpc.insecure_channel(served.address) as channel:
        for method in service.methods:
            path = f"{service.full_name}/{method.name}"
            kind: Any = channel.stream_stream(f"/{path}")
            call = kind(iter([b""]))
            with contextlib.suppress(grpc.RpcError):
                next(call)
            is_served = call.code() is not grpc.StatusCode.UNIMPLEMENTED
            call.cancel()
            assert (web.send("POST", f"/{path}", b"{}", JSON).status != 404) is is_served, path
