"""Why a SQLite file cannot be opened, as a sentence for the operator: what is wrong, and where to look."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from sessions_server.domain.errors import DataCorrupted, StorageFull, Unavailable
from sessions_server.storage.backend import SETTING
from sessions_server.storage.errors import driver_error
from sessions_server.storage.sqlite.errors import FileUnusable, primary_code

if TYPE_CHECKING:
    from pathlib import Path

_NO_ROOM: Final = (
    "The disk of {path} is full, or fails; free some space on it, or name a file on another one in {setting}."
)
# Not SHMSIZE, which is the error of a full disk.
_NO_SHARED_MEMORY: Final = {
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMLOCK,
    sqlite3.SQLITE_IOERR_SHMMAP,
}
_NO_LOG: Final = (
    "{path} is on a file system without shared memory between processes, as network file systems are, and SQLite's "
    "write-ahead log needs that; name a file on a local disk in {setting}, or use PostgreSQL."
)
_BY_CODE: Final = {
    sqlite3.SQLITE_FULL: _NO_ROOM,
    sqlite3.SQLITE_IOERR: _NO_ROOM,
    sqlite3.SQLITE_NOTADB: "{path} is not a SQLite database, and was left unchanged; name another file in {setting}.",
    sqlite3.SQLITE_BUSY: "{path} is in use by another program; close that one, or name another file in {setting}.",
}
_OTHER: Final = (
    "{path} cannot be opened; let the server's user read and write it and its folder, or correct {setting}."
)


def of_missing_log(path: Path) -> str:
    """For a file that needs a write-ahead log and has none."""
    return _NO_LOG.format(path=path, setting=SETTING)


def explain(path: Path | None, error: Exception) -> str | None:
    """None for errors that say so themselves, or are unexpected."""
    cause = driver_error(error.__cause__) if error.__cause__ is not None else None
    if isinstance(cause, FileUnusable):
        return str(cause)
    answered = isinstance(error, (Unavailable, DataCorrupted, StorageFull))
    if not answered or not isinstance(cause, sqlite3.Error):
        return None
    if getattr(cause, "sqlite_errorcode", None) in _NO_SHARED_MEMORY:
        return _NO_LOG.format(path=path, setting=SETTING)
    code = primary_code(cause)
    if code == sqlite3.SQLITE_CORRUPT:
        return None
    return _BY_CODE.get(code, _OTHER).format(path=path, setting=SETTING)
