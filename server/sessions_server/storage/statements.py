"""Statements that are built once: each is compiled at its first use with a database, and then sent as it is.

Sending the compiled text saves looking it up and converting each parameter at every execution, which would cost more
than the database's own work on small statements. So rows contain the driver's own values: integers, strings and bytes.

A statement about many sessions takes them as one parameter, a JSON list, so that its text does not depend on their
number. Whatever is specific to one database is in its `Spelling`, which is an option of its connections.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import functions, visitors

from sessions_server.domain.jsonbytes import dumps
from sessions_server.domain.models import Micros
from sessions_server.storage.schema import MICROS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Dialect
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.sql.expression import ColumnElement, TableValuedAlias

Row: TypeAlias = tuple[Any, ...]
Statement: TypeAlias = "sa.Select[Any] | sa.CompoundSelect[Any] | sa.Insert | sa.Update | sa.Delete"
Arrange: TypeAlias = "Callable[[dict[str, Any]], tuple[Any, ...]]"

_ROWS_AT_ONCE: Final = 64

SPELLING: Final = "spelling"
"""The connection option with the database's spelling."""


class Compiled(NamedTuple):
    text: str
    names: tuple[str, ...]
    """The parameters in the order of the text."""
    fixed: dict[str, Any]
    """The parameters with fixed values."""


class Spelling(ABC):
    """The database-specific execution of statements."""

    dialect: Dialect

    @abstractmethod
    def upsert(self, table: sa.Table, key: list[str]) -> sa.Insert:
        """Inserts a row or, if the key exists, replaces every other column."""

    @abstractmethod
    def execute(self, connection: Connection, text: str, parameters: tuple[Any, ...]) -> Any:
        """The cursor of one statement."""

    @abstractmethod
    def execute_many(
        self, connection: Connection, statement: Statement, text: str, rows: list[tuple[Any, ...]]
    ) -> None:
        """Runs a statement, compiled to `text`, for each row of parameters."""

    def execute_together(
        self, connection: Connection, writes: Sequence[tuple[Statement, str, list[tuple[Any, ...]]]]
    ) -> None:
        """Runs several statements that do not depend on each other, in any order."""
        for statement, text, rows in writes:
            self.execute_many(connection, statement, text, rows)

    def compile(self, statement: Statement) -> Compiled:
        compiled = statement.compile(dialect=self.dialect)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        return Compiled(str(compiled), tuple(compiled.positiontup or ()), fixed)


class Prepared:
    """A statement with named parameters. `many` takes rows as tuples, in the order of the parameters in the
    statement."""

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._ready: dict[Spelling, tuple[Statement, str, Arrange]] = {}

    def rows(self, connection: Connection, **parameters: Any) -> Sequence[Row]:
        spelling, _, text, arrange = self._prepare(connection)
        found: Sequence[Row] = spelling.execute(connection, text, arrange(parameters)).fetchall()
        return found

    def stream(self, connection: Connection, **parameters: Any) -> Iterator[Row]:
        spelling, _, text, arrange = self._prepare(connection)
        return _fetched(spelling.execute(connection, text, arrange(parameters)))

    def first(self, connection: Connection, **parameters: Any) -> Row | None:
        rows = self.rows(connection, **parameters)
        return rows[0] if rows else None

    def run(self, connection: Connection, **parameters: Any) -> int:
        """Returns how many rows it changed."""
        spelling, _, text, arrange = self._prepare(connection)
        changed: int = spelling.execute(connection, text, arrange(parameters)).rowcount
        return changed

    def many(self, connection: Connection, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            spelling, statement, text, _ = self._prepare(connection)
            spelling.execute_many(connection, statement, text, rows)

    def prepared(self, connection: Connection) -> tuple[Statement, str]:
        """The compiled statement for this connection, and its text."""
        _, statement, text, _ = self._prepare(connection)
        return statement, text

    def _prepare(self, connection: Connection) -> tuple[Spelling, Statement, str, Arrange]:
        spelling: Spelling = connection.get_execution_options()[SPELLING]
        ready = self._ready.get(spelling)
        if ready is None:
            statement = self._build(spelling)
            text, names, fixed = spelling.compile(statement)
            ready = self._ready[spelling] = (statement, text, _arranger(names, fixed))
        return spelling, *ready

    def _build(self, _spelling: Spelling) -> Statement:
        return self._statement


def stream(connection: Connection, statement: Statement, parameters: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of a statement that is built for each use, with the driver's own values as from a `Prepared` one."""
    with connection.execute(statement, parameters) as result:
        if result.cursor is None:
            raise TypeError("the statement returns no rows")
        yield from _fetched(result.cursor)


def _fetched(cursor: Any) -> Iterator[Row]:
    """The rows, few at a time: a caller that keeps little of each needs little memory, which costs time as well."""
    try:
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            yield from rows
    finally:  # the traceback of an error would keep the statement, and so keep a closed file open
        cursor.close()


class Lookup:
    """Selects rows of a table by their keys, given in the order of the key's columns.

    A single key is compared with parameters: on SQLite, reading it from a list would take longer than finding its row.
    """

    def __init__(self, statement: sa.Select[Any], table: sa.Table, key: Sequence[sa.Column[Any]]) -> None:
        """The statement selects from the table and has no condition on the key yet."""
        keys = listed("keys")
        self._names = [f"key_{index}" for index in range(len(key))]
        self._of_many = Prepared(statement.select_from(keys).join(table, is_listed(keys, *key)))
        self._of_one = Prepared(statement.where(*map(_equals, key, self._names)))

    def rows(
        self, connection: Connection, keys: Collection[tuple[str | int, ...]], **parameters: Any
    ) -> Sequence[Row]:
        if len(keys) > 1:
            return self._of_many.rows(connection, keys=as_list(keys), **parameters)
        rows: list[Row] = []
        for key in keys:
            named = dict(zip(self._names, key, strict=True))
            rows += self._of_one.rows(connection, **named, **parameters)
        return rows


def _equals(column: sa.Column[Any], name: str) -> ColumnElement[bool]:
    return column == sa.bindparam(name, type_=column.type)


class Upsert(Prepared):
    """Inserts rows; if a row exists, replaces every column that is not part of the key."""

    def __init__(self, table: sa.Table) -> None:
        super().__init__(table.insert())
        self._table = table

    def _build(self, spelling: Spelling) -> Statement:
        return spelling.upsert(self._table, [column.name for column in self._table.primary_key])


class Writes:
    """Rows to be written by independent statements that touch no row twice. They are sent together, in one round trip
    to a remote database."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Prepared, list[tuple[Any, ...]]]] = []

    def add(self, statement: Prepared, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            self._waiting.append((statement, rows))

    def run(self, connection: Connection) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            spelling: Spelling = connection.get_execution_options()[SPELLING]
            writes = [(*statement.prepared(connection), rows) for statement, rows in waiting]
            spelling.execute_together(connection, writes)


def taking_from(
    statement: Statement, names: Sequence[str], given: Sequence[sa.ColumnElement[Any]]
) -> sa.Insert | sa.Update:
    """A variant of an insert or update that takes values from the columns of a table instead of the parameters of these
    names."""
    if isinstance(statement, sa.Insert):
        # Without a WHERE clause SQLite parses ON CONFLICT as a join: https://sqlite.org/lang_upsert.html
        return statement.from_select(names, sa.select(*given).where(sa.true()))
    by_name = dict(zip(names, given, strict=True))

    def replacement(element: Any, **_: Any) -> Any:
        return by_name[element.key] if isinstance(element, sa.BindParameter) else None

    replaced = visitors.replacement_traverse(statement, {}, replacement)
    if not isinstance(replaced, sa.Update):
        raise TypeError("only inserts and updates take values from a table")
    return replaced


def _arranger(names: Sequence[str], fixed: dict[str, Any]) -> Arrange:
    """Puts named and fixed parameters into the order of the text."""
    if len(names) < 2:
        return lambda parameters: tuple((fixed | parameters)[name] for name in names)
    in_order = itemgetter(*names)
    return (lambda parameters: in_order(fixed | parameters)) if fixed else in_order


# Constructs that each database's spelling compiles in its own way.


class JsonRows(functions.FunctionElement[Any]):
    """The items of a JSON list as rows, each with its JSON in the column `value`."""

    inherit_cache = True


class Item(functions.FunctionElement[Any]):
    """One item of a JSON list as a string, by its index."""

    inherit_cache = True


class WriteOrder(functions.FunctionElement[int]):
    """Orders the rows of a table roughly by when they were written: by a positive column with the time or, where new
    rows are put at a table's end, by their place in it, for which no index is needed."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(WriteOrder)
def _write_order(element: WriteOrder, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


class DatabaseClock(functions.FunctionElement[int]):
    """The database's clock in microseconds; NULL if it has none to use."""

    type = MICROS
    inherit_cache = True

    def __init__(self, function: str) -> None:
        super().__init__(sa.literal_column(function))


class TransactionNumber(functions.FunctionElement[int]):
    """The number of the transaction, see `Backend.transaction_number`; NULL if the database counts them in a table."""

    type = sa.BigInteger()
    inherit_cache = True


def _clock(function: str) -> ColumnElement[int]:
    return sa.func.coalesce(sa.bindparam("now", type_=MICROS), DatabaseClock(function))


READ_NOW: Final = _clock("statement_timestamp()")
"""The time at which a reading statement is evaluated: the parameter `now`, or the database's clock if that is None."""

WRITE_NOW: Final = _clock("clock_timestamp()")
"""The time at which a row of the result is produced, and so after the locks that it waited for."""


def listed(name: str) -> TableValuedAlias:
    """The rows of the statement's JSON list parameter with this name."""
    value = sa.column("value", sa.JSON)
    return JsonRows(sa.bindparam(name, type_=sa.JSON)).table_valued(value, name=f"{name}_rows")


def item(
    rows: TableValuedAlias, index: int, type_: sa.types.TypeEngine[Any] | None = None
) -> ColumnElement[Any]:
    """One item of such a row, a string unless another type is given."""
    value = Item(rows.c.value, sa.literal_column(str(index)))
    return sa.cast(value, type_) if type_ is not None else value


def is_listed(rows: TableValuedAlias, *columns: sa.ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the columns, of strings or numbers, equal the row's items, one by one."""
    return sa.and_(*(column == _item_for(column, rows, index) for index, column in enumerate(columns)))


def _item_for(column: sa.ColumnElement[Any], rows: TableValuedAlias, index: int) -> ColumnElement[Any]:
    return item(rows, index, column.type if isinstance(column.type, sa.Integer) else None)


def as_list(rows: Iterable[Sequence[str | int | None]]) -> str:
    """The parameter value for `listed`."""
    return dumps([list(row) for row in rows]).decode()


_NOW = Prepared(sa.select(WRITE_NOW))


def read_clock(connection: Connection, now: Micros | None) -> Micros:
    """The given time, or the database's if it is None."""
    return now if now is not None else Micros(_NOW.rows(connection, now=None)[0][0])
