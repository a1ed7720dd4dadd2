"""Reads all that a batch of commands needs, under locks, with as few statements for many commands as for one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence as Seq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

from sessions_server.domain.commands import AddMessages, Command, RequestStamp, Update
from sessions_server.domain.decide import needs_context
from sessions_server.domain.models import MessageBody, Micros, Sequence, Session, SessionKey
from sessions_server.domain.ports import LockWait
from sessions_server.domain.workspace import Slot, StoredRequest, Workspace
from sessions_server.storage.content import Content
from sessions_server.storage.rows import SESSION_COLUMNS, compact_time, session_from_row
from sessions_server.storage.schema import contexts, log, requests, sessions, tombstones
from sessions_server.storage.statements import (
    WRITE_NOW,
    Prepared,
    Row,
    as_list,
    is_listed,
    item,
    listed,
    read_clock,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Cells
    from sessions_server.storage.backend import Backend, Locks

_keys = listed("keys")


def _locks(*, skip_locked: bool) -> sa.Select[Any]:
    """The rows, locked in the order of their keys."""
    return (
        sa.select(*SESSION_COLUMNS)
        .select_from(_keys)
        .join(sessions, is_listed(_keys, sessions.c.tenant, sessions.c.session_id))
        .order_by(sessions.c.tenant, sessions.c.session_id)
        .with_for_update(of=sessions, skip_locked=skip_locked)
    )


# The clock is read as each locked row is handed on, so the latest reading lies after the last lock.
_locked = _locks(skip_locked=False).cte("locked")
_LOCK_SESSIONS: Final = Prepared(sa.select(_locked, WRITE_NOW))

_free = _locks(skip_locked=True).cte("free")
_LOCK_FREE_SESSIONS: Final = Prepared(sa.select(_free, WRITE_NOW))

_FIND_SESSIONS: Final = Prepared(
    sa.select(sessions.c.tenant, sessions.c.session_id)
    .select_from(_keys)
    .join(sessions, is_listed(_keys, sessions.c.tenant, sessions.c.session_id))
)

_FIND_TOMBSTONES: Final = Prepared(
    sa.select(tombstones.c.tenant, tombstones.c.session_id, tombstones.c.last_sequence)
    .select_from(_keys)
    .join(tombstones, is_listed(_keys, tombstones.c.tenant, tombstones.c.session_id))
)

_FIND_CONTEXTS: Final = Prepared(
    sa.select(
        contexts.c.tenant, contexts.c.session_id, contexts.c.revision, contexts.c.update_time, contexts.c.data
    )
    .select_from(_keys)
    .join(contexts, is_listed(_keys, contexts.c.tenant, contexts.c.session_id))
)

_FIND_MESSAGES: Final = Prepared(
    sa.select(log.c.tenant, log.c.session_id, log.c.sequence, log.c.message_id, log.c.time, log.c.payload)
    .select_from(_keys)
    .join(log, is_listed(_keys, log.c.tenant, log.c.session_id, log.c.message_id))
)

_behind = log.alias("behind")
_COUNT_BEHIND: Final = Prepared(
    sa.select(
        item(_keys, 0),
        item(_keys, 1),
        item(_keys, 2),
        sa.select(sa.func.count())
        .select_from(_behind)
        .where(
            _behind.c.tenant == item(_keys, 0),
            _behind.c.session_id == item(_keys, 1),
            _behind.c.sequence > item(_keys, 3, sa.BigInteger()),
            _behind.c.message_id.is_not(None),
        )
        .correlate(_keys)
        .scalar_subquery(),
    ).select_from(_keys)
)

_FIND_REQUESTS: Final = Prepared(
    sa.select(
        requests.c.tenant,
        requests.c.session_id,
        requests.c.request_id,
        requests.c.method,
        requests.c.payload_hash,
        requests.c.sealed,
        requests.c.time,
        requests.c.answer,
    )
    .select_from(_keys)
    .join(requests, is_listed(_keys, requests.c.tenant, requests.c.session_id, requests.c.request_id))
    .where(requests.c.time > sa.bindparam("since"))
)


class Stored(NamedTuple):
    """A session's row: the session, and when its log is to be compacted."""

    session: Session
    compact_time: Micros | None


@dataclass(slots=True)
class Loaded:
    """A workspace, and how it was when it was loaded."""

    workspace: Workspace
    stored: dict[SessionKey, Stored] = field(default_factory=dict)
    tombstones: set[SessionKey] = field(default_factory=set)


class Loader:
    """Loads within one transaction, judged by one instant: the given one, or the database's when it is None."""

    def __init__(
        self, connection: Connection, *, backend: Backend, cells: Cells, limits: Limits, now: Micros | None
    ) -> None:
        self._connection = connection
        self._backend = backend
        self._cells = cells
        self._limits = limits
        self._given_now = self._now = now
        self._waits_long = False

    @property
    def now(self) -> Micros:
        if self._now is None:
            self._now = read_clock(self._connection, None)
        return self._now

    def load(self, commands: Seq[Command], *, lock_wait: LockWait) -> Loaded:
        keys = sorted({command.key for command in commands})
        rows, busy = self._lock(keys, lock_wait)
        self._given_now = self.now  # a transaction that loads again goes on judging by this instant
        free = [command for command in commands if command.key not in busy]
        slots = {key: Slot(key) for key in keys if key not in busy}
        loaded = Loaded(Workspace(self.now, self._limits, slots, frozenset(busy)))
        for row in rows:
            self._take_session(loaded, row)
        self._take_tombstones(loaded)
        self._take_contexts(loaded, free)
        self._take_messages(loaded, free)
        self._take_requests(loaded, free)
        return loaded

    def _lock(self, keys: list[SessionKey], lock_wait: LockWait) -> tuple[list[Row], set[SessionKey]]:
        """The rows, all locked, and the sessions that are left to another transaction that has them."""
        locks = self._backend.locks
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
            rows += self._locked_rows(
                _LOCK_SESSIONS, absent
            )  # created by another, before it gave up its lock
        return rows, set()

    def _lock_free(self, keys: list[SessionKey], locks: Locks) -> tuple[list[Row], set[SessionKey]]:
        rows = self._locked_rows(_LOCK_FREE_SESSIONS, keys)
        missing = _missing(keys, rows)
        if not missing:
            return rows, set()
        busy = self._stored(missing)
        absent = [key for key in missing if key not in busy]
        for tenant, session_id, is_locked, _ in self._locked_rows(locks.absent_if_free, absent):
            if not is_locked:
                busy.add(SessionKey(tenant, session_id))
        return rows, busy | self._stored(absent)  # what another has created, before it gave up its lock

    def _stored(self, keys: Iterable[SessionKey]) -> set[SessionKey]:
        """Those that have a row, locked or not."""
        return {SessionKey(*row) for row in _FIND_SESSIONS.rows(self._connection, keys=as_list(keys))}

    def _locked_rows(self, lock: Prepared, keys: list[SessionKey]) -> list[Row]:
        """Moves `now`, if it is the database's, to when the last lock was there: others may have written till then."""
        rows = list(lock.rows(self._connection, keys=as_list(keys), now=self._given_now))
        if rows and self._given_now is None:
            self._now = max(row[-1] for row in rows)
        return rows

    def _take_session(self, loaded: Loaded, row: Row) -> None:
        session = session_from_row(row)
        slot = loaded.workspace.slots[session.key]
        slot.session, slot.last_sequence, slot.stored = session, session.last_sequence, True
        loaded.stored[session.key] = Stored(session, compact_time(row))

    def _take_tombstones(self, loaded: Loaded) -> None:
        slots = loaded.workspace.slots
        absent = [key for key, slot in slots.items() if not slot.stored]
        if not absent:
            return
        for tenant, session_id, last_sequence in _FIND_TOMBSTONES.rows(
            self._connection, keys=as_list(absent)
        ):
            key = SessionKey(tenant, session_id)
            slots[key].last_sequence = Sequence(last_sequence)
            loaded.tombstones.add(key)

    def _take_contexts(self, loaded: Loaded, commands: Seq[Command]) -> None:
        wanted = {command.key for command in commands if needs_context(command)} & loaded.stored.keys()
        if not wanted:
            return
        for tenant, session_id, *stored in _FIND_CONTEXTS.rows(self._connection, keys=as_list(wanted)):
            slot = loaded.workspace.slots[SessionKey(tenant, session_id)]
            slot.context = self._content(slot).context(*stored)

    def _take_messages(self, loaded: Loaded, commands: Seq[Command]) -> None:
        wanted = {
            (*command.key, draft.id)
            for command in commands
            if isinstance(command, AddMessages) and command.key in loaded.stored
            for draft in command.drafts
            if draft.chosen
        }
        if not wanted:
            return
        for tenant, session_id, *stored in _FIND_MESSAGES.rows(self._connection, keys=as_list(wanted)):
            slot = loaded.workspace.slots[SessionKey(tenant, session_id)]
            message = self._content(slot).message(*stored)
            slot.messages[message.id] = message
        self._take_places(loaded, {command.key for command in commands if isinstance(command, Update)})

    def _take_places(self, loaded: Loaded, updated: set[SessionKey]) -> None:
        """Where new messages push stored ones out of the history, or may do so after an update, it has to be known
        which."""
        asked = [
            (*slot.key, message.id, message.sequence)
            for slot in loaded.workspace.slots.values()
            if slot.session is not None and (slot.session.config.max_messages or slot.key in updated)
            for message in slot.messages.values()
        ]
        if not asked:
            return
        for tenant, session_id, message_id, behind in _COUNT_BEHIND.rows(
            self._connection, keys=as_list(asked)
        ):
            loaded.workspace.slots[SessionKey(tenant, session_id)].places[message_id] = -1 - behind

    def _take_requests(self, loaded: Loaded, commands: Seq[Command]) -> None:
        stamped = [(command, command.request) for command in commands if command.request is not None]
        if not stamped:
            return
        # Of commands with the same request id, the one that is equal to the first knows the messages' content.
        repeated = {(command.key, stamp): command for command, stamp in stamped}
        keys = as_list({(*command.key, stamp.id) for command, stamp in stamped})
        since = self.now - self._limits.request_ids_kept
        for tenant, session_id, id_, method, payload_hash, *stored in _FIND_REQUESTS.rows(
            self._connection, keys=keys, since=since
        ):
            slot = loaded.workspace.slots[SessionKey(tenant, session_id)]
            stamp = RequestStamp(id_, method, payload_hash)
            slot.requests[id_] = self._request(slot, stamp, stored, repeated.get((slot.key, stamp)))

    def _request(
        self, slot: Slot, stamp: RequestStamp, stored: Seq[Any], repeated: Command | None
    ) -> StoredRequest:
        sealed, time, payload = stored
        if repeated is None:  # the id was used for something else, and will be refused
            return StoredRequest(stamp, None, Micros(time))
        content = self._content(slot) if sealed else Content(self._cells, slot.key, None)
        return StoredRequest(stamp, content.answer(stamp.id, payload, _bodies(repeated)), Micros(time))

    def _content(self, slot: Slot) -> Content:
        return Content(self._cells, slot.key, slot.session.data_key if slot.session is not None else None)


def _missing(keys: list[SessionKey], rows: list[Row]) -> list[SessionKey]:
    if len(rows) == len(keys):
        return []
    found = {(row[0], row[1]) for row in rows}
    return [key for key in keys if key not in found]


def _bodies(command: Command) -> tuple[MessageBody, ...]:
    return tuple(draft.body for draft in command.drafts) if isinstance(command, AddMessages) else ()
