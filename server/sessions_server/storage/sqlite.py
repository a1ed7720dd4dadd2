"""Runs SQLite: one process, one writer thread with the only connection that writes, and a few threads that read.

A transaction is one hop into a thread. The writer alone moves the write-ahead log into the database file. When content
was erased, the log is emptied soon after, since older copies of the pages stand in it. A database in memory has one
connection, which does everything.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from sessions_server.domain.errors import Unavailable
from sessions_server.storage.engine import SQLITE, Backend, engine_options
from sessions_server.storage.errors import StoreInUse, StoreRefused, translated
from sessions_server.storage.migrations import migrate

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from sessions_server.domain.models import Micros
    from sessions_server.domain.ports import Clock

T = TypeVar("T")

READERS: Final = 4
_OLDEST_SQLITE: Final = (3, 35)
_PRIVATE: Final = 0o600
_CHECKPOINT_PAGES: Final = 2_000
_GATE_SECONDS: Final = 0.02
"""How long readers may be held up, at most, so that the log can be emptied; then another time is waited for."""

WRITER_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",
    f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}",
)
_READER_PRAGMAS: Final = (
    "PRAGMA query_only = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 0",
)


class SqliteRunner:
    backend: Backend = SQLITE

    def __init__(self, path: Path | None, *, clock: Clock, scrub_seconds: float) -> None:
        self._path = path
        self._clock = clock
        self._scrub_seconds = scrub_seconds
        self._lock = _FileLock(path) if path is not None else None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._reading = (
            self._writing if path is None else ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        )
        self._gate = threading.Semaphore(READERS)
        self._readers = _Readers(path)
        self._opened: Connection | None = None
        self._to_scrub = False
        self._scrubbing: asyncio.Task[None] | None = None

    def now(self) -> Micros:
        return self._clock.now()

    async def start(self) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StoreRefused(
                f"Python was built with SQLite {sqlite3.sqlite_version}, and this server needs 3.35 or later; "
                "use a newer Python, or a PostgreSQL database."
            )
        if self._lock is not None:
            self._lock.acquire()
        try:
            await self._hop(self._writing, self._open)
        except BaseException:
            self._release()
            raise

    async def close(self) -> None:
        if self._scrubbing is not None:
            self._scrubbing.cancel()
        if self._reading is not self._writing:
            await asyncio.to_thread(self._reading.shutdown)
        with suppress(Unavailable):  # closed already
            await self._hop(self._writing, self._close)
        await asyncio.to_thread(self._writing.shutdown)
        self._release()

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._hop(self._writing, lambda: self._write(work))

    async def read(self, work: Callable[[Connection], T], *, snapshot: bool) -> T:
        if self._path is None:
            return await self.write(work)
        return await self._hop(self._reading, lambda: self._read(work))

    def scrub_soon(self) -> None:
        if self._path is None:
            return
        self._to_scrub = True
        if self._scrubbing is None or self._scrubbing.done():
            self._scrubbing = asyncio.get_running_loop().create_task(self._scrub())

    async def _scrub(self) -> None:
        """Empties the write-ahead log, as soon as no reader stands in the way."""
        while self._to_scrub:
            await asyncio.sleep(self._scrub_seconds)
            self._to_scrub = False
            done = False
            with suppress(Unavailable):
                done = await self._hop(self._writing, self._truncate)
            self._to_scrub |= not done

    async def _hop(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            hop = asyncio.get_running_loop().run_in_executor(threads, work)
        except RuntimeError:  # the threads were shut down
            raise Unavailable("The store is closed; ask a server that is running.") from None
        return await hop

    @property
    def _writer(self) -> Connection:
        if self._opened is None:
            raise Unavailable("The store is not open; start it first.")
        return self._opened

    def _open(self) -> None:
        with translated():
            self._opened = connection = _connect(self._path, WRITER_PRAGMAS)
            sa.event.listen(connection.engine, "begin", _begin_immediate)
            with connection.begin():
                migrate(connection)
            # The process before may have been killed between an erasure and the emptying of the log that is due then.
            self._truncate()

    def _close(self) -> None:
        self._readers.close()
        if self._opened is None:
            return
        with suppress(Unavailable):
            self._truncate()
        self._opened.close()
        self._opened.engine.dispose()
        self._opened = None

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _write(self, work: Callable[[Connection], T]) -> T:
        with translated(), self._writer.begin():
            return work(self._writer)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._gate, translated(), self._readers.snapshot() as connection:
            return work(connection)

    def _truncate(self) -> bool:
        """Whether the log is empty now."""
        held = 0
        try:
            while held < READERS and self._gate.acquire(timeout=_GATE_SECONDS):
                held += 1
            if held < READERS:
                return False
            with translated():
                busy, *_ = _driver(self._writer).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
        finally:
            for _ in range(held):
                self._gate.release()


class _Readers:
    """One connection for each thread that reads."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._here = threading.local()
        self._all: list[Connection] = []

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        connection: Connection | None = getattr(self._here, "connection", None)
        if connection is None:
            connection = self._here.connection = _connect(self._path, _READER_PRAGMAS)
            self._all.append(connection)
        driver = _driver(connection)
        driver.execute("BEGIN")
        try:
            yield connection
        finally:
            driver.rollback()

    def close(self) -> None:
        for connection in self._all:
            connection.close()
            connection.engine.dispose()


class _FileLock:
    """Held as long as the store is open, so that no second process opens the same database."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._descriptor: int | None = None

    def acquire(self) -> None:
        path = self._database.with_name(self._database.name + ".lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Made here, so that only its owner reads it. Not touched where it exists: in a process that has it open
            # already, closing it once more would drop SQLite's own locks.
            if not self._database.exists():
                os.close(os.open(self._database, os.O_RDWR | os.O_CREAT, _PRIVATE))
        except BlockingIOError:
            self.release()
            raise StoreInUse(
                f"Another process uses the database {self._database}; stop it first, or give this one another "
                "database. Several servers can share a PostgreSQL database."
            ) from None
        except OSError as error:
            self.release()
            raise StoreRefused(
                f"The database {self._database} can not be opened ({error.strerror}); "
                "check that its folder exists and can be written to."
            ) from None

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _connect(path: Path | None, pragmas: tuple[str, ...]) -> Connection:
    """A connection that begins no transaction by itself."""
    engine: Engine = sa.create_engine(
        sa.URL.create("sqlite+pysqlite", database=str(path) if path is not None else ":memory:"),
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "isolation_level": None, "cached_statements": 1_024},
        **engine_options(),
    )
    connection = engine.connect()
    driver = _driver(connection)
    for pragma in pragmas:
        driver.execute(pragma)
    return connection


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _begin_immediate(connection: Connection) -> None:
    _driver(connection).execute("BEGIN IMMEDIATE")
