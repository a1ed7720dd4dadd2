"""Captures everything that replicas tell each other about drafts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
from nats.aio.client import Client

from sessions_server.storage.postgres.notify import CHANNEL
from tests.support.ports import HOST

if TYPE_CHECKING:
    from nats.aio.msg import Msg


@asynccontextmanager
async def overheard(url: str, nats_port: int | None) -> AsyncIterator[Callable[[], Awaitable[list[bytes]]]]:
    """Returns a function that returns the packets so far: those in the database at this URL, or of NATS at this port if
    given."""
    if nats_port is None:
        yield lambda: _packets(url)
        return
    received: list[bytes] = []

    async def take(message: Msg) -> None:
        received.append(message.data)

    async def so_far() -> list[bytes]:
        return received

    client = Client()
    await client.connect(f"nats://{HOST}:{nats_port}")
    await client.subscribe("sessions.drafts.>", cb=take)
    await client.flush()
    try:
        yield so_far
    finally:
        await client.close()


@asynccontextmanager
async def notified(url: str) -> AsyncIterator[asyncio.Queue[str]]:
    """What replicas send each other with NOTIFY through the database at this URL."""
    received: asyncio.Queue[str] = asyncio.Queue()
    async with _connected(url) as connection:
        await connection.add_listener(CHANNEL, lambda *arguments: received.put_nowait(arguments[-1]))
        yield received


async def _packets(url: str) -> list[bytes]:
    async with _connected(url) as connection:
        rows = await connection.fetch("SELECT packet FROM draft_packets")
        return [row["packet"] for row in rows]


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    parts = urlsplit(url)
    connection = await asyncpg.connect(
        user=parts.username, host=parts.hostname, port=parts.port, database=parts.path.lstrip("/"), ssl=False
    )
    try:
        yield connection
    finally:
        await connection.close()
