"""`grpc.health.v1.Health`: whether the server accepts calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from grpc_health.v1 import health_pb2, health_pb2_grpc

from sessions_server.rpc.errors import NOT_FOUND, RESOURCE_EXHAUSTED

if TYPE_CHECKING:
    import grpc

    from sessions_server.rpc.metrics import Metrics

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Response = health_pb2.HealthCheckResponse

HEALTH: Final = "grpc.health.v1.Health"

WATCHES: Final = 1_000
"""The maximum number of open watches, which need no credential."""


class Health(health_pb2_grpc.HealthServicer):
    """Reports whether the server, and each service by name, accepts calls.

    The watches of the published servicer stay open as long as the client wants, and would delay every shutdown. Here a
    watch ends once it has reported that the server is stopping.
    """

    def __init__(self, *services: str, metrics: Metrics) -> None:
        self._services = frozenset(("", *services))
        self._metrics = metrics
        self._watches = 0
        self._serving = False
        self._stopping = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool, /) -> None:
        """Does nothing once the server is stopping."""
        serving = serving and not self._stopping
        if serving != self._serving:
            self._serving = serving
            self._wake()
        self._metrics.serving(serving)

    def stop(self) -> None:
        """Reports NOT_SERVING from now on."""
        self._serving, self._stopping = False, True
        self._wake()
        self._metrics.serving(False)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: _Context) -> _Response:
        if request.service not in self._services:
            await context.abort(
                NOT_FOUND, "There is no such service here; ask for `sessions.v1.SessionService`, or for none."
            )
        return _Response(status=self._status(request.service))

    async def List(self, request: object, context: _Context) -> Any:
        statuses = {service: _Response(status=self._status(service)) for service in self._services}
        return health_pb2.HealthListResponse(statuses=statuses)  # type: ignore[attr-defined]  # missing in its stubs

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: _Context) -> None:
        if self._watches >= WATCHES:
            await context.abort(
                RESOURCE_EXHAUSTED, "Too many watches of health are open; ask with Check instead."
            )
        self._watches += 1
        try:
            with self._metrics.open_stream("Watch"):
                await self._send_changes(request, context)
        finally:
            self._watches -= 1

    async def _send_changes(self, request: health_pb2.HealthCheckRequest, context: _Context) -> None:
        sent = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != sent:
                await context.write(_Response(status=status))
                sent = status
            elif self._stopping:
                return
            else:
                await changed.wait()

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return _Response.SERVICE_UNKNOWN
        return _Response.SERVING if self._serving else _Response.NOT_SERVING

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def health_handler(health: Health) -> grpc.GenericRpcHandler:
    """The handler of the service. It is not registered by name, for the reason given in `GrpcHandlers`."""
    collector = _Collector()
    health_pb2_grpc.add_HealthServicer_to_server(health, cast("grpc.aio.Server", collector))
    return collector.handlers[0]


class _Collector:
    """Stands in for a server where generated code registers itself, and keeps only the generic handlers; see
    `GrpcHandlers`."""

    def __init__(self) -> None:
        self.handlers: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        self.handlers.extend(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, object]) -> None:
        """Ignores them."""
