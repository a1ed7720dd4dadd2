"""The content that is encrypted if its session is: contexts, event data, stored responses, record values.

It is encrypted before it reaches the database and decrypted after leaving it; each value is bound to its place. Reading
a stored value raises KeyNotAvailable, and DataCorrupted if it was altered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from sessions_server.domain.codec import (
    decode_data,
    decode_message,
    encode_change,
    encode_data,
    session_from_json,
    session_json,
)
from sessions_server.domain.jsonbytes import dumps, loads_object
from sessions_server.domain.models import (
    Context,
    Event,
    EventData,
    EventType,
    Message,
    Micros,
    Sequence,
    Session,
    SessionKey,
)
from sessions_server.domain.ports import Cell, Cells
from sessions_server.domain.records import RecordName
from sessions_server.domain.requests import Kept, StoredRequest, decode_kept, encode_kept
from sessions_server.storage.damage import UNREADABLE, damaged
from sessions_server.storage.kinds import Kinds
from sessions_server.storage.schema import contexts, log

CONTEXT_COLUMN: Final = "contexts.data"
"""Also used for the context in a base, which is the same value at an earlier time."""
PAYLOAD_COLUMN: Final = "log.payload"
CHANGE_COLUMN: Final = "log.change"
ANSWER_COLUMN: Final = "requests.answer"
RECORD_COLUMN: Final = "records.value"


class Keeping(IntEnum):
    """How the response to a request id is stored."""

    CLEAR = 0
    SEALED = 1
    ERASED = 2
    """Erased together with its session."""
    OUTLIVING = 3
    """Unencrypted, and kept as long as the id: the response to the request that erased the session."""
    RECEIPT = 4
    """Unencrypted, and kept as long as the id: the ids, positions and times of new messages, valid only in their
    log."""


_CONTEXT_KINDS: Final = Kinds((contexts.c.revision, contexts.c.update_time))
_MESSAGE_KINDS: Final = Kinds(
    (log.c.sequence, log.c.message_id, log.c.time, log.c.message_time, log.c.payload)
)
_EVENT_KINDS: Final = Kinds(
    log.c[name]
    for name in ("sequence", "message_id", "request_id", "time", "message_time", "payload", "change")
)

_TYPES: Final = {str(value): value for value in EventType}


@dataclass(slots=True)
class Content:
    """The content of one session. Without a data key it is stored unencrypted."""

    cells: Cells
    key: SessionKey
    data_key: bytes | None

    def context_cell(self, context: Context) -> bytes:
        return self._seal(CONTEXT_COLUMN, "", dumps(context.data))

    def context(self, revision: int, update_time: int, data: bytes) -> Context:
        plain = self._open(CONTEXT_COLUMN, "", data)
        try:
            _CONTEXT_KINDS.check((revision, update_time))
            return Context(loads_object(plain), Sequence(revision), Micros(update_time))
        except UNREADABLE as error:
            raise damaged(self.key, error) from error

    def payload_cell(self, sequence: Sequence, data: EventData) -> bytes:
        plain = encode_data(data)
        return plain if self.data_key is None else self._seal(PAYLOAD_COLUMN, str(sequence), plain)

    def change_cell(self, sequence: Sequence, data: EventData) -> bytes | None:
        change = encode_change(data)
        return None if change is None else self._seal(CHANGE_COLUMN, str(sequence), change)

    def message(
        self, sequence: int, message_id: str, time: int, message_time: int | None, payload: bytes
    ) -> Message:
        try:
            _MESSAGE_KINDS.check((sequence, message_id, time, message_time, payload))
        except TypeError as error:
            raise damaged(self.key, error) from error
        plain = self._open(PAYLOAD_COLUMN, str(sequence), payload)
        created = time if message_time is None else message_time
        try:
            return decode_message(plain, message_id=message_id, sequence=sequence, time=created)
        except UNREADABLE as error:
            raise damaged(self.key, error) from error

    def event(self, row: Any) -> Event:
        """Reads a row of sequence, type, message_id, request_id, time, message_time, payload, change."""
        sequence, kind, message_id, request_id, time, *rest = row
        try:
            _EVENT_KINDS.check((sequence, message_id, request_id, time, *rest))
            return Event(
                self.key,
                Sequence(sequence),
                _TYPES[kind],
                Micros(time),
                request_id,
                self._event_data(*row),
                imported=rest[0] is not None,
            )
        except UNREADABLE as error:
            raise damaged(self.key, error) from error

    def kept_cell(self, request_id: str, kept: Kept) -> bytes:
        return self._seal(ANSWER_COLUMN, request_id, encode_kept(kept))

    def kept(self, request_id: str, answer: bytes) -> Kept:
        plain = self._open(ANSWER_COLUMN, request_id, answer)
        try:
            return decode_kept(plain)
        except UNREADABLE as error:
            raise damaged(self.key, error) from error

    @staticmethod
    def base_session(session: Session) -> bytes:
        return dumps(session_json(session))

    def session_of_base(self, stored: bytes) -> Session:
        try:
            return session_from_json(loads_object(stored))
        except UNREADABLE as error:
            raise damaged(self.key, error) from error

    def moved_payload(self, sequence: int, stored: bytes, target: Content, to: int) -> bytes:
        """The stored form of a payload at a position of another session."""
        return target._seal(PAYLOAD_COLUMN, str(to), self._open(PAYLOAD_COLUMN, str(sequence), stored))

    def record_cell(self, name: RecordName, value: bytes) -> bytes:
        return self._seal(RECORD_COLUMN, _record_row(name), value)

    def record_value(self, name: RecordName, stored: bytes) -> bytes:
        return self._open(RECORD_COLUMN, _record_row(name), stored)

    def _event_data(
        self,
        sequence: int,
        kind: str,
        message_id: str | None,
        _request_id: str,
        time: int,
        message_time: int | None,
        payload: bytes | None,
        change: bytes | None,
    ) -> EventData | None:
        if payload is None:
            return None
        if kind == EventType.MESSAGE:
            return self.message(sequence, message_id or "", time, message_time, payload)
        shown = self._open(PAYLOAD_COLUMN, str(sequence), payload)
        changed = None if change is None else self._open(CHANGE_COLUMN, str(sequence), change)
        return decode_data(_TYPES[kind], shown, changed, tenant=self.key.tenant)

    def _seal(self, column: str, row: str, plain: bytes) -> bytes:
        if self.data_key is None:
            return plain
        return self.cells.seal(self.data_key, Cell(*self.key, column, row), plain)

    def _open(self, column: str, row: str, stored: bytes) -> bytes:
        if self.data_key is None:
            return stored
        return self.cells.open(self.data_key, Cell(*self.key, column, row), stored)


def _record_row(name: RecordName) -> str:
    """The place of a record within its scope."""
    return dumps([[*name.collection], name.key]).decode()


def keeping_of(request: StoredRequest, content: Content) -> Keeping:
    if request.outlives:
        return Keeping.OUTLIVING  # it may outlive any key
    if request.kept is not None and request.kept.log_id:
        return Keeping.RECEIPT
    return Keeping.CLEAR if content.data_key is None else Keeping.SEALED
