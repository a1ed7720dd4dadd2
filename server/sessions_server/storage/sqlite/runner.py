"""Runs SQLite: one process, one writer thread with the only writing connection, and a few reader and search threads.

A transaction takes one hop into a thread. Only the writer moves the write-ahead log into the database file. Soon after
an erasure the log is truncated, since it contains older copies of the pages, and the unused parts of the file's pages
are cleared. Both take only a moment, yield to users of the file, and are retried when they fail. An in-memory database
has a single connection for everything.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from sessions_server.domain.errors import Unavailable
from sessions_server.storage import errors
from sessions_server.storage.backend import Runner
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.lane import SEARCHES, Lane, SearchTooLong
from sessions_server.storage.migrations import migrate
from sessions_server.storage.sqlite.connection import (
    WRITER_PRAGMAS,
    Readers,
    connect,
    driver_of,
    transact,
    transact_in_bulk,
    unchanging,
    waiting,
    with_any_text,
)
from sessions_server.storage.sqlite.epochs import begin_number, recognize, take_number
from sessions_server.storage.sqlite.errors import FileUnusable, translated
from sessions_server.storage.sqlite.gaps import Gaps
from sessions_server.storage.sqlite.gate import GATE_SECONDS, Emptied, Gate, empty
from sessions_server.storage.sqlite.lock import FileLock
from sessions_server.storage.sqlite.search import Search
from sessions_server.storage.sqlite.sentences import of_missing_log
from sessions_server.storage.sqlite.threads import Threads
from sessions_server.storage.sqlite.vacuum import shrink
from sessions_server.storage.staging import give_up_all

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import Micros, SessionKey
    from sessions_server.domain.ports import Clock

T = TypeVar("T")

READERS: Final = 4
OLDEST_SQLITE: Final = (3, 35)
LOG_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""The write-ahead log is truncated at this size, even if there are readers. A large transaction can exceed it
briefly."""

_CLEARING_SECONDS: Final = 0.02
"""How long writers may be blocked at a time while the unused parts of pages are cleared."""

_CLOSING_SECONDS: Final = 1.0
"""The same while the store closes. The rest is done after the next start."""

_PING_SECONDS: Final = 5.0
"""How long one write may take before health reports it."""

_PING_LOCK_SECONDS: Final = 1.0
"""How long another program may hold the file's lock before health reports it."""

_LEAST_ROOM: Final = 256 * 1024
"""Bytes that must be free on the disk."""

_LONGEST_PAUSE_SECONDS: Final = 10.0
"""The longest pause before erased content is cleared again after a reader was in the way."""


class _Scrub(Enum):
    """The result of an attempt to clear erased content."""

    DONE = auto()
    MORE = auto()
    """There is more to do, and no reader is in the way."""
    FAILED = auto()
    """There are readers, or the disk is full or failing."""


class SqliteRunner(Runner):
    def __init__(
        self, path: Path | None, *, clock: Clock, scrub_seconds: float = 1.0, clears_gaps: bool = True
    ) -> None:
        # The real path, so that every process uses the same lock file, whatever link was followed.
        self._path = Path(os.path.realpath(path)) if path is not None else None
        self._clock = clock
        self._scrub_seconds = scrub_seconds
        self._clears_gaps = clears_gaps
        self._lock = FileLock(self._path) if self._path is not None else None
        self._gaps: Gaps | None = None
        self._writing = Threads(1, "sqlite-writer")
        self._reading = self._writing if path is None else Threads(READERS, "sqlite-reader")
        self._searching = self._writing if path is None else Threads(SEARCHES, "sqlite-search")
        self.lane = Lane()
        self._gate = Gate()
        self._readers = Readers(self._path)
        self._opened: Connection | None = None
        self._file = (0, 0)
        """The file's device and inode."""
        self._to_scrub = False
        self._scrubbing: asyncio.Task[None] | None = None
        self._emptying: asyncio.Task[None] | None = None
        self._log = f"{self._path}-wal"
        self._log_bytes = 0

    @property
    def log_bytes(self) -> int:
        return self._log_bytes

    @property
    def log_limit_bytes(self) -> int:
        return 0 if self._path is None else LOG_LIMIT_BYTES

    def now(self) -> Micros:
        return self._clock.now()

    async def start(self) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreRefused(
                f"Python was built with SQLite {sqlite3.sqlite_version}, and this server needs "
                f"{'.'.join(map(str, OLDEST_SQLITE))} or later; use a newer Python, or a PostgreSQL database."
            )
        if self._path is not None and self._lock is not None:
            self._lock.acquire()
            self._gaps = Gaps(self._path) if self._clears_gaps and Gaps.are_known() else None
        try:
            await self._hop(self._writing, self._open)
        except asyncio.CancelledError:
            raise  # the thread is still opening the file: `close` waits for it and releases the lock
        except BaseException:
            self._release()
            raise
        self.scrub_soon()  # the previous process may have been killed between an erasure and the clearing

    async def close(self) -> None:
        if helpers := {each for each in (self._scrubbing, self._emptying) if each is not None}:
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)
        for threads in {self._reading, self._searching} - {self._writing}:
            await asyncio.to_thread(threads.shutdown)
        with suppress(Unavailable):  # already closed
            await self._hop(self._writing, self._close)
        await asyncio.to_thread(self._writing.shutdown)
        self._release()

    def abandon(self) -> None:
        """Nothing to do: the threads end by themselves."""

    async def ping(self, *, in_doubt: bool) -> None:
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self._hop(self._writing, lambda: self._ping(in_doubt=in_doubt))
        except TimeoutError:
            raise Unavailable("The database is busy with one long write; try again.") from FileUnusable(
                f"{self._path} has been busy with one write for {_PING_SECONDS:.0f} seconds; look at its disk."
            )

    async def write(self, work: Callable[[Connection], T], *, bulk: bool = False) -> T:
        """Every transaction sees one state, since there is no other writer."""
        outcome = await self._hop(self._writing, lambda: self._write(work, bulk=bulk))
        if self._log_bytes > LOG_LIMIT_BYTES and (self._emptying is None or self._emptying.done()):
            self._emptying = asyncio.get_running_loop().create_task(self._empty_log())
        return outcome

    async def read(self, work: Callable[[Connection], T], *, snapshot: bool) -> T:
        if self._path is None:
            return await self.write(partial(unchanging, work))
        return await self._hop(self._reading, lambda: self._read(work))

    async def search(self, work: Callable[[Connection], T], *, tenant: str, field: str) -> T:
        async with self.lane.turn(tenant):
            search = Search(self.lane.seconds)
            try:
                return await self._hop(self._searching, lambda: self._search(work, search))
            except SearchTooLong:
                raise self.lane.too_long(field) from None
            finally:
                search.stop()

    async def shrink(self, pages: int) -> int:
        if self._path is None:
            return 0
        return await self._hop(self._writing, lambda: self._shrink(pages))

    async def settle(self, _key: SessionKey) -> None:
        await self._hop(self._writing, lambda: None)  # after whatever the single writer is doing

    def scrub_soon(self) -> None:
        if self._path is None:
            return
        if self._gaps is not None:
            self._gaps.look_again()
        self._to_scrub = True
        if self._scrubbing is None or self._scrubbing.done():
            self._scrubbing = asyncio.get_running_loop().create_task(self._scrub())

    async def _empty_log(self) -> None:
        """Overlapping readers would let the log grow without limit, so they wait until it is truncated."""
        pause = GATE_SECONDS
        try:
            while (emptied := await self._hop(self._writing, self._try_to_empty_log)) is not Emptied.DONE:
                self._gate.keep_searches_out(emptied is Emptied.INSIDE)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        finally:
            self._gate.keep_searches_out(False)

    async def _scrub(self) -> None:
        """Clears erased content: immediately if nobody is in the way, otherwise with increasing pauses."""
        pause = self._scrub_seconds
        while self._to_scrub:
            await asyncio.sleep(pause)
            self._to_scrub = False
            outcome = await self._hop(self._writing, lambda: self._try_to_scrub(_CLEARING_SECONDS))
            self._to_scrub |= outcome is not _Scrub.DONE
            failed = outcome is _Scrub.FAILED
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) if failed else self._scrub_seconds

    async def _hop(self, threads: Threads, work: Callable[[], T]) -> T:
        try:
            hop = threads.submit(work)
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
                self._opened = connection = connect(self._path, WRITER_PRAGMAS)
                self._check_log(connection)
                driver_of(connection).execute("BEGIN IMMEDIATE")
                with connection.begin():
                    migrate(connection)
                    give_up_all(connection)  # left by a killed process: this one has exclusive access
                    last = recognize(connection, self._lock)
                if self._path is not None and self._lock is not None:
                    self._lock.note_transaction(last)
                    found = self._path.stat()
                    self._file = (found.st_dev, found.st_ino)
        except BaseException:
            self._close_writer()
            raise

    def _check_log(self, connection: Connection) -> None:
        [mode] = driver_of(connection).execute("PRAGMA journal_mode").fetchone()
        if self._path is not None and mode != "wal":
            raise StoreRefused(of_missing_log(self._path))

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

    def _write(self, work: Callable[[Connection], T], *, bulk: bool = False) -> T:
        run = partial(transact_in_bulk if bulk else transact, work=work)
        with translated():
            self._check_file()
            begin_number(self._writer)
            outcome = with_any_text(self._writer, run)
            number = take_number(self._writer)
            if self._lock is not None and number is not None:
                self._lock.note_transaction(number)
            if self._path is not None:
                self._log_bytes = os.stat(self._log).st_size  # noqa: PTH116  # as in `_check_file`
            return outcome

    def _ping(self, *, in_doubt: bool) -> None:
        with translated():
            self._check_file()
            self._check_room()
            with waiting(self._writer, _PING_LOCK_SECONDS) as driver:
                driver.execute("BEGIN IMMEDIATE")
                try:
                    if in_doubt:  # a write even if it changes nothing
                        [version] = driver.execute("PRAGMA user_version").fetchone()
                        driver.execute(f"PRAGMA user_version = {version}")
                        driver.execute("COMMIT")
                finally:
                    if driver.in_transaction:
                        driver.rollback()

    def _shrink(self, pages: int) -> int:
        with translated():
            self._check_file()
            return shrink(driver_of(self._writer), pages)

    def _check_file(self) -> None:
        """Writes to a file that has lost its name would be lost with this process. Raises FileUnusable."""
        if self._path is None:
            return
        try:
            found = os.stat(self._path)  # noqa: PTH116  # half the time of Path.stat, for every commit
        except FileNotFoundError:
            raise FileUnusable(
                f"{self._path} was removed; stop the server, and restore it from a backup."
            ) from None
        if (found.st_dev, found.st_ino) != self._file:
            raise FileUnusable(
                f"{self._path} was replaced by another file; restart the server to use that one."
            )

    def _check_room(self) -> None:
        if self._path is None:
            return
        disk = os.statvfs(self._path)
        if disk.f_bavail * disk.f_frsize < _LEAST_ROOM:
            raise errors.full() from FileUnusable(f"The disk of {self._path} is full; free some space on it.")

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._gate.reading(), translated(), self._readers.snapshot() as connection:
            return with_any_text(connection, work)

    def _search(self, work: Callable[[Connection], T], search: Search) -> T:
        if self._path is None:
            return self._write(partial(unchanging, partial(search.run, work=work)))
        with self._gate.searching(), translated(), self._readers.snapshot() as connection:
            return search.run(connection, lambda reader: with_any_text(reader, work))

    def _try_to_scrub(self, seconds: float) -> _Scrub:
        """Truncates the log, then clears the unused parts of pages, for about this long. Raises nothing."""
        gaps = self._gaps
        if self._path is None:
            return _Scrub.DONE
        try:
            with waiting(self._writer, 0) as driver:
                if empty(driver, self._gate) is not Emptied.DONE:
                    return _Scrub.FAILED
                if gaps is not None and not self._clear_gaps(driver, gaps, seconds):
                    return _Scrub.FAILED
        except (sqlite3.Error, OSError):
            return _Scrub.FAILED
        return _Scrub.MORE if gaps is not None and not gaps.is_done else _Scrub.DONE

    def _try_to_empty_log(self) -> Emptied:
        try:
            with waiting(self._writer, 0) as driver:
                emptied = empty(driver, self._gate)
        except sqlite3.Error:
            return Emptied.BUSY
        self._log_bytes = self._log_size()
        return emptied

    def _clear_gaps(self, driver: sqlite3.Connection, gaps: Gaps, seconds: float) -> bool:
        """False if another program has written, so that the log is no longer empty."""
        driver.execute("BEGIN IMMEDIATE")
        try:
            if self._log_size() > 0:
                return False
            changed = gaps.clear(seconds)
        finally:
            driver.rollback()
        if changed:  # the connection's cached pages are outdated, and would be written again
            driver.execute("PRAGMA shrink_memory")
        return True

    def _log_size(self) -> int:
        return Path(self._log).stat().st_size
