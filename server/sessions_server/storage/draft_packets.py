"""Packets that replicas leave for each other for a few seconds. A sender numbers its packets in the order in which it
commits them, so a reader that knows the last number of each sender misses none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence as Seq
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.domain.models import SECOND, Micros, SessionKey
from sessions_server.domain.replica_ports import DraftPacket
from sessions_server.storage.schema import draft_packets
from sessions_server.storage.statements import Prepared, as_list, is_listed, item, listed, read_clock

if TYPE_CHECKING:
    from collections.abc import Container

    from sqlalchemy.engine import Connection

KEPT: Final = Micros(10 * SECOND)
"""How long a packet is kept: far longer than the polling interval of readers."""

_names: Final = (
    draft_packets.c.tenant,
    draft_packets.c.session_id,
    draft_packets.c.sender,
    draft_packets.c.number,
)
_ADD: Final = Prepared(draft_packets.insert())
_CLEAN: Final = Prepared(draft_packets.delete().where(draft_packets.c.time <= sa.bindparam("until")))

_known = listed("known")
_NEWS: Final = Prepared(
    sa.select(*_names)
    .select_from(draft_packets.outerjoin(_known, item(_known, 0) == draft_packets.c.sender))
    .where(
        draft_packets.c.sender != sa.bindparam("reader", type_=sa.Text),
        draft_packets.c.number > sa.func.coalesce(item(_known, 1, sa.BigInteger()), 0),
    )
    .order_by(draft_packets.c.sender, draft_packets.c.number)
)
_wanted = listed("wanted")
_PACKETS: Final = Prepared(
    sa.select(*_names, draft_packets.c.packet)
    .select_from(_wanted)
    .join(
        draft_packets,
        sa.and_(is_listed(_wanted, *_names[:3]), draft_packets.c.number == item(_wanted, 3, sa.BigInteger())),
    )
    .order_by(draft_packets.c.sender, draft_packets.c.number)
)


def add(connection: Connection, sender: str, packets: Seq[DraftPacket], *, now: Micros | None) -> None:
    time = read_clock(connection, now)
    _ADD.many(
        connection,
        [(*packet.key, sender, packet.number, time, packet.data) for packet in packets],
    )


def take(
    connection: Connection, reader: str, known: Mapping[str, int], joined: Container[SessionKey]
) -> tuple[list[DraftPacket], dict[str, int]]:
    """The packets of other senders about the joined sessions, after the known numbers; and the updated numbers."""
    found = _NEWS.rows(connection, reader=reader, known=as_list(known.items()))
    now_known = {sender: number for _, _, sender, number in found}
    wanted = [row for row in found if SessionKey(row[0], row[1]) in joined]
    rows = _PACKETS.rows(connection, wanted=as_list(wanted)) if wanted else ()
    packets = [
        DraftPacket(SessionKey(tenant, session_id), number, bytes(data))
        for tenant, session_id, _, number, data in rows
    ]
    return packets, now_known


def clean(connection: Connection, *, now: Micros | None) -> int:
    """Deletes packets older than the retention. Returns how many."""
    return _CLEAN.run(connection, until=read_clock(connection, now) - KEPT)
