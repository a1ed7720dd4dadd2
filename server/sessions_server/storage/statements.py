"""Runs statements that are built once: each is compiled at its first use with a dialect, then sent as it is.

Sending the compiled text spares every execution the search for it and the conversion of each parameter, which cost
more than the databases' own work on small statements. So rows come as the driver gives them: integers, texts and bytes.

A statement about many sessions takes them as one parameter, a JSON list, so its text does not change with their number.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import functions

from sessions_server.domain.jsonbytes import dumps
from sessions_server.domain.models import Micros
from sessions_server.storage.schema import MICROS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Dialect
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.sql.dml import Insert
    from sqlalchemy.sql.expression import ColumnElement, TableValuedAlias

_MOST_TOGETHER: Final = 128
_VALUES: Final = re.compile(r"(?<=VALUES )(\([^)]*\))")

Row: TypeAlias = tuple[Any, ...]
Statement: TypeAlias = "sa.Select[Any] | sa.CompoundSelect[Any] | sa.Insert | sa.Update | sa.Delete"


Arrange: TypeAlias = "Callable[[dict[str, Any]], tuple[Any, ...]]"


class Prepared:
    """A statement with named parameters. `many` takes rows as tuples in the order in which the statement names them."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._texts: dict[str, tuple[str, Arrange]] = {}

    def rows(self, connection: Connection, **parameters: Any) -> Sequence[Row]:
        text, arrange = self._compiled(connection.dialect)
        found = _execute(connection, text, arrange(parameters)).fetchall()
        return cast("Sequence[Row]", found)

    def first(self, connection: Connection, **parameters: Any) -> Row | None:
        rows = self.rows(connection, **parameters)
        return rows[0] if rows else None

    def run(self, connection: Connection, **parameters: Any) -> int:
        """Answers how many rows it changed."""
        text, arrange = self._compiled(connection.dialect)
        changed: int = _execute(connection, text, arrange(parameters)).rowcount
        return changed

    def many(self, connection: Connection, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        text, _ = self._compiled(connection.dialect)
        if connection.dialect.name == "sqlite" and not isinstance(self._statement, sa.Delete):
            _run_together(connection, text, rows)
        else:
            connection.exec_driver_sql(text, rows)

    def _compiled(self, dialect: Dialect) -> tuple[str, Arrange]:
        found = self._texts.get(dialect.name)
        if found is None:
            compiled = self._build(dialect).compile(dialect=dialect)
            fixed = {name: value for name, value in compiled.params.items() if value is not None}
            found = self._texts[dialect.name] = (str(compiled), _arranger(compiled.positiontup or [], fixed))
        return found

    def _build(self, _dialect: Dialect) -> Statement:
        return self._statement


class Upsert(Prepared):
    """Inserts rows; of one that is there already, replaces every column that is not part of the key."""

    def __init__(self, table: sa.Table) -> None:
        super().__init__(table.insert())
        self._table = table

    def _build(self, dialect: Dialect) -> Statement:
        key = [column.name for column in self._table.primary_key]
        insert: Any = _INSERTS[dialect.name](self._table)
        replaced = {
            column.name: insert.excluded[column.name] for column in self._table.c if column.name not in key
        }
        statement: Statement = insert.on_conflict_do_update(index_elements=key, set_=replaced)
        return statement


_INSERTS: Final[dict[str, Callable[[sa.Table], Insert]]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def _execute(connection: Connection, text: str, parameters: tuple[Any, ...]) -> Any:
    """The cursor. On SQLite straight from the driver: to send one small statement SQLAlchemy does several times the
    work of the statement itself, which a single caller would feel."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.dbapi_connection
        return driver.execute(text, parameters)
    return connection.exec_driver_sql(text, parameters)


def _run_together(connection: Connection, text: str, rows: list[tuple[Any, ...]]) -> None:
    """Writes many rows with one statement.

    The driver lets go of the interpreter's lock at every statement, and under load must wait to get it back: row by
    row that costs a batch more than the writing does.
    """
    for start in range(0, len(rows), _MOST_TOGETHER):
        some = rows[start : start + _MOST_TOGETHER]
        _execute(connection, _together(text, len(some)), tuple(chain.from_iterable(some)))


@functools.lru_cache(maxsize=8 * _MOST_TOGETHER)
def _together(text: str, count: int) -> str:
    """The statement for so many rows: an insertion of several, or an update from their list."""
    if count == 1:
        return text
    if text.startswith("INSERT"):
        head, values, tail = _VALUES.split(text, maxsplit=1)
        return f"{head}{', '.join([values] * count)}{tail}"
    numbers = itertools.count(1)
    joined = re.sub(r"\?", lambda _: f"given.column{next(numbers)}", text)
    row = f"({', '.join('?' * (next(numbers) - 1))})"
    return joined.replace(" WHERE ", f" FROM (VALUES {', '.join([row] * count)}) AS given WHERE ", 1)


def _arranger(names: Sequence[str], fixed: dict[str, Any]) -> Arrange:
    """Puts named parameters, and those that the statement itself knows, in the order of the text."""
    if len(names) < 2:
        return lambda parameters: tuple((fixed | parameters)[name] for name in names)
    in_order = itemgetter(*names)
    return (lambda parameters: in_order(fixed | parameters)) if fixed else in_order


# What a statement says differently on each database.


class _JsonRows(functions.FunctionElement[Any]):
    inherit_cache = True


@compiles(_JsonRows, "sqlite")
def _json_rows_sqlite(element: _JsonRows, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each{compiler.process(element.clause_expr, **kw)}"


@compiles(_JsonRows, "postgresql")
def _json_rows_postgresql(element: _JsonRows, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array_elements{compiler.process(element.clause_expr, **kw)}"


class _Item(functions.FunctionElement[Any]):
    inherit_cache = True


@compiles(_Item, "sqlite")
def _item_sqlite(element: _Item, compiler: SQLCompiler, **kw: Any) -> str:
    row, index = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"json_extract({row}, '$[{index}]')"


@compiles(_Item, "postgresql")
def _item_postgresql(element: _Item, compiler: SQLCompiler, **kw: Any) -> str:
    row, index = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({row} ->> {index})"


class _DatabaseClock(functions.FunctionElement[int]):
    type = MICROS
    inherit_cache = True

    def __init__(self, function: str) -> None:
        super().__init__(sa.literal_column(function))


@compiles(_DatabaseClock, "sqlite")
def _clock_sqlite(_element: _DatabaseClock, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "NULL"


@compiles(_DatabaseClock, "postgresql")
def _clock_postgresql(element: _DatabaseClock, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(extract(epoch FROM {compiler.process(element.clauses, **kw)}) * 1000000 AS BIGINT)"


def _clock(function: str) -> ColumnElement[int]:
    return sa.func.coalesce(sa.bindparam("now", type_=MICROS), _DatabaseClock(function))


READ_NOW: Final = _clock("statement_timestamp()")
"""The instant that a reading statement judges by: the parameter `now`, or the database's clock where that is None."""

WRITE_NOW: Final = _clock("clock_timestamp()")
"""The instant at which a row of the result is made, so after the locks that its making waited for."""


def listed(name: str) -> TableValuedAlias:
    """The rows of a JSON list that is the statement's parameter of this name."""
    value = sa.column("value", sa.JSON)
    return _JsonRows(sa.bindparam(name, type_=sa.JSON)).table_valued(value, name=f"{name}_rows")


def item(
    rows: TableValuedAlias, index: int, type_: sa.types.TypeEngine[Any] | None = None
) -> ColumnElement[Any]:
    """One item of such a row, as text unless another type is asked for."""
    value = _Item(rows.c.value, sa.literal_column(str(index)))
    return sa.cast(value, type_) if type_ is not None else value


def is_listed(rows: TableValuedAlias, *columns: sa.ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the columns equal the row's items, one by one."""
    return sa.and_(*(column == item(rows, index) for index, column in enumerate(columns)))


def as_list(rows: Iterable[Sequence[str | int | None]]) -> str:
    """The parameter of `listed`."""
    return dumps([list(row) for row in rows]).decode()


_NOW = Prepared(sa.select(WRITE_NOW))


def read_clock(connection: Connection, now: Micros | None) -> Micros:
    """The given instant, or the database's own when it is None."""
    return now if now is not None else Micros(_NOW.rows(connection, now=None)[0][0])
