"""Finds records by their labels in an index of terms, as sessions are found by their metadata."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import sqlalchemy as sa

from sessions_server.storage.record_owners import current_start
from sessions_server.storage.record_rows import KEY_COLUMNS
from sessions_server.storage.schema import TEXT, record_terms
from sessions_server.storage.terms import Candidates, candidates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.sql.expression import ColumnElement

    from sessions_server.domain.filters import Condition

Keys: TypeAlias = "sa.Select[Any] | sa.CompoundSelect[Any]"

_KEY: Final = tuple(record_terms.c[column.name] for column in KEY_COLUMNS)


def candidate_keys(conditions: Iterable[Condition], *, all_sessions: bool) -> list[Keys]:
    """Several sets of record keys, possibly with duplicates, each containing everything that satisfies the conditions.
    The parameters are those of `of_owner`."""
    return [_having(found, all_sessions) for each in conditions for found in candidates(each)]


@lru_cache(maxsize=4)
def of_owner(table: sa.Table, *, all_sessions: bool) -> tuple[ColumnElement[bool], ...]:
    """The rows of one scope that are not hidden, or all rows of all sessions: parameters `tenant`, `session_id`,
    `user_id`."""
    in_tenant = table.c.tenant == sa.bindparam("tenant")
    if all_sessions:  # written like in their indexes
        return in_tenant, table.c.session_id != sa.literal_column("''")
    tenant, session_id = (sa.bindparam(name, type_=TEXT) for name in ("tenant", "session_id"))
    return (
        in_tenant,
        table.c.session_id == session_id,
        table.c.user_id == sa.bindparam("user_id"),
        table.c.records_start == current_start(tenant, session_id),
    )


def _having(found: Candidates, all_sessions: bool) -> Keys:
    """The records with such a term; ranges are separate, so that each uses an index."""
    term = record_terms.c.term
    exact = [low for low, high in found.ranges if low == high]
    ranges = [sa.and_(term >= low, term <= high) for low, high in found.ranges if low != high]
    owner = of_owner(record_terms, all_sessions=all_sessions)
    parts = [
        sa.select(*_KEY).where(*owner, record_terms.c.path == found.path, in_range)
        for in_range in (*([term.in_(exact)] if exact else []), *ranges)
    ]
    return sa.union_all(*parts) if len(parts) > 1 else parts[0]
