"""Reads everything that a batch of commands needs, under locks, with as few statements for many commands as for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence as Seq
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from sessions_server.domain.commit import Commit, RequestStamp
from sessions_server.domain.expiry import next_due
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
from sessions_server.storage.large_sessions import whose_ids_stay_taken
from sessions_server.storage.past import snapshot_at
from sessions_server.storage.recent_sessions import StoredSession
from sessions_server.storage.records import load_records, lock_records
from sessions_server.storage.rows import (
    Upkeep,
    metadata_size,
    session_from_row,
    upkeep,
)
from sessions_server.storage.schema import contexts, erasures, log, requests, tombstones
from sessions_server.storage.session_locks import SessionLocks
from sessions_server.storage.statements import (
    Lookup,
    Prepared,
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
    from sessions_server.storage.recent_sessions import RecentSessions
    from sessions_server.storage.rules import Rules

_keys = listed("keys")

# Where an earlier session's log ended, and what is still to be erased.
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

_FIND_REQUESTS: Final = Lookup(
    sa.select(
        requests.c.tenant,
        requests.c.session_id,
        requests.c.request_id,
        requests.c.method,
        requests.c.payload_hash,
        requests.c.sealed,
        requests.c.time,
        requests.c.answer,
    ).where(requests.c.time > sa.bindparam("since")),
    requests,
    (requests.c.tenant, requests.c.session_id, requests.c.request_id),
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
    number: int | None = None
    """The transaction's number, if it is known already."""


class Loader:
    """Loads within one transaction, evaluated at one time: the given one, or the database's if it is None."""

    def __init__(
        self,
        connection: Connection,
        rules: Rules,
        *,
        now: Micros | None,
        recent: RecentSessions | None = None,
    ) -> None:
        self._connection = connection
        self._rules = rules
        self._recent = recent
        self._cells = rules.cells
        self._limits = rules.limits
        self._given_now = self._now = now
        self._session_locks = SessionLocks(connection, rules.backend.locks)

    @property
    def now(self) -> Micros:
        if self._now is None:
            self._now = read_clock(self._connection, None)
        return self._now

    def load(self, commits: Seq[Commit], *, lock_wait: LockWait) -> Loaded:
        keys = sorted({commit.key for commit in commits})
        stored, busy = self._lock_and_read(keys, lock_wait)
        free = [commit for commit in commits if commit.key not in busy]
        needs = needs_of(free)
        records = self._load_records(needs.values(), stored)
        self._given_now = self.now  # later loads of the transaction use the same time
        workspace = Workspace(self.now, self._limits, {}, frozenset(busy), records, records)
        loaded = Loaded(workspace, number=self._session_locks.number)
        for each in stored:
            self._take_session(loaded, each)
        for key in keys:
            if key not in busy and key not in loaded.stored:
                facts = Facts(key, self.now, self._limits)
                loaded.workspace.slots[key] = Slot(facts, facts)
        slots = loaded.workspace.slots
        self._take_remains(loaded)
        self._take_sizes(loaded, needs)
        self._take_contexts(loaded, {key for key in loaded.stored if needs[key].context})
        self._take_messages(loaded, needs)
        load_histories(
            self._connection,
            slots,
            {key: needs[key] for key in loaded.stored},
            hidden=lambda key: loaded.stored[key].hidden,
            joins=self._rules.backend.joins_laterally,
            cells=self._cells,
        )
        self._take_requests(loaded, free)
        for slot in slots.values():
            slot.loaded = slot.facts
        return loaded

    def _lock_and_read(
        self, keys: list[SessionKey], lock_wait: LockWait
    ) -> tuple[list[StoredSession], set[SessionKey]]:
        """The sessions that have a row, all locked, and those left to another transaction that has locked them."""
        recent = self._recent
        known = {} if recent is None else recent.find(keys)
        stored = list(known.values())
        unknown = [key for key in keys if key not in known] if known else keys
        if not unknown:
            return stored, set()
        rows, busy = self._session_locks.lock(unknown, lock_wait, now=self._given_now)
        if self._given_now is None and self._session_locks.time is not None:
            self._now = self._session_locks.time
        for row in rows:
            stored.append(read := StoredSession(session_from_row(row), upkeep(row)))
            if recent is not None:
                recent.add(read, metadata_size(row))
        return stored, busy

    def _load_records(self, needs: Iterable[Needs], stored: Iterable[StoredSession]) -> Records:
        """Locks and reads the records that the commits need, after the locks of all sessions."""
        names = {name for each in needs for name in each.records}
        prefixes = {name for each in needs for name in each.prefixes}
        if not names and not prefixes:
            return Records()
        locks, given = self._rules.backend.locks, self._given_now
        locked_at = lock_records(self._connection, names, prefixes, locks=locks, now=given)
        if locked_at is not None and given is None:
            self._now = max(self.now, locked_at)
        starts = {session.key: upkeep.records_start for session, upkeep in stored}
        return load_records(self._connection, names, prefixes, rules=self._rules, now=self.now, starts=starts)

    def _take_session(self, loaded: Loaded, stored: StoredSession) -> None:
        session = stored.session
        facts = Facts(
            session.key,
            self.now,
            self._limits,
            Snapshot(session),
            session.last_sequence,
            History((), session.message_count),
        )
        loaded.workspace.slots[session.key] = Slot(facts, facts)
        loaded.stored[session.key] = stored.upkeep

    def _take_remains(self, loaded: Loaded) -> None:
        slots = loaded.workspace.slots
        asked = [
            key
            for key in slots
            if (stored := loaded.stored.get(key)) is None or stored.import_start is not None
        ]
        if not asked:
            return
        for tenant, session_id, what, last, lease in _FIND_REMAINS.rows(
            self._connection, keys=as_list(asked)
        ):
            key = SessionKey(tenant, session_id)
            slot = slots[key]
            if key in loaded.stored and what != What.IMPORT:
                continue
            if not isinstance(last, int):
                raise damaged(key, TypeError("a position of another type is stored here"))
            if not what:
                slot.facts = slot.facts._replace(last_sequence=Sequence(last))
                loaded.tombstones.add(key)
            elif what == What.LOG:
                loaded.dead_logs[key] = Sequence(last)
            slot.importing |= lease is not None and lease > self.now
            slot.erasing |= what in BEFORE_CREATION

    def _take_sizes(self, loaded: Loaded, needs: Mapping[SessionKey, Needs]) -> None:
        """Finds the large ones of the sessions that may be erased and created again."""
        slots = loaded.workspace.slots
        again = [key for key, each in needs.items() if each.creates and (each.erases or _lapses(slots[key]))]
        for key in whose_ids_stay_taken(self._connection, again) if again else ():
            slots[key].erased_in_steps = True

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
            slot = loaded.workspace.slots[key]
            if sequence > slot.facts.last_sequence or spans.contain(loaded.stored[key].hidden, sequence):
                continue
            content = content_of(self._cells, slot)
            message = content.message(sequence, message_id, time, message_time, payload)
            found.setdefault(key, {})[message_id] = message
        for key, by_id in found.items():
            slot = loaded.workspace.slots[key]
            slot.facts = slot.facts._replace(history=slot.facts.history._replace(by_id=by_id))

    def _take_requests(self, loaded: Loaded, commits: Seq[Commit]) -> None:
        stamped = [(commit, commit.request) for commit in commits if commit.request is not None]
        if not stamped:
            return
        # Of several commits with one request id, the one equal to the first request has the messages' content.
        repeated = {(commit.key, stamp): commit for commit, stamp in stamped}
        keys = {(*commit.key, stamp.id) for commit, stamp in stamped}
        since = self.now - self._limits.request_ids_kept
        for tenant, session_id, id_, method, payload_hash, *stored in _FIND_REQUESTS.rows(
            self._connection, keys, since=since
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
        if repeated is None or is_erased:  # without a repetition, the id was used for another request
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


def _lapses(slot: Slot) -> bool:
    """Whether an expiry is due."""
    session = slot.facts.session
    first = None if session is None else next_due(session)
    return first is not None and first.at <= slot.facts.now
