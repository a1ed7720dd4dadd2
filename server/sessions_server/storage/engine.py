"""Decides, once, what differs between the two databases; everything else in this package is the same for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
class Backend:
    lock_absent: Prepared | None
    """Locks the keys of sessions that have no row to be locked; with each comes the time when it was locked. None where
    there is but one writer."""
    wait_long: Prepared | None
    """Lets this transaction wait longer for locks. None where there is nobody to wait for."""
    condition: Callable[[Condition], sa.ColumnElement[bool]]
    """A metadata condition in the database's SQL."""
    joins_laterally: bool
    """Whether one statement can look up a bounded number of rows for each of many sessions."""


_absent = listed("keys")
_locked = (
    sa.select(
        sa.func.pg_advisory_xact_lock(
            sa.func.hashtextextended(item(_absent, 0) + "/" + item(_absent, 1), 0)
        ).label("locked")
    )
    .select_from(_absent)
    .cte("locked")
)

SQLITE: Final = Backend(lock_absent=None, wait_long=None, condition=sqlite_condition, joins_laterally=False)

WAIT_LONG: Final = Prepared(sa.select(sa.func.set_config("lock_timeout", "5s", sa.true())))

POSTGRESQL: Final = Backend(
    lock_absent=Prepared(sa.select(_locked, WRITE_NOW)),
    wait_long=WAIT_LONG,
    condition=postgresql_condition,
    joins_laterally=True,
)


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
