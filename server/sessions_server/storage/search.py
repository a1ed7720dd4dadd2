"""One page of a list or search of sessions, at a cost that follows the page and not the number of sessions.

A list is the merger of one index range per state, so that states nobody asked for are never walked through. What has
expired, and is not yet recorded so, stands under its old state: it is left out there and comes from a range of its own.

A search looks for the condition, or the user, that leaves the fewest candidates. A page in order of creation of those
with one certain term is a range of the terms' index. A few candidates are looked at one by one. If all there is leaves
many, the list is walked through in its order: then matches are frequent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence as Seq
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from sessions_server.domain.models import Micros, Session, State
from sessions_server.domain.ports import ListQuery, OrderBy
from sessions_server.storage.conditions import check
from sessions_server.storage.rows import SESSION_COLUMNS, session_view
from sessions_server.storage.schema import metadata_terms as terms_table, sessions
from sessions_server.storage.statements import Prepared, Row, read_clock
from sessions_server.storage.terms import Candidates, candidates
from sessions_server.storage.transaction import Rules

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.sql.expression import ColumnElement

FEW: Final = 5_000
"""So many candidates are still looked at one by one. In a million sessions, more of them are so frequent that walking
through the list in its order finds a page about as soon."""

_UNARCHIVED: Final = tuple(sorted(set(State) - {State.ARCHIVED}))

_NOW: Final = sa.bindparam("now", type_=sa.BigInteger)
_STATE_NOW: Final = sa.case(
    (sessions.c.last_due_time <= _NOW, sessions.c.last_due_state),
    (sessions.c.due_time <= _NOW, sessions.c.due_state),
    else_=sessions.c.state,
)
_UNLAPSED: Final = sa.or_(sessions.c.due_time.is_(None), sessions.c.due_time > _NOW)

_IN_TENANT: Final = sessions.c.tenant == sa.bindparam("tenant")
_OF_USER: Final = sessions.c.user_id == sa.bindparam("user_id")


class _Shape(NamedTuple):
    """What decides a list statement's text; everything else is a parameter."""

    states: tuple[State, ...]
    order: OrderBy
    of_user: bool
    continued: bool


def find_sessions(
    connection: Connection, query: ListQuery, *, rules: Rules, now: Micros | None
) -> list[Session]:
    """Must run on one snapshot. Raises InvalidRequest for a filter that can not be asked."""
    instant = read_clock(connection, now)
    parameters = _parameters(query, instant)
    shape = _Shape(
        query.states or _UNARCHIVED,
        query.order,
        of_user=bool(query.user_id),
        continued=query.after is not None,
    )
    if query.conditions:
        rows = _search(connection, query, shape, parameters, rules)
    else:
        rows = _list_statement(shape).rows(connection, **parameters)
    return [session for row in rows if (session := session_view(row, instant)) is not None]


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
    check(query.conditions)
    matches = [rules.backend.condition(condition) for condition in query.conditions]
    fewest = _fewest(connection, query, parameters)
    statement: sa.Select[Any]
    if fewest is not None and fewest.one_term is not None and query.order.column == "create_time":
        statement = _in_order_of_creation(shape, fewest, matches)
    elif fewest is not None and _count(connection, _having(fewest), parameters) < FEW:
        statement = _one_by_one(shape, _having(fewest), matches)
    elif shape.of_user and _count(connection, _users_sessions(), parameters) < FEW:
        statement = _one_by_one(shape, _users_sessions(), matches)
    else:
        statement = _list(shape, matches)
    return connection.execute(statement, parameters).fetchall()


def _fewest(connection: Connection, query: ListQuery, parameters: dict[str, Any]) -> Candidates | None:
    """The candidates to start from; there is no need to count when there is no choice."""
    choices = [found for condition in query.conditions for found in candidates(condition)]
    if len(choices) < 2:
        return choices[0] if choices else None
    counted = [
        (_count(connection, _having(choice), parameters), index) for index, choice in enumerate(choices)
    ]
    return choices[min(counted)[1]]


def _count(connection: Connection, found: sa.Select[Any], parameters: dict[str, Any]) -> int:
    """How many there are, at most FEW."""
    counted = sa.select(sa.func.count()).select_from(found.limit(FEW).subquery())
    wanted = {"tenant": parameters["tenant"], "user_id": parameters["user_id"]}
    return int(connection.execute(counted, wanted).scalar_one())


def _having(found: Candidates) -> sa.Select[Any]:
    """The sessions with such a term."""
    in_range = (
        terms_table.c.term == low
        if low == high
        else sa.and_(terms_table.c.term >= low, terms_table.c.term <= high)
        for low, high in found.ranges
    )
    return sa.select(terms_table.c.session_id).where(
        terms_table.c.tenant == sa.bindparam("tenant"), terms_table.c.path == found.path, sa.or_(*in_range)
    )


def _users_sessions() -> sa.Select[Any]:
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


def _one_by_one(
    shape: _Shape, found: sa.Select[Any], matches: Iterable[ColumnElement[bool]]
) -> sa.Select[Any]:
    # An expression keeps SQLite, which does not know how few there are, from walking through the index of the order.
    place = (sessions.c[shape.order.column] + sa.literal_column("0"), sessions.c.session_id)
    statement = sa.select(*SESSION_COLUMNS).where(
        _IN_TENANT, sessions.c.session_id.in_(found), *_filters(shape, matches)
    )
    return _paged(statement, shape, *place)


def _is_now_in(states: Iterable[State]) -> ColumnElement[bool]:
    return _STATE_NOW.in_([sa.literal(str(state)) for state in states])


def _filters(shape: _Shape, matches: Iterable[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    user = [_OF_USER] if shape.of_user else []
    return [_is_now_in(shape.states), *user, *matches]


def _list(shape: _Shape, matches: Iterable[ColumnElement[bool]] = ()) -> sa.Select[Any]:
    """The keys of a page from each state; of these, the first; then their rows."""
    matches = list(matches)
    place = (sessions.c[shape.order.column], sessions.c.session_id)
    base = sa.select(place[0].label("place"), sessions.c.session_id).where(
        _IN_TENANT, *([_OF_USER] if shape.of_user else []), *matches
    )
    parts = [base.where(sessions.c.state == state, _UNLAPSED) for state in shape.states]
    parts.append(base.where(sessions.c.due_time <= _NOW, _is_now_in(shape.states)))
    pages = [sa.select(_paged(part, shape, *place).subquery()) for part in parts]
    merged = sa.union_all(*pages).subquery()
    first = (
        _ordered(sa.select(merged), shape, merged.c.place, merged.c.session_id)
        .limit(sa.bindparam("count"))
        .subquery()
    )
    rows = (
        sa.select(*SESSION_COLUMNS)
        .select_from(first.join(sessions, sessions.c.session_id == first.c.session_id))
        .where(_IN_TENANT)
    )
    return _ordered(rows, shape, first.c.place, first.c.session_id)


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
