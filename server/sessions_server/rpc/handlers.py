"""The one place that every call passes: who calls, whether they may, what they ask, how it ended.

Each method is wrapped once, when it is registered. Whatever a method raises leaves this module as the one status of the
call, and a call is cancelled only if its caller cancelled it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol, TypeAlias

import grpc
import structlog
import uuid_utils
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import DomainError, LimitExceeded, ShuttingDown, StreamAged
from sessions_server.domain.ports import Access, Caller, Clock
from sessions_server.rpc.errors import (
    CANCELLED,
    FAULTS,
    OK,
    Internal,
    Unimplemented,
    as_domain_error,
    malformed,
    refusal,
)

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

    from sessions_server.domain.models import Micros
    from sessions_server.rpc.metrics import Metrics
    from sessions_server.rpc.streams import Streams
    from sessions_server.rpc.tracing import Tracing

SERVICE: Final = pb.DESCRIPTOR.services_by_name["SessionService"]
REQUEST_BYTES: Final = 4 * 1024 * 1024

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Write: TypeAlias = Callable[[bytes], Awaitable[None]]
Parse: TypeAlias = Callable[[bytes], Message]

logger = structlog.stdlib.get_logger(__name__)
_levels = logging.getLogger(__name__)


class Authenticator(Protocol):
    def authenticate(
        self, authorization: Sequence[bytes | str], *, now: Micros, needed: Access = Access.READ
    ) -> Caller:
        """Who sent these `authorization` headers. Raises Unauthenticated, then PermissionDenied."""


RESUMABLE: Final = "Subscribe"
"""The method whose streams go on elsewhere, behind a position, when they are ended."""


class Method(NamedTuple):
    name: str
    path: str
    needed: Access
    parse: Parse
    unary: bool


@dataclass(slots=True)
class _Call:
    """What is known of one call so far."""

    method: Method
    started: float
    caller: Caller | None = None
    request: Message | None = None
    made_id: str = ""

    @property
    def request_id(self) -> str:
        """The request's own id, or one that is made for the log."""
        given = str(getattr(self.request, "request_id", ""))
        if given and len(given) <= 128:
            return given
        self.made_id = self.made_id or str(uuid_utils.uuid7())
        return self.made_id


class Handlers(grpc.GenericRpcHandler):
    """The service's methods, found by path.

    They are not registered by name with the server: since grpcio 1.84 it waits, for every call, over one future for
    each registered method (https://github.com/grpc/grpc/issues/43461).
    """

    def __init__(
        self,
        servicer: object,
        *,
        authenticator: Authenticator,
        clock: Clock,
        metrics: Metrics,
        streams: Streams,
        tracing: Tracing | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._metrics = metrics
        self._streams = streams
        self._tracing = tracing
        self._stopping = False
        self.arrived = 0
        """How many calls came so far."""
        self._handlers = {
            _path(method): self._handler(method, getattr(servicer, method.name))
            for method in SERVICE.methods
            if hasattr(servicer, method.name)
        }

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._handlers.get(handler_call_details.method)

    def refuse_new(self) -> None:
        """From now on every new call ends with SHUTTING_DOWN; those that are open go on."""
        self._stopping = True

    def _handler(
        self, descriptor: MethodDescriptor, run: Callable[..., Awaitable[Any]]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Bytes come in and go out, so that what cannot be parsed is refused like anything else."""
        unary = not (descriptor.client_streaming or descriptor.server_streaming)
        parse = _parser(GetMessageClass(descriptor.input_type))
        method = Method(descriptor.name, _path(descriptor), needed_access(descriptor), parse, unary)
        handle: Callable[..., Awaitable[Any]]
        if descriptor.client_streaming:
            handle, register = self._client_stream(method, run), grpc.stream_unary_rpc_method_handler
        elif descriptor.server_streaming:
            handle, register = self._server_stream(method, run), grpc.unary_stream_rpc_method_handler
        else:
            handle, register = self._unary(method, run), grpc.unary_unary_rpc_method_handler
        return register(handle if self._tracing is None else self._tracing.traced(method.path, handle))

    def _unary(
        self, method: Method, run: Callable[[Message, Caller], Awaitable[Message]]
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def handle(raw: bytes, context: Context) -> bytes:
            call = _Call(method, time.perf_counter())
            try:
                caller = self._admit(call, _authorization(context))
                response = await run(self._read(call, raw), caller)
                encoded = response.SerializeToString()
            except (Exception, asyncio.CancelledError) as error:
                await self._refuse(call, context, error)
            self._finished(call, OK)
            return encoded

        return handle

    def _server_stream(
        self, method: Method, run: Callable[[Message, Caller, Write], Awaitable[None]]
    ) -> Callable[[bytes, Context], Awaitable[None]]:
        async def handle(raw: bytes, context: Context) -> None:
            call = _Call(method, time.perf_counter())
            try:
                authorization = _authorization(context)
                caller = self._admit(call, authorization)
                request = self._read(call, raw)
                with self._stream(method, authorization, caller):
                    await run(request, caller, _unbroken_at_first(context.write))
            except (Exception, asyncio.CancelledError) as error:
                await self._refuse(call, context, error)
            self._finished(call, OK)

        return handle

    def _client_stream(
        self, method: Method, run: Callable[[AsyncIterator[Message], Caller], Awaitable[Message]]
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
        async def handle(raws: AsyncIterator[bytes], context: Context) -> bytes:
            call = _Call(method, time.perf_counter())
            try:
                authorization = _authorization(context)
                caller = self._admit(call, authorization)
                with self._stream(method, authorization, caller):
                    response = await run(self._read_all(call, raws), caller)
                encoded = response.SerializeToString()
            except (Exception, asyncio.CancelledError) as error:
                await self._refuse(call, context, error)
            self._finished(call, OK)
            return encoded

        return handle

    def _admit(self, call: _Call, authorization: Sequence[bytes | str]) -> Caller:
        self.arrived += 1
        if self._stopping:
            raise ShuttingDown("The server is stopping; retry, and another one will answer.")
        caller = self._authenticator.authenticate(
            authorization, now=self._clock.now(), needed=call.method.needed
        )
        call.caller = caller
        return caller

    def _read(self, call: _Call, raw: bytes) -> Message:
        request = call.method.parse(raw)
        if call.request is None:
            call.request = request
            if self._tracing is not None:
                self._tracing.note(request)
        return request

    async def _read_all(self, call: _Call, raws: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for raw in raws:
            yield self._read(call, raw)

    @contextmanager
    def _stream(self, method: Method, authorization: Sequence[bytes | str], caller: Caller) -> Iterator[None]:
        def recheck() -> None:
            self._authenticator.authenticate(authorization, now=self._clock.now(), needed=method.needed)

        with self._streams.open(caller, recheck, can_resume=method.name == RESUMABLE):
            self._metrics.stream_opened(method.name)
            try:
                yield
            finally:
                self._metrics.stream_closed(method.name)

    async def _refuse(self, call: _Call, context: Context, error: BaseException) -> NoReturn:
        """Ends the call with the status that belongs to the error."""
        if _caller_is_gone(error):
            self._finished(call, CANCELLED)
            raise asyncio.CancelledError from error
        known = as_domain_error(error, request_id=call.request_id)
        code, message, trailers = refusal(known)
        self._finished(call, code.name, known, cause=error if isinstance(known, Internal) else None)
        try:
            await context.abort(code, message, trailers)
        except grpc.aio.InternalError as failure:  # the caller went away before it could be told
            raise asyncio.CancelledError from failure

    def _finished(
        self, call: _Call, code: str, error: DomainError | None = None, *, cause: BaseException | None = None
    ) -> None:
        """Counts the call, and writes its one line of log. Neither holds anything of its content."""
        seconds = time.perf_counter() - call.started
        method = call.method
        self._metrics.handled(method.name, code)
        if method.unary:
            self._metrics.took(method.name, seconds)
        level = _level(method, code, error)
        if _levels.isEnabledFor(level):
            logger.log(
                level,
                "call",
                method=method.name,
                code=code,
                duration_ms=round(seconds * 1000, 3),
                request_id=printable(call.request_id),
                tenant=call.caller.tenant if call.caller else "",
                exc_info=cause,
            )


class UnknownMethods(grpc.GenericRpcHandler):
    """Answers for every method that no other handler knows; stands last."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Of this kind because it needs no message from the caller; a refusal looks alike for all kinds.
        self._handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(self._refuse)

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        logger.info("unknown method", method=printable(handler_call_details.method))
        return self._handler

    async def _refuse(self, _: object, context: Context) -> None:
        code, message, trailers = refusal(Unimplemented())
        self._metrics.handled("", code.name)
        await context.abort(code, message, trailers)


def needed_access(method: MethodDescriptor) -> Access:
    """Whatever changes something takes a request id; what does not, only reads."""
    return Access.WRITE if "request_id" in method.input_type.fields_by_name else Access.READ


def printable(text: str) -> str:
    """A caller's text for a line of log: no line breaks or escape codes, and not much of it."""
    return text[:200].encode("unicode_escape").decode("ascii")


def _path(method: MethodDescriptor) -> str:
    return f"/{SERVICE.full_name}/{method.name}"


def _parser(message: type[Message]) -> Parse:
    read = message.FromString

    def parse(raw: bytes) -> Message:
        if len(raw) > REQUEST_BYTES:
            raise LimitExceeded("A request has at most 4 MiB; split it into several.", field="request")
        try:
            return read(raw)
        except DecodeError:
            raise malformed() from None

    return parse


def _authorization(context: Context) -> list[bytes | str]:
    return [value for key, value in context.invocation_metadata() or () if key == "authorization"]


def _unbroken_at_first(write: Write) -> Write:
    """Lets the first response go out before its stream can be ended from outside.

    gRPC notes only at the end of that write that the headers are sent; a status before it would bring them again, which
    fails, and then the call never ends.
    """
    is_first = True

    async def write_first(response: bytes) -> None:
        writing = asyncio.ensure_future(write(response))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.gather(writing, return_exceptions=True)
            raise

    def write_on(response: bytes) -> Awaitable[None]:
        nonlocal is_first
        if is_first:
            is_first = False
            return write_first(response)
        return write(response)  # as it is: every further hop would cost each event of each subscriber

    return write_on


def _caller_is_gone(error: BaseException) -> bool:
    """Whether the call itself was cancelled, or its connection is lost; not something that the call waited for."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, grpc.aio.BaseError)


def _level(method: Method, code: str, error: DomainError | None) -> int:
    """Faults of the server stand out; what callers do does not, nor the end that every stream has some day."""
    if isinstance(error, Internal):
        return logging.ERROR
    if code in FAULTS and not isinstance(error, (ShuttingDown, StreamAged)):
        return logging.WARNING
    return logging.DEBUG if code == OK and method.unary else logging.INFO
