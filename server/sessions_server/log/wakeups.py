"""Wake-ups between replicas: hints that a session's log has grown. Delivery never depends on them.

A hint is just (session, head). Hints are sent after the commit, never within it, and coalesced: while some are being
sent, only the newest head of each session waits. The poller asks the store for the heads of watched sessions, so that a
subscriber learns of an event even if every hint is lost. A failure to send, receive or poll never stops the wake-ups or
the server.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from sessions_server.domain.errors import DomainError
from sessions_server.domain.replica_ports import Channel
from sessions_server.log.hints import Hints, packets, read_packet

if TYPE_CHECKING:
    from sessions_server.domain.models import Sequence, SessionKey
    from sessions_server.domain.ports import ReadStore
    from sessions_server.domain.workspace import Published
    from sessions_server.log.hub import Hub

logger = logging.getLogger(__name__)

HEADS_AT_ONCE = 1_000
"""How many sessions a query covers, so that it occupies neither the database nor this process for long."""

RESTS_PER_POLL = 20
LONGEST_REST_SECONDS = 10.0
"""If very many sessions are watched, polling pauses for a multiple of its duration, up to this long, to spare the
database."""


LISTEN_AGAIN_SECONDS = 1.0


class Wakeups:
    """Connects this process's writer, its hub and the other replicas."""

    def __init__(self, hub: Hub, *, channel: Channel, store: ReadStore, poll_seconds: float) -> None:
        self._hub = hub
        self._channel = channel
        self._store = store
        self._poll_seconds = poll_seconds
        self._outgoing: dict[SessionKey, Sequence] = {}
        self._pending = asyncio.Event()

    def announce(self, published: list[Published]) -> None:
        """Publishes what this process has just made durable: to its own watchers, and as hints to the other
        replicas."""
        self._hub.publish(published)
        for change in published:
            self._outgoing[change.key] = change.head
        self._pending.set()

    async def run(self) -> None:
        """Sends, receives and polls until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send())
            tasks.create_task(self._listen())
            tasks.create_task(self._poll())

    async def _send(self) -> None:
        while True:
            await self._pending.wait()
            self._pending.clear()
            hints, self._outgoing = self._outgoing, {}
            try:
                if hints:
                    await self._channel.send(list(packets(hints)))
            except Exception:
                logger.exception("wake-ups could not be sent")

    async def _listen(self) -> None:
        while True:
            try:
                await self._channel.listen(self._receive, self._hub.forget_all)
            except Exception:
                logger.exception("wake-ups cannot be received; retrying")
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    def _receive(self, packet: bytes) -> None:
        try:
            self._pass_on(read_packet(packet))
        except ValueError as error:
            logger.warning("a malformed wake-up was ignored: %s", error)

    async def _poll(self) -> None:
        rest = self._poll_seconds
        while True:
            await asyncio.sleep(rest)
            rest = self._poll_seconds
            began = monotonic()
            try:
                await self._look()
            except DomainError as error:
                logger.warning("the heads of the watched sessions could not be read: %s", error)
            except Exception:
                logger.exception("the heads of the watched sessions could not be read")
            else:
                rest = max(rest, min((monotonic() - began) * RESTS_PER_POLL, LONGEST_REST_SECONDS))

    async def _look(self) -> None:
        seen = self._hub.watched()
        watched = list(seen)
        for start in range(0, len(watched), HEADS_AT_ONCE):
            self._hub.looked(await self._store.heads(watched[start : start + HEADS_AT_ONCE]), seen)

    def _pass_on(self, hints: Hints) -> None:
        for key, head in hints.items():
            self._hub.hint(key, head)
