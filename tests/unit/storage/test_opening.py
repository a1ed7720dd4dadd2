"""What the operator is told about an unusable PostgreSQL, depending on the driver's error."""

from __future__ import annotations

import sqlite3
import ssl

import pytest
import sqlalchemy as sa

from sessions_server.domain.errors import StorageFull, Unavailable
from sessions_server.storage.databases import parse_url

URL = "postgresql+asyncpg://owner:secret@db:5433/sessions"


class Refusal(Exception):
    """Looks like asyncpg's errors."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("a text with a secret in it")
        self.sqlstate = sqlstate


def explain(url: str, error: Exception) -> str | None:
    return parse_url(url).explain(error)


def unavailable(cause: Exception) -> Unavailable:
    error = Unavailable("away")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (Refusal("28P01"), "PostgreSQL does not let the role owner in; check its name and password"),
        (Refusal("55000"), "The database sessions takes no connections; allow them with ALTER DATABASE"),
        (Refusal("53300"), "PostgreSQL has no connection left; raise its max_connections"),
        (Refusal("57P03"), "PostgreSQL is starting or stopping"),
        (Refusal("25006"), "PostgreSQL at db:5433 takes no writes; name the primary"),
        (Refusal("58030"), "PostgreSQL at db:5433 refuses with SQLSTATE 58030; its log says why."),
        (Refusal("08006"), "PostgreSQL at db:5433 cannot be reached; start it, or check its host and port"),
        (TimeoutError(), "PostgreSQL at db:5433 does not respond; check its host and port"),
        (ssl.SSLCertVerificationError(), "PostgreSQL at db:5433 failed the TLS handshake; check ssl"),
        (sa.exc.TimeoutError(), "All SESSIONS_POOL_SIZE connections stay busy"),
    ],
    ids=["login", "closed", "full", "starting", "replica", "I/O", "lost", "silent", "TLS", "pool"],
)
def test_each_cause_has_its_sentence(cause: Exception, sentence: str) -> None:
    said = explain(URL, unavailable(cause))
    assert said is not None
    assert said.startswith(sentence)
    assert "secret" not in said


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (sqlite3.SQLITE_IOERR_SHMMAP, "d.db is on a file system without shared memory between processes"),
        (sqlite3.SQLITE_IOERR_SHMOPEN, "d.db is on a file system without shared memory between processes"),
        (sqlite3.SQLITE_IOERR_SHMSIZE, "The disk of d.db is full, or fails; free some space on it"),
        (sqlite3.SQLITE_IOERR_WRITE, "The disk of d.db is full, or fails; free some space on it"),
        (sqlite3.SQLITE_CANTOPEN, "d.db cannot be opened; let the server's user read and write it"),
    ],
    ids=["no shared memory", "no index of the log", "no room for it", "I/O", "cannot be opened"],
)
def test_each_cause_has_its_sentence_on_sqlite(code: int, sentence: str) -> None:
    cause = sqlite3.OperationalError("a text with a secret in it")
    cause.sqlite_errorcode = code
    said = explain("sqlite+aiosqlite:///d.db", unavailable(cause))
    assert said is not None
    assert said.startswith(sentence)
    assert "secret" not in said


def test_self_explanatory_and_unexpected_errors_have_no_sentence() -> None:
    assert explain(URL, StorageFull("full")) is None
    assert explain(URL, RuntimeError()) is None
    assert explain("sqlite+aiosqlite:///sessions.db", Unavailable("closed")) is None
