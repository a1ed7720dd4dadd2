"""Executes statements on SQLite."""

from __future__ import annotations

import functools
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles

from sessions_server.storage.statements import (
    DatabaseClock,
    Item,
    JsonRows,
    Spelling,
    Statement,
    TransactionNumber,
    WriteOrder,
    taking_from,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlalchemy.sql.compiler import SQLCompiler

_MOST_TOGETHER: Final = 128

_OR_FAIL: Final = "OR FAIL"
"""In a statement for many rows. Without it SQLite copies each page before changing it, so that it can roll back
the statement alone; that takes a third of the time. Here an error rolls back the whole transaction."""

_GIVEN: Final = sa.table("given")
"""The rows of parameters, as a table."""


class SqliteSpelling(Spelling):
    dialect = sqlite.dialect()

    def upsert(self, table: sa.Table, key: list[str]) -> sa.Insert:
        insert = sqlite.insert(table)
        replaced = {each.name: insert.excluded[each.name] for each in table.c if each.name not in key}
        return insert.on_conflict_do_update(index_elements=key, set_=replaced)

    def execute(self, connection: Connection, text: str, parameters: tuple[Any, ...]) -> Any:
        """Calls the driver directly: for one small statement SQLAlchemy would do several times the work of the
        statement itself, which a single caller would notice."""
        driver: Any = connection.connection.dbapi_connection
        return driver.execute(text, parameters)

    def execute_many(
        self, connection: Connection, statement: Statement, text: str, rows: list[tuple[Any, ...]]
    ) -> None:
        """Inserts and updates many rows with one statement.

        The driver releases the interpreter's lock for every statement, and under load must wait to get it back: for a
        batch, doing that row by row would cost more than writing.
        """
        if isinstance(statement, sa.Delete):
            connection.exec_driver_sql(text, rows)
            return
        for start in range(0, len(rows), _MOST_TOGETHER):
            some = rows[start : start + _MOST_TOGETHER]
            together = text if len(some) == 1 else self._together(statement, len(some))
            self.execute(connection, together, tuple(chain.from_iterable(some)))

    @functools.lru_cache(maxsize=8 * _MOST_TOGETHER)  # noqa: B019  # there is a single spelling, and it stays
    def _together(self, statement: Statement, count: int) -> str:
        """The statement for this many rows, which takes its values from a table of them instead of from parameters."""
        names, text = self._from_given(statement)
        row = f"({', '.join('?' * len(names))})"
        return f"WITH given ({', '.join(names)}) AS (VALUES {', '.join([row] * count)}) {text}"

    @functools.cache  # noqa: B019  # there is a single spelling, and it stays
    def _from_given(self, statement: Statement) -> tuple[tuple[str, ...], str]:
        names = self.compile(statement).names
        columns: list[sa.ColumnElement[Any]] = [sa.column(name, _selectable=_GIVEN) for name in names]
        together = taking_from(statement, names, columns).prefix_with(_OR_FAIL)
        return names, self.compile(together).text


SPELLING: Final = SqliteSpelling()


@compiles(JsonRows, "sqlite")
def _json_rows(element: JsonRows, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each{compiler.process(element.clause_expr, **kw)}"


@compiles(Item, "sqlite")
def _item(element: Item, compiler: SQLCompiler, **kw: Any) -> str:
    row, index = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"json_extract({row}, '$[{index}]')"


@compiles(WriteOrder, "sqlite")
def _write_order(element: WriteOrder, _compiler: SQLCompiler, **_kw: Any) -> str:
    [column] = element.clauses
    return f"{column.table.name}.rowid"


@compiles(DatabaseClock, "sqlite")
def _clock(_element: DatabaseClock, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "NULL"


@compiles(TransactionNumber, "sqlite")
def _number(_element: TransactionNumber, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "NULL"
