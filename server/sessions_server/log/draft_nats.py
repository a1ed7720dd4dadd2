"""Carries packets about drafts over NATS: one subject per session, to which a replica subscribes while it has a draft
or a viewer of that session."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence as Seq
from typing import TYPE_CHECKING, Final

from sessions_server.log.nats import RETRY_SECONDS, connection

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from sessions_server.domain.models import SessionKey

logger = logging.getLogger(__name__)

SUBJECT: Final = "sessions.drafts."
"""The prefix of the subjects. The rest is a digest, since ids have characters that subjects must not have."""

PACE_SECONDS: Final = 0.05


class DraftNats:
    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self._joined: set[SessionKey] = set()
        self._subscriptions: dict[SessionKey, Subscription] = {}
        self._changed = asyncio.Event()
        self._subscribing = asyncio.Lock()
        self._received: Callable[[SessionKey, bytes], None] = lambda key, data: None

    @property
    def pace_seconds(self) -> float:
        return PACE_SECONDS

    def join(self, key: SessionKey) -> None:
        self._joined.add(key)
        self._changed.set()

    def leave(self, key: SessionKey) -> None:
        self._joined.discard(key)
        self._changed.set()

    async def send(self, packets: Seq[tuple[SessionKey, bytes]]) -> None:
        client = self._client
        if client is None or not client.is_connected:
            return
        try:
            await self._subscribe(client)  # before asking for what is then sent
            for key, data in packets:
                await client.publish(_subject(key), data)
        except Exception as error:
            logger.warning("drafts could not be shown to other replicas: %s", error)

    async def run(self, received: Callable[[SessionKey, bytes], None], missed: Callable[[], None]) -> None:
        self._received = received
        while True:
            try:
                await self._run_once(missed)
            except Exception as error:
                logger.warning("NATS cannot be used for drafts: %s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _run_once(self, missed: Callable[[], None]) -> None:
        async with connection(self._url, missed) as (client, closed):
            self._client, self._subscriptions = client, {}
            closing = asyncio.create_task(closed.wait())
            try:
                await self._subscribe(client)
                missed()
                while not closed.is_set():
                    changing = asyncio.create_task(self._changed.wait())
                    await asyncio.wait({closing, changing}, return_when=asyncio.FIRST_COMPLETED)
                    changing.cancel()
                    await self._subscribe(client)
            finally:
                closing.cancel()
                self._client = None

    async def _subscribe(self, client: Client) -> None:
        """Subscribes to the joined sessions, and to no others."""
        async with self._subscribing:
            self._changed.clear()
            for key in self._subscriptions.keys() - self._joined:
                await self._subscriptions.pop(key).unsubscribe()
            for key in self._joined - self._subscriptions.keys():
                self._subscriptions[key] = await client.subscribe(_subject(key), cb=self._receiver(key))

    def _receiver(self, key: SessionKey) -> Callable[[Msg], Awaitable[None]]:
        async def take(message: Msg) -> None:
            self._received(key, message.data)

        return take


def _subject(key: SessionKey) -> str:
    digest = hashlib.blake2b(f"{len(key.tenant)}:{key.tenant}{key.session_id}".encode(), digest_size=16)
    return SUBJECT + digest.hexdigest()
