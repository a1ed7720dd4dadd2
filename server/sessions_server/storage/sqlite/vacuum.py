"""Returns unused space of a SQLite file to the disk: a little at a time, or all of it while the file is not in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from sessions_server.storage.sqlite.errors import translated
from sessions_server.storage.sqlite.lock import FileLock

if TYPE_CHECKING:
    from pathlib import Path

_SPARE_PAGES: Final = 256
_SPARE_PART: Final = 8
"""The space to keep for later writes: this many pages, or this fraction of the file if that is more."""


def shrink(driver: sqlite3.Connection, pages: int) -> int:
    """Returns at most this many pages to the disk, moving others into their place. Returns how many."""
    [unused] = driver.execute("PRAGMA freelist_count").fetchone()
    [count] = driver.execute("PRAGMA page_count").fetchone()
    spare = max(_SPARE_PAGES, count // _SPARE_PART)
    if unused <= spare:
        return 0
    # Each step of the statement frees one page, and `execute` runs at most two steps:
    # https://github.com/python/cpython/blob/3.11/Modules/_sqlite/cursor.c
    driver.executescript(f"PRAGMA incremental_vacuum({min(pages, unused - spare)})")
    [left] = driver.execute("PRAGMA page_count").fetchone()
    return int(count - left)


def vacuum(path: Path) -> tuple[int, int]:
    """Rewrites the file, which from then on also shrinks by itself. Returns its size before and after, in bytes. Raises
    StoreInUse, StoreRefused, StorageFull, Unavailable."""
    lock = FileLock(path)
    lock.acquire()
    try:
        # SQLite's temporary copy goes next to the database, where there is space and permission.
        os.environ["SQLITE_TMPDIR"] = str(path.parent)
        with translated(), closing(sqlite3.connect(path, isolation_level=None)) as driver:
            driver.execute("PRAGMA secure_delete = ON").fetchall()
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            before = path.stat().st_size
            driver.execute("PRAGMA auto_vacuum = INCREMENTAL")
            driver.execute("VACUUM")
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return before, path.stat().st_size
    finally:
        lock.release()
