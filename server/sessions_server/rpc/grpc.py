"""gRPC as a driver of `rpc.calls`: passes bytes in and out, and turns a refusal into the call's status."""

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
    """The served methods, found by path.

    They are not registered by name with the server: since grpcio 1.84, it waits in every call for one future per
    registered method (https://github.com/grpc/grpc/issues/43461).
    """

    def __init__(self, calls: Calls) -> None:
        self._handlers = {path: _handler(calls, method) for path, method in calls.methods.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        return self._handlers.get(handler_call_details.method)


class UnknownMethods(grpc.GenericRpcHandler):
    """Refuses every method that no other handler serves. It must be registered last."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        refused = self._calls.unknown(handler_call_details.method)

        async def refuse(_: object, context: Context) -> None:
            await _abort(context, refused.refusal)

        # The kind that needs no message from the caller; the refusal looks the same for all kinds.
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
    except grpc.aio.InternalError as failure:  # the caller disconnected before the status was sent
        raise asyncio.CancelledError from failure


def _unbroken_at_first(write: Write) -> Write:
    """Lets the first response go out before its stream can be ended from outside.

    gRPC records only at the end of that write that the headers were sent. A status before then would send them again,
    which fails, and the call would never end.
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
        return write(response)  # not wrapped: another hop would cost every event of every subscriber

    return write_on
