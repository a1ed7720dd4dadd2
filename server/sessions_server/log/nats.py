"""Carries hints over NATS, for fleets that are too large for every replica to listen on the database."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from sessions_server.domain.hints import Hints, packets, read_packet

if TYPE_CHECKING:
    from nats.aio.client import Client

logger = logging.getLogger(__name__)

SUBJECT = "sessions.wakeups"


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
        import nats

        async def reconnected() -> None:
            missed()

        async def failed(error: Exception) -> None:
            logger.warning("NATS: %s", error)

        self._client = await nats.connect(
            self._url,
            max_reconnect_attempts=-1,
            allow_reconnect=True,
            reconnected_cb=reconnected,
            error_cb=failed,
        )
        try:
            subscription = await self._client.subscribe(SUBJECT)
            async for message in subscription.messages:
                received(read_packet(message.data))
        finally:
            await self._client.close()
