"""Lists the collections of a scope: each takes one step in an index, however many records it has."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.domain.record_reads import CollectionPage, CollectionQuery
from sessions_server.storage.record_names import is_exact, path_of, stored_collection, successor, within
from sessions_server.storage.record_owners import IS_CURRENT, IS_ERASED
from sessions_server.storage.record_search import of_owner
from sessions_server.storage.schema import records, sessions
from sessions_server.storage.statements import Prepared, read_clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.sql.expression import ColumnElement

    from sessions_server.domain.models import Micros

_CUT_AT_ONCE: Final = 16
"""How many collections to look for at once when most of them may be cut to the same path."""


def find_collections(connection: Connection, query: CollectionQuery, *, now: Micros | None) -> CollectionPage:
    """Must run on one snapshot."""
    low, high = within(query.prefix)
    if query.after is not None:
        low = max(low, _following(query, query.after))
    parameters = {**query.scope._asdict(), "now": read_clock(connection, now), "high": high}
    at_once = min(query.limit + 1, _CUT_AT_ONCE) if query.max_depth else query.limit + 1
    paths: dict[tuple[str, ...], None] = {}
    while len(paths) <= query.limit:
        rows = _statement(query.all_sessions).rows(connection, **parameters, low=low, count=at_once)
        for short, full in rows:
            if short < low:  # within a path that was cut
                continue
            path = path_of(short, full)
            shown = path[: query.max_depth] if query.max_depth else path
            if shown[: len(query.prefix)] == query.prefix[: len(shown)]:
                paths[shown] = None
            low = max(successor(short), _following(query, path))
        if len(rows) < at_once:
            break
    found = tuple(paths)
    return CollectionPage(found[: query.limit], len(found) > query.limit)


def _following(query: CollectionQuery, path: tuple[str, ...]) -> str:
    """Where paths begin that are shown differently from this one."""
    cut = path[: query.max_depth] if query.max_depth else path
    if query.max_depth and len(cut) == query.max_depth and is_exact(cut):
        return within(cut).high
    return successor(stored_collection(path).short)


@lru_cache(maxsize=2)
def _statement(all_sessions: bool) -> Prepared:
    first = _next(all_sessions, records.c.collection >= sa.bindparam("low"))
    found = sa.select(first.label("collection")).cte("found", recursive=True)
    following = _next(all_sessions, records.c.collection > found.c.collection)
    found = found.union_all(sa.select(following).where(found.c.collection.is_not(None)))
    full = (
        sa.select(records.c.full_collection)
        .where(*of_owner(records, all_sessions=all_sessions), records.c.collection == found.c.collection)
        .limit(1)
        .scalar_subquery()
    )
    return Prepared(
        sa.select(found.c.collection, full)
        .where(found.c.collection.is_not(None))
        .limit(sa.bindparam("count"))
    )


def _next(all_sessions: bool, *bounds: ColumnElement[bool]) -> Any:
    expire_time = records.c.expire_time
    live = sa.or_(expire_time.is_(None), expire_time > sa.bindparam("now", type_=sa.BigInteger))
    owner: sa.Select[Any] = sa.select(sa.literal_column("1")).where(
        sessions.c.tenant == records.c.tenant,
        sessions.c.session_id == records.c.session_id,
        sa.not_(sa.func.coalesce(IS_ERASED, sa.false())),
        IS_CURRENT,
    )
    is_owned = sa.or_(records.c.session_id == sa.literal_column("''"), owner.exists())
    return (
        sa.select(records.c.collection)
        .where(*of_owner(records, all_sessions=all_sessions), *bounds)
        .where(records.c.collection < sa.bindparam("high"), live, is_owned)
        .order_by(records.c.collection)
        .limit(1)
        .scalar_subquery()
    )
