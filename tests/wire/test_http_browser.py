"""Chromium: an EventSource across kills of the server, a closed tab, and what pages of other sites cannot do."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from google.protobuf.json_format import MessageToJson

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.browser import running_browser
from tests.support.ports import HOST, free_port
from tests.support.server import Server, start_server
from tests.support.web import Web, path_of
from tests.wire.deployments import READER, tokens_file

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

LISTEN = """session => {
  window.seen = [];
  const source = new EventSource(`/v1/sessions/${session}/events?after_sequence=0`);
  const note = event => seen.push(parseInt(event.lastEventId));
  for (const type of ["created", "message"]) source.addEventListener(type, note);
}"""
CALL = """async ([url, headers]) => {
  try {
    const answer = await fetch(url + "/sessions.v1.SessionService/ListSessions", {method: "POST", headers, body: "{}"});
    return answer.status;
  } catch (error) {
    return "blocked";
  }
}"""
FRAMED = {"application/grpc-web+proto", "application/connect+json"}
FETCH = """async ([path, kind, token, body]) => {
  const headers = {"content-type": kind, authorization: `Bearer ${token}`};
  const answer = await fetch(path, {method: "POST", headers, body: new Uint8Array(body)});
  return [answer.status, await answer.text(), answer.headers.get("grpc-status")];
}"""
"""Sends bytes unchanged; returns what a page can see of the response."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@contextmanager
def other_site() -> Iterator[str]:
    """The origin of a site other than the server's."""
    site = http.server.HTTPServer((HOST, 0), _Empty)
    thread = threading.Thread(target=site.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{site.server_port}"
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


class _Empty(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Suppressed."""


def new_session(web: Web) -> str:
    return str(web.done("CreateSession", {"userId": "u1"})["session"]["id"])


def say(web: Web, session: str) -> None:
    web.done("AddMessage", {"sessionId": session, "message": {"role": "user", "content": "Hello"}})


def wait_for(page: Page, count: int) -> list[int]:
    page.wait_for_function("count => seen.length >= count", arg=count)
    return [int(number) for number in page.evaluate("seen")]


def test_an_event_source_resumes_after_kills_and_stops_without_gap_or_duplicate(
    page: Page, tmp_path: Path
) -> None:
    with start_server(tmp_path, http=True) as server:
        web = Web(server.url)
        session = new_session(web)
        page.goto(f"{server.url}/openapi.json")
        page.evaluate(LISTEN, session)
        assert wait_for(page, 1) == [1]
        for number in range(4):
            say(web, session)
            wait_for(page, number + 2)
            if number % 2:
                server.restart()
            else:
                server.stop()
                server.start()
        say(web, session)
        assert wait_for(page, 6) == [1, 2, 3, 4, 5, 6]


@pytest.fixture(scope="module")
def guarded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("guarded")
    with start_server(folder, http=True, env={"SESSIONS_TOKENS": str(tokens_file(folder))}) as server:
        yield server.url


def open_streams(metrics: Web) -> float:
    lines = metrics.get("/metrics").body.decode().splitlines()
    found = [line for line in lines if line.startswith('sessions_rpc_open_streams{method="Subscribe"}')]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def test_closing_a_tab_ends_its_subscription(browser: Browser, tmp_path: Path) -> None:
    listen = f"{HOST}:{free_port()}"
    with start_server(tmp_path, http=True, env={"SESSIONS_METRICS_LISTEN": listen}) as server:
        session = new_session(Web(server.url))
        tab = browser.new_page()
        tab.goto(f"{server.url}/openapi.json")
        tab.evaluate(LISTEN, session)
        wait_for(tab, 1)
        metrics = Web(f"http://{listen}")
        assert open_streams(metrics) == 1
        tab.close()
        while open_streams(metrics):
            pass


def test_a_page_of_another_site_can_call_only_if_it_is_allowed(page: Page, tmp_path: Path) -> None:
    with ExitStack() as stack:
        allowed, other = (stack.enter_context(other_site()) for _ in range(2))
        env = {"SESSIONS_HTTP_ORIGINS": allowed}
        server = stack.enter_context(start_server(tmp_path, http=True, env=env))
        outcomes = {
            (site, kind): _called(page, site, server, kind)
            for site in (allowed, other)
            for kind in ("application/json", "text/plain")
        }
    assert outcomes == {
        (allowed, "application/json"): 200,
        (allowed, "text/plain"): 415,
        (other, "application/json"): "blocked",
        (other, "text/plain"): "blocked",
    }


def _called(page: Page, site: str, server: Server, kind: str) -> object:
    page.goto(site)
    return page.evaluate(CALL, [server.url, {"content-type": kind}])


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/proto", "application/grpc-web+proto", "application/connect+json"],
)
def test_a_page_calls_by_every_protocol_with_its_token_and_sees_the_details(
    page: Page, guarded_url: str, kind: str
) -> None:
    page.goto(f"{guarded_url}/openapi.json")
    method = "Subscribe" if "connect" in kind else "GetSession"
    request = pb.GetSessionRequest(session_id="none")
    body = MessageToJson(request).encode() if "json" in kind else request.SerializeToString()
    framed = b"\0" + len(body).to_bytes(4, "big") + body if kind in FRAMED else body
    for token, code, reason in ((READER, 5, "SESSION_NOT_FOUND"), ("unknown", 16, "UNAUTHENTICATED")):
        status, text, grpc_status = page.evaluate(FETCH, [path_of(method), kind, token, list(framed)])
        if "grpc" in kind:
            assert status == 200
            assert grpc_status == str(code) or f"grpc-status: {code}\r\n" in text
        else:
            assert status == (200 if kind in FRAMED else {5: 404, 16: 401}[code])
            assert reason in text
