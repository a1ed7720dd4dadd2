"""Locks the rows of sessions, and the ids without one, for one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.domain.models import SessionKey
from sessions_server.domain.ports import LockWait
from sessions_server.storage.rows import SESSION_COLUMNS
from sessions_server.storage.schema import sessions
from sessions_server.storage.statements import (
    WRITE_NOW,
    Prepared,
    TransactionNumber,
    as_list,
    is_listed,
    listed,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import Micros
    from sessions_server.storage.backend import Locks
    from sessions_server.storage.statements import Row

_keys = listed("keys")


def _locks(*, skip_locked: bool) -> sa.Select[Any]:
    """The rows, locked in key order."""
    return (
        sa.select(*SESSION_COLUMNS)
        .select_from(_keys)
        .join(sessions, is_listed(_keys, sessions.c.tenant, sessions.c.session_id))
        .order_by(sessions.c.tenant, sessions.c.session_id)
        .with_for_update(of=sessions, skip_locked=skip_locked)
    )


# The clock is read as each locked row is returned, so the latest reading is after the last lock.
_locked = _locks(skip_locked=False).cte("locked")
_LOCK_SESSIONS: Final = Prepared(sa.select(_locked, TransactionNumber(), WRITE_NOW))

_free = _locks(skip_locked=True).cte("free")
_LOCK_FREE_SESSIONS: Final = Prepared(sa.select(_free, TransactionNumber(), WRITE_NOW))

_FIND_SESSIONS: Final = Prepared(
    sa.select(sessions.c.tenant, sessions.c.session_id)
    .select_from(_keys)
    .join(sessions, is_listed(_keys, sessions.c.tenant, sessions.c.session_id))
)


class SessionLocks:
    def __init__(self, connection: Connection, locks: Locks | None) -> None:
        self._connection = connection
        self._locks = locks
        self._waits_long = False
        self._given_now: Micros | None = None
        self.time: Micros | None = None
        """The database's time of the last lock, since others may have written until then; None if there was none."""
        self.number: int | None = None
        """The transaction's number, if it came with a lock."""

    def lock(
        self, keys: list[SessionKey], lock_wait: LockWait, *, now: Micros | None
    ) -> tuple[list[Row], set[SessionKey]]:
        """The rows, all locked, and the sessions left to another transaction that has locked them. `now` is None if the
        time is the database's."""
        self._given_now = now
        locks = self._locks
        if locks is None:
            return self._locked_rows(_LOCK_SESSIONS, keys), set()
        if lock_wait is LockWait.NONE:
            return self._lock_free(keys, locks)
        if lock_wait is LockWait.LONG and not self._waits_long:
            locks.wait_long.rows(self._connection)
            self._waits_long = True
        rows = self._locked_rows(_LOCK_SESSIONS, keys)
        if absent := _missing(keys, rows):
            self._locked_rows(locks.absent, absent)
        while absent:  # created, or erased and created again, by others before they released their locks
            found = self._locked_rows(_LOCK_SESSIONS, absent)
            rows += found
            missing = _missing(absent, found)
            stored = self._stored(missing) if missing else set()
            absent = [key for key in missing if key in stored]
        return rows, set()

    def _lock_free(self, keys: list[SessionKey], locks: Locks) -> tuple[list[Row], set[SessionKey]]:
        rows = self._locked_rows(_LOCK_FREE_SESSIONS, keys)
        missing = _missing(keys, rows)
        if not missing:
            return rows, set()
        busy = self._stored(missing)
        absent = [key for key in missing if key not in busy]
        for tenant, session_id, is_locked, *_ in self._locked_rows(locks.absent_if_free, absent):
            if not is_locked:
                busy.add(SessionKey(tenant, session_id))
        return rows, busy | self._stored(absent)  # created by another before it released its lock

    def _stored(self, keys: Iterable[SessionKey]) -> set[SessionKey]:
        """The sessions that have a row, locked or not."""
        return {SessionKey(*row) for row in _FIND_SESSIONS.rows(self._connection, keys=as_list(keys))}

    def _locked_rows(self, lock: Prepared, keys: list[SessionKey]) -> list[Row]:
        rows = list(lock.rows(self._connection, keys=as_list(keys), now=self._given_now))
        if rows:
            self.number = rows[0][-2]
            if self._given_now is None:
                self.time = max(row[-1] for row in rows)
        return rows


def _missing(keys: list[SessionKey], rows: list[Row]) -> list[SessionKey]:
    if len(rows) == len(keys):
        return []
    found = {(row[0], row[1]) for row in rows}
    return [key for key in keys if key not in found]
