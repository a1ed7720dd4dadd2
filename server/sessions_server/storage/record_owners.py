"""What the owner of a record decides: whether the record still exists, and the data key of its value.

A deleted session, or one erased by its ttl, has no records, whether or not they are still stored.

A session's records have the `records_start` of its row: 0, or the first position of the import that has replaced it.
Others are hidden: those of before the import, which are still to be erased, and those of an import under way, whose
last slice changes the row. Readers and writers treat them as absent, so a session with any number of records is
replaced at the same cost. A record's name identifies a row only together with its `records_start`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.storage.record_rows import NAME_COLUMNS, RECORD_COLUMNS
from sessions_server.storage.schema import ERASED, records, sessions, shared_keys

if TYPE_CHECKING:
    from collections.abc import Sequence as Seq

_NOW: Final = sa.bindparam("now", type_=sa.BigInteger)

IS_ERASED: Final = sa.or_(
    sa.and_(sessions.c.due_time <= _NOW, sessions.c.due_state == ERASED),
    sa.and_(sessions.c.last_due_time <= _NOW, sessions.c.last_due_state == ERASED),
)
"""Whether a timer has erased a session by the time `now`."""

IS_CURRENT: Final = records.c.records_start == sessions.c.records_start
"""Whether a session's record is not hidden, for records of several sessions."""

_IS_SHARED: Final = records.c.session_id == sa.literal_column("''")
_OF_SCOPE: Final = sa.and_(
    _IS_SHARED, shared_keys.c.tenant == records.c.tenant, shared_keys.c.user_id == records.c.user_id
)


def current_start(tenant: sa.ColumnElement[str], session_id: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    """The `records_start` of a scope's records that are not hidden; of shared ones, whose session id is empty, 0."""
    stored = sa.select(sessions.c.records_start).where(
        sessions.c.tenant == tenant, sessions.c.session_id == session_id
    )
    return sa.func.coalesce(stored.scalar_subquery(), sa.literal_column("0"))


IS_GONE: Final = sa.or_(
    sa.func.coalesce(IS_ERASED, sa.false()),
    sa.and_(sa.not_(_IS_SHARED), sessions.c.session_id.is_(None)),
)
"""Whether a record's session is gone by the time `now`."""

FOUND_COLUMNS: Final = (
    *RECORD_COLUMNS,
    sa.func.coalesce(sessions.c.data_key, shared_keys.c.data_key).label("data_key"),
)
"""RECORD_COLUMNS and the data key. The value comes after these."""

FOUND_WIDTH: Final = len(FOUND_COLUMNS) + 1
"""The width of a row that was found, with the value; more may follow."""


def with_owners(found: sa.FromClause) -> sa.FromClause:
    """Joins records with what FOUND_COLUMNS and IS_GONE need. No record is left out."""
    of_session = sa.and_(sessions.c.tenant == records.c.tenant, sessions.c.session_id == records.c.session_id)
    return found.outerjoin(sessions, of_session).outerjoin(shared_keys, _OF_SCOPE)


def by_name(names: sa.FromClause, name: Seq[sa.ColumnElement[str]]) -> sa.FromClause:
    """Joins a list of names, given by their columns in NAME_COLUMNS' order, with the records that are not hidden, and
    with what FOUND_COLUMNS and IS_GONE need."""
    tenant, session_id, *_ = name
    of_session = sa.and_(sessions.c.tenant == tenant, sessions.c.session_id == session_id)
    is_current = records.c.records_start == sa.func.coalesce(sessions.c.records_start, sa.literal_column("0"))
    is_named = (column == given for column, given in zip(NAME_COLUMNS, name, strict=True))
    found = names.outerjoin(sessions, of_session).join(records, sa.and_(is_current, *is_named))
    return found.outerjoin(shared_keys, _OF_SCOPE)
