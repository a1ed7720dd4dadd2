"""What the owner of a record decides: whether the record still exists, and the data key of its value.

A deleted session, or one erased by its ttl, has no records, whether or not they are still stored.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from sessions_server.storage.record_rows import RECORD_COLUMNS
from sessions_server.storage.schema import ERASED, records, sessions, shared_keys

_NOW: Final = sa.bindparam("now", type_=sa.BigInteger)

IS_ERASED: Final = sa.or_(
    sa.and_(sessions.c.due_time <= _NOW, sessions.c.due_state == ERASED),
    sa.and_(sessions.c.last_due_time <= _NOW, sessions.c.last_due_state == ERASED),
)
"""Whether a timer has erased a session by the time `now`."""

IS_HIDDEN: Final = sa.case(
    (sessions.c.records_start > 0, records.c.position < sessions.c.records_start), else_=sa.false()
)
"""Whether a record is hidden because an import has replaced its session. The record's position, which is stored after
the value, is read only in that case."""

_IS_SHARED: Final = records.c.session_id == sa.literal_column("''")

FOUND_COLUMNS: Final = (
    *RECORD_COLUMNS,
    sa.or_(
        sa.func.coalesce(IS_ERASED, sa.false()),
        sa.and_(sa.not_(_IS_SHARED), sessions.c.session_id.is_(None)),
        sa.func.coalesce(IS_HIDDEN, sa.false()),
    ).label("is_gone"),
    sa.func.coalesce(sessions.c.data_key, shared_keys.c.data_key).label("data_key"),
)
"""RECORD_COLUMNS; whether the owner is gone by the time `now`; the data key. The value comes after these."""

FOUND_WIDTH: Final = len(FOUND_COLUMNS) + 1
"""The width of a row that was found."""


def with_owners(found: sa.FromClause) -> sa.FromClause:
    """Joins records with what FOUND_COLUMNS need. No record is left out."""
    of_session = sa.and_(sessions.c.tenant == records.c.tenant, sessions.c.session_id == records.c.session_id)
    of_scope = sa.and_(
        _IS_SHARED, shared_keys.c.tenant == records.c.tenant, shared_keys.c.user_id == records.c.user_id
    )
    return found.outerjoin(sessions, of_session).outerjoin(shared_keys, of_scope)
