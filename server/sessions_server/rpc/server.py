"""The gRPC server: its port, options and health. It restarts after a failure and stops in order.

grpc.aio's accept loop can end while the server runs. It is watched, and another server takes over the port within a
second. A call at that moment is CANCELLED by gRPC, without ErrorInfo; clients treat that like a broken connection and
retry.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING, Any, Final

import grpc

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.calls import Calls
from sessions_server.rpc.grpc import GrpcHandlers, UnknownMethods
from sessions_server.rpc.health import HEALTH, Health, health_handler
from sessions_server.rpc.methods import REQUEST_BYTES
from sessions_server.rpc.reflection import Reflection
from sessions_server.rpc.sockets import UNIX, private_socket

if TYPE_CHECKING:
    from sessions_server.rpc.metrics import Metrics
    from sessions_server.rpc.tls import Tls

logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 0.2
"""How often to check that the server still accepts calls; usually a failure is noticed at once."""

REBIND_SECONDS: Final = (0.001, 0.25)
"""The first and longest pauses between attempts to bind the port of a failed server."""

LULL_SECONDS: Final = 0.1
"""The server closes its connections once no call has arrived for this long."""

LONGEST_REFUSING_SECONDS: Final = 1.0
"""The longest wait for a lull."""

BROKEN_GRACE_SECONDS: Final = 5.0
"""How long the calls of a failed server may take to finish while its replacement serves."""

OPTIONS: Final = (
    # Slightly more than the largest request, so that a request just over the limit gets our own error.
    ("grpc.max_receive_message_length", REQUEST_BYTES + 64 * 1024),
    # Detects peers that vanished, and ends their streams.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # How long a ping may really take: keepalive's own limit does not end a connection before this one.
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients that reconnect resolve the name again, and so find new replicas. Subscriptions end by themselves before
    # that, and transfers have most of a day.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 20 * 3_600_000),
    # Clients may ping at the same rate.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Calls wait longer for an event loop than for threads. Above 1,000 waiting calls gRPC would cancel some at random,
    # even if a single peer fills the queue.
    ("grpc.server.max_pending_requests", 50_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    # gRPC must not cancel calls that have waited for 30 seconds: callers set their own deadlines.
    ("grpc.server_max_unrequested_time_in_server", 3600),
)


class RpcServer:
    def __init__(
        self, bind: str, *, calls: Calls, metrics: Metrics, tls: Tls | None = None, shared: bool = False
    ) -> None:
        self.address = bind
        """The address; after the start it has the port that was actually bound."""
        self._tls = tls
        # If ports were shared, a second server on the same port would silently get half of the connections.
        self._options = (*OPTIONS, ("grpc.so_reuseport", int(shared)))
        self._calls = calls
        services = [service.full_name for service in calls.services]
        self._health = Health(*services, metrics=metrics)
        self._handlers = [
            GrpcHandlers(calls),
            health_handler(self._health),
            Reflection(calls, (*services, HEALTH)),
            UnknownMethods(calls),
        ]
        self._server: grpc.aio.Server | None = None
        self._started: set[asyncio.Task[Any]] = set()
        self._retiring: set[grpc.aio.Server] = set()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Binds and serves. Raises SetupError if it cannot listen there."""
        await self._serve()
        self._health.set_serving(True)
        self._watching = asyncio.create_task(self._watch())

    def set_serving(self, serving: bool, /) -> None:
        """Sets the reported health; does nothing once the server is stopping."""
        self._health.set_serving(serving)

    async def stop(self, grace_seconds: float) -> None:
        """Reports NOT_SERVING, refuses new calls, ends the streams, gives calls this many seconds, then cancels the
        rest."""
        self._health.stop()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._calls.close()
        await self._wait_for_a_lull(min(grace_seconds, LONGEST_REFUSING_SECONDS))
        servers = [*self._retiring] if self._server is None else [*self._retiring, self._server]
        await asyncio.gather(*(server.stop(grace_seconds) for server in servers))

    async def _wait_for_a_lull(self, longest_seconds: float) -> None:
        """Waits until hardly any call is under way. Calls that gRPC has received but not yet dispatched when it stops
        end as CANCELLED, which a caller cannot tell from its own cancellation."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_seconds):
                arrived = -1
                while arrived != self._calls.arrived:
                    arrived = self._calls.arrived
                    await asyncio.sleep(LULL_SECONDS)

    async def _serve(self) -> None:
        server = grpc.aio.server(handlers=self._handlers, options=self._options)
        port = self._bind(server)
        others = asyncio.all_tasks()
        self._server = server
        await server.start()
        self._started = asyncio.all_tasks() - others
        if not self.address.startswith(UNIX):
            self.address = f"{self.address.rpartition(':')[0]}:{port}"

    def _bind(self, server: grpc.aio.Server) -> int:
        add = server.add_insecure_port
        if self._tls is not None:
            add = functools.partial(server.add_secure_port, server_credentials=self._tls.credentials())
        try:
            with private_socket(self.address):
                return add(self.address)
        except RuntimeError as error:
            raise SetupError(
                f"The server cannot listen on {self.address}; give a free address and port."
            ) from error

    async def _watch(self) -> None:
        """Replaces the server whenever it fails, until cancelled.

        `wait_for_termination` does not help: a failed server first waits for its open calls, possibly forever.
        """
        async with asyncio.TaskGroup() as retiring:
            while (server := self._server) is not None:
                await self._broken(server)
                logger.error("the RPC server broke; another is started on %s", self.address)
                self._server = None
                self._calls.streams.end_all()
                retiring.create_task(self._retire(server))
                await self._serve_again()

    async def _serve_again(self) -> None:
        pause, longest = REBIND_SECONDS
        while True:
            try:
                return await self._serve()
            except SetupError:
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)

    async def _broken(self, server: grpc.aio.Server) -> None:
        """Returns when the server no longer accepts calls."""
        while _is_running(server):
            # One of these is the task that accepts calls. It ends when the server fails, which is noticed at once.
            self._started = {task for task in self._started if not task.done()}
            if self._started:
                await asyncio.wait(self._started, timeout=WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(WATCH_SECONDS)

    async def _retire(self, broken: grpc.aio.Server) -> None:
        self._retiring.add(broken)
        await broken.stop(BROKEN_GRACE_SECONDS)
        self._retiring.discard(broken)


def _is_running(server: grpc.aio.Server) -> bool:
    """Whether it accepts calls. No public method reports that before the last open call has ended."""
    return bool(server._server.is_running())  # type: ignore[attr-defined]  # no public name
