"""Hints between replicas: which logs have grown, and to which position. They never contain content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.models import Json, Sequence, SessionKey

Hints: TypeAlias = Mapping[SessionKey, Sequence]

HINTS_PER_PACKET = 16
"""Few enough that a packet stays below NOTIFY's limit of 8,000 bytes, with ids of any length."""


def packets(hints: Hints) -> Iterator[bytes]:
    rows: list[Json] = [[key.tenant, key.session_id, head] for key, head in hints.items()]
    for start in range(0, len(rows), HINTS_PER_PACKET):
        yield dumps([*rows[start : start + HINTS_PER_PACKET]])


def read_packet(packet: bytes) -> Hints:
    """Parses a packet. Raises ValueError for one that no replica sends."""
    try:
        return dict(map(_hint, loads(packet)))
    except (TypeError, ValueError) as error:
        raise ValueError("A packet of hints is a list of tenants, sessions and positions.") from error


def _hint(row: Json) -> tuple[SessionKey, Sequence]:
    match row:
        case [str(tenant), str(session_id), int(head)]:
            return SessionKey(tenant, session_id), Sequence(head)
    raise ValueError
