"""Runs SQLite: one process, one writer thread with the only connection that writes, and a few threads that read.

A transaction is one hop into a thread. The writer alone moves the write-ahead log into the database file. When content
was erased, the log is emptied soon after, since older copies of the pages stand in it, and the unused parts of the
file's pages are cleared. Both take a moment only, give way to whoever uses the file, and are tried again when they
fail. A database in memory has one connection, which does everything.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from sessions_server.domain.errors import Unavailable
from sessions_server.storage.backend import ENGINE_OPTIONS, Runner
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.migrations import migrate
from sessions_server.storage.sqlite.errors import translated
from sessions_server.storage.sqlite.gaps import Gaps
from sessions_server.storage.sqlite.lock import FileLock
from sessions_server.storage.sqlite.spelling import SPELLING
from sessions_server.storage.statements import SPELLING as SPELLING_OPTION

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from sessions_server.domain.models import Micros, SessionKey
    from sessions_server.domain.ports import Clock

T = TypeVar("T")

READERS: Final = 4
_OLDEST_SQLITE: Final = (3, 35)
_CHECKPOINT_PAGES: Final = 2_000
_GATE_SECONDS: Final = 0.02
"""How long the writer waits until nobody reads, so that the log can be emptied; then another time is waited for."""

_CLEARING_SECONDS: Final = 0.02
"""How long writers may be held up at once while the unused parts of pages are cleared."""

_CLOSING_SECONDS: Final = 1.0
"""The same when the store closes. What is left then is done after the next start."""

_LONGEST_PAUSE_SECONDS: Final = 10.0
"""How long to wait at most before erased content is cleared away again, where somebody stood in the way."""

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


class _Scrub(Enum):
    """What became of an attempt to clear away erased content."""

    DONE = auto()
    MORE = auto()
    """There is more to do, and nobody stands in the way."""
    FAILED = auto()
    """Somebody reads, or the disk is full, or fails."""


class SqliteRunner(Runner):
    def __init__(
        self, path: Path | None, *, clock: Clock, scrub_seconds: float = 1.0, clears_gaps: bool = True
    ) -> None:
        # By its own name, whatever link led to it: so every process names the same lock.
        self._path = Path(os.path.realpath(path)) if path is not None else None
        self._clock = clock
        self._scrub_seconds = scrub_seconds
        self._clears_gaps = clears_gaps
        self._lock = FileLock(self._path) if self._path is not None else None
        self._gaps: Gaps | None = None
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._reading = (
            self._writing if path is None else ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        )
        self._gate = threading.Semaphore(READERS)
        self._readers = _Readers(self._path)
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
        if self._path is not None and self._lock is not None:
            self._lock.acquire()
            self._gaps = Gaps(self._path) if self._clears_gaps and Gaps.are_known() else None
        try:
            await self._hop(self._writing, self._open)
        except asyncio.CancelledError:
            raise  # the thread goes on opening the file: `close` waits for it, and lets go of the lock then
        except BaseException:
            self._release()
            raise
        self.scrub_soon()  # the process before may have been killed between an erasure and what is due then

    async def close(self) -> None:
        if self._scrubbing is not None:
            self._scrubbing.cancel()
            await asyncio.wait({self._scrubbing})
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

    async def settle(self, _key: SessionKey) -> None:
        await self._hop(self._writing, lambda: None)  # behind whatever the one writer is at

    def scrub_soon(self) -> None:
        if self._path is None:
            return
        if self._gaps is not None:
            self._gaps.look_again()
        self._to_scrub = True
        if self._scrubbing is None or self._scrubbing.done():
            self._scrubbing = asyncio.get_running_loop().create_task(self._scrub())

    async def _scrub(self) -> None:
        """Clears away what was erased: at once where nobody stands in the way, else with longer and longer pauses."""
        pause = self._scrub_seconds
        while self._to_scrub:
            await asyncio.sleep(pause)
            self._to_scrub = False
            outcome = await self._hop(self._writing, lambda: self._try_to_scrub(_CLEARING_SECONDS))
            self._to_scrub |= outcome is not _Scrub.DONE
            failed = outcome is _Scrub.FAILED
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) if failed else self._scrub_seconds

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
        try:
            with translated():
                self._opened = connection = _connect(self._path, WRITER_PRAGMAS)
                sa.event.listen(connection.engine, "begin", _begin_immediate)
                with connection.begin():
                    migrate(connection)
        except BaseException:
            self._close_writer()
            raise

    def _close(self) -> None:
        self._readers.close()
        if self._opened is None:
            return
        self._try_to_scrub(_CLOSING_SECONDS)
        self._close_writer()

    def _close_writer(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened.engine.dispose()
            self._opened = None

    def _release(self) -> None:
        if self._gaps is not None:
            self._gaps.close()
            self._gaps = None
        if self._lock is not None:
            self._lock.release()

    def _write(self, work: Callable[[Connection], T]) -> T:
        with translated(), self._writer.begin():
            return work(self._writer)

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._gate, translated(), self._readers.snapshot() as connection:
            return work(connection)

    def _try_to_scrub(self, seconds: float) -> _Scrub:
        """Empties the log, then clears the unused parts of pages, for about so long. Raises nothing."""
        gaps = self._gaps
        if self._path is None:
            return _Scrub.DONE
        try:
            with _without_waiting(self._writer) as driver:
                if not self._truncate(driver):
                    return _Scrub.FAILED
                if gaps is not None and not self._clear_gaps(driver, gaps, seconds):
                    return _Scrub.FAILED
        except (sqlite3.Error, OSError):
            return _Scrub.FAILED
        return _Scrub.MORE if gaps is not None and not gaps.is_done else _Scrub.DONE

    def _truncate(self, driver: sqlite3.Connection) -> bool:
        """Whether the log is empty now."""
        # Most of the work, and all waiting for the disk, while readers go on.
        driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        held = 0
        deadline = time.monotonic() + _GATE_SECONDS
        try:
            while held < READERS and self._gate.acquire(timeout=max(deadline - time.monotonic(), 0)):
                held += 1
            if held < READERS:
                return False
            busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
        finally:
            for _ in range(held):
                self._gate.release()

    def _clear_gaps(self, driver: sqlite3.Connection, gaps: Gaps, seconds: float) -> bool:
        """False when the log is not empty any more, because another program has written."""
        driver.execute("BEGIN IMMEDIATE")
        try:
            if self._log_size() > 0:
                return False
            changed = gaps.clear(seconds)
        finally:
            driver.rollback()
        if changed:  # the pages that the connection remembers are the old ones, and would be written again
            driver.execute("PRAGMA shrink_memory")
        return True

    def _log_size(self) -> int:
        return Path(f"{self._path}-wal").stat().st_size


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


def _connect(path: Path | None, pragmas: tuple[str, ...]) -> Connection:
    """A connection that begins no transaction by itself."""
    engine: Engine = sa.create_engine(
        sa.URL.create("sqlite+pysqlite", database=str(path) if path is not None else ":memory:"),
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "isolation_level": None, "cached_statements": 1_024},
        execution_options={SPELLING_OPTION: SPELLING},
        **ENGINE_OPTIONS,
    )
    connection = engine.connect()
    driver = _driver(connection)
    for pragma in pragmas:
        driver.execute(pragma)
    return connection


@contextmanager
def _without_waiting(connection: Connection) -> Iterator[sqlite3.Connection]:
    """The driver's connection, which meanwhile waits for no lock that another program has."""
    driver: sqlite3.Connection = _driver(connection)
    [patience] = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        yield driver
    finally:
        driver.execute(f"PRAGMA busy_timeout = {patience}")


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _begin_immediate(connection: Connection) -> None:
    _driver(connection).execute("BEGIN IMMEDIATE")
