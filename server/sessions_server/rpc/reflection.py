"""Server reflection, so that generic clients (grpcurl, ghz, buf curl) work without the protos."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2

from sessions_server.domain.errors import DomainError
from sessions_server.rpc.errors import DETAILS_KEY, refusal

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

    from sessions_server.rpc.calls import Calls

ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"
STABLE: Final = "grpc.reflection.v1.ServerReflection"
"""The same messages under another name. The Python package has only v1alpha:
https://github.com/grpc/grpc/issues/27957"""


class Reflection(grpc.GenericRpcHandler):
    """Both versions of the service. Their streams need what subscriptions need."""

    def __init__(self, calls: Calls, services: Iterable[str]) -> None:
        self._calls = calls
        self._servicer: Any = reflection.aio.ReflectionServicer((*services, ALPHA, STABLE), pool=_pool())
        handler = grpc.stream_stream_rpc_method_handler(
            self._reflect,
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        self._handlers = {f"/{service}/ServerReflectionInfo": handler for service in (ALPHA, STABLE)}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._handlers.get(handler_call_details.method)

    async def _reflect(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Any
    ) -> None:
        try:
            with self._calls.foreign_stream(context.invocation_metadata() or ()):
                async for response in self._servicer.ServerReflectionInfo(requests, context):
                    await context.write(response)
        except DomainError as error:
            refused = refusal(error)
            await context.abort(refused.code, refused.message, ((DETAILS_KEY, refused.status),))


class _Pool:
    """The process's descriptors. The pool itself does not find methods by symbol."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        try:
            file: FileDescriptor = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            file = self._pool.FindMethodByName(symbol).containing_service.file
        return file


def _pool() -> _Pool:
    """With the stable version's descriptor, derived from v1alpha's."""
    pool = descriptor_pool.Default()
    alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    stable = text_format.Parse(
        text_format.MessageToString(alpha).replace("v1alpha", "v1"), descriptor_pb2.FileDescriptorProto()
    )
    pool.Add(stable)
    return _Pool(pool)
