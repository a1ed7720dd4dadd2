"""Writes what a batch of commands has changed, with one statement per table and kind of change.

The order matters: what is erased goes first; then messages that left the history lose their content, which makes their
ids free; then the new events come; the sessions' rows, which say where the history begins, come after that. A session's
content and its events change together or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import sqlalchemy as sa

from sessions_server.domain.commands import Delete
from sessions_server.domain.models import Message, Sequence, Session, SessionKey
from sessions_server.domain.workspace import Published, Slot
from sessions_server.storage import rows
from sessions_server.storage.conditions import stored_json
from sessions_server.storage.content import Content
from sessions_server.storage.schema import contexts, log, metadata_terms, requests, sessions, tombstones
from sessions_server.storage.statements import Prepared, Upsert, as_list, item, listed
from sessions_server.storage.terms import Term, terms

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells
    from sessions_server.storage.backend import Backend
    from sessions_server.storage.load import Loaded

Values: TypeAlias = list[tuple[Any, ...]]


def _of_session(table: sa.Table) -> tuple[sa.ColumnElement[bool], ...]:
    """The condition on the key, its parameters coming last in a row of values."""
    return (
        table.c.tenant == sa.bindparam("key_tenant"),
        table.c.session_id == sa.bindparam("key_session_id"),
    )


def _update_sessions(columns: Iterable[str]) -> Prepared:
    values = [
        (sessions.c[name], sa.bindparam(f"new_{name}", type_=sessions.c[name].type)) for name in columns
    ]
    return Prepared(sessions.update().ordered_values(*values).where(*_of_session(sessions)))


_deletion: sa.ColumnElement[str] = sa.literal_column(f"'{Delete.METHOD}'")
_ERASE: Final = (
    Prepared(requests.delete().where(*_of_session(requests), requests.c.method != _deletion)),
    *(
        Prepared(table.delete().where(*_of_session(table)))
        for table in (metadata_terms, contexts, log, sessions)
    ),
)
_PUT_TOMBSTONE: Final = Upsert(tombstones)
_DROP_TOMBSTONE: Final = Prepared(tombstones.delete().where(*_of_session(tombstones)))

_ADD_EVENTS: Final = Prepared(log.insert())
_CLEAR_MESSAGES: Final = Prepared(
    log.update()
    .values(message_id=sa.null(), payload=sa.null())
    .where(
        *_of_session(log),
        log.c.sequence >= sa.bindparam("first"),
        log.c.sequence <= sa.bindparam("last"),
        log.c.message_id.is_not(None),
    )
)

_FIRST_KEPT: Final = Prepared(
    sa.select(log.c.sequence)
    .where(*_of_session(log), log.c.sequence >= sa.bindparam("first"), log.c.message_id.is_not(None))
    .order_by(log.c.sequence)
    .limit(1)
    .offset(sa.bindparam("dropped"))
)
_dropped = listed("keys")
_FIRST_KEPT_OF_MANY: Final = Prepared(
    sa.select(
        item(_dropped, 0),
        item(_dropped, 1),
        sa.select(log.c.sequence)
        .where(
            log.c.tenant == item(_dropped, 0),
            log.c.session_id == item(_dropped, 1),
            log.c.sequence >= item(_dropped, 2, sa.BigInteger()),
            log.c.message_id.is_not(None),
        )
        .order_by(log.c.sequence)
        .limit(1)
        .offset(item(_dropped, 3, sa.BigInteger()))
        .correlate(_dropped)
        .scalar_subquery(),
    ).select_from(_dropped)
)

_NEW_SESSION_COLUMNS: Final = (
    *rows.FIXED_COLUMNS,
    *rows.SETTINGS_COLUMNS,
    *rows.STAGE_COLUMNS,
    *rows.COUNTER_COLUMNS,
)
_ADD_SESSIONS: Final = Prepared(sessions.insert())
_in_table_order: Final = itemgetter(*(_NEW_SESSION_COLUMNS.index(column.name) for column in sessions.c))
_UPDATE_COUNTERS: Final = _update_sessions(rows.COUNTER_COLUMNS)
_UPDATE_STAGES: Final = _update_sessions(rows.STAGE_COLUMNS)
_UPDATE_SETTINGS: Final = _update_sessions(rows.SETTINGS_COLUMNS)

_PUT_CONTEXTS: Final = Upsert(contexts)
_PUT_REQUESTS: Final = Upsert(requests)

_ADD_TERMS: Final = Prepared(metadata_terms.insert())
_DROP_TERMS: Final = Prepared(
    metadata_terms.delete().where(
        *_of_session(metadata_terms),
        metadata_terms.c.path == sa.bindparam("path_"),
        metadata_terms.c.term == sa.bindparam("term_"),
    )
)


class Saver:
    """Saves one loaded workspace."""

    def __init__(self, connection: Connection, loaded: Loaded, *, backend: Backend, cells: Cells) -> None:
        self._connection = connection
        self._loaded = loaded
        self._backend = backend
        self._cells = cells
        self._now = loaded.workspace.now
        self._slots = [slot for slot in loaded.workspace.slots.values() if slot.changed]
        self.erased_content = False
        """Whether content was erased that may stand in clear on the disk."""

    def save(self) -> list[Published]:
        self._erase()
        starts = self._clear_messages()
        self._add_events(starts)
        histories = {slot.key: self._history(slot, starts) for slot in self._slots}
        self._write_sessions(histories)
        self._write_contexts()
        self._write_requests()
        return [_published(slot, histories[slot.key]) for slot in self._slots]

    def _erase(self) -> None:
        gone = [slot.key for slot in self._slots if slot.erased and slot.stored]
        for statement in _ERASE:
            statement.many(self._connection, list(gone))
        self.erased_content |= bool(gone)
        erased = [slot for slot in self._slots if slot.erased and slot.session is None]
        _PUT_TOMBSTONE.many(
            self._connection, [(*slot.key, slot.last_sequence, slot.published[-1].time) for slot in erased]
        )
        again = [
            slot.key
            for slot in self._slots
            if slot.session is not None and slot.key in self._loaded.tombstones
        ]
        _DROP_TOMBSTONE.many(self._connection, list(again))

    def _clear_messages(self) -> dict[SessionKey, Sequence]:
        """Takes content from the stored messages that left the history; answers where each history begins now."""
        starts: dict[SessionKey, Sequence] = {}
        cleared: Values = []
        shortened: list[Slot] = []
        for slot in self._slots:
            if slot.session is None:
                continue
            first, through = slot.session.history_start, slot.cleared_through
            starts[slot.key] = max(first, Sequence(through + 1))
            count, head = self._stored_messages(slot)
            if slot.dropped_oldest < count:
                if slot.dropped_oldest:
                    shortened.append(slot)
                continue
            # From here on none of the stored messages stays.
            if slot.stored and not slot.erased and (count or through >= first):
                cleared.append((*slot.key, first, head))
            if slot.dropped_oldest:
                starts[slot.key] = _new_first(slot, slot.dropped_oldest - count)
        for key, first_kept in self._first_kept(shortened, starts):
            cleared.append((*key, starts[key], first_kept - 1))
            starts[key] = first_kept
        _CLEAR_MESSAGES.many(self._connection, cleared)
        self.erased_content |= bool(cleared)
        return starts

    def _stored_messages(self, slot: Slot) -> tuple[int, Sequence]:
        """How many messages of the history are stored, but for what the batch has cleared, and the log's head then."""
        stored = self._loaded.stored.get(slot.key)
        if stored is None or slot.erased:
            return 0, Sequence(0)
        return 0 if slot.cleared_through else stored.session.message_count, stored.session.last_sequence

    def _first_kept(
        self, slots: list[Slot], starts: dict[SessionKey, Sequence]
    ) -> list[tuple[SessionKey, Sequence]]:
        """Of each history of which a part of the stored messages stays, the first that does."""
        if not slots:
            return []
        if self._backend.joins_laterally:
            asked = as_list((*slot.key, starts[slot.key], slot.dropped_oldest) for slot in slots)
            rows = _FIRST_KEPT_OF_MANY.rows(self._connection, keys=asked)
            return [(SessionKey(*key), Sequence(first)) for *key, first in rows]
        return [(slot.key, self._first_kept_of(slot, starts[slot.key])) for slot in slots]

    def _first_kept_of(self, slot: Slot, first: Sequence) -> Sequence:
        tenant, session_id = slot.key
        [[kept]] = _FIRST_KEPT.rows(
            self._connection,
            key_tenant=tenant,
            key_session_id=session_id,
            first=first,
            dropped=slot.dropped_oldest,
        )
        return Sequence(kept)

    def _add_events(self, starts: dict[SessionKey, Sequence]) -> None:
        values: Values = []
        for slot in self._slots:
            content = self._content(slot)
            for event in slot.log:
                data, sequence = event.data, event.sequence
                message_id = payload = None
                if not isinstance(data, Message):
                    payload = content.payload_cell(sequence, data) if data is not None else None
                elif sequence >= starts[slot.key]:  # what left the history in the same batch is never written
                    message_id, payload = data.id, content.payload_cell(sequence, data)
                values.append(
                    (*slot.key, sequence, event.type, message_id, event.request_id, event.time, payload)
                )
        _ADD_EVENTS.many(self._connection, values)

    def _history(self, slot: Slot, starts: dict[SessionKey, Sequence]) -> rows.History:
        stored = self._loaded.stored.get(slot.key) if not slot.erased else None
        start = starts.get(slot.key, Sequence(0))
        if stored is None:
            return rows.History(start, slot.log[0].time if slot.log else None)
        due = stored.compact_time
        if due is None and start > stored.session.history_start:
            # The history may have begun with the log, so that no compaction was due.
            due = stored.session.create_time
        elif due is None and stored.session.message_count == 0:
            due = self._now  # the log may have been empty
        return rows.History(start, due)

    def _write_sessions(self, histories: dict[SessionKey, rows.History]) -> None:
        added: Values = []
        counters: Values = []
        stages: Values = []
        settings: Values = []
        new_terms: list[tuple[Session, Iterable[Term]]] = []
        old_terms: list[tuple[Session, Iterable[Term]]] = []
        for slot in self._slots:
            session = slot.session
            if session is None:
                continue
            history = histories[slot.key]
            counter, stage = rows.counter_values(session, history), rows.stage_values(session, history)
            stored = self._loaded.stored[slot.key] if slot.stored and not slot.erased else None
            if stored is None:
                setting = rows.settings_values(session, stored_json(session.metadata))
                added.append(_in_table_order((*rows.fixed_values(session), *setting, *stage, *counter)))
                new_terms.append((session, terms(session.metadata)))
                continue
            before = stored.session
            counters.append((*counter, *slot.key))
            if stage != rows.stage_values(before, rows.History(before.history_start, stored.compact_time)):
                stages.append((*stage, *slot.key))
            if not _same_settings(session, before):
                settings.append((*rows.settings_values(session, stored_json(session.metadata)), *slot.key))
                is_now, was = terms(session.metadata), terms(before.metadata)
                new_terms.append((session, is_now - was))
                old_terms.append((session, was - is_now))
        _ADD_SESSIONS.many(self._connection, added)
        _UPDATE_COUNTERS.many(self._connection, counters)
        _UPDATE_STAGES.many(self._connection, stages)
        _UPDATE_SETTINGS.many(self._connection, settings)
        _DROP_TERMS.many(
            self._connection, [(*session.key, *term) for session, some in old_terms for term in some]
        )
        _ADD_TERMS.many(
            self._connection,
            [(*session.key, *term, session.create_time) for session, some in new_terms for term in some],
        )

    def _write_contexts(self) -> None:
        _PUT_CONTEXTS.many(
            self._connection,
            [
                (
                    *slot.key,
                    slot.context.revision,
                    slot.context.update_time,
                    self._content(slot).context_cell(slot.context),
                )
                for slot in self._slots
                if slot.context_changed and slot.context is not None
            ],
        )

    def _write_requests(self) -> None:
        values: Values = []
        for slot in self._slots:
            of_session, plain = self._content(slot), Content(self._cells, slot.key, None)
            for request in slot.new_requests:
                stamp = request.stamp
                content = plain if stamp.method == Delete.METHOD else of_session  # which may outlive any key
                answer, sealed = content.answer_cell(stamp.id, request.answer), content.data_key is not None
                values.append(
                    (*slot.key, stamp.id, stamp.method, stamp.payload_hash, int(sealed), request.time, answer)
                )
        _PUT_REQUESTS.many(self._connection, values)

    def _content(self, slot: Slot) -> Content:
        return Content(self._cells, slot.key, slot.session.data_key if slot.session is not None else None)


def _new_first(slot: Slot, dropped: int) -> Sequence:
    """Where a history begins that holds new messages only, the first of them left out."""
    added = [event.sequence for event in slot.log if isinstance(event.data, Message)]
    added = [sequence for sequence in added if sequence > slot.cleared_through]
    return added[dropped] if dropped < len(added) else Sequence(slot.last_sequence + 1)


def _same_settings(session: Session, before: Session) -> bool:
    """Whether these are the very same objects: a write of content carries them over."""
    return (
        session.metadata is before.metadata
        and session.config is before.config
        and session.storage is before.storage
    )


def _published(slot: Slot, history: rows.History) -> Published:
    dropped_through = history.history_start - 1 if slot.dropped_oldest else 0
    return Published(
        slot.key,
        slot.published,
        head=slot.last_sequence,
        erased_through=Sequence(max(slot.hidden_through, dropped_through)),
    )
