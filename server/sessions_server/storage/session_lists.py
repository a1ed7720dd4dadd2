"""The statements of lists and searches of sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence as Seq
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import sqlalchemy as sa

from sessions_server.domain.models import State
from sessions_server.storage.rows import SESSION_COLUMNS
from sessions_server.storage.schema import metadata_terms as terms_table, sessions
from sessions_server.storage.statements import READ_NOW, Prepared

if TYPE_CHECKING:
    from sqlalchemy.sql.expression import ColumnElement

    from sessions_server.domain.ports import OrderBy
    from sessions_server.storage.terms import Candidates

Ids: TypeAlias = "sa.Select[Any] | sa.CompoundSelect[Any]"

FEW_LAPSED: Final = 100
"""Up to this many sessions that have expired without being recorded may be examined for every page. PostgreSQL reads a
page of the table for each of those that were written since the last vacuum, even to count them."""

_UNARCHIVED: Final = tuple(sorted(set(State) - {State.ARCHIVED}))
_EXPIRING: Final = (State.CREATED, State.ACTIVE, State.PAUSED, State.EXPIRED)

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
_IS_LAPSED: Final = sa.case((sessions.c.due_time <= _NOW, 1), else_=0)

_IN_TENANT: Final = sessions.c.tenant == sa.bindparam("tenant")
_OF_USER: Final = sessions.c.user_id == sa.bindparam("user_id")

# Expressions without an index, so that lapsed sessions are found by their time.
_LAPSED: Final = (
    sessions.c.due_time <= _NOW,
    sessions.c.tenant.concat(sa.literal_column("''")) == sa.bindparam("tenant"),
)
_LAPSED_OF_USER: Final = sessions.c.user_id.concat(sa.literal_column("''")) == sa.bindparam("user_id")

CLOCK: Final = Prepared(
    sa.select(
        READ_NOW,
        sa.select(sa.func.count())
        .select_from(
            sa.select(sa.literal_column("1"))
            .where(sessions.c.due_time <= READ_NOW)
            .limit(sa.bindparam("most"))
            .subquery()
        )
        .scalar_subquery(),
    )
)
"""The time at which a list is evaluated, and how many sessions have lapsed by then, counted up to `most`."""


class Shape(NamedTuple):
    """What determines a statement's text, besides the conditions; everything else is a parameter."""

    states: tuple[State, ...]
    order: OrderBy
    of_user: bool
    continued: bool
    many_lapsed: bool
    """Whether FEW_LAPSED sessions or more have lapsed."""

    @property
    def by_creation(self) -> bool:
        return self.order.column == "create_time"


def shown_states(states: tuple[State, ...]) -> tuple[State, ...]:
    return states or _UNARCHIVED


@lru_cache(maxsize=256)
def plain_walk(shape: Shape) -> Prepared:
    """`walk_of_list` without conditions."""
    return Prepared(walk_of_list(shape, ()))


def walk_of_list(shape: Shape, matches: Seq[ColumnElement[bool]]) -> sa.Select[Any]:
    """The next `count` places of the list, in any order: each place, its session's id, and SESSION_COLUMNS, which are
    all NULL if the session does not belong to the list."""
    time = sessions.c[shape.order.column]
    if shape.many_lapsed and shape.by_creation:
        return _walk(shape, [_range(shape, time, state) for state in _may_have_been(shape.states)], matches)
    ranges = [_range(shape, time, state) for state in shape.states]
    return _walk(shape, [*ranges, _lapsed(shape)], [*matches, sa.column("lapsed") == _IS_LAPSED])


def walk_of_term(shape: Shape, found: Candidates, matches: Seq[ColumnElement[bool]]) -> sa.Select[Any]:
    """The same, in order of creation, for the sessions with one term."""
    place = (terms_table.c.create_time, terms_table.c.session_id)
    having = sa.select(place[0].label("place"), place[1], sa.literal_column("0").label("lapsed")).where(
        terms_table.c.tenant == sa.bindparam("tenant"),
        terms_table.c.path == found.path,
        terms_table.c.term == found.one_term,
    )
    return _walk(shape, [_paged(having, shape, *place)], matches)


def one_by_one(shape: Shape, found: Ids, matches: Iterable[ColumnElement[bool]]) -> sa.Select[Any]:
    """The first `count` sessions of the list that are among few candidates, as returned by `walk_of_list`."""
    time = _UPDATE_TIME_NOW if not shape.by_creation else sessions.c.create_time
    # An expression keeps SQLite, which does not know how few there are, from scanning the index of the order.
    place = (time + sa.literal_column("0"), sessions.c.session_id)
    statement = sa.select(place[0], place[1], *SESSION_COLUMNS).where(
        _IN_TENANT, sessions.c.session_id.in_(found), *_belongs(shape, matches)
    )
    return _paged(statement, shape, *place)


def of_user() -> Ids:
    """The ids of a user's sessions."""
    return sa.select(sessions.c.session_id).where(_IN_TENANT, _OF_USER)


def having(found: Candidates) -> Ids:
    """The ids of sessions with such a term, possibly more than once; ranges are separate, so that each uses the
    index."""
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


def _walk(shape: Shape, ranges: Seq[sa.Select[Any]], matches: Seq[ColumnElement[bool]]) -> sa.Select[Any]:
    """Takes the keys of this many places from each range, then the first of them all, then their rows. An outer join
    leaves no other plan to a planner that expects few matches."""
    merged = sa.union_all(*(sa.select(each.subquery()) for each in ranges)).subquery()
    places = _ordered(sa.select(merged), shape, merged.c.place, merged.c.session_id)
    # A lapsed session may be in two ranges, at one place. If only one of them is among the first, it is the right one.
    places = places.order_by(merged.c.lapsed.desc())
    first = places.limit(sa.bindparam("count")).subquery("first")
    same = sessions.c.session_id == first.c.session_id
    belongs = sa.and_(_IN_TENANT, same, *_belongs(shape, matches))
    return sa.select(first.c.place, first.c.session_id, *SESSION_COLUMNS).select_from(
        first.outerjoin(sessions, belongs)
    )


def _belongs(shape: Shape, matches: Iterable[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    is_shown = _STATE_NOW.in_([sa.literal(str(state)) for state in shape.states])
    return [is_shown, *([_OF_USER] if shape.of_user else []), *matches]


def _range(shape: Shape, time: ColumnElement[Any], state: State) -> sa.Select[Any]:
    """The range of a recorded state, in order, whether or not its sessions have lapsed."""
    where = [_IN_TENANT, *([_OF_USER] if shape.of_user else []), sessions.c.state == str(state)]
    return _paged(_keys(time, lapsed=0).where(*where), shape, time, sessions.c.session_id)


def _lapsed(shape: Shape) -> sa.Select[Any]:
    """Lapsed sessions as they are shown: an expiry counts as an update even before it is recorded."""
    time = sessions.c.create_time if shape.by_creation else _UPDATE_TIME_NOW
    lapsed = _keys(time, lapsed=1).where(*_LAPSED, *([_LAPSED_OF_USER] if shape.of_user else []))
    return _paged(lapsed, shape, time, sessions.c.session_id)


def _keys(time: ColumnElement[Any], *, lapsed: int) -> sa.Select[Any]:
    return sa.select(
        time.label("place"), sessions.c.session_id, sa.literal_column(str(lapsed)).label("lapsed")
    )


def _may_have_been(states: tuple[State, ...]) -> Seq[State]:
    """The recorded states that a session in one of the given states may have."""
    if State.ARCHIVED in states:
        return tuple(State)
    return sorted({*states, *(_EXPIRING if State.EXPIRED in states else ())})


def _paged(
    statement: sa.Select[Any], shape: Shape, time: ColumnElement[Any], session_id: ColumnElement[Any]
) -> sa.Select[Any]:
    if shape.continued:
        place = sa.tuple_(time, session_id)
        last = sa.tuple_(
            sa.bindparam("after_time", type_=sa.BigInteger), sa.bindparam("after_id", type_=sa.Text)
        )
        statement = statement.where(place < last if shape.order.descending else place > last)
    return _ordered(statement, shape, time, session_id).limit(sa.bindparam("count"))


def _ordered(
    statement: sa.Select[Any], shape: Shape, time: ColumnElement[Any], session_id: ColumnElement[Any]
) -> sa.Select[Any]:
    if shape.order.descending:
        return statement.order_by(time.desc(), session_id.desc())
    return statement.order_by(time, session_id)
