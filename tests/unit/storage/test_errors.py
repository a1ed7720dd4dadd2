"""Errors of the databases, translated to the domain."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import asyncpg
import pytest
import sqlalchemy as sa

from sessions_server.domain.errors import (
    DataCorrupted,
    LimitExceeded,
    MessageExists,
    SessionNotFound,
    StorageFull,
    Unavailable,
)
from sessions_server.storage.postgres import errors as of_postgresql
from sessions_server.storage.postgres.errors import connection_lost, lost_to_another, reaching
from sessions_server.storage.sqlite import errors as of_sqlite

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class PostgresError(Exception):
    """Looks like asyncpg's errors: a state, perhaps a constraint."""

    def __init__(self, sqlstate: str, constraint_name: str = "") -> None:
        super().__init__("a text with a secret in it")
        self.sqlstate = sqlstate
        self.constraint_name = constraint_name


def wrapped(error: Exception, *, lost: bool = False) -> sa.exc.DBAPIError:
    """As raised by SQLAlchemy: the driver's error, caused by asyncpg's."""
    driver = PostgresError(getattr(error, "sqlstate", "")) if isinstance(error, PostgresError) else error
    driver.__cause__ = error if driver is not error else None
    return sa.exc.DBAPIError("SELECT 1", None, driver, connection_invalidated=lost)


def sqlite_error(code: int, text: str = "") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text or "a text with a secret in it")
    error.sqlite_errorcode = code
    return error


def of_the_driver(error: Exception) -> sa.exc.DBAPIError:
    """As SQLAlchemy 2.1 and later raise asyncpg's own errors."""
    driver = Exception("a text with a secret in it")
    driver.__cause__ = error
    return sa.exc.InternalError("SELECT 1", None, driver)


def translated(error: Exception) -> AbstractContextManager[None]:
    """The error translated by its database's backend."""
    is_sqlite = isinstance(getattr(error, "orig", error), sqlite3.Error)
    return of_sqlite.translated() if is_sqlite else of_postgresql.translated()


MEANINGS: dict[str, tuple[Exception, type[Exception]]] = {
    "SQLite's disk is full": (wrapped(sqlite_error(sqlite3.SQLITE_FULL)), StorageFull),
    "SQLite's file is damaged": (wrapped(sqlite_error(sqlite3.SQLITE_CORRUPT)), DataCorrupted),
    "SQLite's file is locked": (wrapped(sqlite_error(sqlite3.SQLITE_BUSY)), Unavailable),
    "SQLite's disk fails": (wrapped(sqlite_error(sqlite3.SQLITE_IOERR | 4 << 8)), Unavailable),
    "a pragma's disk fails": (sqlite_error(sqlite3.SQLITE_IOERR), Unavailable),
    "a message id twice, on SQLite": (
        wrapped(
            sqlite_error(
                sqlite3.SQLITE_CONSTRAINT | 8 << 8,
                "UNIQUE constraint failed: log.message_id, log.tenant, log.session_id, log.import_start",
            )
        ),
        MessageExists,
    ),
    "a message id twice, on PostgreSQL": (
        wrapped(PostgresError("23505", "uq_log_message_id")),
        MessageExists,
    ),
    "PostgreSQL's disk is full": (wrapped(PostgresError("53100")), StorageFull),
    "PostgreSQL's page is damaged": (wrapped(PostgresError("XX001")), DataCorrupted),
    "PostgreSQL shuts down": (wrapped(PostgresError("57P01")), Unavailable),
    "PostgreSQL became a replica": (wrapped(PostgresError("25006")), Unavailable),
    "a lock was waited for too long": (wrapped(PostgresError("55P03")), Unavailable),
    "a statement reached its time limit": (wrapped(PostgresError("57014")), LimitExceeded),
    "PostgreSQL starts": (PostgresError("57P03"), Unavailable),
    "a connection was lost": (wrapped(PostgresError(""), lost=True), Unavailable),
    "nobody listens": (ConnectionRefusedError(), Unavailable),
    "a connection took too long": (TimeoutError(), Unavailable),
    "no host is the one that is asked for": (asyncpg.TargetServerAttributeNotMatched(), Unavailable),
    "the driver lost its way": (of_the_driver(asyncpg.ProtocolError()), Unavailable),
    "the pool is used up": (sa.exc.TimeoutError(), Unavailable),
}


@pytest.mark.parametrize(("error", "meaning"), MEANINGS.values(), ids=MEANINGS.keys())
def test_a_database_error_is_raised_as_a_domain_error(error: Exception, meaning: type[Exception]) -> None:
    with pytest.raises(meaning) as raised, translated(error):
        raise error
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        SessionNotFound(),
        ValueError(),
        wrapped(sqlite_error(sqlite3.SQLITE_ERROR)),
        wrapped(PostgresError("42601")),
    ],
    ids=["the domain's own", "a mistake", "wrong SQL on SQLite", "wrong SQL on PostgreSQL"],
)
def test_other_errors_are_raised_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, translated(error):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    "error",
    [wrapped(PostgresError("55000")), wrapped(PostgresError("42501")), TypeError("sslmode"), ValueError()],
    ids=["takes no connections", "no right to connect", "an option that is not known", "anything else"],
)
def test_every_connection_failure_is_retryable(error: Exception) -> None:
    with pytest.raises(Unavailable) as raised, reaching():
        raise error
    assert raised.value.__cause__ is error


def test_a_full_disk_is_reported_while_connecting_too() -> None:
    with pytest.raises(StorageFull), reaching():
        raise wrapped(PostgresError("53100"))


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (PostgresError("40001"), True),
        (PostgresError("40P01"), True),
        (PostgresError("23505", "pk_sessions"), True),
        (PostgresError("23505", "uq_log_message_id"), False),
        (PostgresError("57P01"), False),
    ],
    ids=["serialization", "deadlock", "created twice", "a message id twice", "shut down"],
)
def test_a_transaction_is_retried_only_after_losing_a_race(error: PostgresError, again: bool) -> None:
    assert lost_to_another(wrapped(error)) is again


def test_a_lost_connection_is_recognized() -> None:
    assert connection_lost(wrapped(PostgresError("08006"), lost=True))
    assert not connection_lost(wrapped(PostgresError("40001")))
    assert not connection_lost(ValueError())
