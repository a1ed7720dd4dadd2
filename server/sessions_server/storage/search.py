"""One page of a list or search of sessions, at a cost that follows the page and not the number of sessions.

A list is the merger of one index range per state, so that states nobody asked for are never walked through. What has
expired, and is not yet recorded so, stands under its old state: it is left out there and comes from a range of its own.

A search looks for the condition, or the user, that leaves the fewest candidates. A page in order of creation of those
with one certain term is a range of the terms' index. A few candidates are looked at one by one. If all there is leaves
many, the list is walked through in its order: then matches are frequent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence as Seq
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

import sqlalchemy as sa

from sessions_server.domain.errors import DataCorrupted
from sessions_server.domain.models import Micros, Session, State
from sessions_server.storage.conditions import check
from sessions_server.storage.rows import SESSION_COLUMNS, session_view
from sessions_server.storage.schema import metadata_terms as terms_table, sessions
from sessions_server.storage.statements import Prepared, Row, read_clock
from sessions_server.storage.terms import Candidates, candidates

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.sql.expression import ColumnElement

    from sessions_server.domain.ports import ListQuery, OrderBy
    from sessions_server.storage.rules import Rules

FEW: Final = 5_000
"""So many candidates are still looked at one by one. In a million sessions, more of them are so frequent that walking
through the list in its order finds a page about as soon."""

_FEW_RANGES: Final = 4

_UNARCHIVED: Final = tuple(sorted(set(State) - {State.ARCHIVED}))

_NOW: Final = sa.bindparam("now", type_=sa.BigInteger)
_STATE_NOW: Final = sa.case(
    (sessions.c.last_due_time <= _NOW, sessions.c.last_due_state),
    (sessions.c.due_time <= _NOW, sessions.c.due_state),
    else_=sessions.c.state,
)
_UPDATE_TIME_NOW: Final = sa.case(
    (sessions.c.last_due_time <= _NOW, sessions.c.last_due_time),
    (sessions.c.due_time <= _NOW, sessions.c.due_time),
    else_=sessions.c.update_time,
)
_UNLAPSED: Final = sa.or_(sessions.c.due_time.is_(None), sessions.c.due_time > _NOW)

_IN_TENANT: Final = sessions.c.tenant == sa.bindparam("tenant")
_OF_USER: Final = sessions.c.user_id == sa.bindparam("user_id")

# As expressions that no index is made of: what has lapsed is to be found by its time, since it is always little.
_LAPSED: Final = (
    sessions.c.due_time <= _NOW,
    sessions.c.tenant.concat(sa.literal_column("''")) == sa.bindparam("tenant"),
)
_LAPSED_OF_USER: Final = sessions.c.user_id.concat(sa.literal_column("''")) == sa.bindparam("user_id")

_Sessions: TypeAlias = "sa.Select[Any] | sa.CompoundSelect[Any]"


class _Shape(NamedTuple):
    """What decides a list statement's text; everything else is a parameter."""

    states: tuple[State, ...]
    order: OrderBy
    of_user: bool
    continued: bool


def find_sessions(
    connection: Connection, query: ListQuery, *, rules: Rules, now: Micros | None
) -> list[Session]:
    """Must run on one snapshot. A session whose data is damaged is left out. Raises InvalidRequest for a filter that
    cannot be asked."""
    instant = read_clock(connection, now)
    parameters = _parameters(query, instant)
    shape = _Shape(
        query.states or _UNARCHIVED,
        query.order,
        of_user=bool(query.user_id),
        continued=query.after is not None,
    )
    count = query.limit
    while True:
        parameters["count"] = count
        if query.conditions:
            rows = _search(connection, query, shape, parameters, rules)
        else:
            rows = _list_statement(shape).rows(connection, **parameters)
        found = list(_readable(rows, instant))
        if len(found) >= query.limit or len(rows) < count:
            return found[: query.limit]
        count *= 2  # what was left out is no reason for a page to end


def _readable(rows: Seq[Row], now: Micros) -> Iterator[Session]:
    """The sessions of the rows, without those whose data is damaged."""
    for row in rows:
        try:
            session = session_view(row, now)
        except DataCorrupted:
            continue
        if session is not None:
            yield session


def _parameters(query: ListQuery, now: Micros) -> dict[str, Any]:
    after_time, after_id = query.after or (None, None)
    return {
        "now": now,
        "tenant": query.tenant,
        "user_id": query.user_id,
        "after_time": after_time,
        "after_id": after_id,
        "count": query.limit,
    }


def _search(
    connection: Connection, query: ListQuery, shape: _Shape, parameters: dict[str, Any], rules: Rules
) -> Seq[Row]:
    check(query.conditions, field="metadata_filter")
    matches = [rules.backend.condition(condition, sessions.c.metadata) for condition in query.conditions]
    statement = _search_statement(connection, query, shape, parameters, matches)
    return cast("Seq[Row]", connection.execute(statement, parameters).fetchall())


def _search_statement(
    connection: Connection,
    query: ListQuery,
    shape: _Shape,
    parameters: dict[str, Any],
    matches: list[ColumnElement[bool]],
) -> sa.Select[Any]:
    by_creation = query.order.column == "create_time"
    choices = [
        _narrowed(connection, found, parameters)
        for condition in query.conditions
        for found in candidates(condition)
    ]
    ordered = [found for found in choices if found.one_term is not None] if by_creation else []
    if len(choices) == len(ordered) == 1 and not shape.of_user:
        return _in_order_of_creation(shape, choices[0], matches)  # no choice, so there is nothing to count
    sets = [*([_users_sessions()] if shape.of_user else []), *map(_having, choices)]
    counts = [_count(connection, found, parameters, most=FEW) for found in sets]
    fewest = min(counts, default=FEW)
    if fewest < FEW:
        return _one_by_one(shape, sets[counts.index(fewest)], matches)
    if ordered and not shape.of_user:
        return _in_order_of_creation(shape, ordered[0], matches)
    return _list(shape, matches)


def _narrowed(connection: Connection, found: Candidates, parameters: dict[str, Any]) -> Candidates:
    """Without the ranges in which there is nothing: one term may be left, and its sessions are in order of creation."""
    if not 1 < len(found.ranges) <= _FEW_RANGES:
        return found
    each = [found._replace(ranges=(one,)) for one in found.ranges]
    filled = [one.ranges[0] for one in each if _count(connection, _having(one), parameters, most=1)]
    return found._replace(ranges=tuple(filled)) if filled else each[0]


def _count(connection: Connection, found: _Sessions, parameters: dict[str, Any], *, most: int) -> int:
    """How many there are, counted no further than asked."""
    counted = sa.select(sa.func.count()).select_from(found.limit(most).subquery())
    wanted = {"tenant": parameters["tenant"], "user_id": parameters["user_id"]}
    return int(connection.execute(counted, wanted).scalar_one())


def _having(found: Candidates) -> _Sessions:
    """The sessions with such a term, perhaps more than once; each range by itself, so that each is one of the index."""
    term = terms_table.c.term
    exact = [low for low, high in found.ranges if low == high]
    ranges = [sa.and_(term >= low, term <= high) for low, high in found.ranges if low != high]
    parts = [
        sa.select(terms_table.c.session_id).where(
            terms_table.c.tenant == sa.bindparam("tenant"), terms_table.c.path == found.path, in_range
        )
        for in_range in (*([term.in_(exact)] if exact else []), *ranges)
    ]
    return sa.union_all(*parts) if len(parts) > 1 else parts[0]


def _users_sessions() -> _Sessions:
    return sa.select(sessions.c.session_id).where(_IN_TENANT, _OF_USER)


def _in_order_of_creation(
    shape: _Shape, found: Candidates, matches: Iterable[ColumnElement[bool]]
) -> sa.Select[Any]:
    place = (terms_table.c.create_time, terms_table.c.session_id)
    same = sa.and_(
        terms_table.c.tenant == sessions.c.tenant, terms_table.c.session_id == sessions.c.session_id
    )
    statement = (
        sa.select(*SESSION_COLUMNS)
        .select_from(terms_table.join(sessions, same))
        .where(
            terms_table.c.tenant == sa.bindparam("tenant"),
            terms_table.c.path == found.path,
            terms_table.c.term == found.one_term,
            *_filters(shape, matches),
        )
    )
    return _paged(statement, shape, *place)


def _one_by_one(shape: _Shape, found: _Sessions, matches: Iterable[ColumnElement[bool]]) -> sa.Select[Any]:
    # An expression keeps SQLite, which does not know how few there are, from walking through the index of the order.
    place = (_time_now(shape) + sa.literal_column("0"), sessions.c.session_id)
    statement = sa.select(*SESSION_COLUMNS).where(
        _IN_TENANT, sessions.c.session_id.in_(found), *_filters(shape, matches)
    )
    return _paged(statement, shape, *place)


def _time_now(shape: _Shape) -> ColumnElement[Any]:
    """What a page is ordered by, as it is shown: an expiry is an update also before it is recorded."""
    return _UPDATE_TIME_NOW if shape.order.column == "update_time" else sessions.c[shape.order.column]


def _is_now_in(states: Iterable[State]) -> ColumnElement[bool]:
    return _STATE_NOW.in_([sa.literal(str(state)) for state in states])


def _filters(shape: _Shape, matches: Iterable[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    user = [_OF_USER] if shape.of_user else []
    return [_is_now_in(shape.states), *user, *matches]


def _list(shape: _Shape, matches: Iterable[ColumnElement[bool]] = ()) -> sa.Select[Any]:
    """The keys of a page from each state; of these, the first; then their rows."""
    matches = list(matches)
    time: ColumnElement[Any] = sessions.c[shape.order.column]
    unlapsed = _keys_at(time, matches).where(_IN_TENANT, _UNLAPSED, *([_OF_USER] if shape.of_user else []))
    pages = [_page_of_keys(unlapsed.where(sessions.c.state == state), shape, time) for state in shape.states]
    time = _time_now(shape)
    lapsed = _keys_at(time, matches).where(*_LAPSED, *([_LAPSED_OF_USER] if shape.of_user else []))
    pages.append(_page_of_keys(lapsed.where(_is_now_in(shape.states)), shape, time))
    merged = sa.union_all(*pages).subquery()
    first = (
        _ordered(sa.select(merged), shape, merged.c.place, merged.c.session_id)
        .limit(sa.bindparam("count"))
        .subquery()
    )
    same = sa.and_(sessions.c.tenant == first.c.tenant, sessions.c.session_id == first.c.session_id)
    rows = sa.select(*SESSION_COLUMNS).select_from(first.join(sessions, same))
    return _ordered(rows, shape, first.c.place, first.c.session_id)


def _keys_at(time: ColumnElement[Any], matches: list[ColumnElement[bool]]) -> sa.Select[Any]:
    return sa.select(time.label("place"), sessions.c.tenant, sessions.c.session_id).where(*matches)


def _page_of_keys(keys: sa.Select[Any], shape: _Shape, time: ColumnElement[Any]) -> sa.Select[Any]:
    return sa.select(_paged(keys, shape, time, sessions.c.session_id).subquery())


@lru_cache(maxsize=256)
def _list_statement(shape: _Shape) -> Prepared:
    return Prepared(_list(shape))


def _paged(
    statement: sa.Select[Any], shape: _Shape, time: ColumnElement[Any], session_id: ColumnElement[Any]
) -> sa.Select[Any]:
    if shape.continued:
        place = sa.tuple_(time, session_id)
        last = sa.tuple_(
            sa.bindparam("after_time", type_=sa.BigInteger), sa.bindparam("after_id", type_=sa.Text)
        )
        statement = statement.where(place < last if shape.order.descending else place > last)
    return _ordered(statement, shape, time, session_id).limit(sa.bindparam("count"))


def _ordered(
    statement: sa.Select[Any], shape: _Shape, time: ColumnElement[Any], session_id: ColumnElement[Any]
) -> sa.Select[Any]:
    if shape.order.descending:
        return statement.order_by(time.desc(), session_id.desc())
    return statement.order_by(time, session_id)
