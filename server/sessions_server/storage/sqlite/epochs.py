"""Distinguishes a database file restored from a backup from the file that it replaces.

Positions in the logs of the replaced file may refer to other events in the restored one. So the number of the last
transaction is noted next to the file, where a restore does not change it. A file with a lower number was restored and
gets a new epoch, which becomes part of the identity of its logs (see `lineage`). So does a file without a note, which
may be a copy. The epoch is stored in the file's header as SQLite's user version; 0 means that the file was never
restored.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.storage.schema import writes
from sessions_server.storage.sqlite.connection import driver_of
from sessions_server.storage.statements import Prepared

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.sqlite.lock import FileLock

logger = logging.getLogger(__name__)

_LAST: Final = Prepared(sa.select(writes.c.tx))
_COUNT: Final = Prepared(writes.update().values(tx=writes.c.tx + 1).returning(writes.c.tx))

_EPOCH: Final = "epoch"
_NUMBER: Final = "number of this transaction"
"""The key of a value stored with the writing connection."""

_EPOCHS: Final = 2**31 - 1


def recognize(connection: Connection, lock: FileLock) -> int:
    """Begins a new epoch if the file was restored. In the transaction that opens the file; returns the number of its
    last transaction."""
    driver = driver_of(connection)
    [[last]] = _LAST.rows(connection)
    noted = lock.noted_transaction()
    if last and (noted is None or last < noted):
        driver.execute(f"PRAGMA user_version = {1 + secrets.randbelow(_EPOCHS)}")
        if noted is not None:
            logger.warning(
                "the database lacks the last %s transactions: it was restored from a backup. Subscribers whose "
                "positions it lacks are refused",
                noted - last,
            )
    [version] = driver.execute("PRAGMA user_version").fetchone()
    connection.info[_EPOCH] = f"{version:08x}" if version else ""
    return int(last)


def epoch(connection: Connection) -> str:
    """Empty until the first restore, and for an in-memory database."""
    current: str = connection.info.get(_EPOCH, "")
    return current


def count_transaction(connection: Connection) -> int:
    """Assigns the number of this transaction, which is noted once it is durable."""
    [[number]] = _COUNT.rows(connection)
    connection.info[_NUMBER] = number
    return int(number)


def take_number(connection: Connection) -> int | None:
    """Removes and returns the number of the last transaction; None if it was not counted."""
    number: int | None = connection.info.pop(_NUMBER, None)
    return number
