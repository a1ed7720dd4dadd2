"""Spans for calls, following OpenTelemetry's conventions for RPC. They cost nothing unless a tracer provider is
configured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode as Outcome

from sessions_server.rpc.errors import CANCELLED, FAULTS

if TYPE_CHECKING:
    from google.protobuf.message import Message

_SILENT = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
"""Providers that record nothing."""


class CallSpan:
    """The span of one call."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def ended(self, code: str) -> None:
        """Records how the call ended; only a fault of the server makes the span an error."""
        self._span.set_attribute("rpc.response.status_code", code)
        if code in FAULTS:
            self._span.set_attribute("error.type", code)
            self._span.set_status(Status(Outcome.ERROR))


class Tracing:
    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = trace.get_tracer("sessions_server", tracer_provider=provider)

    @classmethod
    def configured(cls) -> Tracing | None:
        """Tracing through the process's provider; None if that one records nothing."""
        provider = trace.get_tracer_provider()
        return None if isinstance(provider, _SILENT) else cls(provider)

    @contextmanager
    def span(self, path: str, headers: Iterable[tuple[str, str | bytes]], system: str) -> Iterator[CallSpan]:
        """A span of the call that continues the caller's trace."""
        name = path.removeprefix("/")
        carrier = {key: value for key, value in headers if isinstance(value, str)}
        with self._tracer.start_as_current_span(
            name,
            context=propagate.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"rpc.system.name": system, "rpc.method": name},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            call = CallSpan(span)
            try:
                yield call
            except asyncio.CancelledError:
                call.ended(CANCELLED)
                raise

    def current(self) -> trace.SpanContext | None:
        """The span of the current call; None outside a call or if it is not recorded."""
        context = trace.get_current_span().get_span_context()
        return context if context.is_valid and context.trace_flags.sampled else None

    @contextmanager
    def transaction(self, origins: Iterable[object], database: str) -> Iterator[None]:
        """A span of one write transaction. It belongs to the trace of the first recorded call, and links to the others
        that share the transaction."""
        calls = [origin for origin in origins if isinstance(origin, trace.SpanContext)]
        if not calls:
            yield
            return
        with self._tracer.start_as_current_span(
            f"{database} transaction",
            context=trace.set_span_in_context(trace.NonRecordingSpan(calls[0])),
            kind=SpanKind.CLIENT,
            links=[trace.Link(call) for call in calls[1:]],
            attributes={"db.system.name": database, "db.operation.batch.size": len(calls)},
        ):
            yield

    def note(self, request: Message) -> None:
        """Records the conversation id on the current span."""
        session_id = getattr(request, "session_id", "")
        if session_id:
            trace.get_current_span().set_attribute("gen_ai.conversation.id", session_id)
