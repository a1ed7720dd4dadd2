"""One page of a list or search of sessions, at a cost that depends on the page and not on the number of sessions.

A list merges one index range per state, so that unrequested states are never scanned. A session that has expired
without being recorded is still indexed under its old state: it is skipped there and comes from a separate range. While
very many expire, a list in order of creation uses the ranges of all states that may have become the requested ones
instead, and a user's few sessions are checked one by one.

A search uses the condition, or the user, that leaves the fewest candidates. A few candidates are checked one by one. If
there are many, the list is scanned in its order or, in order of creation, the sessions with one particular term.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.domain.errors import DataCorrupted
from sessions_server.domain.models import Micros, Session
from sessions_server.domain.ports import ListPlace, SessionPage
from sessions_server.storage.conditions import check
from sessions_server.storage.rows import session_view
from sessions_server.storage.schema import sessions
from sessions_server.storage.session_lists import (
    CLOCK,
    FEW_LAPSED,
    Ids,
    Shape,
    having,
    of_user,
    one_by_one,
    plain_walk,
    shown_states,
    walk_of_list,
    walk_of_term,
)
from sessions_server.storage.terms import Candidates, candidates
from sessions_server.storage.walk import FEW, Walk

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import ListQuery
    from sessions_server.storage.rules import Rules
    from sessions_server.storage.statements import Row

_FEW_RANGES: Final = 4
_PLACE: Final = itemgetter(0, 1)


def find_sessions(
    connection: Connection, query: ListQuery, *, rules: Rules, now: Micros | None
) -> SessionPage:
    """Must run on one snapshot. Sessions with damaged data are left out. Raises InvalidRequest for an unsupported
    filter."""
    check(query.conditions, field="metadata_filter")
    [(instant, lapsed)] = CLOCK.rows(connection, now=now, most=FEW_LAPSED)
    return _Search(connection, query, rules, Micros(instant), many_lapsed=lapsed >= FEW_LAPSED).page()


class _Search:
    def __init__(
        self, connection: Connection, query: ListQuery, rules: Rules, now: Micros, *, many_lapsed: bool
    ) -> None:
        self._connection = connection
        self._query = query
        self._now = now
        self._shape = Shape(shown_states(query.states), query.order, bool(query.user_id), False, many_lapsed)
        self._parameters = {"now": now, "tenant": query.tenant, "user_id": query.user_id}
        self._matches = [rules.backend.condition(each, sessions.c.metadata) for each in query.conditions]

    def page(self) -> SessionPage:
        if not self._query.conditions and not self._is_lapsing_by_update:
            return self._walk(None)
        choices = [self._narrowed(found) for each in self._query.conditions for found in candidates(each)]
        by_creation = self._shape.by_creation and not self._shape.of_user
        certain = [found for found in choices if found.one_term is not None] if by_creation else []
        if len(choices) == len(certain) == 1 and not self._shape.of_user:
            return self._walk(choices[0])  # no choice, so there is nothing to count
        sets = [*([of_user()] if self._shape.of_user else []), *map(having, choices)]
        counts = [self._count(each, most=FEW) for each in sets]
        fewest = min(counts, default=FEW)
        if fewest < FEW:
            return self._one_by_one(sets[counts.index(fewest)])
        return self._walk(certain[0] if certain else None)

    @property
    def _is_lapsing_by_update(self) -> bool:
        """Whether a user's few sessions would have to be found among very many lapsed ones."""
        return self._shape.many_lapsed and self._shape.of_user and not self._shape.by_creation

    def _narrowed(self, found: Candidates) -> Candidates:
        """Drops empty ranges: a single term may be left, whose sessions are in order of creation."""
        if not 1 < len(found.ranges) <= _FEW_RANGES:
            return found
        each = [found._replace(ranges=(one,)) for one in found.ranges]
        filled = [one.ranges[0] for one in each if self._count(having(one), most=1)]
        return found._replace(ranges=tuple(filled)) if filled else each[0]

    def _count(self, found: Ids, *, most: int) -> int:
        """The number of candidates, counted only as far as requested."""
        counted = sa.select(sa.func.count()).select_from(found.limit(most).subquery())
        wanted = {name: self._parameters[name] for name in ("tenant", "user_id")}
        return int(self._connection.execute(counted, wanted).scalar_one())

    def _one_by_one(self, found: Ids) -> SessionPage:
        limit, after = self._query.limit, self._query.after
        statement = one_by_one(self._shape_after(after), found, self._matches)
        rows = self._connection.execute(statement, self._placed(after, limit + 1)).fetchall()
        sessions = [session for row in rows[:limit] if (session := self._session(row)) is not None]
        return SessionPage(sessions, _place_of(rows[limit - 1]) if len(rows) > limit else None)

    def _walk(self, certain: Candidates | None) -> SessionPage:
        """The list in its order or, in order of creation, the sessions with one term."""
        found: list[Session] = []
        after, walk = self._query.after, Walk(self._query.limit)
        while True:
            count, last = walk.count, after
            rows = self._next(certain, after, count)
            for row in rows:
                session = self._session(row)
                if session is not None and len(found) == self._query.limit:
                    return SessionPage(found, last)
                if session is not None:
                    found.append(session)
                    last = _place_of(row)
            if len(rows) < count:
                return SessionPage(found, None)
            after = _place_of(rows[-1])
            if not walk.continues():
                return SessionPage(found, after)

    def _next(self, certain: Candidates | None, after: ListPlace | None, count: int) -> Seq[Row]:
        shape, wanted = self._shape_after(after), self._placed(after, count)
        rows: Seq[Row]
        if certain is not None:
            rows = self._rows(walk_of_term(shape, certain, self._matches), wanted)
        elif self._matches:
            rows = self._rows(walk_of_list(shape, self._matches), wanted)
        else:
            rows = plain_walk(shape).rows(self._connection, **wanted)
        try:
            return sorted(rows, key=_PLACE, reverse=shape.order.descending)
        except TypeError:  # a damaged one, which is left out below
            return sorted(rows, key=_place_of_any, reverse=shape.order.descending)

    def _rows(self, statement: sa.Select[Any], wanted: dict[str, Any]) -> list[Row]:
        return [tuple(row) for row in self._connection.execute(statement, wanted)]

    def _shape_after(self, after: ListPlace | None) -> Shape:
        return self._shape._replace(continued=after is not None)

    def _placed(self, after: ListPlace | None, count: int) -> dict[str, Any]:
        place = dict(zip(("after_time", "after_id"), after or (None, None), strict=True))
        return {**self._parameters, **place, "count": count}

    def _session(self, row: Row) -> Session | None:
        """None if the row has no session of the list, or a damaged one."""
        columns = row[2:]
        if columns[0] is None:
            return None
        try:
            return session_view(columns, self._now)
        except DataCorrupted:
            return None


def _place_of_any(row: Row) -> tuple[str, Any, str]:
    """An order that also works for values of different types."""
    time, session_id = _PLACE(row)
    return "" if isinstance(time, (int, float)) else type(time).__name__, time, str(session_id)


def _place_of(row: Row) -> ListPlace:
    return Micros(row[0]), row[1]
