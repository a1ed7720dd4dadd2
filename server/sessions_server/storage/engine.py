"""Decides, once, what differs between the two databases, but for how a statement is spelled: `statements` does that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from sessions_server.storage.conditions import postgresql_condition, sqlite_condition
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.statements import WRITE_NOW, Prepared, item, listed

if TYPE_CHECKING:
    from sessions_server.domain.filters import Condition

SQLITE_DRIVER: Final = "sqlite+aiosqlite"
POSTGRESQL_DRIVER: Final = "postgresql+asyncpg"


@dataclass(frozen=True, slots=True)
class Locks:
    """What several writers of one database need, beyond the locks of rows. With each key comes the time at last."""

    absent: Prepared
    """Waits for the keys of sessions that have no row to be locked."""
    absent_if_free: Prepared
    """Does not wait, and says of each key whether it is locked now."""
    wait_long: Prepared
    """Lets this transaction wait longer."""


@dataclass(frozen=True, slots=True)
class Backend:
    locks: Locks | None
    """None where there is but one writer."""
    condition: Callable[[Condition], sa.ColumnElement[bool]]
    """A metadata condition in the database's SQL."""
    joins_laterally: bool
    """Whether one statement can look up a bounded number of rows for each of many sessions."""


def _lock_keys(function: Callable[..., sa.ColumnElement[Any]]) -> Prepared:
    keys = listed("keys")
    tenant, session_id = item(keys, 0), item(keys, 1)
    locked = function(sa.func.hashtextextended(tenant + "/" + session_id, 0)).label("locked")
    rows = (
        sa.select(tenant.label("tenant"), session_id.label("session_id"), locked)
        .select_from(keys)
        .cte("locks")
    )
    return Prepared(sa.select(rows, WRITE_NOW))


SQLITE: Final = Backend(locks=None, condition=sqlite_condition, joins_laterally=False)

POSTGRES_LOCKS: Final = Locks(
    absent=_lock_keys(sa.func.pg_advisory_xact_lock),
    absent_if_free=_lock_keys(sa.func.pg_try_advisory_xact_lock),
    wait_long=Prepared(sa.select(sa.func.set_config("lock_timeout", "5s", sa.true()))),
)

POSTGRESQL: Final = Backend(locks=POSTGRES_LOCKS, condition=postgresql_condition, joins_laterally=True)


@dataclass(frozen=True, slots=True)
class SqliteFile:
    path: Path | None
    """None: in memory, gone when the store is closed."""


def parse_url(text: str) -> SqliteFile | URL:
    """Where the store is: a SQLite database, or the URL of a PostgreSQL one. Raises StoreRefused."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise _unknown() from None
    if url.drivername == POSTGRESQL_DRIVER:
        return url
    if url.drivername != SQLITE_DRIVER:
        raise _unknown()
    name = url.database or ":memory:"
    if name in (":memory:", "file::memory:") or (
        name.startswith("file:") and url.query.get("mode") == "memory"
    ):
        return SqliteFile(None)
    return SqliteFile(Path(name.removeprefix("file:")))


def _unknown() -> StoreRefused:
    return StoreRefused(
        f"The database URL is not one that this server knows; give {SQLITE_DRIVER}:///sessions.db "
        f"or {POSTGRESQL_DRIVER}://user@host/database."
    )


def engine_options() -> dict[str, bool]:
    """What every engine is made with: no error text and no log line shows a parameter."""
    return {"hide_parameters": True}
