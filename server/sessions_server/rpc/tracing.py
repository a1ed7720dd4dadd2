"""Spans for calls, in OpenTelemetry's conventions for RPC. They cost nothing unless a tracer provider is configured."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode as Outcome

from sessions_server.rpc.errors import CANCELLED, FAULTS, OK

if TYPE_CHECKING:
    from google.protobuf.message import Message

_SILENT = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
"""Providers that record nothing."""


class Tracing:
    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = trace.get_tracer("sessions_server", tracer_provider=provider)

    @classmethod
    def configured(cls) -> Tracing | None:
        """Tracing by the process's provider; None when there is only the one that records nothing."""
        provider = trace.get_tracer_provider()
        return None if isinstance(provider, _SILENT) else cls(provider)

    def traced(self, path: str, handle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The handler inside a span that continues the caller's trace."""
        name = path.removeprefix("/")

        async def handle_in_span(request: Any, context: Any) -> Any:
            carrier = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
            with self._tracer.start_as_current_span(
                name,
                context=propagate.extract(carrier),
                kind=SpanKind.SERVER,
                attributes={"rpc.system.name": "grpc", "rpc.method": name},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    answer = await handle(request, context)
                except asyncio.CancelledError:
                    _set_code(span, CANCELLED)
                    raise
                except grpc.aio.AbortError:
                    _set_code(span, context.code().name)
                    raise
                _set_code(span, OK)
                return answer

        return handle_in_span

    def note(self, request: Message) -> None:
        """Names the conversation on the current span."""
        session_id = getattr(request, "session_id", "")
        if session_id:
            trace.get_current_span().set_attribute("gen_ai.conversation.id", session_id)


def _set_code(span: trace.Span, code: str) -> None:
    span.set_attribute("rpc.response.status_code", code)
    if code in FAULTS:
        span.set_attribute("error.type", code)
        span.set_status(Status(Outcome.ERROR))
