"""Spans of calls, recorded by a test provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import SessionNotFound, Unavailable
from sessions_server.rpc.tracing import Tracing
from tests.unit.rpc.serving import serving

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


class Remembered(trace.NonRecordingSpan):
    def __init__(self, name: str, kind: SpanKind, parent: trace.SpanContext, attributes: Any) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self.name, self.kind, self.parent = name, kind, parent
        self.attributes: dict[str, object] = dict(attributes or {})
        self.failed = False

    def set_attribute(self, key: str, value: object) -> None:
        self.attributes[key] = value

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self.failed = isinstance(status, Status) and status.status_code is StatusCode.ERROR


class Memory(trace.TracerProvider, trace.Tracer):
    """A provider that is also its only tracer."""

    def __init__(self) -> None:
        self.spans: list[Remembered] = []

    def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
        return self

    def start_span(
        self, name: str, context: Any = None, kind: Any = None, *rest: Any, **options: Any
    ) -> trace.Span:
        parent = trace.get_current_span(context).get_span_context()
        span = Remembered(name, kind, parent, options.get("attributes"))
        self.spans.append(span)
        return span

    @contextmanager
    def start_as_current_span(  # type: ignore[override]  # without repeating each option
        self, name: str, *rest: Any, **options: Any
    ) -> Iterator[trace.Span]:
        span = self.start_span(name, *rest, **options)
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield span


@pytest.fixture
def memory() -> Memory:
    return Memory()


async def missing(*_: object) -> None:
    raise SessionNotFound


async def gone(*_: object) -> None:
    raise Unavailable("Later.")


async def test_a_call_has_a_span_that_continues_the_callers_trace(memory: Memory) -> None:
    async with serving(tracing=Tracing(memory)) as server:
        await server.stub.GetSession(
            pb.GetSessionRequest(session_id="s-1"),
            metadata=(("authorization", "reader"), ("traceparent", PARENT), ("some-bin", b"\xff")),
        )
    (span,) = memory.spans
    assert (span.name, span.kind) == ("sessions.v1.SessionService/GetSession", SpanKind.SERVER)
    assert trace.format_trace_id(span.parent.trace_id) == TRACE_ID
    assert span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": "sessions.v1.SessionService/GetSession",
        "rpc.response.status_code": "OK",
        "gen_ai.conversation.id": "s-1",
    }
    assert not span.failed


@pytest.mark.parametrize(
    ("method", "code", "failed"),
    [(missing, "NOT_FOUND", False), (gone, "UNAVAILABLE", True)],
    ids=["caller", "server"],
)
async def test_only_a_fault_of_the_server_makes_a_span_a_failure(
    memory: Memory, method: Any, code: str, failed: bool
) -> None:
    async with serving(tracing=Tracing(memory), GetSession=method) as server:
        with pytest.raises(grpc.aio.AioRpcError):
            await server.call("GetSession")
    (span,) = memory.spans
    assert (span.attributes["rpc.response.status_code"], span.failed) == (code, failed)


async def test_streams_have_spans_too(memory: Memory) -> None:
    async def end(*_: object) -> None:
        """Ends immediately."""

    async with serving(tracing=Tracing(memory), Subscribe=end) as server:
        call = server.stub.Subscribe(
            pb.SubscribeRequest(session_id="s-1"), metadata=(("authorization", "reader"),)
        )
        assert [response async for response in call] == []
    (span,) = memory.spans
    assert span.attributes["rpc.response.status_code"] == "OK"
    assert span.attributes["gen_ai.conversation.id"] == "s-1"


def test_without_a_provider_there_is_no_tracing_at_all() -> None:
    assert Tracing.configured() is None
