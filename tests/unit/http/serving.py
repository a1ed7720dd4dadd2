"""An HTTP server in this process, on a real port, with methods written by a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from sessions_server.http.server import HttpServer
from sessions_server.rpc.calls import CallLimits, Calls
from sessions_server.rpc.prometheus import PrometheusMetrics
from sessions_server.rpc.tls import Tls
from tests.support.web import Answer, Web
from tests.unit.rpc.serving import CALL_LIMITS, Doorkeeper, make_calls

WRITER = {"authorization": "writer"}


async def eventually(happened: Callable[[], object]) -> None:
    """Returns once something has happened."""
    async with asyncio.timeout(30):
        while True:
            if happened():
                return
            await asyncio.sleep(0.01)


class Serving:
    def __init__(self, server: HttpServer, calls: Calls, metrics: PrometheusMetrics) -> None:
        self.server = server
        self.calls = calls
        self.metrics = metrics
        self.web = Web(server.url)

    async def call(self, method: str, request: object = None, **headers: str) -> Answer:
        return await asyncio.to_thread(self.web.call, method, request, **{**WRITER, **headers})

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A raw connection."""
        host, _, port = self.server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def counted(self, method: str, code: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "sessions_rpc_handled_total", {"method": method, "code": code}
        )


@asynccontextmanager
async def serving(
    *,
    limits: CallLimits = CALL_LIMITS,
    tls: Tls | None = None,
    grace_seconds: float = 0,
    **methods: Callable[..., Awaitable[Any]],
) -> AsyncIterator[Serving]:
    metrics = PrometheusMetrics()
    calls = make_calls(Doorkeeper(), metrics, limits=limits, tracing=None, **methods)
    server = HttpServer("127.0.0.1:0", calls=calls, tls=tls)
    await server.start()
    try:
        yield Serving(server, calls, metrics)
    finally:
        calls.close()
        await server.stop(grace_seconds)
