"""Bases: states of a session, with its context, that later states are folded from.

Without them a read of the past would fold the whole log. So a base is added about every thousand events. A large
context is copied less often, so that bases add little to what the events themselves take.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from sessions_server.domain.models import Sequence
from sessions_server.storage.schema import bases, contexts, sessions
from sessions_server.storage.statements import Prepared, Upsert

EVENTS: Final = 1_024
"""At each multiple of this in a log a base is due, if the context is small."""

_BYTES_PER_EVENT: Final = 64
"""How much copies of the context may take, for each event of a log."""

PUT_BASES: Final = Upsert(bases)

_OF_KEY: Final = (
    bases.c.tenant == sa.bindparam("key_tenant"),
    bases.c.session_id == sa.bindparam("key_session_id"),
)

ADD_BASE: Final = Prepared(
    bases.insert().from_select(
        [column.name for column in bases.c],
        sa.select(
            sessions.c.tenant,
            sessions.c.session_id,
            sa.bindparam("at", type_=sa.BigInteger),
            sa.bindparam("state", type_=sa.LargeBinary),
            contexts.c.revision,
            contexts.c.update_time,
            contexts.c.data,
        )
        .select_from(
            sessions.outerjoin(
                contexts,
                sa.and_(
                    contexts.c.tenant == sessions.c.tenant, contexts.c.session_id == sessions.c.session_id
                ),
            )
        )
        .where(
            sessions.c.tenant == sa.bindparam("key_tenant"),
            sessions.c.session_id == sa.bindparam("key_session_id"),
            sa.func.coalesce(sa.func.length(contexts.c.data), 0) <= sa.bindparam("most", type_=sa.BigInteger),
        ),
    )
)
"""Of a session with the context that is stored, unless that has more than `most` bytes."""

DROP_BASES: Final = Prepared(bases.delete().where(*_OF_KEY, bases.c.sequence < sa.bindparam("before")))

FIND_BASE: Final = Prepared(
    sa.select(bases.c.sequence, bases.c.session, bases.c.revision, bases.c.update_time, bases.c.data)
    .where(*_OF_KEY, bases.c.sequence <= sa.bindparam("at"))
    .order_by(bases.c.sequence.desc())
    .limit(1)
)


def largest_context(before: Sequence, after: Sequence) -> int:
    """How many bytes the context of a base may have that is added when a log grows from one head to another; 0: none is
    due. Among the positions that are passed it counts the one that the largest power of two divides: the rounder it is,
    the longer ago was one as round."""
    power = 1 << ((before ^ after).bit_length() - 1)
    return power * _BYTES_PER_EVENT if power >= EVENTS else 0
