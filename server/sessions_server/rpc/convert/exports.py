"""Conversion of export records, in both directions.

An incoming record is compared with what this server would export for the same content, so that any alteration is
refused, even one that its digest does not cover.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.domain.models import (
    OPTIONAL_TIMES,
    ForkedFrom,
    Message,
    Micros,
    Persistence,
    Sequence,
    Session,
    SessionKey,
    State,
    StateReason,
)
from sessions_server.domain.transfer import (
    VERSIONS,
    ContextRecord,
    ExportRecord,
    Footer,
    Header,
    MessagesRecord,
    RecordsPart,
)
from sessions_server.rpc.convert.check import Check
from sessions_server.rpc.convert.messages import read_body
from sessions_server.rpc.convert.options import read_config, read_storage
from sessions_server.rpc.convert.records import Names, put_stored, read_stored
from sessions_server.rpc.convert.responses import put_messages, put_session
from sessions_server.rpc.convert.scalars import STATE_NAMES, put_time, read_time
from sessions_server.rpc.convert.values import put_object

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from sessions_server.domain.limits import Limits

_ALTERED: Final = "This record is not as it was exported; send every record unchanged."
_SEQUENCE_DIGITS: Final = 18
"""As many digits as always fit into 64 bits."""


def put_record(target: pb.ExportRecord, record: ExportRecord) -> None:
    match record:
        case Header(version, session, export_time):
            target.header.version = version
            put_session(target.header.session, session)
            put_time(target.header.export_time, export_time)
        case ContextRecord(data):
            put_object(target.context.data, data)
        case MessagesRecord(messages):
            target.messages.SetInParent()
            put_messages(target.messages.messages, messages)
        case RecordsPart(records):
            target.records.SetInParent()
            for each in records:
                put_stored(target.records.records.add(), each)
        case Footer(message_count, record_count, sha256):
            target.footer.message_count = message_count
            target.footer.record_count = record_count
            target.footer.sha256 = sha256


def read_record(given: pb.ExportRecord, *, tenant: str, limits: Limits) -> ExportRecord:
    """The content of a record. Raises InvalidRequest, LimitExceeded."""
    kind = given.WhichOneof("record")
    if kind == "header" and given.header.version not in VERSIONS:
        raise InvalidRequest(
            [
                Violation(
                    "record.header.version",
                    f"Must be one of {', '.join(map(str, VERSIONS))}; a newer export needs a newer server.",
                )
            ]
        )
    check = Check(limits)
    record = _read(check, kind, given, tenant)
    check.done()
    again = pb.ExportRecord()
    put_record(again, record)
    if again != given:
        raise InvalidRequest([Violation("record", _ALTERED)])
    return record


def _read(check: Check, kind: str | None, given: pb.ExportRecord, tenant: str) -> ExportRecord:
    if kind == "header":
        header = given.header
        export_time = _instant(check, "record.header.export_time", header.export_time)
        return Header(header.version, _read_session(check, header.session, tenant), export_time)
    if kind == "context":
        data = check.json_object("record.context.data", given.context.data)
        check.context_size("record.context.data", data)
        return ContextRecord(data)
    if kind == "messages":
        return MessagesRecord(_read_messages(check, given.messages))
    if kind == "records":
        names = Names(check, tenant)
        return RecordsPart(
            tuple(
                read_stored(names, f"record.records.records[{place}]", each)
                for place, each in enumerate(given.records.records)
            )
        )
    if kind is None:
        check.wrong("record", "Must be set in every request.")
    footer = given.footer
    return Footer(footer.message_count, footer.record_count, footer.sha256)


def _read_messages(check: Check, given: pb.ExportMessages) -> tuple[Message, ...]:
    return tuple(
        Message(
            check.id(f"{field}.id", message.id),
            Sequence(check.not_negative(f"{field}.sequence", message.sequence)),
            _instant(check, f"{field}.create_time", message.create_time),
            read_body(check, field, message),
        )
        for field, message in (
            (f"record.messages.messages[{place}]", message) for place, message in enumerate(given.messages)
        )
    )


def _read_session(check: Check, given: pb.Session, tenant: str) -> Session:
    field = "record.header.session"
    metadata = check.json_object(f"{field}.metadata", given.metadata, searched=True)
    check.metadata_size(f"{field}.metadata", metadata)
    state = check.known(f"{field}.state", given.state, STATE_NAMES) or State.CREATED
    storage = read_storage(check, f"{field}.storage_options", given.storage_options)
    if storage.persistence is Persistence.TEMPORARY and state in (State.ENDED, State.ARCHIVED):
        check.wrong(f"{field}.state", "Must be another state; a temporary session is erased when it ends.")
    update_time = _instant(check, f"{field}.update_time", given.update_time)
    check.creation(f"{field}.create_time", given.create_time)
    times: dict[str, Any] = {name: _instant_of(check, field, given, name) for name in OPTIONAL_TIMES}
    return Session(
        key=SessionKey(tenant, check.id(f"{field}.id", given.id)),
        user_id=check.user_id(f"{field}.user_id", given.user_id),
        state=state,
        metadata=metadata,
        config=read_config(check, f"{field}.config", given.config),
        storage=storage,
        message_count=check.not_negative(f"{field}.message_count", given.message_count),
        last_sequence=Sequence(check.not_negative(f"{field}.last_sequence", given.last_sequence)),
        revision=_read_etag(check, f"{field}.etag", given.etag),
        history_start=Sequence(0),
        log_start=Sequence(0),
        create_time=read_time(given.create_time),
        update_time=update_time,
        active_time=update_time,
        # The reason is not exported. If the ttl has expired, it has expired here as well.
        expiry_reason=StateReason.IDLE_TIMEOUT if state is State.EXPIRED else None,
        forked_from=_read_forked_from(check, f"{field}.forked_from", given),
        **times,
    )


def _read_forked_from(check: Check, field: str, given: pb.Session) -> ForkedFrom | None:
    if not given.HasField("forked_from"):
        return None
    origin = given.forked_from
    sequence = check.not_negative(f"{field}.sequence", origin.sequence)
    return ForkedFrom(check.id(f"{field}.session_id", origin.session_id), Sequence(sequence))


def _read_etag(check: Check, field: str, etag: str) -> Sequence:
    if not (etag.isascii() and etag.isdecimal() and len(etag) <= _SEQUENCE_DIGITS):
        check.wrong(field, _ALTERED)
        return Sequence(0)
    return Sequence(int(etag))


def _instant(check: Check, field: str, given: Timestamp) -> Micros:
    check.time(field, given)
    return read_time(given)


def _instant_of(check: Check, field: str, session: Any, name: str) -> Micros | None:
    return _instant(check, f"{field}.{name}", getattr(session, name)) if session.HasField(name) else None
