"""Carries hints between replicas over PostgreSQL's LISTEN and NOTIFY, on connections of their own.

A notification inside the write transaction would take a lock that all replicas share, and end group commit's gain; so
hints go out after it. The listening connection is asked for a sign of life: one that died in silence would otherwise
look like a quiet one. It must reach PostgreSQL itself, or a pooler in session mode.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sessions_server.domain.hints import Hints, packets, read_packet

if TYPE_CHECKING:
    import asyncpg

logger = logging.getLogger(__name__)

CHANNEL = "sessions_wakeups"
PING_SECONDS = 5.0
RETRY_SECONDS = 1.0


class NotifyChannel:
    def __init__(self, database_url: str) -> None:
        url = sa.make_url(database_url).set(drivername="postgresql")
        self._dsn = url.render_as_string(hide_password=False)
        self._sender: asyncpg.Connection | None = None

    async def send(self, hints: Hints) -> None:
        """A hint that can not be sent is lost; nothing is raised for it."""
        try:
            if self._sender is None or self._sender.is_closed():
                self._sender = await self._connect()
            rows = [(CHANNEL, packet.decode()) for packet in packets(hints)]
            await self._sender.executemany("SELECT pg_notify($1, $2)", rows)
        except _lost() as error:
            logger.warning("wake-ups could not be sent: %s", type(error).__name__)

    async def listen(self, received: Callable[[Hints], None], missed: Callable[[], None]) -> None:
        """Hands on what arrives, until cancelled; reconnects for ever, and says each time that hints were missed."""
        try:
            while True:
                try:
                    await self._listen_once(received, missed)
                except _lost() as error:
                    logger.warning("the connection for wake-ups was lost: %s", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self._sender is not None:
                self._sender.terminate()

    async def _listen_once(self, received: Callable[[Hints], None], missed: Callable[[], None]) -> None:
        def take(_connection: Any, _process: int, _channel: str, payload: object) -> None:
            received(read_packet(str(payload)))

        connection = await self._connect()
        try:
            await connection.add_listener(CHANNEL, take)
            missed()
            while True:
                await asyncio.sleep(PING_SECONDS)
                await connection.execute("SELECT 1", timeout=PING_SECONDS)
        finally:
            connection.terminate()

    async def _connect(self) -> asyncpg.Connection:
        import asyncpg

        return await asyncpg.connect(self._dsn, timeout=PING_SECONDS, statement_cache_size=0)


def _lost() -> tuple[type[BaseException], ...]:
    """What a lost connection raises."""
    import asyncpg

    return (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
