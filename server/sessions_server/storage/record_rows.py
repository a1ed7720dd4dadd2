"""Converts rows of records to domain values and back."""

from __future__ import annotations

from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sessions_server.domain.jsonbytes import loads_object
from sessions_server.domain.records import Record, RecordHead, RecordName, Scope
from sessions_server.storage.conditions import stored_json
from sessions_server.storage.content import Content
from sessions_server.storage.damage import UNREADABLE, damaged
from sessions_server.storage.kinds import Kinds
from sessions_server.storage.record_names import name_hash, path_of, stored_collection
from sessions_server.storage.schema import json_text, records
from sessions_server.storage.terms import Term

if TYPE_CHECKING:
    from collections.abc import Collection

    from sessions_server.domain.models import JsonObject, Micros
    from sessions_server.domain.ports import Cells
    from sessions_server.storage.statements import Row

NAME_COLUMNS: Final = (
    records.c.tenant,
    records.c.session_id,
    records.c.user_id,
    records.c.collection,
    records.c.key,
)
"""A record's name. Several rows may have it, of which all but one are hidden."""

KEY_COLUMNS: Final = tuple(records.primary_key)

KEY_WIDTH: Final = len(KEY_COLUMNS)

_LABELS: Final = json_text(records.c.labels)

HEAD_COLUMNS: Final = (
    *KEY_COLUMNS,
    records.c.full_collection,
    records.c.etag,
    records.c.create_time,
    _LABELS,
    records.c.expire_time,
)

RECORD_COLUMNS: Final = (
    *KEY_COLUMNS,
    records.c.full_collection,
    records.c.value_type,
    _LABELS,
    records.c.time,
    records.c.ttl,
    records.c.etag,
    records.c.create_time,
    records.c.update_time,
    records.c.expire_time,
    records.c.sealed,
)
RECORD_WIDTH: Final = len(RECORD_COLUMNS)

_SHORT_LABELS: Final = 256
"""Labels up to this many characters or bytes of JSON are parsed once while they are in use."""

_HEAD_KINDS: Final = Kinds(HEAD_COLUMNS)
_RECORD_KINDS: Final = Kinds(RECORD_COLUMNS)


class StoredName(NamedTuple):
    """A record's name as its row has it."""

    tenant: str
    session_id: str
    user_id: str
    collection: str
    key: str


class StoredKey(NamedTuple):
    """What identifies a record's row."""

    tenant: str
    session_id: str
    user_id: str
    records_start: int
    collection: str
    key: str

    @property
    def owner(self) -> tuple[Any, ...]:
        return self[:4]


def stored_name(name: RecordName) -> StoredName:
    return StoredName(*name.scope, stored_collection(name.collection).short, name.key)


def stored_key(name: RecordName, records_start: int) -> StoredKey:
    return StoredKey(*name.scope, records_start, stored_collection(name.collection).short, name.key)


def name_in(row: Row) -> StoredName:
    """The name in a row that starts with KEY_COLUMNS."""
    tenant, session_id, user_id, _, collection, key = row[:KEY_WIDTH]
    return StoredName(tenant, session_id, user_id, collection, key)


def name_from_row(row: Row) -> RecordName:
    """The name in a row that starts with KEY_COLUMNS and `full_collection`. Raises DataCorrupted."""
    tenant, session_id, user_id, _, collection, key, full = row[: KEY_WIDTH + 1]
    try:
        return RecordName(Scope(tenant, session_id, user_id), path_of(collection, full), key)
    except UNREADABLE as error:
        raise damaged(Scope(*row[:3]).cell_key, error) from error


def head_from_row(row: Row) -> RecordHead:
    """From a row of HEAD_COLUMNS. Raises DataCorrupted."""
    etag, create_time, labels, _ = row[KEY_WIDTH + 1 :]
    try:
        _HEAD_KINDS.check(row)
        return RecordHead(etag, create_time, loads_object(labels))
    except UNREADABLE as error:
        raise damaged(Scope(*row[:3]).cell_key, error) from error


def is_expired(row: Row, now: Micros) -> bool:
    """Whether the record has expired, from a row of HEAD_COLUMNS."""
    return has_passed(row[-1], now)


def has_passed(time: object, now: Micros) -> bool:
    """False for None, and for an invalid time of a damaged record."""
    return isinstance(time, int) and time <= now


def record_from_row(row: Row, value: bytes | None, cells: Cells, data_key: bytes | None) -> Record:
    """The record in a row that starts with RECORD_COLUMNS, and the value as stored; None if it was not read. Raises
    KeyNotAvailable, DataCorrupted."""
    try:
        return _record_from_row(row, value, cells, data_key)
    except UNREADABLE as error:
        raise damaged(Scope(*row[:3]).cell_key, error) from error


def _record_from_row(row: Row, value: bytes | None, cells: Cells, data_key: bytes | None) -> Record:
    _RECORD_KINDS.check(row[:RECORD_WIDTH])
    if not isinstance(value, (bytes, NoneType)):
        raise TypeError("a value that is not bytes is stored here")
    name = name_from_row(row)
    value_type, labels, *times, sealed = row[KEY_WIDTH + 1 : RECORD_WIDTH]
    time, ttl, etag, create_time, update_time, expire_time = times
    if value is None:
        value = b""
    elif sealed:
        value = Content(cells, name.scope.cell_key, data_key).record_value(name, value)
    return Record(
        name, value, value_type, _labels(labels), time, ttl, etag, create_time, update_time, expire_time
    )


def _labels(stored: Any) -> JsonObject:
    """Many records of a list have equal labels, which are then the same object."""
    is_short = isinstance(stored, (str, bytes)) and len(stored) <= _SHORT_LABELS
    return _short_labels(stored) if is_short else loads_object(stored)


_short_labels: Final = lru_cache(maxsize=1_024)(loads_object)


def row_of(record: Record, content: Content, records_start: int) -> tuple[Any, ...]:
    """In the table's column order."""
    short, full = stored_collection(record.name.collection)
    return (
        *record.name.scope,
        *(records_start, short, record.name.key, record.time, record.expire_time, record.ttl),
        *(record.create_time, record.update_time, record.etag, record.value_type),
        *(len(record.value), int(content.data_key is not None), full, stored_json(record.labels)),
        content.record_cell(record.name, record.value),
    )


def term_rows(key: StoredKey, some: Collection[Term]) -> list[tuple[Any, ...]]:
    """Rows of `record_terms`, in column order."""
    if not some:
        return []
    tail = (name_hash(key.collection, key.key), key.collection, key.key)
    return [(*key.owner, *term, *tail) for term in some]
