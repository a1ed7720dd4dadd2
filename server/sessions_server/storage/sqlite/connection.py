"""Connections to a SQLite file, with restricted rights."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from sessions_server.storage.backend import ENGINE_OPTIONS
from sessions_server.storage.errors import driver_error
from sessions_server.storage.recent_sessions import RecentSessions
from sessions_server.storage.sqlite.spelling import SPELLING
from sessions_server.storage.statements import SPELLING as SPELLING_OPTION

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Connection, Engine

T = TypeVar("T")

_RECENT: Final = "recent sessions"
"""The key under which the writing connection has them."""

_CHECKPOINT: Final = "PRAGMA wal_autocheckpoint = 2000"

_NO_CHECKPOINT: Final = "PRAGMA wal_autocheckpoint = 0"

_NOT_UTF_8: Final = "Could not decode to UTF-8"

_WRITER_CACHE_KIB: Final = 16 * 1024
"""Must hold the pages of a large transaction: those that do not fit are written to the log early, and read again."""

_OF_A_NEW_FILE: Final = "PRAGMA auto_vacuum = INCREMENTAL"
"""It would write to an existing file, perhaps on a full disk, at every start, so it is only set on new files;
`sessions-server vacuum` converts older ones."""

WRITER_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}",
    _CHECKPOINT,
)
READER_PRAGMAS: Final = (
    "PRAGMA query_only = ON",
    "PRAGMA temp_store = MEMORY",
    _NO_CHECKPOINT,
)


class Readers:
    """One connection per reading thread."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._here = threading.local()
        self._all: list[Connection] = []

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        connection: Connection | None = getattr(self._here, "connection", None)
        if connection is None:
            connection = self._here.connection = connect(self._path, READER_PRAGMAS)
            self._all.append(connection)
        driver = driver_of(connection)
        driver.execute("BEGIN")
        try:
            yield connection
        finally:
            driver.rollback()

    def close(self) -> None:
        for connection in self._all:
            connection.close()
            connection.engine.dispose()


def connect(path: Path | None, pragmas: tuple[str, ...]) -> Connection:
    """A connection that never begins a transaction by itself."""
    engine: Engine = sa.create_engine(
        sa.URL.create("sqlite+pysqlite", database=str(path) if path is not None else ":memory:"),
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "isolation_level": None, "cached_statements": 1_024},
        execution_options={SPELLING_OPTION: SPELLING},
        **ENGINE_OPTIONS,
    )
    connection = engine.connect()
    try:
        driver = driver_of(connection)
        if pragmas is WRITER_PRAGMAS and driver.execute("PRAGMA page_count").fetchone() == (0,):
            driver.execute(_OF_A_NEW_FILE)
        for pragma in pragmas:
            driver.execute(pragma)
    except BaseException:  # not a database, or locked, or the disk is full
        connection.close()
        raise
    return connection


@contextmanager
def waiting(connection: Connection, seconds: float) -> Iterator[sqlite3.Connection]:
    """The driver's connection, with a different timeout for locks of other programs."""
    driver: sqlite3.Connection = driver_of(connection)
    [usual] = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
    try:
        yield driver
    finally:
        driver.execute(f"PRAGMA busy_timeout = {usual}")


def with_any_text(connection: Connection, work: Callable[[Connection], T]) -> T:
    """Runs `work`, possibly twice: a single string that is not UTF-8 fails the whole statement. The second time such
    strings are returned as bytes, and the decoders of their rows report them as damaged."""
    driver = driver_of(connection)
    try:
        return work(connection)
    except Exception as error:
        cause = driver_error(error)
        if not (isinstance(cause, sqlite3.OperationalError) and str(cause).startswith(_NOT_UTF_8)):
            raise
    driver.text_factory = _text
    try:
        return work(connection)
    finally:
        driver.text_factory = str


def _text(stored: bytes) -> str | bytes:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def driver_of(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def recent_sessions(connection: Connection) -> RecentSessions | None:
    """Those kept with the writing connection."""
    recent: RecentSessions | None = connection.info.get(_RECENT)
    return recent


def transact(connection: Connection, work: Callable[[Connection], T]) -> T:
    """Runs one write transaction on the writing connection. BEGIN and COMMIT go directly to the driver, as in
    `SqliteSpelling.execute`."""
    recent: RecentSessions = connection.info.setdefault(_RECENT, RecentSessions())
    driver = driver_of(connection)
    driver.execute("BEGIN IMMEDIATE")
    try:
        [version] = driver.execute("PRAGMA data_version").fetchone()
        recent.begin(version)
        outcome = work(connection)
        driver.execute("COMMIT")
    except BaseException:
        driver.rollback()
        raise
    recent.committed()
    return outcome


def transact_in_bulk(connection: Connection, work: Callable[[Connection], T]) -> T:
    """Like `transact`, but what is written moves from the log into the file later: the caller need not wait for
    that, since the log is durable."""
    driver = driver_of(connection)
    driver.execute(_NO_CHECKPOINT)
    try:
        return transact(connection, work)
    finally:
        driver.execute(_CHECKPOINT)


def unchanging(work: Callable[[Connection], T], connection: Connection) -> T:
    """Runs `work`, which only reads, in a write transaction."""
    outcome = work(connection)
    if (recent := recent_sessions(connection)) is not None:
        recent.keep_up()
    return outcome
