"""Handlers on a real port of this process, with methods written by a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from sessions_proto.v1 import commits_pb2, sessions_pb2 as pb, sessions_pb2_grpc
from sessions_server.domain.errors import PermissionDenied, Unauthenticated
from sessions_server.domain.ports import Access, Caller
from sessions_server.rpc.calls import CallLimits, Calls
from sessions_server.rpc.grpc import GrpcHandlers, UnknownMethods
from sessions_server.rpc.prometheus import PrometheusMetrics
from sessions_server.rpc.quotas import Bounds
from sessions_server.rpc.streams import StreamBounds
from tests.support.clock import HandClock

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from sessions_server.domain.models import Micros
    from sessions_server.rpc.tracing import Tracing

STREAM_BOUNDS: Final = StreamBounds(subscriptions=Bounds(1_000, 1_000), transfers=Bounds(1_000, 1_000))
CALL_LIMITS: Final = CallLimits(
    STREAM_BOUNDS, bytes_in_flight=Bounds(2**27, 2**27), import_bytes=2**30, idle_seconds=60
)
"""More than any test needs, unless it replaces a limit."""

READER, WRITER = "reader", "writer"
SERVICE = pb.DESCRIPTOR.services_by_name["SessionService"]
SERVICES = (SERVICE, commits_pb2.DESCRIPTOR.services_by_name["CommitService"])


class Doorkeeper:
    """Knows two callers by their first names, until they are removed."""

    def __init__(self) -> None:
        self.known = {READER: Access.READ, WRITER: Access.WRITE}

    def authenticate(
        self, authorization: Sequence[bytes | str], *, now: Micros, needed: Access = Access.READ
    ) -> Caller:
        access = self.known.get(str(authorization[0])) if len(authorization) == 1 else None
        if access is None:
            raise Unauthenticated("Who are you?")
        if needed is Access.WRITE and access is Access.READ:
            raise PermissionDenied("You may only read.")
        return Caller("acme", access, str(authorization[0]))


class Methods:
    """A servicer whose methods return nothing, except those given by a test."""

    def __init__(
        self, service: ServiceDescriptor = SERVICE, **methods: Callable[..., Awaitable[Any]]
    ) -> None:
        self.SERVICE = service
        for method in service.methods:
            setattr(self, method.name, methods.get(method.name, self._nothing(method)))

    @staticmethod
    def _nothing(method: MethodDescriptor) -> Callable[..., Awaitable[Any]]:
        async def answer(*_: object) -> Any:
            return GetMessageClass(method.output_type)()

        return answer


@dataclass
class Serving:
    channel: grpc.aio.Channel
    stub: sessions_pb2_grpc.SessionServiceAsyncStub
    calls: Calls
    metrics: PrometheusMetrics = field(default_factory=PrometheusMetrics)
    doorkeeper: Doorkeeper = field(default_factory=Doorkeeper)

    async def call(self, method: str, raw: bytes = b"", *, who: str = WRITER) -> bytes:
        """A unary call of bytes."""
        call: Any = self.channel.unary_unary(f"/{SERVICE.full_name}/{method}")
        return bytes(await call(raw, metadata=authorization(who)))

    def count(self, method: str, code: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "sessions_rpc_handled_total", {"method": method, "code": code}
        )


def authorization(*values: str) -> tuple[tuple[str, str], ...]:
    return tuple(("authorization", value) for value in values)


def make_calls(
    doorkeeper: Doorkeeper,
    metrics: PrometheusMetrics,
    *,
    limits: CallLimits = CALL_LIMITS,
    tracing: Tracing | None = None,
    **methods: Callable[..., Awaitable[Any]],
) -> Calls:
    return Calls(
        [Methods(service, **methods) for service in SERVICES],
        authenticator=doorkeeper,
        clock=HandClock(),
        metrics=metrics,
        limits=limits,
        tracing=tracing,
    )


@asynccontextmanager
async def serving(
    *,
    limits: CallLimits = CALL_LIMITS,
    tracing: Tracing | None = None,
    **methods: Callable[..., Awaitable[Any]],
) -> AsyncIterator[Serving]:
    doorkeeper, metrics = Doorkeeper(), PrometheusMetrics()
    calls = make_calls(doorkeeper, metrics, limits=limits, tracing=tracing, **methods)
    options = (("grpc.max_receive_message_length", 8 * 1024 * 1024), ("grpc.so_reuseport", 0))
    server = grpc.aio.server(handlers=[GrpcHandlers(calls), UnknownMethods(calls)], options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = sessions_pb2_grpc.SessionServiceStub(channel)
        yield Serving(channel, stub, calls, metrics, doorkeeper)
    await server.stop(None)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    return str(info_of(error).reason)


def info_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    # As a list, since newer grpcio metadata is a mapping that dict() accepts only in later releases.
    details = dict([*(error.trailing_metadata() or ())]).get("grpc-status-details-bin", b"")
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(details).details:
        detail.Unpack(info)
    return info
