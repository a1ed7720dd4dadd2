"""A page of records as bytes.

A page has up to a thousand records of a few hundred bytes, and as messages they would take several times as long as
reading them. A message's bytes are those of its fields, one after another, in any order:
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from sessions_proto.v1 import records_pb2 as pb
from sessions_server.domain.recent import Recent
from sessions_server.rpc.convert.recent import LARGEST_BYTES, RecentStructs
from sessions_server.rpc.convert.scalars import put_span, put_time

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

    from sessions_server.domain.models import Micros
    from sessions_server.domain.record_reads import RecordPage
    from sessions_server.domain.records import Record, RecordName

_LENGTH_DELIMITED: Final = 2
_ONE_BYTE: Final = tuple(bytes((size,)) for size in range(128))
"""The varints of one byte."""

_LABELS: Final = RecentStructs()

_GENERATION_BYTES: Final = 2 * 1024 * 1024

_SMALL: Final = 300
"""The approximate memory of an entry besides the encoded form."""

_RECENT: Final = Recent[int, "tuple[Record, bytes]"](_GENERATION_BYTES)
"""The encoded form of recent records by their identity, which they keep while the cache refers to them: the store
returns a recent record again."""


def encode_page(page: RecordPage, next_token: str) -> bytes:
    """The bytes of a ListRecordsResponse."""
    token = pb.ListRecordsResponse(next_page_token=next_token).SerializeToString()
    return b"".join([*map(_encode, page.records), *map(_encode_value, page.values), token])


def _encode_value(value: bytes) -> bytes:
    """The field of a ListRecordsResponse for a record of which only the value was requested."""
    return field(_RECORDS, field(_VALUE, value))


def _encode(record: Record) -> bytes:
    """The field of a ListRecordsResponse."""
    kept = _RECENT.find(id(record))
    if kept is not None:
        return kept[1]
    encoded = _encode_fields(record)
    if len(encoded) <= LARGEST_BYTES:
        _RECENT.keep(id(record), (record, encoded), _SMALL + len(encoded))
    return encoded


def _encode_fields(record: Record) -> bytes:
    name, value, value_type, labels, time, ttl, etag, create_time, update_time, expire_time = record
    fields = [
        field(_NAME, _encode_name(name)),
        field(_VALUE, value),
        field(_VALUE_TYPE, value_type.encode()),
        field(_OF_LABELS, _LABELS.encoded(labels)),
        field(_TIME, _encode_time(time)),
        field(_ETAG, etag.encode()),
        field(_CREATE_TIME, _encode_time(create_time)),
        field(_UPDATE_TIME, _encode_time(update_time)),
    ]
    if ttl is not None:
        fields.append(field(_TTL, _encode_span(ttl)))
    if expire_time is not None:
        fields.append(field(_EXPIRE_TIME, _encode_time(expire_time)))
    return field(_RECORDS, b"".join(fields))


def _encode_name(name: RecordName) -> bytes:
    (_, session_id, user_id), collection, key = name
    scope = field(_SESSION_ID, session_id.encode()) if session_id else _shared_scope(user_id)
    return field(_SCOPE, scope) + _encode_collection(collection) + field(_KEY, key.encode())


def _shared_scope(user_id: str) -> bytes:
    return (pb.Scope(user_id=user_id) if user_id else pb.Scope(tenant=True)).SerializeToString()


@lru_cache(maxsize=1_024)
def _encode_collection(collection: tuple[str, ...]) -> bytes:
    """The field of a name."""
    return pb.RecordName(collection=collection).SerializeToString()


@lru_cache(maxsize=64)
def _encode_time(instant: Micros) -> bytes:
    """The times of a record that was written once are equal."""
    put_time(time := Timestamp(), instant)
    return time.SerializeToString()


def _encode_span(span: Micros) -> bytes:
    put_span(duration := Duration(), span)
    return duration.SerializeToString()


def field(tag: bytes, content: bytes) -> bytes:
    """A field with a length."""
    size = len(content)
    return tag + (_ONE_BYTE[size] if size < len(_ONE_BYTE) else _varint(size)) + content


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def tag(message: Descriptor, name: str) -> bytes:
    """The tag of a field with a length: a string, bytes or a message."""
    return _varint(message.fields_by_name[name].number << 3 | _LENGTH_DELIMITED)


_RECORDS: Final = tag(pb.ListRecordsResponse.DESCRIPTOR, "records")
_SESSION_ID: Final = tag(pb.Scope.DESCRIPTOR, "session_id")
_SCOPE, _KEY = (tag(pb.RecordName.DESCRIPTOR, name) for name in ("scope", "key"))
_NAME, _VALUE, _VALUE_TYPE, _OF_LABELS, _TIME, _TTL, _ETAG, _CREATE_TIME, _UPDATE_TIME, _EXPIRE_TIME = (
    tag(pb.Record.DESCRIPTOR, name)
    for name in (
        *("name", "value", "value_type", "labels", "time", "ttl", "etag"),
        *("create_time", "update_time", "expire_time"),
    )
)
