"""A TCP proxy on the loopback whose connections tests cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

CHUNK_BYTES = 64 * 1024

Inspect = Callable[[bytes], bool]
"""Inspects what a client sends; True cuts the connection, either before or after forwarding it."""


def _never(_data: bytes) -> bool:
    return False


class Proxy:
    def __init__(
        self, host: str, port: int, *, cut_before: Inspect | None = None, cut_after: Inspect | None = None
    ) -> None:
        self._target = (host, port)
        self._cut_before = cut_before or _never
        self._cut_after = cut_after or _never
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._forgotten: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._serving: set[asyncio.Future[None]] = set()
        self._closed = False
        self.port = 0
        self.connections = 0
        """How many there have been."""
        self.cuts = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cut(self) -> int:
        """Resets every connection; returns how many there were."""
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            self._reset(pair)
        return len(pairs)

    def forget(self) -> int:
        """From now on swallows whatever arrives on the current connections, without closing them, like a router that
        has forgotten them. Returns how many there were."""
        self._forgotten |= self._pairs
        return len(self._pairs)

    async def close(self) -> None:
        """Resets every connection, including those being established, and waits until all have ended."""
        self._closed = True
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.get_running_loop().create_future()
        self._serving.add(ended)
        try:
            await self._serve(reader, writer)
        finally:
            self._serving.discard(ended)
            ended.set_result(None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, upstream_writer)
        self.connections += 1
        if self._closed:
            self._reset(pair)
            return
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(
                    self._pump(reader, upstream_writer, pair, self._cut_before, self._cut_after)
                )
                tasks.create_task(self._pump(upstream_reader, writer, pair, _never, _never))
        finally:
            self._pairs.discard(pair)
            for end in pair:
                end.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        cut_before: Inspect,
        cut_after: Inspect,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK_BYTES):
                if pair in self._forgotten:
                    continue
                if cut_before(data):
                    self._reset(pair)
                    return
                target.write(data)
                await target.drain()
                if cut_after(data):
                    self._reset(pair)
                    return
            target.write_eof()

    def _reset(self, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.cuts += 1
        for end in pair:
            end.transport.abort()


@asynccontextmanager
async def proxy_to(
    host: str, port: int, *, cut_before: Inspect | None = None, cut_after: Inspect | None = None
) -> AsyncIterator[Proxy]:
    """A proxy in front of `host:port` while the context lasts."""
    proxy = Proxy(host, port, cut_before=cut_before, cut_after=cut_after)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
