"""The records of an export, and the check that a stream of them is whole and unchanged.

A stream is: one header, one context, any number of message records, one footer. The footer's digest is taken over what
the records mean, as canonical JSON, not over their bytes on a wire; so a copy that was kept as JSON still matches.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

from sessions_server.domain.codec import body_from_json, body_json, session_from_json, session_json
from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.domain.jsonbytes import canonical, dumps, loads
from sessions_server.domain.models import Json, JsonObject, Message, Micros, Session

VERSION = 1
"""The version of the records that this server writes, and the newest that it reads."""

MESSAGES_PER_RECORD = 100

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Header:
    version: int
    session: Session
    export_time: Micros


@dataclass(frozen=True, slots=True)
class ContextRecord:
    data: JsonObject


@dataclass(frozen=True, slots=True)
class MessagesRecord:
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Footer:
    message_count: int
    record_count: int
    """How many records come before the footer."""
    sha256: bytes


Record: TypeAlias = Header | ContextRecord | MessagesRecord | Footer


class Checker:
    """Follows a stream of records, in either direction, and knows the footer that belongs to it."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._records = 0
        self._messages = 0
        self._last_sequence = 0
        self.finished = False

    def footer(self) -> Footer:
        return Footer(self._messages, self._records, self._digest.digest())

    def take(self, record: Record) -> None:
        """Accounts for the next record. Raises InvalidRequest when it cannot stand there."""
        if self.finished:
            raise _refused("A record follows the footer; send the records of one export, in their order.")
        if isinstance(record, Footer):
            self._finish(record)
            return
        expected = {0: Header, 1: ContextRecord}.get(self._records, MessagesRecord)
        if not isinstance(record, expected):
            raise _refused(
                "The records are not in the order header, context, messages, footer; send them as exported."
            )
        if isinstance(record, Header) and record.version != VERSION:
            raise _refused(
                f"The export's version is not {VERSION}; import it with a server that knows its version."
            )
        if isinstance(record, MessagesRecord):
            self._take_messages(record.messages)
        self._records += 1
        self._digest.update(canonical(_meaning(record)) + b"\n")

    def _take_messages(self, messages: tuple[Message, ...]) -> None:
        for message in messages:
            if message.sequence <= self._last_sequence:
                raise _refused(
                    "The messages are doubled or not in the order of the export; send them as exported."
                )
            self._last_sequence = message.sequence
        self._messages += len(messages)

    def _finish(self, footer: Footer) -> None:
        if self._records < 2 or footer != self.footer():
            raise _refused(
                "The footer does not match the records before it: the export was cut short or altered."
            )
        self.finished = True


def encode_record(record: Record) -> bytes:
    """A record of a stream that is being checked, for keeping it meanwhile."""
    match record:
        case Header(version, session, export_time):
            return dumps(["header", version, session_json(session), export_time])
        case ContextRecord(data):
            return dumps(["context", data])
        case MessagesRecord(messages):
            return dumps(["messages", _messages_json(messages)])
        case Footer(message_count, record_count, sha256):
            return dumps(["footer", message_count, record_count, sha256.hex()])


def decode_record(data: bytes) -> Record:
    match loads(data):
        case ["header", version, session, export_time]:
            return Header(version, session_from_json(session), export_time)
        case ["context", data]:
            return ContextRecord(data)
        case ["messages", rows]:
            return MessagesRecord(
                tuple(Message(id_, at, time, body_from_json(body)) for id_, at, time, body in rows)
            )
        case ["footer", message_count, record_count, sha256]:
            return Footer(message_count, record_count, bytes.fromhex(sha256))
        case _:
            raise ValueError("not a record that encode_record wrote")


def is_sound(record: Record) -> bool:
    """Whether each value is of its type. To be asked of a record from a file, where nobody vouches for it."""
    match record:
        case Header(version, session, export_time):
            return _are_numbers(version, export_time) and _is_sound_session(session)
        case ContextRecord(data):
            return _are(dict, data)
        case MessagesRecord(messages):
            return all(map(_is_sound_message, messages))
        case Footer(message_count, record_count):
            return _are_numbers(message_count, record_count)


def _is_sound_session(session: Session) -> bool:
    config, storage = session.config, session.storage
    spans_and_times = (
        config.timeout,
        storage.ttl,
        session.start_time,
        session.end_time,
        session.archive_time,
    )
    return (
        _are(str, *session.key, session.user_id)
        and _are_numbers(config.max_messages, config.context_window, session.message_count)
        and _are_numbers(session.last_sequence, session.revision, session.history_start, session.log_start)
        and _are_numbers(session.create_time, session.update_time, session.active_time)
        and _are_numbers(*(each for each in spans_and_times if each is not None))
        and _are(bool, storage.encryption)
        and _are(dict, session.metadata)
    )


def _is_sound_message(message: Message) -> bool:
    body = message.body
    return (
        _are(str, message.id, body.role, body.content, body.name, body.tool_call_id)
        and _are_numbers(message.sequence, message.create_time)
        and _are(dict, *(each for each in (body.data, body.metadata) if each is not None))
        and _are(int, *(body.timestamp or ()))
    )


def _are(kind: type, *values: object) -> bool:
    return all(type(value) is kind for value in values)


def _are_numbers(*values: object) -> bool:
    """Counts, positions, instants and spans, as the databases hold them."""
    return all(isinstance(value, int) and 0 <= value <= _LARGEST for value in values) and _are(int, *values)


def _messages_json(messages: tuple[Message, ...]) -> Json:
    return [[m.id, m.sequence, m.create_time, body_json(m.body)] for m in messages]


def _meaning(record: Header | ContextRecord | MessagesRecord) -> Json:
    match record:
        case Header(version, session, export_time):
            return ["header", version, _visible(session), export_time]
        case ContextRecord(data):
            return ["context", data]
        case MessagesRecord(messages):
            return ["messages", _messages_json(messages)]


def _visible(session: Session) -> Json:
    """What of a session travels on the wire: not its tenant, nor what only the server knows."""
    config, storage = session.config, session.storage
    return [
        [session.key.session_id, session.user_id, session.state, session.metadata],
        [config.timeout, config.max_messages, config.context_window, config.overflow],
        [storage.persistence, storage.encryption, storage.ttl, storage.expiry_action],
        [session.message_count, session.last_sequence, session.revision],
        [
            session.create_time,
            session.update_time,
            session.start_time,
            session.end_time,
            session.archive_time,
        ],
    ]


def _refused(sentence: str) -> InvalidRequest:
    return InvalidRequest([Violation("record", sentence)])
