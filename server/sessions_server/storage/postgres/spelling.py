"""How PostgreSQL is told a statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles

from sessions_server.storage.statements import DatabaseClock, Item, JsonRows, Spelling, Statement

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.engine import Connection
    from sqlalchemy.sql.compiler import SQLCompiler


class PostgresSpelling(Spelling):
    dialect = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]

    def upsert(self, table: sa.Table, key: list[str]) -> sa.Insert:
        insert = postgresql.insert(table)
        replaced = {each.name: insert.excluded[each.name] for each in table.c if each.name not in key}
        return insert.on_conflict_do_update(index_elements=key, set_=replaced)

    def execute(self, connection: Connection, text: str, parameters: tuple[Any, ...]) -> Any:
        return connection.exec_driver_sql(text, parameters)

    def execute_many(
        self, connection: Connection, statement: Statement, text: str, rows: list[tuple[Any, ...]]
    ) -> None:
        connection.exec_driver_sql(text, rows)


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
