"""gRPC as a driver of `rpc.calls`: bytes come in and go out, and a refusal becomes the call's status."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import grpc

from sessions_server.rpc.calls import Calls, Refused, Transport, Write
from sessions_server.rpc.errors import DETAILS_KEY, Refusal
from sessions_server.rpc.methods import Method

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

GRPC: Final = Transport("grpc", lost=(grpc.aio.BaseError,))


class GrpcHandlers(grpc.GenericRpcHandler):
    """The methods that are served, found by path.

    They are not registered by name with the server: since grpcio 1.84 it waits, for every call, over one future for
    each registered method (https://github.com/grpc/grpc/issues/43461).
    """

    def __init__(self, calls: Calls) -> None:
        self._handlers = {path: _handler(calls, method) for path, method in calls.methods.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        return self._handlers.get(handler_call_details.method)


class UnknownMethods(grpc.GenericRpcHandler):
    """Refuses every method that no other handler knows, so it comes last."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        refused = self._calls.unknown(handler_call_details.method)

        async def refuse(_: object, context: Context) -> None:
            await _abort(context, refused.refusal)

        # Of this kind because it needs no message from the caller; a refusal looks alike for all kinds.
        return grpc.stream_stream_rpc_method_handler(refuse)


def _handler(calls: Calls, method: Method) -> Handler:
    async def handle(incoming: Any, context: Context) -> Any:
        call = calls.begin(method, context.invocation_metadata() or (), GRPC)
        try:
            return await calls.run(call, incoming)
        except Refused as refused:
            await _abort(context, refused.refusal)

    async def handle_writing(incoming: Any, context: Context) -> None:
        call = calls.begin(method, context.invocation_metadata() or (), GRPC)
        try:
            await calls.run(call, incoming, _unbroken_at_first(context.write))
        except Refused as refused:
            await _abort(context, refused.refusal)

    handler: Callable[..., Awaitable[Any]] = handle_writing if method.descriptor.server_streaming else handle
    return _register(method.descriptor)(handler)


def _register(method: MethodDescriptor) -> Callable[..., Handler]:
    if method.client_streaming:
        if method.server_streaming:
            return grpc.stream_stream_rpc_method_handler
        return grpc.stream_unary_rpc_method_handler
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler
    return grpc.unary_unary_rpc_method_handler


async def _abort(context: Context, refusal: Refusal) -> NoReturn:
    try:
        await context.abort(refusal.code, refusal.message, ((DETAILS_KEY, refusal.status),))
    except grpc.aio.InternalError as failure:  # the caller went away before it could be told
        raise asyncio.CancelledError from failure


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
