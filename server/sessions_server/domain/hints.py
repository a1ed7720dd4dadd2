"""Hints between replicas: which sessions' logs have grown, and how far. Never any content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeAlias

from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.models import Json, Sequence, SessionKey

Hints: TypeAlias = Mapping[SessionKey, Sequence]

HINTS_PER_PACKET = 16
"""Few enough that a packet stays below the 8,000 bytes that PostgreSQL's NOTIFY carries, with ids of any length."""


class Channel(Protocol):
    """Carries hints between replicas: at most once, in any order."""

    async def send(self, hints: Hints) -> None:
        """A hint that can not be sent is lost; nothing is raised for it."""

    async def listen(self, received: Callable[[Hints], None], missed: Callable[[], None]) -> None:
        """Hands on what arrives, until cancelled. Calls `missed` whenever hints may have been lost on the way."""


def packets(hints: Hints) -> Iterator[bytes]:
    rows: list[Json] = [[key.tenant, key.session_id, head] for key, head in hints.items()]
    for start in range(0, len(rows), HINTS_PER_PACKET):
        yield dumps([*rows[start : start + HINTS_PER_PACKET]])


def read_packet(packet: bytes | str) -> Hints:
    return {SessionKey(tenant, session_id): Sequence(head) for tenant, session_id, head in loads(packet)}
