"""Erases, in bounded steps, records of a session that an import has replaced.

Each record stores the head of its session's log at the time it was written. Records from before `records_start` in the
session's row are hidden: readers and writers treat them as absent. So a session with any number of records is replaced
at the same cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.sizes import fitting
from sessions_server.storage.record_rows import HEAD_COLUMNS, KEY_COLUMNS
from sessions_server.storage.records import delete_rows
from sessions_server.storage.schema import records
from sessions_server.storage.statements import Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

_START: Final = sa.bindparam("start", type_=sa.BigInteger)

# In the order of the primary key: `user_id` is empty.
_AFTER: Final = sa.tuple_(records.c.collection, records.c.key) > sa.tuple_(
    sa.bindparam("after_collection", type_=sa.Text), sa.bindparam("after_key", type_=sa.Text)
)
_NEXT: Final = Prepared(
    sa.select(*HEAD_COLUMNS, records.c.size, records.c.position < _START)
    .where(
        records.c.tenant == sa.bindparam("key_tenant"),
        records.c.session_id == sa.bindparam("key_session_id"),
        records.c.user_id == sa.literal_column("''"),
        _AFTER,
    )
    .order_by(*KEY_COLUMNS)
    .limit(sa.bindparam("count"))
)


def erase_hidden(
    connection: Connection, session: Mapping[str, str], start: int, after: str | None, limit: int, most: int
) -> tuple[int, str | None]:
    """Examines the session's next records, at most `limit` of them and about `most` bytes, and deletes the hidden ones.
    Returns how many it examined, and where to continue; None at the end."""
    collection, key = ("", "") if after is None else loads(after)
    rows = _NEXT.rows(
        connection, **session, start=start, after_collection=collection, after_key=key, count=limit
    )
    taken = rows[: fitting((size for *_, size, _ in rows), most)]
    delete_rows(connection, [head for *head, _, is_hidden in taken if is_hidden])
    if len(taken) == len(rows) < limit:
        return len(taken), None
    return len(taken), dumps([*taken[-1][3:5]]).decode()
