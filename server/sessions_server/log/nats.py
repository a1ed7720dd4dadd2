"""Carries hints over NATS, for fleets in which too many replicas would listen on the database.

All replicas use one subject, so no other deployment may use the same NATS account.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator, Callable, Sequence as Seq
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from sessions_server.domain.errors import SetupError

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

logger = logging.getLogger(__name__)

SUBJECT: Final = "sessions.wakeups"
SCHEMES: Final = ("nats", "tls", "ws", "wss")
RETRY_SECONDS: Final = 1.0


class NatsChannel:
    """Raises SetupError for an invalid NATS address, and if the NATS client is missing."""

    def __init__(self, url: str) -> None:
        if not _is_address(url):
            raise SetupError(
                "Wake-ups go over PostgreSQL, when nothing is set, or over NATS; give SESSIONS_WAKEUPS an address "
                "such as nats://127.0.0.1:4222, or leave it out."
            )
        if importlib.util.find_spec("nats") is None:
            raise SetupError("Wake-ups over NATS need the package nats-py; install sessions[server,nats].")
        self._url = url
        self._client: Client | None = None

    async def send(self, packets: Seq[bytes]) -> None:
        """Sends packets; failures lose them silently."""
        client = self._client
        if client is None or not client.is_connected:
            return
        try:
            for packet in packets:
                await client.publish(SUBJECT, packet)
        except Exception as error:
            logger.warning("wake-ups could not be sent: %s", error)

    async def listen(self, received: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        """Delivers received packets until cancelled. Reconnects forever, since hints are not worth a failed start, and
        reports each time that packets were missed."""
        while True:
            try:
                await self._listen_once(received, missed)
            except Exception as error:
                logger.warning("NATS cannot be used: %s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen_once(self, received: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        """Returns when NATS closes the connection for good, as it does when access is revoked."""

        async def take(message: Msg) -> None:
            received(message.data)

        async with connection(self._url, missed) as (client, closed):
            self._client = client
            await client.subscribe(SUBJECT, cb=take)
            missed()
            await closed.wait()


@asynccontextmanager
async def connection(url: str, missed: Callable[[], None]) -> AsyncIterator[tuple[Client, asyncio.Event]]:
    """A connection that survives restarts of NATS, and an event that is set when it is closed for good. Calls `missed`
    whenever messages may have been lost."""
    from nats.aio.client import Client
    from nats.errors import SlowConsumerError

    closed = asyncio.Event()

    async def reconnected() -> None:
        missed()

    async def ended() -> None:
        closed.set()

    async def failed(error: Exception) -> None:
        logger.warning("NATS: %s", error)
        if isinstance(error, SlowConsumerError):
            missed()

    client = Client()
    try:
        await client.connect(
            url,
            name="sessions-server",
            no_echo=True,
            max_reconnect_attempts=-1,
            reconnected_cb=reconnected,
            closed_cb=ended,
            error_cb=failed,
        )
        yield client, closed
    finally:
        await _close(client)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port, or brackets around something other than an address
        return False


async def _close(client: Client) -> None:
    try:
        await client.close()
    except Exception as error:  # never connected, or already disconnected
        logger.debug("the connection to NATS was not closed cleanly: %s", error)
