"""The records of an export, and the check that a stream of them is whole and unchanged.

A stream is: one header, one context, any number of message records, one footer. The footer's digest is taken over what
the records mean, as canonical JSON, not over their bytes on a wire; so a copy that was kept as JSON still matches.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

from sessions_server.domain import codec_v1
from sessions_server.domain.codec import message_from_json, message_json, session_from_json, session_json
from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.domain.jsonbytes import canonical, dumps, loads
from sessions_server.domain.models import Json, JsonObject, Message, Micros, Session
from sessions_server.domain.plain import is_sound as is_of_type

VERSION = 2
"""The version of the records that this server writes."""

FIRST_VERSION = 1

VERSIONS = (FIRST_VERSION, VERSION)
"""The versions that it reads."""

MESSAGES_PER_RECORD = 100

_HIDDEN = frozenset(
    {"key", "history_start", "log_start", "active_time", "expiry_reason", "history_head", "log_id"}
)
"""The fields of a session that only the server knows."""


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
        self._version = VERSION
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
        if isinstance(record, Header):
            if record.version not in VERSIONS:
                raise _refused(
                    f"The export's version is above {VERSION}; import it with a server that knows its version."
                )
            self._version = record.version
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
            read = codec_v1.session_from_json if version == FIRST_VERSION else session_from_json
            return Header(version, read(session), export_time)
        case ["context", data]:
            return ContextRecord(data)
        case ["messages", rows]:
            return MessagesRecord(tuple(map(message_from_json, rows)))
        case ["footer", message_count, record_count, sha256]:
            return Footer(message_count, record_count, bytes.fromhex(sha256))
        case _:
            raise ValueError("not a record that encode_record wrote")


def is_sound(record: Record) -> bool:
    """Whether each value is of its type. To be asked of a record from a file, where nobody vouches for it."""
    match record:
        case Header(version, session, export_time):
            return is_of_type(version, int) and is_of_type(export_time, int) and is_of_type(session, Session)
        case ContextRecord(data):
            return is_of_type(data, dict)
        case MessagesRecord(messages):
            return all(is_of_type(message, Message) for message in messages)
        case Footer(message_count, record_count):
            return is_of_type(message_count, int) and is_of_type(record_count, int)


def _messages_json(messages: tuple[Message, ...]) -> Json:
    return [message_json(message) for message in messages]


def _meaning(record: Header | ContextRecord | MessagesRecord) -> Json:
    match record:
        case Header(version, session, export_time):
            return ["header", version, _visible(session, version), export_time]
        case ContextRecord(data):
            return ["context", data]
        case MessagesRecord(messages):
            return ["messages", _messages_json(messages)]


def _visible(session: Session, version: int) -> Json:
    """What of a session travels on the wire: not its tenant, nor what only the server knows."""
    if version == FIRST_VERSION:
        return codec_v1.meaning(session)
    plain = session_json(session).items()
    return [session.key.session_id, {name: value for name, value in plain if name not in _HIDDEN}]


def _refused(sentence: str) -> InvalidRequest:
    return InvalidRequest([Violation("record", sentence)])
