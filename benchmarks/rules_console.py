"""Measures how soon the console shows a long log, relative to a bare read of its stream in the same browser."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from benchmarks.plan import Plan
from benchmarks.processes import scratch
from benchmarks.report import Finding, alternate
from sessions_client import Client
from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.browser import running_browser
from tests.support.server import start_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

EVENTS: Final = 10_000
PAGE: Final = 1_000

# Reads the stream as any program in a page would, and counts its frames without parsing them.
BARE: Final = """async ([request, wanted]) => {
  const started = performance.now();
  const body = Uint8Array.from(atob(request), (character) => character.charCodeAt(0));
  const headers = {"content-type": "application/connect+proto", "connect-protocol-version": "1"};
  const stop = new AbortController();
  const url = "/sessions.v1.SessionService/Subscribe";
  const response = await fetch(url, {method: "POST", headers, body, signal: stop.signal});
  const reader = response.body.getReader();
  let frames = 0, rest = new Uint8Array();
  while (frames <= wanted) {
    const {value} = await reader.read();
    const bytes = new Uint8Array(rest.length + value.length);
    bytes.set(rest); bytes.set(value, rest.length);
    const view = new DataView(bytes.buffer);
    let at = 0;
    while (at + 5 <= bytes.length && at + 5 + view.getUint32(at + 1) <= bytes.length) {
      at += 5 + view.getUint32(at + 1);
      frames += 1;
    }
    rest = bytes.slice(at);
  }
  stop.abort();
  return performance.now() - started;
}"""


def console(plan: Plan) -> list[Finding]:
    """A session of ten thousand events, opened in the console until it is live."""
    with scratch() as folder, start_server(folder, http=True) as server, running_browser() as browser:
        with Client(server.address) as client:
            _fill(client)
        page = browser.new_page(base_url=server.url)
        found = alternate(lambda: _bare(page), lambda: _console(page), rounds=plan.rounds)
    what = f"{EVENTS:,} events open in the console, beside a bare read of the stream in the same browser"
    numbers = {"bare read in ms": found.first, "console in ms": found.second}
    return [Finding("console", what, 3.0, found.ratio, at_least=False, numbers=numbers)]


def _fill(client: Client) -> None:
    client.sessions.create(user_id="u1", session_id="s1")
    for start in range(1, EVENTS, PAGE):
        count = min(PAGE, EVENTS - start)
        messages = [
            {"role": "user", "content": f"Message {start + number} " + "word " * 20}
            for number in range(count)
        ]
        client.sessions.add_messages("s1", messages=messages)


def _bare(page: Page) -> float:
    request = pb.SubscribeRequest(session_id="s1", after_sequence=0, include_changes=True).SerializeToString()
    envelope = b"\0" + len(request).to_bytes(4) + request
    page.goto("/icon.svg")
    return float(page.evaluate(BARE, [base64.b64encode(envelope).decode(), EVENTS]))


def _console(page: Page) -> float:
    """From the start of the navigation until the event lane reports that it is live at the last event."""
    page.goto("/sessions/s1")
    page.get_by_text(f"at {EVENTS:,}", exact=True).wait_for()
    page.locator(".lane .is-live").wait_for()
    return float(page.evaluate("performance.now()"))
