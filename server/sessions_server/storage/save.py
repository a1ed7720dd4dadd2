"""Writes the changes of a batch of commands, with one statement per table and kind of change.

The order matters: erased data goes first; then messages that left the history lose their content, which frees their
ids; then the new events are inserted; then the sessions' rows are updated, which contain where the history begins. A
session's content and its events change together or not at all.

A few rows are erased here. Many are only hidden, at a cost that does not depend on their number, and erased later: see
erasure.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import sqlalchemy as sa

from sessions_server.domain.lineage import grown
from sessions_server.domain.models import Message, Sequence, Session
from sessions_server.domain.workspace import Published, Slot
from sessions_server.storage import rows
from sessions_server.storage.bases import ADD_BASE, DROP_BASES, PUT_BASES, largest_context
from sessions_server.storage.content import Content, Keeping, keeping_of
from sessions_server.storage.load import content_of
from sessions_server.storage.message_ids import FREE_MESSAGE_IDS
from sessions_server.storage.recent_sessions import StoredSession
from sessions_server.storage.records import save_records
from sessions_server.storage.removal import Removal
from sessions_server.storage.schema import (
    bases,
    contexts,
    log,
    metadata_terms,
    requests,
    sessions,
    tombstones,
)
from sessions_server.storage.session_rows import SessionRows, of_session
from sessions_server.storage.statements import Prepared, Upsert, Writes

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.engine import Connection

    from sessions_server.domain.models import Context, SessionKey
    from sessions_server.storage.load import Loaded
    from sessions_server.storage.recent_sessions import RecentSessions
    from sessions_server.storage.records import Starts
    from sessions_server.storage.rules import Rules

Values: TypeAlias = list[tuple[Any, ...]]


_ERASE: Final = tuple(
    Prepared(table.delete().where(*of_session(table)))
    for table in (metadata_terms, contexts, bases, sessions)
)
_PUT_TOMBSTONE: Final = Upsert(tombstones)
_DROP_TOMBSTONE: Final = Prepared(tombstones.delete().where(*of_session(tombstones)))

_EVENT_COLUMNS: Final = (sa.column(each.name, each.type) for each in log.c if each is not log.c.import_start)
_ADD_EVENTS: Final = Prepared(sa.table(log.name, *_EVENT_COLUMNS).insert())
_STAGE_EVENTS: Final = Prepared(log.insert())
_COPY_CONTEXT: Final = Prepared(
    sa.select(contexts.c.revision, contexts.c.update_time, contexts.c.data).where(
        contexts.c.tenant == sa.bindparam("tenant"), contexts.c.session_id == sa.bindparam("session_id")
    )
)

_PUT_CONTEXTS: Final = Upsert(contexts)
_PUT_REQUESTS: Final = Upsert(requests)


class Saver:
    """Saves one loaded workspace."""

    def __init__(
        self, connection: Connection, loaded: Loaded, rules: Rules, recent: RecentSessions | None = None
    ) -> None:
        self._connection = connection
        self._loaded = loaded
        self._rules = rules
        self._recent = recent
        self._now = loaded.workspace.now
        self._tx = 0
        self._epoch = ""
        self._slots = [slot for slot in loaded.workspace.slots.values() if slot.changed]
        self._writes = Writes()
        """Writes common to all content changes."""
        self.removal = Removal(connection, loaded)

    def save(self) -> list[Published]:
        workspace = self._loaded.workspace
        if not self._slots and workspace.records is workspace.loaded_records:
            return []
        self._tx = self._number()
        self._epoch = self._rules.backend.epoch(self._connection)
        self._erase()
        self._write_records()
        self.removal.clear(
            [slot for slot in self._slots if _removes(slot) and self._stored(slot) is not None]
        )
        self.removal.list_rest()
        self._write_bases()
        self._add_events()
        self._write_sessions()
        self._write_contexts()
        self._write_requests()
        self._writes.run(self._connection)
        self._add_bases()
        return [self._published(slot) for slot in self._slots]

    def _number(self) -> int:
        if self._loaded.number is not None:
            return self._loaded.number
        adds_only = self._slots and all(
            slot.log and slot.published and not slot.erased for slot in self._slots
        )
        backend = self._rules.backend
        return (backend.number_in_log if adds_only else backend.transaction_number)(self._connection)

    def stage(self, import_start: Sequence, records_start: Sequence) -> None:
        """Writes events, records and due bases, but not the sessions' rows, so that nothing is visible."""
        self._save_records(dict.fromkeys(self._loaded.workspace.slots, records_start))
        self._stage_bases()
        events, _ = self._events()
        _STAGE_EVENTS.many(self._connection, [(*event, import_start) for event in events])

    def _log_id(self, slot: Slot) -> str:
        """The log's identity after these writes; for an erased session, the previous one."""
        session = slot.facts.session or slot.loaded.session
        if session is None or not slot.log:
            return "" if session is None else session.log_id
        return grown(session.log_id, self._epoch, slot.log[0].sequence)

    def _published(self, slot: Slot) -> Published:
        return Published(
            slot.key, slot.published, slot.facts.last_sequence, slot.hidden_through, self._log_id(slot)
        )

    def _stored(self, slot: Slot) -> rows.Upkeep | None:
        """What the store knows about the session; None if it is new or starts again."""
        return None if slot.erased else self._loaded.stored.get(slot.key)

    def _erase(self) -> None:
        if not self._loaded.tombstones and not any(slot.erased for slot in self._slots):
            return
        gone = [slot for slot in self._slots if slot.erased and slot.key in self._loaded.stored]
        self.removal.erase(gone)
        for statement in _ERASE:
            statement.many(self._connection, [slot.key for slot in gone])
        erased = [slot for slot in self._slots if slot.erased and slot.facts.session is None]
        _PUT_TOMBSTONE.many(
            self._connection,
            [(*slot.key, slot.facts.last_sequence, slot.published[-1].time) for slot in erased],
        )
        again = [
            slot.key
            for slot in self._slots
            if slot.facts.session is not None and slot.key in self._loaded.tombstones
        ]
        _DROP_TOMBSTONE.many(self._connection, list(again))

    def _write_records(self) -> None:
        workspace = self._loaded.workspace
        if workspace.records is not workspace.loaded_records:
            erased = self.removal.erase_records(self._slots)
            starts = {key: self.removal.records_start_in(slot) for key, slot in workspace.slots.items()}
            self._save_records(starts, erased)

    def _save_records(self, starts: Starts, erased: Collection[SessionKey] = ()) -> None:
        workspace = self._loaded.workspace
        self.removal.is_content |= save_records(
            self._connection,
            workspace.loaded_records,
            workspace.records,
            content_of=lambda key: self._content(workspace.slots[key]),
            starts=starts,
            erased=erased,
            rules=self._rules,
        )

    def _write_bases(self) -> None:
        """Stores the base of later states, if the log lacks the events before it."""
        values: Values = []
        for slot in self._slots:
            stored, before, base = self._stored(slot), slot.loaded.session, slot.base
            if base is not None and base.snapshot.session is not None:
                values.append(self._base(slot, base.sequence, base.snapshot.session, base.snapshot.context))
            elif stored is not None and stored.replay_start is None and before is not None and slot.log:
                context = slot.loaded.context or self._stored_context(slot)
                values.append(self._base(slot, before.last_sequence, before, context))
        PUT_BASES.many(self._connection, values)
        forgotten = [(*slot.key, slot.base.sequence) for slot in self._slots if slot.base is not None]
        DROP_BASES.many(self._connection, forgotten)

    def _add_bases(self) -> None:
        """Adds bases along the logs, with copies of the contexts, which have been written by now."""
        for slot in self._slots:
            session = slot.facts.session
            if session is None or slot.base is not None or not slot.log:
                continue
            most = largest_context(slot.loaded.last_sequence, session.last_sequence)
            if most:
                state = self._content(slot).base_session(session)
                tenant, session_id = slot.key
                key = {"key_tenant": tenant, "key_session_id": session_id}
                ADD_BASE.run(self._connection, **key, at=session.last_sequence, state=state, most=most)

    def _stage_bases(self) -> None:
        """Like `_add_bases`, but without a row from which to copy the context."""
        values: Values = []
        for slot in self._slots:
            session = slot.facts.session
            most = largest_context(slot.loaded.last_sequence, slot.facts.last_sequence)
            if session is not None and most:
                base = self._base(slot, session.last_sequence, session, slot.facts.context)
                values += [base] if len(base[-1] or b"") <= most else []
        PUT_BASES.many(self._connection, values)

    def _base(self, slot: Slot, at: Sequence, session: Session, context: Context | None) -> tuple[Any, ...]:
        content = self._content(slot)
        row: tuple[Any, ...] = (None, None, None)
        if context is not None:
            row = (context.revision, context.update_time, content.context_cell(context))
        return (*slot.key, at, content.base_session(session), *row)

    def _stored_context(self, slot: Slot) -> Context | None:
        row = _COPY_CONTEXT.first(self._connection, **slot.key._asdict())
        return None if row is None else self._content(slot).context(*row)

    def _add_events(self) -> None:
        values, freed = self._events()
        FREE_MESSAGE_IDS.many(self._connection, freed)
        self._writes.add(_ADD_EVENTS, values)

    def _events(self) -> tuple[Values, Values]:
        """The new events, and which hidden messages must give up the ids of new ones."""
        values: Values = []
        freed: Values = []
        for slot in self._slots:
            hidden = self.removal.hidden_in(slot)
            content, removed = self._content(slot), slot.facts.history.removed
            forgotten = 0 if slot.base is None else slot.base.sequence
            for event in slot.log:
                data, sequence = event.data, event.sequence
                message_id = payload = change = message_time = None
                if isinstance(data, Message):
                    message_time = data.create_time if event.imported else None
                    if not (removed and any(span.first <= sequence <= span.last for span in removed)):
                        # Messages that left the history in the same batch are never written.
                        message_id, payload = data.id, content.payload_cell(sequence, data)
                        if hidden:
                            freed += [(*slot.key, *span, data.id) for span in hidden]
                elif data is not None:
                    payload = content.payload_cell(sequence, data)
                    change = content.change_cell(sequence, data) if sequence > forgotten else None
                ids = (sequence, event.type, message_id, event.request_id, event.time)
                values.append((*slot.key, *ids, payload, change, message_time))
        return values, freed

    def _upkeep(self, slot: Slot, stored: rows.Upkeep | None) -> rows.Upkeep:
        hides = self.removal.hidden_in(slot), self.removal.records_start_in(slot)
        if stored is None:
            first = slot.log[0]
            begins = first.sequence if slot.base is None else slot.base.sequence
            return rows.Upkeep(first.time, begins, self._tx, *hides)
        due, start = stored.compact_time, stored.replay_start
        if due is None and slot.log:
            due = slot.log[0].time  # the log was empty
        if slot.base is not None:
            start = slot.base.sequence
        elif start is None and slot.log:
            start = slot.loaded.last_sequence
        return rows.Upkeep(due, start, max(self._tx, stored.tx), *hides)

    def _write_sessions(self) -> None:
        written = SessionRows(self._recent)
        for slot in self._slots:
            session = slot.facts.session
            if session is None:
                written.drop(slot.key)
            if session is None or not slot.published:
                continue
            if (log_id := self._log_id(slot)) != session.log_id:
                session = session._replace(log_id=log_id)
            if slot.facts.history.removed:
                session = session._replace(history_start=_history_start(slot, session))
            stored, before = self._stored(slot), slot.loaded.session
            now = StoredSession(session, self._upkeep(slot, stored))
            if stored is None or before is None:
                written.add(now)
            else:
                written.change(now, StoredSession(before, stored))
        written.write(self._connection, self._writes)

    def _write_contexts(self) -> None:
        values: Values = []
        for slot in self._slots:
            context = slot.facts.context
            if context is None or (context is slot.loaded.context and not slot.erased):
                continue
            content = self._content(slot)
            cell = content.context_cell(context)
            if content.data_key is None:
                self._rules.contexts.keep(slot.key, cell, context.data)
            values.append((*slot.key, context.revision, context.update_time, cell))
        _PUT_CONTEXTS.many(self._connection, values)

    def _write_requests(self) -> None:
        values: Values = []
        for slot in self._slots:
            sealing = self._content(slot)
            for request in slot.new_requests.values():
                stamp, keeping, answer = request.stamp, Keeping.ERASED, b""
                if request.kept is not None:
                    keeping = keeping_of(request, sealing)
                    in_clear = keeping is not Keeping.SEALED and sealing.data_key is not None
                    content = replace(sealing, data_key=None) if in_clear else sealing
                    answer = content.kept_cell(stamp.id, request.kept)
                values.append(
                    (
                        *(*slot.key, stamp.id, stamp.method, stamp.payload_hash),
                        *(keeping.value, request.time, answer),
                    )
                )
        self._writes.add(_PUT_REQUESTS, values)

    def _content(self, slot: Slot) -> Content:
        return content_of(self._rules.cells, slot)


def _removes(slot: Slot) -> bool:
    """Whether stored content leaves the history or is forgotten."""
    return bool(slot.facts.history.removed) or slot.base is not None


def _history_start(slot: Slot, session: Session) -> Sequence:
    """The history starts at this position or later."""
    removed = slot.facts.history.removed
    if not session.message_count:
        return Sequence(max([session.history_start, *(span.last + 1 for span in removed)]))
    start = session.history_start
    for span in removed:
        if span.first <= start:
            start = max(start, Sequence(span.last + 1))
    return start
