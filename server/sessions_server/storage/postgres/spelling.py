"""Executes statements on PostgreSQL."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles

from sessions_server.storage.statements import (
    Compiled,
    DatabaseClock,
    Item,
    JsonRows,
    Spelling,
    Statement,
    TransactionNumber,
    taking_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.engine import Connection
    from sqlalchemy.sql.compiler import SQLCompiler


class PostgresSpelling(Spelling):
    dialect = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]  # it has no types

    def upsert(self, table: sa.Table, key: list[str]) -> sa.Insert:
        insert = postgresql.insert(table)
        replaced = {each.name: insert.excluded[each.name] for each in table.c if each.name not in key}
        return insert.on_conflict_do_update(index_elements=key, set_=replaced)

    def execute(self, connection: Connection, text: str, parameters: tuple[Any, ...]) -> Any:
        """Calls SQLAlchemy's adapter of the driver directly: describing every column of every result would cost more
        than fetching the rows."""
        cursor: Any = connection.connection.cursor()
        try:
            cursor.execute(text, parameters)
        except connection.dialect.loaded_dbapi.Error as error:
            raise _described(connection, cursor, error) from error
        return cursor

    def execute_many(
        self, connection: Connection, statement: Statement, text: str, rows: list[tuple[Any, ...]]
    ) -> None:
        connection.exec_driver_sql(text, rows)

    def execute_together(
        self, connection: Connection, writes: Sequence[tuple[Statement, str, list[tuple[Any, ...]]]]
    ) -> None:
        if len(writes) == 1:
            [(statement, text, rows)] = writes
            self.execute_many(connection, statement, text, rows)
            return
        together, names = self._together(tuple(statement for statement, _, _ in writes))
        columns: dict[str, list[Any]] = {}
        for number, (statement, _, rows) in enumerate(writes):
            arrays = map(list, zip(*rows, strict=True))
            columns.update(zip(_array_names(number, self.compile(statement).names), arrays, strict=True))
        self.execute(connection, together, tuple(columns[name] for name in names))

    @functools.cache  # noqa: B019  # there is a single spelling, and it stays
    def compile(self, statement: Statement) -> Compiled:
        return super().compile(statement)

    @functools.cache  # noqa: B019  # as above
    def _together(self, statements: tuple[Statement, ...]) -> tuple[str, tuple[str, ...]]:
        """Combines the statements into one, and returns its parameters: an array for each parameter of a statement."""
        parts: list[sa.CTE] = []
        for number, statement in enumerate(statements):
            compiled = statement.compile(dialect=self.dialect)
            names = tuple(compiled.positiontup or ())
            types = [compiled.binds[name].type for name in names]
            arrays = [
                sa.bindparam(array, type_=postgresql.ARRAY(type_))
                for array, type_ in zip(_array_names(number, names), types, strict=True)
            ]
            columns = [sa.column(name, type_) for name, type_ in zip(names, types, strict=True)]
            given = sa.func.unnest(*arrays).table_valued(*columns, name=f"given_{number}").render_derived()
            parts.append(taking_from(statement, names, list(given.c)).cte(f"write_{number}"))
        text, names, _ = self.compile(sa.select(sa.literal_column("1")).add_cte(*parts))
        return text, names


def _described(connection: Connection, cursor: Any, error: Exception) -> BaseException:
    """The error as SQLAlchemy would raise it, including whether the connection is lost and must not be reused."""
    dialect: Any = connection.dialect
    is_lost: bool = dialect.is_disconnect(error, connection.connection, cursor)
    if is_lost:
        connection.invalidate(error)
    base = dialect.loaded_dbapi.Error
    return sa.exc.DBAPIError.instance(
        None, None, error, base, hide_parameters=True, connection_invalidated=is_lost, dialect=dialect
    )


def _array_names(number: int, names: Iterable[str]) -> list[str]:
    return [f"given_{number}_{name}" for name in names]


SPELLING: Final = PostgresSpelling()


@compiles(JsonRows, "postgresql")
def _json_rows(element: JsonRows, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array_elements{compiler.process(element.clause_expr, **kw)}"


@compiles(Item, "postgresql")
def _item(element: Item, compiler: SQLCompiler, **kw: Any) -> str:
    row, index = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({row} ->> {index})"


@compiles(DatabaseClock, "postgresql")
def _clock(element: DatabaseClock, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(extract(epoch FROM {compiler.process(element.clauses, **kw)}) * 1000000 AS BIGINT)"


@compiles(TransactionNumber, "postgresql")
def _number(_element: TransactionNumber, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "(SELECT CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT))"  # once, not for each row
