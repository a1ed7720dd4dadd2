"""Every method over Connect, gRPC-Web and gRPC: `connectrpc` handles the protocols, `rpc.calls` everything else.

connectrpc only carries bytes. A call is admitted before its body is read, so that an unauthenticated caller cannot send
one. Errors that connectrpc raises itself get the same reason as over gRPC.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, aclosing, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf.message_factory import GetMessageClass

from sessions_server.domain.errors import MalformedRequest
from sessions_server.domain.ports import Access
from sessions_server.http import protojson
from sessions_server.http.errors import connect_error, refusing
from sessions_server.http.heads import content_type
from sessions_server.http.protojson import Json
from sessions_server.rpc.calls import REQUEST_BYTES, Call, Calls, Method, Refused, Transport, Write, too_large

if TYPE_CHECKING:
    from connectrpc.request import RequestContext
    from google.protobuf.message import Message

IN_FLIGHT: Final = 8
"""How many responses may be queued between a stream and its connection."""


class CallerGone(Exception):
    """The connection closed before the call ended."""


HTTP: Final = Transport("connect_rpc", lost=(CallerGone,))

_call: ContextVar[Call] = ContextVar("call")
"""The call of the current request."""


class ConnectApplication(ConnectASGIApplication[Calls]):
    def __init__(self, calls: Calls) -> None:
        super().__init__(
            service=calls,
            endpoints=_endpoints,
            interceptors=[_Admission(calls)],
            read_max_bytes=REQUEST_BYTES,
            codecs=[_Codec("proto", bytes), _Codec("json", Json)],
        )

    @property
    def path(self) -> str:
        return ""


class _Codec:
    """Passes bytes through unchanged, tagged with their format."""

    def __init__(self, name: str, mark: type[bytes]) -> None:
        self._name = name
        self._mark = mark

    def name(self) -> str:
        return self._name

    def encode(self, message: bytes) -> bytes:
        return message

    def decode(self, data: bytes | bytearray, message_class: object) -> bytes:
        return self._mark(data)


class _Admission:
    """Admits a call by its headers, before its body is read, and adds the reason to connectrpc's own errors."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def on_start(self, context: RequestContext[Any, Any]) -> tuple[Call, ExitStack]:
        method = self._calls.methods[f"/{context.method.service_name}/{context.method.name}"]
        headers = tuple(context.request_headers.allitems())
        call = self._calls.begin(method, headers, HTTP)
        held = ExitStack()
        try:
            self._calls.admit(call)
            if not method.descriptor.client_streaming:
                with refusing(self._calls, call):
                    held.enter_context(self._calls.hold(call, _content_length(context)))
        except Refused as refused:
            raise connect_error(refused) from None
        _call.set(call)
        return call, held

    async def on_end(
        self, token: tuple[Call, ExitStack], context: RequestContext[Any, Any], error: Exception | None, /
    ) -> None:
        call, held = token
        held.close()
        if error is None or call.finished:
            return
        try:
            self._calls.refuse(call, explained(error))
        except Refused as refused:
            raise connect_error(refused) from None
        except asyncio.CancelledError:
            return


def explained(error: Exception) -> Exception:
    """What the caller did wrong, where connectrpc could not read the request."""
    if not isinstance(error, ConnectError):
        return error
    if error.code in (Code.CANCELED, Code.DEADLINE_EXCEEDED):
        return CallerGone()
    if error.code is Code.RESOURCE_EXHAUSTED:
        return too_large()
    return MalformedRequest(
        "The body cannot be read: check its framing, its compression (gzip or none), and that there is one message "
        "where the method takes one."
    )


def _content_length(context: RequestContext[Any, Any]) -> int:
    """The declared length of the body; it counts as in flight before the body is read."""
    length = context.request_headers.get("content-length", "")
    if context.http_method == "GET":
        return 0
    return int(length) if length.isascii() and length.isdigit() else 0


def _endpoints(calls: Calls) -> Mapping[str, Any]:
    return {path: _endpoint(calls, method) for path, method in calls.methods.items()}


def _endpoint(calls: Calls, method: Method) -> Any:
    streams = (method.descriptor.client_streaming, method.descriptor.server_streaming)
    if streams == (False, False):
        return Endpoint.unary(_info(method, StreamType.UNARY), _unary(calls, method))
    if streams == (True, False):
        return Endpoint.client_stream(_info(method, StreamType.CLIENT_STREAM), _client_stream(calls, method))
    if streams == (False, True):
        return Endpoint.server_stream(_info(method, StreamType.SERVER_STREAM), _server_stream(calls, method))
    return Endpoint.bidi_stream(_info(method, StreamType.BIDI_STREAM), _bidi_stream(calls, method))


def _info(method: Method, kind: StreamType) -> MethodInfo[Any, Any]:
    reads = method.needed is Access.READ and method.unary
    return MethodInfo(
        name=method.name,
        service_name=method.descriptor.containing_service.full_name,
        input=bytes,
        output=bytes,
        idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS if reads else IdempotencyLevel.UNKNOWN,
        stream_type=kind,
    )


def _unary(calls: Calls, method: Method) -> Callable[[bytes, object], Awaitable[bytes]]:
    request_type, response_type = _message_types(method)

    async def run(request: bytes, _: object) -> bytes:
        call = _call.get()
        try:
            with refusing(calls, call):
                incoming = await protojson.read(request, request_type)
            return await protojson.write(await calls.run(call, incoming), response_type, request)
        except Refused as refused:
            raise connect_error(refused) from None

    return run


def _client_stream(calls: Calls, method: Method) -> Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]:
    request_type, response_type = _message_types(method)

    async def run(requests: AsyncIterator[bytes], context: RequestContext[Any, Any]) -> bytes:
        try:
            response = await calls.run(_call.get(), _read_all(requests, request_type))
        except Refused as refused:
            raise connect_error(refused) from None
        return await protojson.write(response, response_type, _format_of(context))

    return run


def _server_stream(calls: Calls, method: Method) -> Callable[[bytes, Any], AsyncIterator[bytes]]:
    request_type, response_type = _message_types(method)

    async def run(request: bytes, _: object) -> AsyncIterator[bytes]:
        call = _call.get()
        try:
            with refusing(calls, call):
                incoming = await protojson.read(request, request_type)
            async with aclosing(responses(calls, call, incoming)) as received:
                async for response in received:
                    yield await protojson.write(response, response_type, request)
        except Refused as refused:
            raise connect_error(refused) from None

    return run


def _bidi_stream(calls: Calls, method: Method) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
    request_type, response_type = _message_types(method)

    async def run(requests: AsyncIterator[bytes], context: RequestContext[Any, Any]) -> AsyncIterator[bytes]:
        like = _format_of(context)
        try:
            async with aclosing(responses(calls, _call.get(), _read_all(requests, request_type))) as received:
                async for response in received:
                    yield await protojson.write(response, response_type, like)
        except Refused as refused:
            raise connect_error(refused) from None

    return run


async def responses(
    calls: Calls, call: Call, incoming: bytes | AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """Yields the responses of a streaming method. Raises Refused. Closing the iterator early cancels the method."""
    waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
    room = asyncio.Semaphore(IN_FLIGHT)

    async def write(response: bytes) -> None:
        await room.acquire()
        waiting.put_nowait(response)

    running = asyncio.create_task(_run(calls, call, incoming, write))
    running.add_done_callback(lambda _: waiting.put_nowait(None))
    try:
        while (response := await waiting.get()) is not None:
            yield response
            room.release()
        await running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError, Refused):
            await running


async def _run(calls: Calls, call: Call, incoming: bytes | AsyncIterator[bytes], write: Write) -> None:
    await calls.run(call, incoming, write)


async def _read_all(requests: AsyncIterator[bytes], kind: type[Message]) -> AsyncIterator[bytes]:
    try:
        async for request in requests:
            yield await protojson.read(request, kind)
    except ConnectError as error:
        raise explained(error) from None


def _format_of(context: RequestContext[Any, Any]) -> bytes:
    return Json() if content_type(context.request_headers).endswith("json") else b""


def _message_types(method: Method) -> tuple[type[Message], type[Message]]:
    return GetMessageClass(method.descriptor.input_type), GetMessageClass(method.descriptor.output_type)
