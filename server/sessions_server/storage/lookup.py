"""Looks up a range of log rows for each of many sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence as Seq
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from sessions_server.storage.schema import log
from sessions_server.storage.statements import Prepared, as_list, item, listed

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

BEYOND: Final = 2**62
"""A position after every position."""


class Range(NamedTuple):
    """Rows of one session between two positions, both excluded, at most this many."""

    tenant: str
    session_id: str
    after: int
    before: int
    most: int


def _range(columns: Iterable[sa.ColumnElement[Any]], place: Callable[[int, str], Any]) -> sa.Select[Any]:
    """The rows of a range; the place says where a value comes from."""
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
    """One range for each of many sessions: in one statement where the database can, otherwise in one small statement
    per session."""

    def __init__(
        self, columns: Seq[sa.ColumnElement[Any]], *, of_history: bool = False, newest: bool = False
    ) -> None:
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
        if laterally:
            found: list[list[Any]] = [[] for _ in ranges]
            asked = as_list((*wanted, number) for number, wanted in enumerate(ranges))
            for number, *row in self._all.rows(connection, ranges=asked) if ranges else ():
                found[number].append(row)
            return found
        return [list(self._one.rows(connection, **wanted._asdict())) for wanted in ranges]
