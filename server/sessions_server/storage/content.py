"""The content that is encrypted where a session is: a context, an event's data, a first answer, a record's value.

It is sealed before it reaches the database and opened after it has left it; each value is bound to its own place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sessions_server.domain.codec import (
    decode_answer,
    decode_data,
    decode_message,
    encode_answer,
    encode_data,
)
from sessions_server.domain.jsonbytes import dumps, loads
from sessions_server.domain.models import (
    Answer,
    Context,
    Event,
    EventData,
    EventType,
    Message,
    MessageBody,
    Micros,
    Sequence,
    SessionKey,
)
from sessions_server.domain.ports import Cell, Cells
from sessions_server.domain.records import RecordName

CONTEXT_COLUMN: Final = "contexts.data"
PAYLOAD_COLUMN: Final = "log.payload"
ANSWER_COLUMN: Final = "requests.answer"
RECORD_COLUMN: Final = "records.value"

_TYPES: Final = {str(value): value for value in EventType}


@dataclass(frozen=True, slots=True)
class Content:
    """The content of one session. Without a data key it is stored as it is."""

    cells: Cells
    key: SessionKey
    data_key: bytes | None

    def context_cell(self, context: Context) -> bytes:
        return self._seal(CONTEXT_COLUMN, "", dumps(context.data))

    def context(self, revision: int, update_time: int, data: bytes) -> Context:
        return Context(loads(self._open(CONTEXT_COLUMN, "", data)), Sequence(revision), Micros(update_time))

    def payload_cell(self, sequence: Sequence, data: EventData) -> bytes:
        return self._seal(PAYLOAD_COLUMN, str(sequence), encode_data(data))

    def message(self, sequence: int, message_id: str, time: int, payload: bytes) -> Message:
        plain = self._open(PAYLOAD_COLUMN, str(sequence), payload)
        return decode_message(plain, message_id=message_id, sequence=sequence, time=time)

    def event(self, row: Any) -> Event:
        """From a row of sequence, type, message_id, request_id, time, payload."""
        sequence, kind, message_id, request_id, time, payload = row
        return Event(
            self.key,
            Sequence(sequence),
            _TYPES[kind],
            Micros(time),
            request_id,
            self._event_data(sequence, _TYPES[kind], message_id, time, payload),
        )

    def answer_cell(self, request_id: str, answer: Answer) -> bytes:
        return self._seal(ANSWER_COLUMN, request_id, encode_answer(answer))

    def answer(self, request_id: str, payload: bytes, bodies: tuple[MessageBody, ...]) -> Answer:
        return decode_answer(self._open(ANSWER_COLUMN, request_id, payload), bodies)

    def record_cell(self, name: RecordName, value: bytes) -> bytes:
        return self._seal(RECORD_COLUMN, _record_row(name), value)

    def record_value(self, name: RecordName, stored: bytes) -> bytes:
        return self._open(RECORD_COLUMN, _record_row(name), stored)

    def _event_data(
        self, sequence: int, kind: EventType, message_id: str | None, time: int, payload: bytes | None
    ) -> EventData | None:
        if payload is None:
            return None
        if kind is EventType.MESSAGE:
            return self.message(sequence, message_id or "", time, payload)
        return decode_data(kind, self._open(PAYLOAD_COLUMN, str(sequence), payload))

    def _seal(self, column: str, row: str, plain: bytes) -> bytes:
        if self.data_key is None:
            return plain
        return self.cells.seal(self.data_key, Cell(*self.key, column, row), plain)

    def _open(self, column: str, row: str, stored: bytes) -> bytes:
        if self.data_key is None:
            return stored
        return self.cells.open(self.data_key, Cell(*self.key, column, row), stored)


def _record_row(name: RecordName) -> str:
    """A record's place within its scope."""
    return dumps([[*name.collection], name.key]).decode()
