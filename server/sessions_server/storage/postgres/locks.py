"""The locks of servers that share a PostgreSQL database, besides row locks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.storage.backend import Locks
from sessions_server.storage.statements import WRITE_NOW, Prepared, TransactionNumber, item, listed

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_MIGRATING: Final = 7_353_118_022_617_342
"""The advisory lock for migrating."""


def migrate_alone(connection: Connection) -> None:
    """Waits, without a time limit, until no other server is migrating."""
    connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
    connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATING)))


def _lock_keys(function: Callable[..., sa.ColumnElement[Any]]) -> Prepared:
    keys = listed("keys")
    tenant, session_id = item(keys, 0), item(keys, 1)
    locked = function(sa.func.hashtextextended(tenant + "/" + session_id, 0)).label("locked")
    rows = (
        sa.select(tenant.label("tenant"), session_id.label("session_id"), locked)
        .select_from(keys)
        .cte("locks")
    )
    return Prepared(sa.select(rows, TransactionNumber(), WRITE_NOW))


def _lock_numbers() -> Prepared:
    pairs = listed("pairs")
    locked = sa.func.pg_advisory_xact_lock(item(pairs, 0, sa.Integer()), item(pairs, 1, sa.Integer()))
    rows = sa.select(locked.label("locked")).select_from(pairs).cte("locks")
    return Prepared(sa.select(rows, WRITE_NOW))


LOCKS: Final = Locks(
    absent=_lock_keys(sa.func.pg_advisory_xact_lock),
    absent_if_free=_lock_keys(sa.func.pg_try_advisory_xact_lock),
    numbers=_lock_numbers(),
    wait_long=Prepared(sa.select(sa.func.set_config("lock_timeout", "5s", sa.true()))),
)
