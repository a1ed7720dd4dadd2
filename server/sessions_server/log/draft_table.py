"""Carries packets about drafts through a database table that all replicas share.

Text never goes through NOTIFY, which is limited to 8,000 bytes and has a queue shared by all replicas. The table is
polled while this replica has a draft or a viewer, so no packet depends on a hint.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence as Seq
from typing import TYPE_CHECKING, Final

import uuid_utils

from sessions_server.domain.errors import DomainError
from sessions_server.domain.replica_ports import DraftPacket

if TYPE_CHECKING:
    from sessions_server.domain.models import SessionKey
    from sessions_server.domain.replica_ports import DraftPackets

logger = logging.getLogger(__name__)

PACE_SECONDS: Final = 0.25
"""How often the table is written and polled."""

CLEAN_SECONDS: Final = 5.0

FORGET_SECONDS: Final = 60.0
"""After this long a silent sender is forgotten; none of its packets is left by then."""


class DraftTable:
    def __init__(self, packets: DraftPackets) -> None:
        self._packets = packets
        self._sender = uuid_utils.uuid4().hex
        """Identifies this process, and changes when it restarts."""
        self._number = 0
        self._joined: set[SessionKey] = set()
        self._known: dict[str, int] = {}
        self._last_seen: dict[str, float] = {}
        """When each sender was last seen, in the loop's time."""
        self._has_joined = asyncio.Event()
        self._clean_at = 0.0
        self._lost = False

    @property
    def pace_seconds(self) -> float:
        return PACE_SECONDS

    def join(self, key: SessionKey) -> None:
        self._joined.add(key)
        self._has_joined.set()

    def leave(self, key: SessionKey) -> None:
        self._joined.discard(key)
        if not self._joined:
            self._has_joined.clear()

    async def send(self, packets: Seq[tuple[SessionKey, bytes]]) -> None:
        numbered = []
        for key, data in packets:
            self._number += 1
            numbered.append(DraftPacket(key, self._number, data))
        try:
            await self._packets.add_draft_packets(self._sender, numbered)
        except DomainError as error:
            if not self._lost:
                logger.warning("drafts could not be shown to other replicas: %s", error)
            self._lost = True

    async def run(self, received: Callable[[SessionKey, bytes], None], missed: Callable[[], None]) -> None:
        while True:
            await self._has_joined.wait()
            try:
                await self._look(received)
            except DomainError as error:
                if not self._lost:
                    logger.warning("the drafts of other replicas could not be read: %s", error)
                self._lost = True
            except Exception:
                logger.exception("the drafts of other replicas could not be read")
                self._lost = True
            else:
                if self._lost:
                    self._lost = False
                    missed()
            await asyncio.sleep(PACE_SECONDS)

    async def _look(self, received: Callable[[SessionKey, bytes], None]) -> None:
        now = asyncio.get_running_loop().time()
        packets, known = await self._packets.take_draft_packets(
            self._sender, self._known, frozenset(self._joined)
        )
        self._last_seen.update(dict.fromkeys(known, now))
        self._last_seen = {sender: at for sender, at in self._last_seen.items() if now - at < FORGET_SECONDS}
        self._known = {
            sender: number for sender, number in (self._known | known).items() if sender in self._last_seen
        }
        for packet in packets:
            received(packet.key, packet.data)
        if now >= self._clean_at:
            self._clean_at = now + CLEAN_SECONDS
            await self._packets.clean_draft_packets()
