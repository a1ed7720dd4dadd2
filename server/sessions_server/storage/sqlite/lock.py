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


class FileLock:
    """Held for as long as the store is open, so that no second process opens the same database."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises StoreInUse, StoreRefused."""
        path = self._database.with_name(self._database.name + ".lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Made here, so that only its owner reads it. Not touched where it exists: in a process that has it open
            # already, closing it once more would drop SQLite's own locks.
            if not self._database.exists():
                os.close(os.open(self._database, os.O_RDWR | os.O_CREAT, _PRIVATE))
            elif not os.access(self._database, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self._check_has_one_name()
            self._note_holder(self._descriptor)
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

    @staticmethod
    def _note_holder(descriptor: int) -> None:
        """Tells others which process has the lock, if the disk has room for that."""
        with contextlib.suppress(OSError):
            os.truncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())

    def _holder(self) -> str:
        """Which process has the lock, as it noted there."""
        noted = os.pread(self._descriptor, 20, 0) if self._descriptor is not None else b""
        return f" ({noted.decode()})" if noted.isdigit() else ""

    def _check_has_one_name(self) -> None:
        """Under a second name another process would lock, and log, elsewhere. Raises StoreRefused."""
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
