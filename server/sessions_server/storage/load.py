"""Reads everything that a batch of commands needs, under locks, with as few statements for many commands as for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence as Seq
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.domain.commit import Commit, RequestStamp
from sessions_server.domain.facts import Facts
from sessions_server.domain.history import History
from sessions_server.domain.lineage import root_of
from sessions_server.domain.models import Context, Micros, Sequence, SessionKey
from sessions_server.domain.needs import Needs, needs_of
from sessions_server.domain.ports import LockWait
from sessions_server.domain.records import Records
from sessions_server.domain.replay import Snapshot
from sessions_server.domain.requests import StoredRequest, needs_past, restore
from sessions_server.domain.workspace import Slot, Workspace
from sessions_server.storage import spans
from sessions_server.storage.content import Content, Keeping
from sessions_server.storage.damage import damaged
from sessions_server.storage.erasure import BEFORE_CREATION, What
from sessions_server.storage.histories import load_histories
from sessions_server.storage.kinds import Kinds
from sessions_server.storage.past import snapshot_at
from sessions_server.storage.records import load_records, lock_records
from sessions_server.storage.rows import (
    SESSION_COLUMNS,
    Upkeep,
    records_start,
    session_from_row,
    upkeep,
)
from sessions_server.storage.schema import contexts, erasures, log, requests, sessions, tombstones
from sessions_server.storage.statements import (
    WRITE_NOW,
    Prepared,
    Row,
    as_list,
    is_listed,
    listed,
    read_clock,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import Message
    from sessions_server.domain.ports import Cells
    from sessions_server.domain.requests import Kept
    from sessions_server.storage.backend import Locks
    from sessions_server.storage.rules import Rules

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
_LOCK_SESSIONS: Final = Prepared(sa.select(_locked, WRITE_NOW))

_free = _locks(skip_locked=True).cte("free")
_LOCK_FREE_SESSIONS: Final = Prepared(sa.select(_free, WRITE_NOW))

_FIND_SESSIONS: Final = Prepared(
    sa.select(sessions.c.tenant, sessions.c.session_id)
    .select_from(_keys)
    .join(sessions, is_listed(_keys, sessions.c.tenant, sessions.c.session_id))
)

# For ids without a session: where an earlier log ended, and what is still to be erased.
_FIND_REMAINS: Final = Prepared(
    sa.union_all(
        sa.select(
            *(tombstones.c.tenant, tombstones.c.session_id, sa.literal_column("''")),
            *(tombstones.c.last_sequence, sa.cast(sa.null(), sa.BigInteger)),
        )
        .select_from(_keys)
        .join(tombstones, is_listed(_keys, tombstones.c.tenant, tombstones.c.session_id)),
        sa.select(
            *(erasures.c.tenant, erasures.c.session_id, erasures.c.what),
            *(erasures.c.through, erasures.c.lease),
        )
        .select_from(_keys)
        .join(erasures, is_listed(_keys, erasures.c.tenant, erasures.c.session_id)),
    )
)

_FIND_CONTEXTS: Final = Prepared(
    sa.select(
        contexts.c.tenant, contexts.c.session_id, contexts.c.revision, contexts.c.update_time, contexts.c.data
    )
    .select_from(_keys)
    .join(contexts, is_listed(_keys, contexts.c.tenant, contexts.c.session_id))
)

_MESSAGE: Final = (log.c.sequence, log.c.message_id, log.c.time, log.c.message_time, log.c.payload)

_FIND_MESSAGES: Final = Prepared(
    sa.select(log.c.tenant, log.c.session_id, *_MESSAGE)
    .select_from(_keys)
    .join(log, is_listed(_keys, log.c.tenant, log.c.session_id, log.c.message_id))
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

_REQUEST_KINDS: Final = Kinds(
    (requests.c.method, requests.c.payload_hash, requests.c.sealed, requests.c.time, requests.c.answer)
)


@dataclass(slots=True)
class Loaded:
    """A workspace, and what only the store knows about its sessions."""

    workspace: Workspace
    stored: dict[SessionKey, Upkeep] = field(default_factory=dict)
    """Sessions that have a row."""
    tombstones: set[SessionKey] = field(default_factory=set)
    dead_logs: dict[SessionKey, Sequence] = field(default_factory=dict)
    """The last position of logs of deleted sessions that are still stored."""


class Loader:
    """Loads within one transaction, evaluated at one time: the given one, or the database's if it is None."""

    def __init__(self, connection: Connection, rules: Rules, *, now: Micros | None) -> None:
        self._connection = connection
        self._rules = rules
        self._cells = rules.cells
        self._limits = rules.limits
        self._given_now = self._now = now
        self._waits_long = False

    @property
    def now(self) -> Micros:
        if self._now is None:
            self._now = read_clock(self._connection, None)
        return self._now

    def load(self, commits: Seq[Commit], *, lock_wait: LockWait) -> Loaded:
        keys = sorted({commit.key for commit in commits})
        rows, busy = self._lock(keys, lock_wait)
        free = [commit for commit in commits if commit.key not in busy]
        needs = needs_of(free)
        records = self._load_records(needs.values(), rows)
        self._given_now = self.now  # later loads of the transaction use the same time
        loaded = Loaded(Workspace(self.now, self._limits, {}, frozenset(busy), records, records))
        for row in rows:
            self._take_session(loaded, row)
        for key in keys:
            if key not in busy and key not in loaded.stored:
                facts = Facts(key, self.now, self._limits)
                loaded.workspace.slots[key] = Slot(facts, facts)
        slots = loaded.workspace.slots
        self._take_remains(loaded)
        self._take_contexts(loaded, {key for key in loaded.stored if needs[key].context})
        self._take_messages(loaded, needs)
        stored = {key: needs[key] for key in loaded.stored}
        load_histories(
            self._connection,
            slots,
            stored,
            hidden=lambda key: loaded.stored[key].hidden,
            joins=self._rules.backend.joins_laterally,
            cells=self._cells,
        )
        self._take_requests(loaded, free)
        for slot in slots.values():
            slot.loaded = slot.facts
        return loaded

    def _lock(self, keys: list[SessionKey], lock_wait: LockWait) -> tuple[list[Row], set[SessionKey]]:
        """The rows, all locked, and the sessions left to another transaction that has locked them."""
        locks = self._rules.backend.locks
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
        for tenant, session_id, is_locked, _ in self._locked_rows(locks.absent_if_free, absent):
            if not is_locked:
                busy.add(SessionKey(tenant, session_id))
        return rows, busy | self._stored(absent)  # created by another before it released its lock

    def _stored(self, keys: Iterable[SessionKey]) -> set[SessionKey]:
        """The sessions that have a row, locked or not."""
        return {SessionKey(*row) for row in _FIND_SESSIONS.rows(self._connection, keys=as_list(keys))}

    def _locked_rows(self, lock: Prepared, keys: list[SessionKey]) -> list[Row]:
        """Advances `now`, if it is the database's, to the time of the last lock, because others may have written until
        then."""
        rows = list(lock.rows(self._connection, keys=as_list(keys), now=self._given_now))
        if rows and self._given_now is None:
            self._now = max(row[-1] for row in rows)
        return rows

    def _load_records(self, needs: Iterable[Needs], rows: Iterable[Row]) -> Records:
        """Locks and reads the records that the commits need, after the locks of all sessions."""
        names = {name for each in needs for name in each.records}
        prefixes = {name for each in needs for name in each.prefixes}
        if not names and not prefixes:
            return Records()
        locks, given = self._rules.backend.locks, self._given_now
        locked_at = lock_records(self._connection, names, prefixes, locks=locks, now=given)
        if locked_at is not None and given is None:
            self._now = max(self.now, locked_at)
        starts = {SessionKey(row[0], row[1]): records_start(row) for row in rows}
        return load_records(self._connection, names, prefixes, rules=self._rules, now=self.now, starts=starts)

    def _take_session(self, loaded: Loaded, row: Row) -> None:
        session = session_from_row(row)
        facts = Facts(
            session.key,
            self.now,
            self._limits,
            Snapshot(session),
            session.last_sequence,
            History((), session.message_count),
        )
        loaded.workspace.slots[session.key] = Slot(facts, facts)
        loaded.stored[session.key] = upkeep(row)

    def _take_remains(self, loaded: Loaded) -> None:
        slots = loaded.workspace.slots
        absent = [key for key in slots if key not in loaded.stored]
        if not absent:
            return
        for tenant, session_id, what, last, lease in _FIND_REMAINS.rows(
            self._connection, keys=as_list(absent)
        ):
            key = SessionKey(tenant, session_id)
            slot = slots[key]
            if not isinstance(last, int):
                raise damaged(key, TypeError("a position of another type is stored here"))
            if not what:
                slot.facts = slot.facts._replace(last_sequence=Sequence(last))
                loaded.tombstones.add(key)
            elif what == What.LOG:
                loaded.dead_logs[key] = Sequence(last)
            slot.importing |= lease is not None and lease > self.now
            slot.erasing |= what in BEFORE_CREATION

    def _take_contexts(self, loaded: Loaded, wanted: set[SessionKey]) -> None:
        if not wanted:
            return
        for tenant, session_id, *stored in _FIND_CONTEXTS.rows(self._connection, keys=as_list(wanted)):
            slot = loaded.workspace.slots[SessionKey(tenant, session_id)]
            context = self._context(slot, *stored)
            slot.facts = slot.facts._replace(snapshot=slot.facts.snapshot._replace(context=context))

    def _context(self, slot: Slot, revision: int, update_time: int, stored: bytes) -> Context:
        content = content_of(self._cells, slot)
        known = self._rules.contexts.find(slot.key, stored) if content.data_key is None else None
        if known is None:
            return content.context(revision, update_time, stored)
        return Context(known, Sequence(revision), Micros(update_time))

    def _take_messages(self, loaded: Loaded, needs: Mapping[SessionKey, Needs]) -> None:
        wanted = [(*key, id_) for key in loaded.stored for id_ in needs[key].message_ids]
        if not wanted:
            return
        found: dict[SessionKey, dict[str, Message]] = {}
        for tenant, session_id, *stored in _FIND_MESSAGES.rows(self._connection, keys=as_list(wanted)):
            key = SessionKey(tenant, session_id)
            sequence, message_id, time, message_time, payload = stored
            if spans.contain(loaded.stored[key].hidden, sequence):
                continue
            content = content_of(self._cells, loaded.workspace.slots[key])
            message = content.message(sequence, message_id, time, message_time, payload)
            found.setdefault(key, {})[message_id] = message
        for key, by_id in found.items():
            slot = loaded.workspace.slots[key]
            slot.facts = slot.facts._replace(history=slot.facts.history._replace(by_id=by_id))

    def _take_requests(self, loaded: Loaded, commits: Seq[Commit]) -> None:
        stamped = [(commit, commit.request) for commit in commits if commit.request is not None]
        if not stamped:
            return
        # Of commits with the same request id, the one equal to the first has the messages' content.
        repeated = {(commit.key, stamp): commit for commit, stamp in stamped}
        keys = as_list({(*commit.key, stamp.id) for commit, stamp in stamped})
        since = self.now - self._limits.request_ids_kept
        for tenant, session_id, id_, method, payload_hash, *stored in _FIND_REQUESTS.rows(
            self._connection, keys=keys, since=since
        ):
            key = SessionKey(tenant, session_id)
            try:
                _REQUEST_KINDS.check((method, payload_hash, *stored))
            except TypeError as error:
                raise damaged(key, error) from error
            slot, stamp = loaded.workspace.slots[key], RequestStamp(id_, method, payload_hash)
            slot.requests[id_] = self._request(loaded, slot, stamp, stored, repeated.get((key, stamp)))

    def _request(
        self, loaded: Loaded, slot: Slot, stamp: RequestStamp, stored: Seq[Any], repeated: Commit | None
    ) -> StoredRequest:
        keeping, time, answer = stored
        outlives = keeping == Keeping.OUTLIVING
        is_erased = keeping == Keeping.ERASED or (slot.key in loaded.tombstones and not outlives)
        if repeated is None or is_erased:  # without one the id is in other use
            return StoredRequest(stamp, Micros(time), None, outlives=outlives)
        content = content_of(self._cells, slot)
        kept = replace(content, data_key=content.data_key if keeping == Keeping.SEALED else None).kept(
            stamp.id, answer
        )
        now = Snapshot(None) if outlives else slot.facts.snapshot
        session = slot.facts.session
        if keeping == Keeping.RECEIPT and (session is None or root_of(session.log_id) != kept.log_id):
            return StoredRequest(stamp, Micros(time), None)
        committed = restore(kept, repeated, now, self._past(loaded, slot, kept, now))
        return StoredRequest(stamp, Micros(time), committed, outlives=outlives)

    def _past(self, loaded: Loaded, slot: Slot, kept: Kept, now: Snapshot) -> Snapshot | None:
        """The state in the first response to a repeated request, if it has changed since and the log still has it."""
        session = now.session
        if session is None or not needs_past(kept, now):
            return None
        start = loaded.stored[slot.key].replay_start
        if start is None or kept.sequence < start:
            return None
        return snapshot_at(self._connection, content_of(self._cells, slot), kept.sequence, session)


def content_of(cells: Cells, slot: Slot) -> Content:
    session = slot.facts.session
    return Content(cells, slot.key, None if session is None else session.data_key)


def _missing(keys: list[SessionKey], rows: list[Row]) -> list[SessionKey]:
    if len(rows) == len(keys):
        return []
    found = {(row[0], row[1]) for row in rows}
    return [key for key in keys if key not in found]
