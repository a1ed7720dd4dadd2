"""Examines a SQLite file without changing it, even while a server has it open."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from sessions_server.storage.backend import SETTING, Survey
from sessions_server.storage.errors import StoreInUse, StoreRefused
from sessions_server.storage.migrations import VERSION_TABLE
from sessions_server.storage.sqlite.connection import READER_PRAGMAS
from sessions_server.storage.sqlite.errors import translated
from sessions_server.storage.sqlite.lock import FileLock
from sessions_server.storage.survey import SCHEMA, SHARED_WRAPPINGS, WITH_SHARED, WRAPPINGS

_HAS_VERSION: Final = "SELECT count(*) FROM sqlite_schema WHERE name = ?"


def survey(path: Path | None) -> Survey:
    """Raises StoreRefused, Unavailable, DataCorrupted."""
    name = f"SQLite {sqlite3.sqlite_version} at {path}" if path is not None else "SQLite in memory"
    if path is None:
        return Survey(name)
    if not path.exists():
        _check_folder(path.resolve().parent)
        return Survey(name)
    with translated():
        served_by = _server(path)
        with closing(sqlite3.connect(_read_only(path.resolve()), uri=True)) as connection:
            for pragma in READER_PRAGMAS:
                connection.execute(pragma)
            [made] = connection.execute(_HAS_VERSION, (VERSION_TABLE,)).fetchone()
            [schema] = (connection.execute(SCHEMA).fetchone() or (None,)) if made else (None,)
            wrappings = _wrappings(connection, schema) if schema else ()
    ahead = max(path.stat().st_mtime - time.time(), 0.0)
    return Survey(name, schema, wrappings, seconds_ahead=ahead, served_by=served_by)


def _read_only(path: Path) -> str:
    """How to open a file without creating others. Without a write-ahead log, no process has the file open."""
    has_log = path.with_name(path.name + "-wal").exists()
    return f"{path.as_uri()}?{'mode=ro' if has_log else 'immutable=1'}"


def _check_folder(folder: Path) -> None:
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StoreRefused(
            f"The folder {folder} is not there or cannot be written to; make it, let the server's user write to it, or "
            f"correct {SETTING}."
        )


def _server(path: Path) -> str:
    """The server that has the file open. Raises StoreRefused if no server could open it."""
    lock = FileLock(path.resolve())
    try:
        lock.acquire()
    except StoreInUse as held:
        return held.holder
    lock.release()
    return ""


def _wrappings(connection: sqlite3.Connection, schema: str) -> tuple[bytes, ...]:
    questions = [WRAPPINGS, *([SHARED_WRAPPINGS] if schema >= WITH_SHARED else [])]
    return tuple(bytes(found) for question in questions for [found] in connection.execute(question))
