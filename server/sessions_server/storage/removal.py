"""What one transaction removes: a few rows at once; if there are many, they are only hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sessions_server.domain.history import Span
from sessions_server.domain.models import Sequence, Session, SessionKey
from sessions_server.storage import spans
from sessions_server.storage.erasure import (
    CLEAR_MESSAGES,
    ERASE_ANSWERS,
    FEW,
    FORGET_CHANGES,
    PUT_ERASURES,
    Erasure,
    What,
    find_erasures,
    of_session,
)
from sessions_server.storage.large_sessions import with_many_answers, with_many_records
from sessions_server.storage.schema import log
from sessions_server.storage.statements import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.engine import Connection

    from sessions_server.domain.workspace import Slot
    from sessions_server.storage.load import Loaded
    from sessions_server.storage.spans import Spans

_ERASE_LOG: Final = Prepared(log.delete().where(*of_session(log)))


class Removal:
    """What the slots of one loaded workspace remove."""

    def __init__(self, connection: Connection, loaded: Loaded) -> None:
        self._connection = connection
        self._loaded = loaded
        self._room = FEW
        self._hidden: dict[SessionKey, Spans] = {}
        """The newly hidden spans, joined with earlier ones, by session."""
        self._records_start: dict[SessionKey, Sequence] = {}
        self._left: list[Erasure] = []
        self.is_content = False
        """Whether erased content may be unencrypted on the disk."""

    @property
    def is_unfinished(self) -> bool:
        """Whether something is hidden and still to be erased."""
        return bool(self._left)

    def erase(self, gone: list[Slot]) -> None:
        """Removes the logs and stored responses of sessions."""
        self._erase_answers(gone)
        self._erase_logs(gone)
        self.is_content |= bool(gone)

    def _erase_answers(self, gone: list[Slot]) -> None:
        many = with_many_answers(self._connection, [slot.key for slot in gone]) if gone else set()
        for key in many:
            self._leave(key, What.ANSWERS)
        few = [slot.key for slot in gone if slot.key not in many]
        ERASE_ANSWERS.many(self._connection, [(b"", *key) for key in few])

    def _erase_logs(self, gone: list[Slot]) -> None:
        few: list[SessionKey] = []
        for slot in gone:
            session = slot.loaded.session
            if session is None:
                continue
            before_start = session.message_count if session.history_start < session.log_start else 0
            count = session.last_sequence - session.log_start + 1 + before_start
            if not self._loaded.stored[slot.key].hidden and self._has_room(count):
                few.append(slot.key)
            else:
                self._leave(slot.key, What.LOG, through=session.last_sequence)
                self._hidden[slot.key] = (Span(Sequence(0), session.last_sequence),)
        _ERASE_LOG.many(self._connection, list(few))

    def _has_room(self, count: int) -> bool:
        """Whether this transaction may erase this many more rows; if so, it must."""
        if count > self._room:
            return False
        self._room -= count
        return True

    def _leave(self, key: SessionKey, what: What, *, through: int = 0, position: int = 0) -> None:
        """Leaves hidden rows to later steps."""
        self._left.append(Erasure(*key, what, through, position))

    def erase_records(self, slots: Iterable[Slot]) -> set[SessionKey]:
        """The sessions whose records are to be erased at once; those of others are hidden."""
        records = self._loaded.workspace.records
        if not records.erased:
            return set()
        slots = [slot for slot in slots if slot.key in records.erased]
        many = with_many_records(self._connection, [slot.key for slot in slots]) if slots else set()
        many |= {slot.key for slot in slots if self._ends_import(slot)}
        for slot in slots:
            if slot.key in many:
                self._leave(slot.key, What.RECORDS)
                if not slot.erased:
                    self._records_start[slot.key] = Sequence(slot.loaded.last_sequence + 1)
        return set(records.erased) - many

    def _ends_import(self, slot: Slot) -> bool:
        """Whether an import in slices replaces the session now: its records are already stored beside the old ones."""
        stored = self._loaded.stored.get(slot.key)
        return stored is not None and stored.import_start is not None

    def clear(self, slots: list[Slot]) -> None:
        """Removes the content of stored messages that left the history, and forgotten values from the log, for sessions
        that continue to exist."""
        if not slots:
            return
        cleared: list[tuple[Any, ...]] = []
        forgotten: list[tuple[Any, ...]] = []
        for slot in slots:
            before, stored = slot.loaded.session, self._loaded.stored[slot.key]
            if before is None:
                continue
            removed = _removed(slot, before)
            if self._has_room(sum(span.last - span.first + 1 for span in removed)):
                cleared += [(*slot.key, *span) for span in removed]
            else:
                self._hidden[slot.key] = spans.joined((*stored.hidden, *removed))
                self._leave(slot.key, What.MESSAGES)
            if slot.base is None:
                continue
            first = stored.replay_start or before.log_start
            last = min(slot.base.sequence, before.last_sequence)
            if self._has_room(last - first + 1):
                forgotten.append((*slot.key, first, last))
            else:
                self._leave(slot.key, What.CHANGES, through=last, position=first)
        CLEAR_MESSAGES.many(self._connection, cleared)
        FORGET_CHANGES.many(self._connection, forgotten)
        self.is_content |= bool(cleared or forgotten)

    def list_rest(self) -> None:
        """An item that is already on the list continues where it is."""
        if not self._left:
            return
        keys = {SessionKey(each.tenant, each.session_id) for each in self._left}
        listed = {tuple(each[:3]): each for each in find_erasures(self._connection, keys)}
        merged = [each.joined(listed.get(tuple(each[:3]))) for each in self._left]
        PUT_ERASURES.many(self._connection, [tuple(each) for each in merged])

    def hidden_in(self, slot: Slot) -> Spans:
        """Where messages of the session, or of an earlier one with its id, are stored but hidden."""
        if (hidden := self._hidden.get(slot.key)) is not None:
            return hidden
        if not slot.erased and (stored := self._loaded.stored.get(slot.key)) is not None:
            return stored.hidden
        dead = self._loaded.dead_logs.get(slot.key)
        return () if dead is None else (Span(Sequence(0), dead),)

    def records_start_in(self, slot: Slot) -> Sequence:
        """The `records_start` of the session's records."""
        stored = None if slot.erased else self._loaded.stored.get(slot.key)
        return self._records_start.get(slot.key, Sequence(0) if stored is None else stored.records_start)


def _removed(slot: Slot, before: Session) -> Spans:
    """Where stored messages have left the history."""
    found = (
        Span(max(span.first, before.history_start), min(span.last, before.last_sequence))
        for span in slot.facts.history.removed
    )
    return spans.joined(span for span in found if before.message_count and span.first <= span.last)
