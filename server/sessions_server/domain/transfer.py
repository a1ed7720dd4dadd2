"""The stream of an export, and the check that it is complete and unaltered.

A stream has one header, one context, any number of message records, any number of record parts, and one footer. The
footer's digest covers the meaning of all these as canonical JSON, not the bytes on a wire, so that a copy kept as JSON
still matches.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from sessions_server.domain import codec_v1
from sessions_server.domain.codec import message_from_json, message_json, session_from_json, session_json
from sessions_server.domain.context import measure
from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.domain.jsonbytes import canonical, dumps, loads
from sessions_server.domain.limits import MAX_DEPTH
from sessions_server.domain.models import Json, JsonObject, Message, Micros, Session
from sessions_server.domain.plain import are_sound, is_sound as is_of_type
from sessions_server.domain.records import Record, RecordName, Scope

VERSION = 2
"""The version of the records written by this server."""

FIRST_VERSION = 1

VERSIONS = (FIRST_VERSION, VERSION)
"""The versions that can be read."""

MESSAGES_PER_RECORD = 100

_HIDDEN = ("key", "history_start", "log_start", "active_time", "expiry_reason", "history_head", "log_id")
"""The fields of a session that are internal to the server."""


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
class RecordsPart:
    """Some of the session's records, ordered by collection and key."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class ScopeHeader:
    """Starts the records of a user or a tenant in a dump of a whole database."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class Footer:
    message_count: int
    record_count: int
    """The number of records before the footer."""
    sha256: bytes


ExportRecord: TypeAlias = Header | ContextRecord | MessagesRecord | RecordsPart | ScopeHeader | Footer


def row_count(record: ExportRecord) -> int:
    """The number of messages and session records in a record of a stream."""
    match record:
        case MessagesRecord(messages):
            return len(messages)
        case RecordsPart(records):
            return len(records)
        case _:
            return 0


def pieces(record: ExportRecord, rows: int) -> Iterator[ExportRecord]:
    """The record split into several, each with at most this many messages or session records."""
    count = row_count(record)
    if count <= rows:
        yield record
        return
    for start in range(0, count, rows):
        match record:
            case MessagesRecord(messages):
                yield MessagesRecord(messages[start : start + rows])
            case RecordsPart(records):
                yield RecordsPart(records[start : start + rows])


class Checker:
    """Checks a stream of records, in either direction, and computes its footer."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._records = 0
        self._messages = 0
        self._last_sequence = 0
        self._last_name: tuple[tuple[str, ...], str] | None = None
        self._version = VERSION
        self.finished = False

    def footer(self) -> Footer:
        return Footer(self._messages, self._records, self._digest.digest())

    def take(self, record: ExportRecord) -> None:
        """Accounts for the next record. Raises InvalidRequest if it is not allowed there."""
        if self.finished:
            raise _refused("A record follows the footer; send the records of one export, in their order.")
        if isinstance(record, Footer):
            self._finish(record)
            return
        if isinstance(record, ScopeHeader) or not isinstance(record, self._expected()):
            raise _refused(
                "The parts are not in the order header, context, messages, records, footer; send them as exported."
            )
        if isinstance(record, Header):
            if record.version not in VERSIONS:
                raise _refused(
                    f"The export's version is above {VERSION}; import it with a server that knows its version."
                )
            self._version = record.version
        if isinstance(record, MessagesRecord):
            self._take_messages(record.messages)
        if isinstance(record, RecordsPart):
            self._take_records(record.records)
        self._records += 1
        try:
            self._digest.update(canonical(_meaning(record)) + b"\n")
        except TypeError as error:
            raise _refused(f"JSON nests at most {MAX_DEPTH} levels; make it flatter.") from error

    def _expected(self) -> type | tuple[type, ...]:
        if self._records < 2:
            return (Header, ContextRecord)[self._records]
        if self._version == FIRST_VERSION:
            return MessagesRecord
        return (MessagesRecord, RecordsPart) if self._last_name is None else RecordsPart

    def _take_records(self, records: tuple[Record, ...]) -> None:
        for record in records:
            name = (record.name.collection, record.name.key)
            if self._last_name is not None and name <= self._last_name:
                raise _refused("The records are repeated or out of order; send them as exported.")
            self._last_name = name

    def _take_messages(self, messages: tuple[Message, ...]) -> None:
        for message in messages:
            if message.sequence <= self._last_sequence:
                raise _refused("The messages are repeated or out of order; send them as exported.")
            self._last_sequence = message.sequence
        self._messages += len(messages)

    def _finish(self, footer: Footer) -> None:
        if self._records < 2 or footer != self.footer():
            raise _refused(
                "The footer does not match the records before it: the export was cut short or altered."
            )
        self.finished = True


def encode_record(record: ExportRecord) -> bytes:
    """The stored form of a record while its stream is being checked."""
    match record:
        case Header(version, session, export_time):
            return dumps(["header", version, session_json(session), export_time])
        case ContextRecord(data):
            return dumps(["context", data])
        case MessagesRecord(messages):
            return dumps(["messages", _messages_json(messages)])
        case RecordsPart(records):
            return dumps(
                ["records", [_record_json(each, b64encode(each.value).decode()) for each in records]]
            )
        case ScopeHeader(scope):
            return dumps(["scope", scope.tenant, scope.user_id])
        case Footer(message_count, record_count, sha256):
            return dumps(["footer", message_count, record_count, sha256.hex()])


def decode_record(data: bytes) -> ExportRecord:
    """Restores what `encode_record` returned. Raises ValueError, TypeError, KeyError for anything else."""
    match loads(data):
        case ["header", version, session, export_time]:
            read = codec_v1.session_from_json if version == FIRST_VERSION else session_from_json
            return Header(version, read(session), export_time)
        case ["context", data]:
            return ContextRecord(data)
        case ["messages", rows]:
            return MessagesRecord(tuple(map(message_from_json, rows)))
        case ["records", rows]:
            return RecordsPart(tuple(_record_from_json(*row) for row in rows))
        case ["scope", tenant, user_id]:
            return ScopeHeader(Scope(tenant, user_id=user_id))
        case ["footer", message_count, record_count, sha256]:
            return Footer(message_count, record_count, bytes.fromhex(sha256))
        case _:
            raise ValueError("not a record that encode_record wrote")


def is_sound(record: ExportRecord) -> bool:
    """Whether every value has the right type, and nests no deeper than a client can read. Needed for records from a
    file, which nothing has validated."""
    match record:
        case Header(version, session, export_time):
            numbers = is_of_type(version, int) and is_of_type(export_time, int)
            return numbers and is_of_type(session, Session) and _is_readable(session.metadata)
        case ContextRecord(data):
            return is_of_type(data, dict)
        case MessagesRecord(messages):
            return are_sound(messages, Message) and all(
                _is_readable(message.body.data) and _is_readable(message.body.metadata)
                for message in messages
            )
        case RecordsPart(records):
            return all(map(_is_sound_record, records))
        case ScopeHeader(scope):
            return all(type(each) is str and "\0" not in each for each in scope)
        case Footer(message_count, record_count):
            return is_of_type(message_count, int) and is_of_type(record_count, int)


def _is_readable(value: JsonObject | None) -> bool:
    return value is None or measure(value)[1] <= MAX_DEPTH


def _is_sound_record(record: Record) -> bool:
    (_, session_id, _), collection, key = record.name
    strings = (session_id, *collection, key, record.value_type, record.etag)
    times = (record.time, record.create_time, record.update_time)
    optional = [each for each in (record.ttl, record.expire_time) if each is not None]
    return (
        all(type(each) is str and "\0" not in each for each in strings)
        and all(type(each) is int and abs(each) < 2**63 for each in (*times, *optional))
        and is_of_type(record.labels, dict)
        and _is_readable(record.labels)
    )


def _messages_json(messages: tuple[Message, ...]) -> Json:
    return [message_json(message) for message in messages]


def _record_json(record: Record, value: str) -> list[Any]:
    """A record without its scope, with a stand-in for its value."""
    (_, session_id, _), collection, key = record.name
    return [session_id, [*collection], key, value, *record[2:]]


def _record_from_json(session_id: str, collection: list[str], key: str, value: str, *rest: Any) -> Record:
    name = RecordName(Scope("", session_id), tuple(collection), key)
    return Record(name, b64decode(value, validate=True), *rest)


def _meaning(record: Header | ContextRecord | MessagesRecord | RecordsPart) -> Json:
    match record:
        case Header(version, session, export_time):
            return ["header", version, _visible(session, version), export_time]
        case ContextRecord(data):
            return ["context", data]
        case MessagesRecord(messages):
            return ["messages", _messages_json(messages)]
        case RecordsPart(records):
            return [
                "records",
                [_record_json(each, hashlib.sha256(each.value).hexdigest())[1:] for each in records],
            ]


def _visible(session: Session, version: int) -> Json:
    """The part of a session that is exported: without its tenant and the server's internal fields."""
    if version == FIRST_VERSION:
        return codec_v1.meaning(session)
    plain = session_json(session)
    for name in _HIDDEN:
        plain.pop(name, None)
    return [session.key.session_id, plain]


def _refused(sentence: str) -> InvalidRequest:
    return InvalidRequest([Violation("record", sentence)])
