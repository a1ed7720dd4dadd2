"""Translates SQLite's errors to the domain."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from sessions_server.storage import errors
from sessions_server.storage.schema import message_ids

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sessions_server.domain.errors import DomainError

_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PRIMARY_CODE: Final = 0xFF
_MESSAGE_ID_COLUMNS: Final = ", ".join(map(str, message_ids.columns))


class FileUnusable(Exception):
    """SQLite reports no error, but the file must not be used. A sentence for the operator."""


def translated() -> AbstractContextManager[None]:
    """Raises the domain's error instead of SQLite's, if there is one."""
    return errors.translated(translate)


def translate(error: Exception) -> DomainError | None:
    """The domain's error; None for an unexpected error."""
    cause = errors.driver_error(error)  # errors of pragmas come directly from the driver
    if not isinstance(cause, sqlite3.Error):
        return errors.unavailable() if isinstance(error, (OSError, FileUnusable)) else None
    code = primary_code(cause)
    if code == sqlite3.SQLITE_FULL:
        return errors.full()
    if code in _DAMAGED:
        return errors.damaged()
    if code == sqlite3.SQLITE_CONSTRAINT and _MESSAGE_ID_COLUMNS in str(cause):
        return errors.message_exists()
    is_passing = isinstance(cause, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR
    return errors.unavailable() if is_passing else None


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; SQLITE_ERROR if the driver has none."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & _PRIMARY_CODE
