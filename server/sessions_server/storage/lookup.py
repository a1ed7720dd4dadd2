"""Looks up a range of log rows for each of many sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence as Seq
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from sessions_server.storage.schema import log
from sessions_server.storage.spans import between
from sessions_server.storage.statements import Prepared, as_list, item, listed

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.spans import Spans


class Range(NamedTuple):
    """At most this many rows of one session between two positions, both excluded."""

    tenant: str
    session_id: str
    after: int
    before: int
    most: int
    hidden: Spans = ()
    """Where messages left the history but are still stored."""

    def parts(self) -> list[Range]:
        """The ranges between the hidden spans, in order."""
        seen = between(self.hidden, self.after + 1, self.before - 1)
        return [self._replace(after=first - 1, before=last + 1, hidden=()) for first, last in seen]


def _range(columns: Iterable[sa.ColumnElement[Any]], place: Callable[[int, str], Any]) -> sa.Select[Any]:
    """The rows of a range; `place` is where its values come from."""
    return (
        sa.select(*columns)
        .where(
            log.c.tenant == place(0, "tenant"),
            log.c.session_id == place(1, "session_id"),
            log.c.sequence > place(2, "after"),
            log.c.sequence < place(3, "before"),
        )
        .limit(place(4, "most"))
    )


class Lookup:
    """One range for each of many sessions: in one statement if the database supports that, otherwise in one small
    statement per session."""

    def __init__(
        self, columns: Seq[sa.ColumnElement[Any]], *, of_history: bool = False, newest: bool = False
    ) -> None:
        self._of_history = of_history
        self._newest = newest

        def narrowed(rows: sa.Select[Any]) -> sa.Select[Any]:
            if of_history:
                rows = rows.where(log.c.message_id.is_not(None))
            return rows.order_by(log.c.sequence.desc() if newest else log.c.sequence)

        self._one = Prepared(narrowed(_range(columns, lambda _, name: sa.bindparam(name))))
        wanted = listed("ranges")
        rows = narrowed(
            _range(columns, lambda index, _: item(wanted, index, None if index < 2 else sa.BigInteger()))
        )
        found = rows.correlate(wanted).lateral("found")
        number, position = item(wanted, 5, sa.Integer()), found.c.sequence
        self._all = Prepared(
            sa.select(number, *found.c)
            .select_from(wanted)
            .join(found, sa.true())
            .order_by(number, position.desc() if newest else position)
        )

    def rows(self, connection: Connection, ranges: Seq[Range], *, laterally: bool) -> list[list[Any]]:
        found: list[list[Any]] = [[] for _ in ranges]
        whole = [
            (number, wanted)
            for number, wanted in enumerate(ranges)
            if not (wanted.hidden and self._of_history)
        ]
        if laterally and whole:
            asked = as_list((*wanted[:5], number) for number, wanted in whole)
            for number, *row in self._all.rows(connection, ranges=asked):
                found[number].append(row)
            whole = []
        for number, wanted in whole:
            found[number] = list(self._one.rows(connection, **wanted._asdict()))
        for number, wanted in enumerate(ranges):
            if wanted.hidden and self._of_history:
                found[number] = self._between_hidden(connection, wanted)
        return found

    def _between_hidden(self, connection: Connection, wanted: Range) -> list[Any]:
        parts = wanted.parts()
        found: list[Any] = []
        for part in reversed(parts) if self._newest else parts:
            left = wanted.most - len(found)
            if left > 0:
                found += self._one.rows(connection, **part._replace(most=left)._asdict())
        return found
