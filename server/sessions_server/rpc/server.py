"""The gRPC server: its port, its options, its health. It starts, is rebuilt when it breaks, and stops in order.

Once started it serves until it is stopped. The loop in which grpc.aio takes calls can end while it serves, so it is
watched, and another server takes its place on the same port within a second. A call that meets this moment is
CANCELLED by gRPC, without ErrorInfo; callers treat that like any broken connection and retry.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import grpc

from sessions_server.domain.errors import SetupError
from sessions_server.rpc.calls import Calls
from sessions_server.rpc.grpc import GrpcHandlers, UnknownMethods
from sessions_server.rpc.health import HEALTH, Health, health_handler
from sessions_server.rpc.methods import REQUEST_BYTES
from sessions_server.rpc.reflection import Reflection

if TYPE_CHECKING:
    from sessions_server.rpc.metrics import Metrics
    from sessions_server.rpc.tls import Tls

logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 0.2
"""How often the server is looked at, whether it still takes calls; most often it is seen at once."""

REBIND_SECONDS: Final = (0.001, 0.25)
"""After how long the port of a server that broke is tried again while it is not free: at first, and at most."""

UNIX: Final = "unix:"
"""What the address of a Unix socket begins with."""

LULL_SECONDS: Final = 0.1
"""How long no call may have come before a server that stops closes its connections."""

LONGEST_REFUSING_SECONDS: Final = 1.0
"""How long a server that stops waits for a lull, at most."""

BROKEN_GRACE_SECONDS: Final = 5.0
"""How long calls of a server that broke may take to finish, while its successor serves."""

OPTIONS: Final = (
    # Else a second server on the same port would silently get every other connection.
    ("grpc.so_reuseport", 0),
    # A little more than a request may have, so that one which is only just too large is refused in our own words.
    ("grpc.max_receive_message_length", REQUEST_BYTES + 64 * 1024),
    # A peer that vanished without a word is noticed, and its streams end.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Who is cut off looks the servers' addresses up anew, and so finds replicas that have come since. Subscriptions end
    # by themselves before, and transfers have most of a day.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 20 * 3_600_000),
    # Clients may ask as often whether this server is there.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Calls wait for the event loop longer than in servers with threads. Of more than 1,000 that wait, gRPC would cancel
    # some at random, also when it is one peer's flood that fills the queue.
    ("grpc.server.max_pending_requests", 50_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    # Nor may gRPC cancel calls that have waited for 30 seconds: callers set deadlines of their own.
    ("grpc.server_max_unrequested_time_in_server", 3600),
)


class RpcServer:
    def __init__(self, bind: str, *, calls: Calls, metrics: Metrics, tls: Tls | None = None) -> None:
        self.address = bind
        """Where it listens; once it is started, with the port that was really taken."""
        self._tls = tls
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
        self._leaving: set[grpc.aio.Server] = set()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Binds and serves. Raises SetupError when it cannot listen there."""
        await self._serve()
        self._health.set_serving(True)
        self._watching = asyncio.create_task(self._watch())

    def set_serving(self, serving: bool, /) -> None:
        """What health says from now on; without effect once the server stops."""
        self._health.set_serving(serving)

    async def stop(self, grace_seconds: float) -> None:
        """Says NOT_SERVING, refuses new calls, ends the streams, gives calls this long to finish, cuts what is left."""
        self._health.stop()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._calls.close()
        await self._wait_for_a_lull(min(grace_seconds, LONGEST_REFUSING_SECONDS))
        servers = [*self._leaving] if self._server is None else [*self._leaving, self._server]
        await asyncio.gather(*(server.stop(grace_seconds) for server in servers))

    async def _wait_for_a_lull(self, longest_seconds: float) -> None:
        """Returns when hardly a call can be on its way: those that gRPC has received but not yet handed over when it is
        told to stop end as CANCELLED, which no caller could tell from a cancellation of its own."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_seconds):
                arrived = -1
                while arrived != self._calls.arrived:
                    arrived = self._calls.arrived
                    await asyncio.sleep(LULL_SECONDS)

    async def _serve(self) -> None:
        server = grpc.aio.server(handlers=self._handlers, options=OPTIONS)
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
            with _private_socket(self.address):
                return add(self.address)
        except RuntimeError as error:
            raise SetupError(
                f"The server cannot listen on {self.address}; give a free address and port."
            ) from error

    async def _watch(self) -> None:
        """Puts another server in the place of one that broke, until cancelled.

        `wait_for_termination` does not tell: a server that broke waits for its open calls first, which may be for ever.
        """
        async with asyncio.TaskGroup() as leaving:
            while (server := self._server) is not None:
                await self._broken(server)
                logger.error("the RPC server broke; another is started on %s", self.address)
                self._server = None
                self._calls.streams.end_all()
                leaving.create_task(self._leave(server))
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
        """Returns when the server takes no more calls."""
        while _is_running(server):
            # The task that takes the calls is one of these. It ends when the server breaks, which is seen at once.
            self._started = {task for task in self._started if not task.done()}
            if self._started:
                await asyncio.wait(self._started, timeout=WATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(WATCH_SECONDS)

    async def _leave(self, broken: grpc.aio.Server) -> None:
        self._leaving.add(broken)
        await broken.stop(BROKEN_GRACE_SECONDS)
        self._leaving.discard(broken)


@contextlib.contextmanager
def _private_socket(address: str) -> Iterator[None]:
    """Around the binding of a Unix socket, which only this user can open then. Raises SetupError when another process
    listens there: gRPC would take its place without a word. Does nothing for another address."""
    if not address.startswith(UNIX):
        yield
        return
    path = address.removeprefix(UNIX)
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == 0:
            raise SetupError(f"Another process listens on {address}; stop it, or give another path.")
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _is_running(server: grpc.aio.Server) -> bool:
    """Whether it takes calls. Nothing public says so before the last open call has ended."""
    return bool(server._server.is_running())  # type: ignore[attr-defined]
