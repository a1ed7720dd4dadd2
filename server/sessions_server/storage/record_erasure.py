"""Erases, in bounded steps, the records of a deleted session, of one that an import has replaced, or of an abandoned
import. Which of them is told by their `records_start`: see record_owners.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Self

import sqlalchemy as sa

from sessions_server.domain.sizes import fitting
from sessions_server.storage.schema import record_terms, records
from sessions_server.storage.statements import Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection


class StartRange(NamedTuple):
    """A range of `records_start`, both ends included."""

    first: int
    last: int


ALL_STARTS: Final = StartRange(0, 2**63 - 1)


class _Statements(NamedTuple):
    """Work in the order of the table's primary key, of which the columns after the owner are `names`."""

    names: tuple[str, ...]
    following: Prepared
    delete_through: Prepared

    @classmethod
    def of(cls, table: sa.Table, size: sa.ColumnElement[int]) -> Self:
        _, _, user_id, *rest = table.primary_key
        in_range = (
            table.c.tenant == sa.bindparam("key_tenant"),
            table.c.session_id == sa.bindparam("key_session_id"),
            user_id == sa.literal_column("''"),
            table.c.records_start >= sa.bindparam("first_start"),
            table.c.records_start <= sa.bindparam("last_start"),
        )
        following = sa.select(*rest, size).where(*in_range).order_by(*rest).limit(sa.bindparam("count"))
        last = sa.tuple_(*(sa.bindparam(f"through_{each.name}", type_=each.type) for each in rest))
        through = table.delete().where(*in_range, sa.tuple_(*rest) <= last)
        return cls(tuple(each.name for each in rest), Prepared(following), Prepared(through))


_TABLES: Final = (
    _Statements.of(records, records.c.size),
    _Statements.of(record_terms, sa.literal_column("0", sa.Integer())),
)


def erase_records(
    connection: Connection, session: Mapping[str, str], starts: StartRange, limit: int, most_bytes: int
) -> int:
    """Deletes the next of these records, at most `limit` of them and about `most_bytes`; once there are none, the next
    of their terms. Returns how many; 0 at the end."""
    wanted = {**session, "first_start": starts.first, "last_start": starts.last}
    for table in _TABLES:
        if rows := table.following.rows(connection, **wanted, count=limit):
            count = fitting((size for *_, size in rows), most_bytes)
            last = {
                f"through_{name}": value for name, value in zip(table.names, rows[count - 1], strict=False)
            }
            table.delete_through.run(connection, **wanted, **last)
            return count
    return 0
