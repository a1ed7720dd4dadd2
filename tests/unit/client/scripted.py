"""A scripted gRPC server, to show the client a service in trouble."""

from __future__ import annotations

import queue
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.ports import HOST, free_port

SERVICE = pb.DESCRIPTOR.services_by_name["SessionService"]


@dataclass(frozen=True)
class Failure:
    """An error as the service sends it; without a reason, as a proxy would."""

    code: grpc.StatusCode
    message: str = "It failed."
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[tuple[str, str], ...] = ()
    retry_after: float | None = None

    def abort(self, context: grpc.ServicerContext) -> None:
        details: list[Any] = []
        if self.reason:
            details.append(
                error_details_pb2.ErrorInfo(reason=self.reason, domain="sessions.v1", metadata=self.metadata)
            )
        if self.violations:
            violation = error_details_pb2.BadRequest.FieldViolation
            found = [violation(field=name, description=text) for name, text in self.violations]
            details.append(error_details_pb2.BadRequest(field_violations=found))
        if self.retry_after is not None:
            delay = duration_pb2.Duration()
            delay.FromTimedelta(timedelta(seconds=self.retry_after))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in details:
            status.details.add().Pack(detail)
        if details:
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(self.code, self.message)


LOST = Failure(grpc.StatusCode.UNAVAILABLE)
"""A broken connection."""


@dataclass(frozen=True)
class Call:
    """A received call."""

    method: str
    request: Any
    metadata: dict[str, str | bytes]
    time_remaining: float | None


Step = Message | Failure | Callable[[Any, grpc.ServicerContext], Any]


class ScriptedServer:
    """Answers each method with its next step, and repeats the last one."""

    def __init__(self, *, credentials: grpc.ServerCredentials | None = None) -> None:
        self.calls: list[Call] = []
        self._credentials = credentials
        self._steps: dict[str, deque[Step]] = defaultdict(deque)
        self._port = free_port()
        self.start()

    @property
    def address(self) -> str:
        return f"{HOST}:{self._port}"

    def on(self, method: str, *steps: Step) -> None:
        self._steps[method].extend(steps)

    def requests(self, method: str) -> list[Any]:
        return [call.request for call in self.calls if call.method == method]

    def positions(self) -> list[int | None]:
        """Where each subscription was asked to begin; None for the next event."""
        requests = self.requests("Subscribe")
        return [each.after_sequence if each.HasField("after_sequence") else None for each in requests]

    def start(self) -> None:
        """Listens; after a restart on the same port."""
        self._pool = ThreadPoolExecutor(16)
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        handlers = {method.name: self._handler(method) for method in SERVICE.methods}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),)
        )
        if self._credentials is None:
            self._server.add_insecure_port(self.address)
        else:
            self._server.add_secure_port(self.address, self._credentials)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()
        self._pool.shutdown()

    def _handler(self, method: Any) -> grpc.RpcMethodHandler[Any, Any]:
        request, response = (
            getattr(pb, method.input_type.name).FromString,
            lambda message: message.SerializeToString(),
        )
        unary, stream = self._unary(method.name), self._stream(method.name)
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(unary, request, response)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, request, response)
        return grpc.unary_unary_rpc_method_handler(unary, request, response)

    def _next_step(self, method: str, request: Any, context: Any) -> Step:
        request = request if isinstance(request, Message) else list(request)
        metadata = {one.key: one.value for one in context.invocation_metadata()}
        self.calls.append(Call(method, request, metadata, context.time_remaining()))
        steps = self._steps[method]
        return steps.popleft() if len(steps) > 1 else steps[0]

    def _unary(self, method: str) -> Callable[[Any, grpc.ServicerContext], Any]:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            return _perform(self._next_step(method, request, context), request, context)

        return handle

    def _stream(self, method: str) -> Callable[[Any, grpc.ServicerContext], Iterator[Any]]:
        def handle(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            yield from _perform(self._next_step(method, request, context), request, context)

        return handle


def _perform(step: Step, request: Any, context: grpc.ServicerContext) -> Any:
    if isinstance(step, Failure):
        step.abort(context)
    return step(request, context) if callable(step) else step


class Stream:
    """A stream that a test feeds while the client reads it. Can be a step only once."""

    def __init__(self, *responses: Message) -> None:
        self._items: queue.SimpleQueue[Message | Failure | None] = queue.SimpleQueue()
        self.send(*responses)

    def send(self, *responses: Message) -> None:
        for response in responses:
            self._items.put(response)

    def fail(self, failure: Failure) -> None:
        self._items.put(failure)

    def end(self) -> None:
        self._items.put(None)

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        context.add_callback(self.end)
        while (item := self._items.get()) is not None:
            if isinstance(item, Failure):
                item.abort(context)
            else:
                yield item


def finished(*responses: pb.SubscribeResponse, failure: Failure | None = None) -> Stream:
    """A stream that sends these responses and ends, with an error or successfully."""
    stream = Stream(*responses)
    if failure is None:
        stream.end()
    else:
        stream.fail(failure)
    return stream


def checkpoint(sequence: int) -> pb.SubscribeResponse:
    return pb.SubscribeResponse(checkpoint=pb.Checkpoint(sequence=sequence))


def message_event(sequence: int, content: str = "") -> pb.SubscribeResponse:
    message = pb.Message(
        id=f"m{sequence}", sequence=sequence, role="user", content=content or f"text {sequence}"
    )
    event = pb.Event(session_id="s", sequence=sequence, type=pb.EVENT_TYPE_MESSAGE, message=message)
    return pb.SubscribeResponse(event=event)


def deleted_event(sequence: int) -> pb.SubscribeResponse:
    event = pb.Event(session_id="s", sequence=sequence, type=pb.EVENT_TYPE_DELETED, deleted=pb.DeletedEvent())
    return pb.SubscribeResponse(event=event)
