"""The lock that keeps a second process from a SQLite database."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from sessions_server.storage.errors import StoreInUse, StoreRefused

_PRIVATE: Final = 0o600

_DIGITS: Final = 20
_TRANSACTION_AT: Final = _DIGITS
"""The lock file has the id of the process that holds it, followed by the number of the last transaction."""


class FileLock:
    """Held while the store is open, so that no second process opens the same database."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises StoreInUse, StoreRefused."""
        path = self._database.with_name(self._database.name + ".lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Created here, so that only its owner can read it. An existing file is not opened: closing it again would
            # drop SQLite's own locks in a process that already has it open.
            if not self._database.exists():
                os.close(os.open(self._database, os.O_RDWR | os.O_CREAT, _PRIVATE))
            elif not os.access(self._database, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self._check_has_one_name()
            self._note(os.getpid(), 0)
        except BlockingIOError:
            holder = self._holder()
            self.release()
            raise StoreInUse(
                f"Another process{holder} uses the database {self._database}; stop it first, or give this one another "
                "database. Several servers can share a PostgreSQL database.",
                holder=f"process{holder}",
            ) from None
        except OSError as error:
            self.release()
            raise StoreRefused(
                f"The database {self._database} cannot be opened ({error.strerror}); "
                "check that its folder exists and can be written to."
            ) from None

    def note_transaction(self, number: int) -> None:
        """Notes the number of the last transaction next to the database. It need not be durable."""
        self._note(number, _TRANSACTION_AT)

    def noted_transaction(self) -> int | None:
        """None if nothing was noted."""
        noted = self._noted(_TRANSACTION_AT)
        return int(noted) if noted.isdigit() else None

    def _holder(self) -> str:
        """The process that holds the lock, as noted in the file."""
        noted = self._noted(0)
        return f" ({noted.decode()})" if noted.isdigit() else ""

    def _note(self, number: int, place: int) -> None:
        """Does nothing if the disk is full."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, b"%-*d" % (_DIGITS, number), place)

    def _noted(self, place: int) -> bytes:
        return b"" if self._descriptor is None else os.pread(self._descriptor, _DIGITS, place).strip()

    def _check_has_one_name(self) -> None:
        """With a second name, another process would use a different lock and log. Raises StoreRefused."""
        if self._database.stat().st_nlink > 1:
            self.release()
            raise StoreRefused(
                f"The database {self._database} has a second name (a hard link), under which another process could "
                "write to it; remove the other name, or give the server a copy made with `VACUUM INTO`."
            )

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
