"""The trace of one call through client, server and database, as shown in docs/tracing.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sessions_client import Client
from tests.meta.readme import DEFAULT_ADDRESS, blocks
from tests.meta.tree import text_of
from tests.support.server import Server, start_server
from tests.support.traced_server import VARIABLE

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

BLOCKS = list(blocks(text_of(Path("docs/tracing.md"))))
CALLERS = 16

Span = dict[str, Any]
"""The SDK's JSON form."""


class Traced:
    """A server that writes its spans to a file, together with this process's spans."""

    def __init__(self, server: Server, file: Path) -> None:
        self.server = server
        self._file = file
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def spans(self) -> list[Span]:
        """All spans; stops the server first, so that it has written its own."""
        self.server.stop()
        finished: tuple[ReadableSpan, ...] = self._exporter.get_finished_spans()
        own = [json.loads(span.to_json()) | {"scope": _scope(span)} for span in finished]
        lines = self._file.read_text().splitlines()
        return own + [{"scope": "sessions_server", **json.loads(line)} for line in lines]


def _scope(span: ReadableSpan) -> str:
    return span.instrumentation_scope.name if span.instrumentation_scope is not None else ""


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    file = tmp_path / "spans"
    program = ["-m", "tests.support.traced_server", "serve"]
    with start_server(tmp_path, env={VARIABLE: str(file)}, program=program) as server:
        yield Traced(server, file)


def tree(spans: list[Span], parent: str | None, indent: str = "") -> list[str]:
    """The names of spans, each below its parent."""
    lines = []
    for span in spans:
        if span["parent_id"] == parent:
            lines.append(f"{indent}{span['scope']}: {span['name']}")
            deeper = "└── " if not indent else "    " + indent
            lines += tree(spans, span["context"]["span_id"], deeper)
    return lines


def test_a_call_is_one_trace_from_the_program_to_the_database(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "get_tracer", traced.provider.get_tracer)
    [program] = [block.text for block in BLOCKS if block.word == "python"]
    names: dict[str, Any] = {}
    exec(program.replace(DEFAULT_ADDRESS, traced.server.address), names)
    names["client"].close()
    spans = traced.spans()
    [root] = [span for span in spans if span["name"] == "answer the customer"]
    same = [span for span in spans if span["context"]["trace_id"] == root["context"]["trace_id"]]
    [shown] = [block.text for block in BLOCKS if block.word == "text"]
    assert "\n".join(tree(same, None)) == shown.rstrip()
    [call] = [span for span in same if span["name"].endswith("/AddMessage")]
    assert call["kind"] == "SpanKind.SERVER"
    assert call["attributes"]["rpc.response.status_code"] == "OK"
    assert call["attributes"]["gen_ai.conversation.id"] == names["session"].id
    [transaction] = [span for span in same if span["name"] == "sqlite transaction"]
    assert transaction["attributes"] == {"db.system.name": "sqlite", "db.operation.batch.size": 1}
    assert "order" not in json.dumps(spans)


def test_calls_that_share_a_transaction_are_linked(traced: Traced) -> None:
    tracer = traced.provider.get_tracer("many")

    def carried() -> dict[str, str]:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier

    with Client(traced.server.address, metadata=carried) as client, ThreadPoolExecutor(CALLERS) as callers:
        session = client.sessions.create(user_id="u1")

        def add(number: int) -> None:
            with tracer.start_as_current_span("add"):
                client.sessions.add_message(session.id, role="user", content=f"text {number}")

        for _ in range(4):
            list(callers.map(add, range(CALLERS)))
    spans = traced.spans()
    calls = {span["context"]["span_id"]: span for span in spans if span["name"].endswith("/AddMessage")}
    assert len(calls) == 4 * CALLERS
    transactions = [span for span in spans if span["name"] == "sqlite transaction"]
    seen = [
        span_id
        for span in transactions
        for span_id in (span["parent_id"], *(link["context"]["span_id"] for link in span["links"]))
        if span_id in calls
    ]
    assert sorted(seen) == sorted(calls), "each call is in one transaction, as its parent or by a link"
    assert any(span["links"] for span in transactions)


def test_without_a_provider_the_server_makes_no_spans(tmp_path: Path) -> None:
    with start_server(tmp_path) as server, Client(server.address) as client:
        assert client.sessions.create(user_id="u1").state == "created"
    assert server.log == ""
