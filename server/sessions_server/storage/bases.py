"""Bases: snapshots of a session with its context, from which later states are computed.

Without them, reading a past state would replay the whole log. A base is added about every thousand events. Large
contexts are copied less often, so that bases take little space compared with the events.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from sessions_server.domain.models import Sequence
from sessions_server.storage.schema import bases, contexts, sessions
from sessions_server.storage.statements import Prepared, Upsert

EVENTS: Final = 1_024
"""A base is due at each multiple of this in a log, if the context is small."""

_BYTES_PER_EVENT: Final = 64
"""The space that copies of the context may take, per event of the log."""

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
"""A base of a session with the stored context, unless the context has more than `most` bytes."""

DROP_BASES: Final = Prepared(bases.delete().where(*_OF_KEY, bases.c.sequence < sa.bindparam("before")))

FIND_BASE: Final = Prepared(
    sa.select(bases.c.sequence, bases.c.session, bases.c.revision, bases.c.update_time, bases.c.data)
    .where(*_OF_KEY, bases.c.sequence <= sa.bindparam("at"))
    .order_by(bases.c.sequence.desc())
    .limit(1)
)


def largest_context(before: Sequence, after: Sequence) -> int:
    """The maximum size of the context in a base that is added when a log grows from one head to another; 0 if none is
    due. It depends on the position in between that is divisible by the largest power of two: the higher the power, the
    longer ago was the last such position."""
    power = 1 << ((before ^ after).bit_length() - 1)
    return power * _BYTES_PER_EVENT if power >= EVENTS else 0
