"""Which sessions have more rows than one transaction erases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.domain.models import SessionKey
from sessions_server.storage.erasure import FEW, HAS_ANSWER
from sessions_server.storage.schema import records, requests
from sessions_server.storage.statements import Prepared, as_list, is_listed, item, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.engine import Connection

_keys = listed("keys")


def _having_many(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> Prepared:
    """Those of the listed sessions that have more than a few rows."""
    of_key = is_listed(_keys, table.c.tenant, table.c.session_id)
    one_more: sa.Select[Any] = sa.select(sa.literal_column("1")).where(of_key, *conditions)
    one_more = one_more.limit(1).offset(FEW)
    return Prepared(
        sa.select(item(_keys, 0), item(_keys, 1)).select_from(_keys).where(one_more.correlate(_keys).exists())
    )


_WITH_MANY_RECORDS: Final = _having_many(records)
_WITH_MANY_ANSWERS: Final = _having_many(requests, HAS_ANSWER)


def with_many_records(connection: Connection, keys: Iterable[SessionKey]) -> set[SessionKey]:
    return {SessionKey(*row) for row in _WITH_MANY_RECORDS.rows(connection, keys=as_list(keys))}


def with_many_answers(connection: Connection, keys: Iterable[SessionKey]) -> set[SessionKey]:
    return {SessionKey(*row) for row in _WITH_MANY_ANSWERS.rows(connection, keys=as_list(keys))}


def whose_ids_stay_taken(connection: Connection, keys: Iterable[SessionKey]) -> set[SessionKey]:
    """Those that have too many rows of the kinds in BEFORE_CREATION to be erased at once."""
    asked = list(keys)
    return with_many_records(connection, asked) | with_many_answers(connection, asked)
