"""Conversion of records: their names, values and queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import uuid_utils

from sessions_server.domain.models import Micros
from sessions_server.domain.reads import ReadRecord
from sessions_server.domain.record_reads import CollectionQuery, RecordOrder, RecordQuery
from sessions_server.domain.records import (
    DeleteRecord,
    PutRecord,
    Record,
    RecordIs,
    RecordName,
    RecordState,
    Scope,
)
from sessions_server.rpc.convert.check import ETAG_CHARACTERS, Check
from sessions_server.rpc.convert.lists import read_filter, read_page_size
from sessions_server.rpc.convert.scalars import put_span, put_time, read_time
from sessions_server.rpc.convert.values import put_object

if TYPE_CHECKING:
    from collections.abc import Sequence as Seq

    from sessions_proto.v1 import commits_pb2 as commits_pb, records_pb2 as records_pb
    from sessions_server.domain.limits import Limits

PATH_PARTS: Final = 16
PART_CHARACTERS: Final = 256
KEY_BYTES: Final = 1024
TYPE_CHARACTERS: Final = 256
_NO_TIME: Final = Micros(0)


class Names:
    """Reads the record names in a request."""

    def __init__(self, check: Check, tenant: str, session_id: str | None = None) -> None:
        """`session_id` is that of the commit, whose session records are the only ones allowed; empty without a session,
        None outside a commit."""
        self.check = check
        self.tenant = Scope(tenant)
        self._session_id = session_id

    def name(self, field: str, given: records_pb.RecordName) -> RecordName:
        return RecordName(
            self.scope(f"{field}.scope", given.scope),
            read_path(self.check, f"{field}.collection", given.collection),
            read_key_text(self.check, f"{field}.key", given.key),
        )

    def scope(self, field: str, given: records_pb.Scope, *, others: str = "") -> Scope:
        """The owner of records. `others` are the scopes that the caller takes beside these."""
        kind = given.WhichOneof("scope")
        if kind == "session_id":
            return Scope(
                self.tenant.tenant, session_id=self.session_id(f"{field}.session_id", given.session_id)
            )
        if kind == "user_id":
            return Scope(self.tenant.tenant, user_id=self.check.user_id(f"{field}.user_id", given.user_id))
        if kind == "tenant" and given.tenant:
            return self.tenant
        self.check.wrong(
            field, f"Must be one of session_id, user_id, tenant{others}; true is the only value of a bool."
        )
        return self.tenant

    def session_id(self, field: str, given: str) -> str:
        """A session id. Within a commit it is the commit's, and may be left empty."""
        own = self._session_id
        if not own or given:
            self.check.id(field, given)
        return given or own or given

    def own(self, field: str, name: RecordName) -> RecordName:
        """The name of a record that a commit writes or checks. Session records must belong to the commit's session."""
        session_id = name.scope.session_id
        if session_id and session_id != self._session_id:
            self.check.wrong(
                f"{field}.scope.session_id",
                "Must be the commit's own session; write the records of another session in another commit.",
            )
        return name


def read_path(check: Check, field: str, given: Seq[str], *, least: int = 1) -> tuple[str, ...]:
    path = tuple(given)
    sound = all(0 < len(part) <= PART_CHARACTERS and "\0" not in part for part in path)
    if not (least <= len(path) <= PATH_PARTS and sound):
        check.wrong(
            field,
            f"Must be {least} to {PATH_PARTS} strings of 1 to {PART_CHARACTERS} characters without U+0000.",
        )
    return path


def read_key_text(check: Check, field: str, given: str) -> str:
    if "\0" in given or len(given.encode()) > KEY_BYTES:
        check.wrong(field, f"Must be at most {KEY_BYTES:,} bytes of UTF-8 without U+0000.")
    return given


def read_put(names: Names, field: str, given: commits_pb.RecordPut) -> PutRecord:
    record = _read_content(names, f"{field}.record", given.record)
    return PutRecord(
        name=names.own(f"{field}.record.name", record.name),
        value=record.value,
        labels=record.labels,
        etag=record.etag or new_etag(),
        value_type=record.value_type,
        time=record.time if given.record.HasField("time") else None,
        ttl=record.ttl,
        if_absent=given.if_absent,
    )


def read_stored(names: Names, field: str, given: records_pb.Record) -> Record:
    """A record of an export, including the fields that only the server sets."""
    for name in ("create_time", "update_time", "expire_time"):
        names.check.time(f"{field}.{name}", getattr(given, name))
    if not given.name.scope.session_id:
        names.check.wrong(f"{field}.name.scope", "Must be the exported session, as in the export.")
    return _read_content(names, field, given)._replace(
        create_time=read_time(given.create_time),
        update_time=read_time(given.update_time),
        expire_time=read_time(given.expire_time) if given.HasField("expire_time") else None,
    )


def _read_content(names: Names, field: str, given: records_pb.Record) -> Record:
    """The content of a record from a request."""
    check = names.check
    labels = check.json_object(f"{field}.labels", given.labels, searched=True)
    check.metadata_size(f"{field}.labels", labels)
    if len(given.value) > check.limits.record_bytes:
        check.too_large(f"{field}.value", f"Must be at most {check.limits.record_bytes:,} bytes.")
    check.time(f"{field}.time", given.time)
    return Record(
        name=names.name(f"{field}.name", given.name),
        value=given.value,
        value_type=check.stored_text(f"{field}.value_type", given.value_type, TYPE_CHARACTERS),
        labels=labels,
        time=read_time(given.time),
        ttl=check.span(f"{field}.ttl", given.ttl) if given.HasField("ttl") else None,
        etag=check.stored_text(f"{field}.etag", given.etag, ETAG_CHARACTERS),
        create_time=_NO_TIME,
        update_time=_NO_TIME,
        expire_time=None,
    )


def new_etag() -> str:
    return uuid_utils.uuid7().hex


def read_delete(names: Names, field: str, given: commits_pb.RecordDelete) -> DeleteRecord:
    name = names.own(f"{field}.name", names.name(f"{field}.name", given.name))
    return DeleteRecord(name, given.prefix)


def read_record_condition(names: Names, field: str, given: commits_pb.RecordCondition) -> RecordIs:
    name = names.own(f"{field}.name", names.name(f"{field}.name", given.name))
    kind = given.WhichOneof("state")
    if kind == "etag":
        return RecordIs(name, RecordState.UNCHANGED, given.etag)
    if not (given.absent or given.present):
        names.check.wrong(
            field, "Must have one of etag, absent and present; true is the only value of the last two."
        )
    return RecordIs(name, RecordState.ABSENT if kind == "absent" else RecordState.PRESENT)


def read_record_query(names: Names, given: records_pb.ListRecordsRequest, prefix: str = "") -> RecordQuery:
    """The query of a list, without its page. `prefix` precedes field names."""
    check = names.check
    if given.keys_only and given.values_only:
        check.wrong(f"{prefix}values_only", "Must not be set together with keys_only.")
    scope, all_sessions = _list_scope(names, f"{prefix}scope", given.scope)
    return RecordQuery(
        scope=scope,
        all_sessions=all_sessions,
        collection=read_path(check, f"{prefix}collection", given.collection, least=0 if given.subtree else 1),
        subtree=given.subtree,
        key_prefix=read_key_text(check, f"{prefix}key_prefix", given.key_prefix),
        after_key=read_key_text(check, f"{prefix}after_key", given.after_key),
        before_key=read_key_text(check, f"{prefix}before_key", given.before_key),
        conditions=read_filter(check, f"{prefix}filter", given.filter),
        order=_read_order(check, f"{prefix}order_by", given.order_by),
        keys_only=given.keys_only,
        values_only=given.values_only,
        refresh_ttl=given.refresh_ttl,
        limit=read_page_size(check, f"{prefix}page_size", given.page_size),
    )


def read_get_record(request: records_pb.GetRecordRequest, *, tenant: str, limits: Limits) -> ReadRecord:
    check = Check(limits)
    wanted = ReadRecord(Names(check, tenant).name("name", request.name), request.refresh_ttl)
    check.done()
    return wanted


def read_list_records(request: records_pb.ListRecordsRequest, *, tenant: str, limits: Limits) -> RecordQuery:
    """The query, starting at its first page."""
    check = Check(limits)
    query = read_record_query(Names(check, tenant), request)
    check.done()
    return query


def read_list_collections(
    request: records_pb.ListCollectionsRequest, *, tenant: str, limits: Limits
) -> CollectionQuery:
    """The query, starting at its first page."""
    check = Check(limits)
    scope, all_sessions = _list_scope(Names(check, tenant), "scope", request.scope)
    query = CollectionQuery(
        scope=scope,
        all_sessions=all_sessions,
        prefix=read_path(check, "prefix", request.prefix, least=0),
        max_depth=check.not_negative("max_depth", request.max_depth),
        limit=read_page_size(check, "page_size", request.page_size),
    )
    check.done()
    return query


def put_name(target: records_pb.RecordName, name: RecordName) -> None:
    (_, session_id, user_id), collection, key = name
    if session_id:
        target.scope.session_id = session_id
    elif user_id:
        target.scope.user_id = user_id
    else:
        target.scope.tenant = True
    target.collection.extend(collection)
    target.key = key


def put_stored(target: records_pb.Record, record: Record) -> None:
    put_name(target.name, record.name)
    target.value = record.value
    target.value_type = record.value_type
    put_object(target.labels, record.labels)
    put_time(target.time, record.time)
    if record.ttl is not None:
        put_span(target.ttl, record.ttl)
    target.etag = record.etag
    put_time(target.create_time, record.create_time)
    put_time(target.update_time, record.update_time)
    if record.expire_time is not None:
        put_time(target.expire_time, record.expire_time)


def _list_scope(names: Names, field: str, given: records_pb.Scope) -> tuple[Scope, bool]:
    """The owner of the listed records, and whether to list those of all sessions."""
    if given.all_sessions:
        return names.tenant, True
    return names.scope(field, given, others=", all_sessions"), False


def _read_order(check: Check, field: str, given: str) -> RecordOrder:
    try:
        return RecordOrder(given or RecordOrder.KEY)
    except ValueError:
        check.wrong(field, f"Must be one of: {', '.join(RecordOrder)}.")
        return RecordOrder.KEY
