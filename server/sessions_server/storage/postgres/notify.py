"""Carries hints between replicas over PostgreSQL's LISTEN and NOTIFY, on separate connections.

NOTIFY within the write transaction would take a lock shared by all replicas and undo the gain of group commit, so hints
are sent after it. The listening connection is pinged, because a dead one would otherwise look like a quiet one. It must
lead to PostgreSQL itself, or to a pooler in session mode. Any error of a connection counts as its loss, and it is
opened again: asyncpg's errors have no common base class, and hints are not worth losing a replica.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence as Seq
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

    from sessions_server.storage.postgres.hosts import Hosts

logger = logging.getLogger(__name__)

CHANNEL = "sessions_wakeups"
PING_SECONDS = 5.0
"""How often the listening connection is pinged, and the time limit of any response."""

RETRY_SECONDS = 1.0

# A notification is a separate commit. It need not reach the disk, because what it announces already has.
_PREPARE_SENDER = "SET synchronous_commit = off"
_NOTIFY = "SELECT pg_notify($1, packet) FROM unnest($2::text[]) AS packet"


class NotifyChannel:
    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._sender: asyncpg.Connection | None = None
        self._sender_process: int | None = None

    async def send(self, packets: Seq[bytes]) -> None:
        """Sends packets; failures lose them silently."""
        try:
            if self._sender is None or self._sender.is_closed():
                self._sender = await self._connect()
                self._sender_process = self._sender.get_server_pid()
                await self._sender.execute(_PREPARE_SENDER, timeout=PING_SECONDS)
            texts = [packet.decode() for packet in packets]
            await self._sender.execute(_NOTIFY, CHANNEL, texts, timeout=PING_SECONDS)
        except Exception as error:
            logger.warning("wake-ups could not be sent: %s", type(error).__name__)
            self._drop_sender()

    async def listen(self, received: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        """Delivers received packets until cancelled. Reconnects forever, and reports when packets were missed."""
        try:
            while True:
                try:
                    await self._listen_once(received, missed)
                except Exception as error:
                    logger.warning("the connection for wake-ups was lost: %s", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._drop_sender()

    async def _listen_once(self, received: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        """Returns when the connection has ended, or raises its error."""

        def take(_connection: Any, process: int, _channel: str, payload: object) -> None:
            if process != self._sender_process:  # our own notifications arrive too
                received(str(payload).encode())

        connection = await self._connect()
        ended = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _connection: ended.set())
            await connection.add_listener(CHANNEL, take)
            missed()
            while not await _is_set(ended, within_seconds=PING_SECONDS):
                await connection.execute("SELECT 1", timeout=PING_SECONDS)
        finally:
            connection.terminate()

    def _drop_sender(self) -> None:
        if self._sender is not None:
            self._sender.terminate()
            self._sender = None

    async def _connect(self) -> asyncpg.Connection:
        return await self._hosts.connect("sessions-server wake-ups", allow_unsafe=True)


async def _is_set(event: asyncio.Event, *, within_seconds: float) -> bool:
    try:
        async with asyncio.timeout(within_seconds):
            return await event.wait()
    except TimeoutError:
        return False
