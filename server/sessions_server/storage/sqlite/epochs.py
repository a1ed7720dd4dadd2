"""Distinguishes a database file restored from a backup from the file that it replaces.

Positions in the logs of the replaced file may refer to other events in the restored one. So the number of the last
transaction is noted next to the file, where a restore does not change it. A file with a lower number was restored and
gets a new epoch, which becomes part of the identity of its logs (see `lineage`). So does a file without a note, which
may be a copy. The epoch is stored in the file's header as SQLite's user version; 0 means that the file was never
restored.

The file contains the number of its last transaction in one of two places, whichever is higher. A transaction that adds
to logs stores its number with the sessions of these logs, so that the last row of all logs leads to it. Only others,
which may remove that row, also write the table `writes`: that would cost every message one more page.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from sessions_server.storage.schema import log, sessions, writes
from sessions_server.storage.sqlite.connection import driver_of
from sessions_server.storage.statements import Prepared, WriteOrder

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.sqlite.lock import FileLock

logger = logging.getLogger(__name__)

_ORDER: Final = WriteOrder(log.c.sequence)
_NEWEST: Final = (
    sa.select(log.c.tenant, log.c.session_id).where(_ORDER > 0).order_by(_ORDER.desc()).limit(1).subquery()
)
_LAST: Final = Prepared(
    sa.select(sa.func.max(writes.c.tx, sa.func.coalesce(sa.func.max(sessions.c.tx), 0)))
    .select_from(writes)
    .outerjoin(_NEWEST, sa.true())
    .outerjoin(
        sessions,
        sa.and_(sessions.c.tenant == _NEWEST.c.tenant, sessions.c.session_id == _NEWEST.c.session_id),
    )
)
_STORE: Final = Prepared(writes.update().values(tx=sa.bindparam("last")))

# The keys of values stored with the writing connection.
_EPOCH: Final = "epoch"
_LAST_NUMBER: Final = "number of the last transaction"
_NUMBER: Final = "number of this transaction"
_IN_LOG: Final = "whether the last row of the logs leads to the number of this transaction"
_CHANGES: Final = "rows changed before this transaction"

_EPOCHS: Final = 2**31 - 1


def recognize(connection: Connection, lock: FileLock | None) -> int:
    """Begins a new epoch if the file was restored. In the transaction that opens the file, or a database in memory,
    which has no lock; returns the number of the last transaction."""
    driver = driver_of(connection)
    [[last]] = _LAST.rows(connection)
    connection.info[_LAST_NUMBER] = last
    if lock is None:
        return int(last)
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


def count_transaction(connection: Connection, *, in_log: bool) -> int:
    """The number of this transaction. `in_log` if the caller adds to logs last, and stores the number with all their
    sessions."""
    info = connection.info
    number: int = info.setdefault(_NUMBER, info[_LAST_NUMBER] + 1)
    info[_IN_LOG] = in_log
    return number


def begin_number(connection: Connection) -> None:
    """Before every transaction."""
    info = connection.info
    info.pop(_NUMBER, None)  # left by one that was rolled back
    info[_IN_LOG] = False
    info[_CHANGES] = driver_of(connection).total_changes


def store_number(connection: Connection) -> None:
    """After the other statements of a transaction that may change logs: stores the number of the last one, unless
    nothing was changed or the logs lead to the number."""
    info = connection.info
    if not info[_IN_LOG] and driver_of(connection).total_changes > info[_CHANGES]:
        _STORE.run(connection, last=info.get(_NUMBER, info[_LAST_NUMBER]))


def take_number(connection: Connection) -> int | None:
    """After a commit: the number of the transaction; None if it was not counted."""
    info = connection.info
    number: int | None = info.pop(_NUMBER, None)
    if number is not None:
        info[_LAST_NUMBER] = number
    return number
