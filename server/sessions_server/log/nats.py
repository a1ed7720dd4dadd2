"""Carries hints over NATS, for fleets that are too large for every replica to listen on the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sessions_server.domain.hints import Hints, packets, read_packet

if TYPE_CHECKING:
    from nats.aio.client import Client

logger = logging.getLogger(__name__)

SUBJECT = "sessions.wakeups"
RETRY_SECONDS = 1.0


class NatsChannel:
    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None

    async def send(self, hints: Hints) -> None:
        """A hint that can not be sent is lost; nothing is raised for it."""
        from nats.errors import Error

        if self._client is None:
            return
        try:
            for packet in packets(hints):
                await self._client.publish(SUBJECT, packet)
        except Error as error:
            logger.warning("wake-ups could not be sent: %s", error)

    async def listen(self, received: Callable[[Hints], None], missed: Callable[[], None]) -> None:
        """Hands on what arrives, until cancelled; the client reconnects by itself, for ever."""

        async def reconnected() -> None:
            missed()

        async def failed(error: Exception) -> None:
            logger.warning("NATS: %s", error)

        self._client = client = await self._connect(reconnected, failed)
        try:
            subscription = await client.subscribe(SUBJECT)
            missed()
            async for message in subscription.messages:
                received(read_packet(message.data))
        finally:
            await client.close()

    async def _connect(
        self, reconnected: Callable[[], Awaitable[None]], failed: Callable[[Exception], Awaitable[None]]
    ) -> Client:
        """The first connection is tried for ever, like every later one: hints are never worth a failed start."""
        import nats
        from nats.errors import Error

        while True:
            try:
                return await nats.connect(
                    self._url, max_reconnect_attempts=-1, reconnected_cb=reconnected, error_cb=failed
                )
            except (OSError, Error) as error:
                logger.warning("NATS can not be reached: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
