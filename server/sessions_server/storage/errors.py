"""What the databases refuse, in the domain's words. The databases' own texts never leave as part of a message."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from sessions_server.domain.errors import (
    DataCorrupted,
    DomainError,
    MessageExists,
    SessionLocked,
    SetupError,
    StorageFull,
    Unavailable,
)
from sessions_server.storage.schema import MESSAGE_ID_UNIQUE


class StoreRefused(SetupError):
    """The store cannot be opened as it is configured. A sentence that says what to do; nothing was changed."""


class StoreInUse(StoreRefused):
    """Another process has the database, which only one may have."""


_SQLITE_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_PRIMARY_CODE: Final = 0xFF
_MESSAGE_ID_COLUMNS: Final = "log.tenant, log.session_id, log.message_id"

_PG_DISK_FULL: Final = "53100"
_PG_UNIQUE_VIOLATION: Final = "23505"
_PG_LOCKED: Final = "55P03"
_PG_TRY_AGAIN: Final = {"40001", "40P01"}
"""Serialization failure, deadlock: another transaction won, and this one can simply be run again."""

_PG_DAMAGED: Final = {"XX001", "XX002"}
_PG_OUT_OF_REACH: Final = ("08", "53", "57", "58", "25006", "28", "3D")
"""Connection lost, too many connections, shut down or cancelled, I/O error, a replica, refused login."""


@contextmanager
def translated() -> Iterator[None]:
    """Raises the domain's error instead of the database's, where there is one."""
    try:
        yield
    except (DomainError, StoreRefused):
        raise
    except Exception as error:
        known = _translate(error)
        if known is None:
            raise
        raise known from error


@contextmanager
def reaching() -> Iterator[None]:
    """Around the making of a connection: whatever hinders it, callers can only try again later. A connection that was
    made and then lost is left to `connection_lost`."""
    try:
        yield
    except DomainError:
        raise
    except Exception as error:
        if connection_lost(error):
            raise
        raise (_translate(error) or _unavailable()) from error


def lost_to_another(error: BaseException) -> bool:
    """Whether a transaction failed only because another one came first, so that it succeeds when it is run again."""
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    state = sqlstate_of(error)
    return state in _PG_TRY_AGAIN or (
        state == _PG_UNIQUE_VIOLATION and _constraint(error) != MESSAGE_ID_UNIQUE
    )


def connection_lost(error: BaseException) -> bool:
    return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated


def _translate(error: Exception) -> DomainError | None:
    if isinstance(error, sa.exc.DBAPIError):
        if isinstance(error.orig, sqlite3.Error):
            return _translate_sqlite(error.orig)
        return _unavailable() if error.connection_invalidated else _translate_postgresql(error)
    if isinstance(error, sqlite3.Error):  # of a pragma, which goes to the driver
        return _translate_sqlite(error)
    if isinstance(error, (sa.exc.TimeoutError, OSError)):
        return _unavailable()
    return _translate_postgresql(error)  # of a connection that could not be made


def _translate_sqlite(error: sqlite3.Error) -> DomainError | None:
    code = sqlite_code(error)
    if code == sqlite3.SQLITE_FULL:
        return _full()
    if code in _SQLITE_DAMAGED:
        return _damaged()
    if code == sqlite3.SQLITE_CONSTRAINT and _MESSAGE_ID_COLUMNS in str(error):
        return _message_exists()
    return (
        _unavailable()
        if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR
        else None
    )


def _translate_postgresql(error: Exception) -> DomainError | None:
    if _failed_in_the_driver(error):
        return _unavailable()
    state = sqlstate_of(error)
    if state == _PG_DISK_FULL:
        return _full()
    if state in _PG_DAMAGED:
        return _damaged()
    if state == _PG_UNIQUE_VIOLATION and _constraint(error) == MESSAGE_ID_UNIQUE:
        return _message_exists()
    if state == _PG_LOCKED:
        return SessionLocked("Another call has held this session for too long; try again.")
    if state in _PG_TRY_AGAIN or state == _PG_UNIQUE_VIOLATION or state.startswith(_PG_OUT_OF_REACH):
        return _unavailable()
    return None


def sqlite_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; its own for any error where the driver says none."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & _SQLITE_PRIMARY_CODE


def _failed_in_the_driver(error: Exception) -> bool:
    """Whether asyncpg could not go on with a connection, as when no host is the one that the address asks for.
    SQLAlchemy wraps these since 2.1."""
    asyncpg = sys.modules.get("asyncpg")  # an extra; what it raised, it has loaded
    return asyncpg is not None and any(
        isinstance(each, asyncpg.InternalClientError) for each in (error, driver_error(error).__cause__)
    )


def sqlstate_of(error: BaseException) -> str:
    """What PostgreSQL says of an error; empty where it says nothing."""
    return str(getattr(driver_error(error), "sqlstate", None) or "")


def _constraint(error: Exception) -> str:
    return str(getattr(driver_error(error).__cause__, "constraint_name", ""))


def driver_error(error: BaseException) -> BaseException:
    """What the database's driver raised, as SQLAlchemy knows it."""
    return error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error


def _full() -> StorageFull:
    return StorageFull("The server's disk is full and nothing was stored; free some space, then try again.")


def _damaged() -> DataCorrupted:
    return DataCorrupted("The server's database is damaged; restore it from a backup.")


def _message_exists() -> MessageExists:
    return MessageExists("Two messages of a session bear the same id; give each message an id of its own.")


def _unavailable() -> Unavailable:
    return Unavailable("The server cannot reach its database for now; try again with the same request_id.")
