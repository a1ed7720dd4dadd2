"""HTTP requests that no honest client sends: each has its status and reason, and delays no other request."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest

from tests.support.processes import memory_bytes
from tests.support.server import Server, start_server
from tests.support.web import JSON, Answer, Web, path_of

PROTO = {"content-type": "application/proto"}
CONNECT_JSON = {"content-type": "application/connect+json"}
EVENTS = "/v1/sessions/s/events"
MEBIBYTE = 1024 * 1024
ALLOWED = "https://app.example"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    env = {
        "SESSIONS_HTTP_ORIGINS": f"https://other.example, {ALLOWED}",
        "SESSIONS_HTTP_HOSTS": "sessions.example",
    }
    with start_server(tmp_path_factory.mktemp("hostile"), http=True, env=env) as server:
        yield server


@pytest.fixture
def web(served: Server) -> Web:
    return Web(served.url)


class Case(NamedTuple):
    headers: Mapping[str, str | bytes]
    status: int
    reason: str
    body: bytes = b"{}"
    verb: str = "POST"
    path: str = path_of("GetSession")


CASES = {
    "a name that is not the server's": Case({**JSON, "host": "evil.example"}, 421, "PERMISSION_DENIED"),
    "no name at all": Case({**JSON, "host": ""}, 421, "PERMISSION_DENIED"),
    "a page of another site": Case({**JSON, "origin": "https://evil.example"}, 403, "PERMISSION_DENIED"),
    "a page without an origin": Case({**JSON, "origin": "null"}, 403, "PERMISSION_DENIED"),
    "an image of another site": Case(
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403, "PERMISSION_DENIED", verb="GET"
    ),
    "a form of another site": Case({"content-type": "text/plain"}, 415, "MALFORMED_REQUEST"),
    "no content type": Case({}, 415, "MALFORMED_REQUEST"),
    "an unknown content type": Case({"content-type": "application/xml"}, 415, "MALFORMED_REQUEST"),
    "gRPC over HTTP/1.1": Case({"content-type": "application/grpc"}, 505, "MALFORMED_REQUEST", b"\0" * 5),
    "a header that is not UTF-8": Case({**JSON, "x-name": b"\xff\xfe"}, 400, "MALFORMED_REQUEST"),
    "a token that is not UTF-8": Case({**JSON, "authorization": b"Bearer \xff"}, 401, "UNAUTHENTICATED"),
    "a deadline that is no number": Case({**JSON, "connect-timeout-ms": "1e3"}, 400, "MALFORMED_REQUEST"),
    "a deadline of other digits": Case(
        {**JSON, "connect-timeout-ms": "\N{ARABIC-INDIC DIGIT ONE}".encode()}, 400, "MALFORMED_REQUEST"
    ),
    "a gRPC deadline without a unit": Case({**JSON, "grpc-timeout": "12"}, 400, "MALFORMED_REQUEST"),
    "a protocol of the future": Case({**JSON, "connect-protocol-version": "2"}, 400, "MALFORMED_REQUEST"),
    "an unknown verb": Case(JSON, 405, "MALFORMED_REQUEST", verb="PUT"),
    "an unknown method": Case(JSON, 404, "UNIMPLEMENTED", path=path_of("Nothing")),
    "an unknown service": Case(JSON, 404, "UNIMPLEMENTED", path="/no.such.Service/Method"),
    "an unknown place": Case({}, 404, "UNIMPLEMENTED", verb="GET", path="/v1/../../etc/passwd"),
    "an unknown compression": Case({**JSON, "content-encoding": "br"}, 400, "MALFORMED_REQUEST"),
    "a broken compression": Case({**JSON, "content-encoding": "gzip"}, 400, "MALFORMED_REQUEST", b"zzz"),
    "a body of 5 MiB": Case(PROTO, 429, "LIMIT_EXCEEDED", b"x" * 5 * MEBIBYTE),
    "JSON of 5 MiB": Case(JSON, 429, "LIMIT_EXCEEDED", b'{"sessionId":"%s"}' % (b"x" * 5 * MEBIBYTE)),
    "bytes that are no message": Case(PROTO, 400, "MALFORMED_REQUEST", b"\xff\xff\xff"),
    "JSON that nests without end": Case(
        JSON, 400, "MALFORMED_REQUEST", b'{"context":{"a":' + b"[" * 90_000, path=path_of("SetContext")
    ),
    "GET without a message": Case({}, 400, "MALFORMED_REQUEST", verb="GET", path=path_of("GetSession?encoding=json")),
    "GET without a query": Case({}, 415, "MALFORMED_REQUEST", verb="GET"),
    "GET of an unknown encoding": Case(
        {}, 415, "MALFORMED_REQUEST", verb="GET", path=path_of("GetSession?encoding=xml")
    ),
    "base64 that is none": Case(
        JSON, 400, "MALFORMED_REQUEST", b'{"message":{"payload":"*"}}', path=path_of("AddMessage")
    ),
    "a number that overflows": Case(
        JSON, 400, "MALFORMED_REQUEST", b'{"context":{"a":%s}}' % (b"9" * 400), path=path_of("SetContext")
    ),
    "a verb that events do not have": Case({}, 405, "MALFORMED_REQUEST", verb="DELETE", path=EVENTS),
    "a verb that the caller does not have": Case({}, 405, "MALFORMED_REQUEST", path="/v1/caller"),
    "a position that is none": Case({}, 400, "INVALID_REQUEST", verb="GET", path=EVENTS + "?after_sequence=x"),
    "an unknown event type": Case({}, 400, "INVALID_REQUEST", verb="GET", path=EVENTS + "?event_types=x"),
    "an unknown parameter": Case({}, 400, "INVALID_REQUEST", verb="GET", path=EVENTS + "?after=1"),
    "an offset that is none": Case({}, 400, "INVALID_REQUEST", verb="GET", path=EVENTS + "?offset=-2"),
    "an unknown way to wait": Case({}, 400, "INVALID_REQUEST", verb="GET", path=EVENTS + "?offset=-1&live=x"),
    "an id to resume that is none": Case({"last-event-id": "-1"}, 400, "INVALID_REQUEST", verb="GET", path=EVENTS),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_has_its_status_and_its_reason(served: Server, web: Web, case: Case) -> None:
    answer = web.send(case.verb, case.path, case.body if case.verb != "GET" else None, case.headers)
    assert (answer.status, answer.reason) == (case.status, case.reason), answer
    assert "Traceback" not in served.log, served.log[served.log.index("Traceback") :][-3000:]


def test_an_invalid_envelope_ends_the_stream_with_its_reason(web: Web) -> None:
    for body in (b"{}", b"\0\0\0\0\x09{}", b"\x80\0\0\0\x02{}", b"\0\xff\xff\xff\xff", b""):
        answer = web.send("POST", path_of("Subscribe"), body, CONNECT_JSON)
        assert answer.status == 200
        assert answer.body[0] == 2, answer
        error = json.loads(answer.body[5:])["error"]
        assert any("reason" in each.get("debug", {}) for each in error["details"]), error


def test_a_compressed_body_is_limited_by_its_uncompressed_size(served: Server, web: Web) -> None:
    bomb = gzip.compress(b"\0" * 200 * MEBIBYTE)
    before = memory_bytes(served.pid)
    answer = web.send("POST", path_of("GetSession"), bomb, {**PROTO, "content-encoding": "gzip"})
    assert (answer.status, answer.reason) == (429, "LIMIT_EXCEEDED")
    assert memory_bytes(served.pid) - before < 50 * MEBIBYTE


def set_context(web: Web, values: bytes) -> Answer:
    body = b'{"sessionId":"none","context":{"a":%s}}' % values
    return web.send("POST", path_of("SetContext"), body, JSON)


def test_json_of_millions_of_values_is_refused_and_long_strings_are_not(web: Web) -> None:
    refused = set_context(web, b"[" + b"1," * 1_900_000 + b"1]")
    assert (refused.status, refused.reason) == (429, "LIMIT_EXCEEDED")
    text = json.dumps(",[{" * 60_000 + chr(34)).encode()
    assert set_context(web, text).reason == "SESSION_NOT_FOUND"


def test_configured_names_and_addresses_are_accepted(web: Web) -> None:
    for host in ("sessions.example:8080", "SESSIONS.example", "localhost", "127.0.0.1:1", "[::1]:8080"):
        assert web.send("POST", path_of("ListSessions"), b"{}", {**JSON, "host": host}).status == 200


def test_a_page_of_an_allowed_site_and_of_the_server_itself_may_call(web: Web) -> None:
    answer = web.call("ListSessions", origin=ALLOWED)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, ALLOWED)
    assert "stream-next-offset" in answer.headers["access-control-expose-headers"]
    asked = {
        "origin": ALLOWED,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    assert web.send("OPTIONS", path_of("ListSessions"), headers=asked).status == 200
    own = web.call("ListSessions", origin=web.url)
    assert (own.status, own.headers.get("access-control-allow-origin")) == (200, None)
    link = web.get("/openapi.json", sec_fetch_site="cross-site", sec_fetch_mode="navigate")
    assert link.status == 200


def test_every_response_has_security_headers(web: Web) -> None:
    for path in ("/openapi.json", "/nothing", "/v1/caller"):
        headers = web.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] in ("no-store", "no-cache")
