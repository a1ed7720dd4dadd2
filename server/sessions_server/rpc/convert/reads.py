"""Conversion of combined reads and their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence as Seq
from typing import TYPE_CHECKING, Final, NamedTuple

from sessions_proto.v1 import commits_pb2 as commits_pb
from sessions_server.domain.errors import PermissionDenied
from sessions_server.domain.models import Message, Session, SessionKey
from sessions_server.domain.ports import Access, HistoryPage
from sessions_server.domain.reads import (
    ContextRead,
    LeftOut,
    Read,
    ReadContext,
    ReadHistory,
    ReadMessage,
    ReadRecord,
    ReadRecords,
    ReadResult,
    ReadSession,
)
from sessions_server.domain.record_reads import RecordPage
from sessions_server.domain.records import Record
from sessions_server.rpc.convert.check import Check
from sessions_server.rpc.convert.messages import read_history_query, read_position
from sessions_server.rpc.convert.records import Names, put_stored, read_record_query
from sessions_server.rpc.convert.records_encoded import encode_page, field, tag
from sessions_server.rpc.convert.responses import (
    put_context,
    put_context_part,
    put_history,
    put_message,
    put_session,
)
from sessions_server.service.record_pages import next_token, resume

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.ports import Caller

_RECORDS: Final = tag(commits_pb.ReadResult.DESCRIPTOR, "records")
_LEFT_OUT: Final = commits_pb.ReadResult(left_out=True).SerializeToString()


def read_reads(request: commits_pb.ReadRequest, *, tenant: str, limits: Limits) -> tuple[Read, ...]:
    check = Check(limits)
    if not request.reads:
        check.wrong("reads", f"Must have 1 to {limits.reads} reads.")
    reads = read_all(Names(check, tenant), tenant, request.reads)
    check.done()
    return reads


def read_all(names: Names, tenant: str, given: Seq[commits_pb.ReadOperation]) -> tuple[Read, ...]:
    if not given:
        return ()
    check = names.check
    if len(given) > check.limits.reads:
        check.wrong("reads", f"Must have at most {check.limits.reads} reads.")
    return tuple(
        _read(_Place(names, tenant, f"reads[{place}]"), wanted)
        for place, wanted in enumerate(given[: check.limits.reads])
    )


def check_refresh(reads: Iterable[Read], caller: Caller) -> None:
    """Raises PermissionDenied if a read-only caller would restart ttls."""
    if caller.access is not Access.READ:
        return
    if any(
        (isinstance(wanted, ReadRecord) and wanted.refresh_ttl)
        or (isinstance(wanted, ReadRecords) and wanted.query.refresh_ttl)
        for wanted in reads
    ):
        raise PermissionDenied("This credential may only read; leave refresh_ttl out, or use another one.")


class _Place(NamedTuple):
    """The location of a read in its request."""

    names: Names
    tenant: str
    field: str

    def key(self, kind: str, session_id: str) -> SessionKey:
        return SessionKey(self.tenant, self.names.session_id(f"{self.field}.{kind}.session_id", session_id))


def _read(place: _Place, given: commits_pb.ReadOperation) -> Read:
    kind = given.WhichOneof("read")
    if kind is None:
        place.names.check.wrong(place.field, f"Must have one of {', '.join(_READERS)}.")
        return ReadSession(SessionKey(place.tenant, ""))
    return _READERS[kind](place, given)


def _session(place: _Place, given: commits_pb.ReadOperation) -> Read:
    wanted, check = given.session, place.names.check
    at = read_position(check, wanted.at_sequence, f"{place.field}.session.")
    return ReadSession(place.key("session", wanted.session_id), at)


def _context(place: _Place, given: commits_pb.ReadOperation) -> Read:
    wanted, check = given.context, place.names.check
    path = check.path(f"{place.field}.context.path", wanted.path)
    at = read_position(check, wanted.at_sequence, f"{place.field}.context.")
    return ReadContext(place.key("context", wanted.session_id), path, at)


def _history(place: _Place, given: commits_pb.ReadOperation) -> Read:
    query = read_history_query(place.names.check, given.history, f"{place.field}.history.")
    return ReadHistory(place.key("history", given.history.session_id), query)


def _message(place: _Place, given: commits_pb.ReadOperation) -> Read:
    message_id = place.names.check.id(f"{place.field}.message.message_id", given.message.message_id)
    return ReadMessage(place.key("message", given.message.session_id), message_id)


def _record(place: _Place, given: commits_pb.ReadOperation) -> Read:
    return ReadRecord(place.names.name(f"{place.field}.record", given.record), given.refresh_ttl)


def _records(place: _Place, given: commits_pb.ReadOperation) -> Read:
    query = read_record_query(place.names, given.records, f"{place.field}.records.")
    query = query._replace(refresh_ttl=given.refresh_ttl or query.refresh_ttl)
    return ReadRecords(resume(query, given.records.page_token))


_READERS: Final[dict[str, Callable[[_Place, commits_pb.ReadOperation], Read]]] = {
    "session": _session,
    "context": _context,
    "history": _history,
    "message": _message,
    "record": _record,
    "records": _records,
}


def encode_reads(reads: Iterable[Read], found: Iterable[ReadResult], *, room: int) -> list[bytes]:
    """What was read, as the bytes of a ReadResult each, as long as they fit into this many bytes."""
    results = []
    for wanted, each in zip(reads, found, strict=True):
        encoded = _encode(wanted, each)
        if len(encoded) > room:
            encoded = _LEFT_OUT
        else:
            room -= len(encoded)
        results.append(encoded)
    return results


def _encode(wanted: Read, found: ReadResult) -> bytes:
    if isinstance(found, RecordPage):
        token = next_token(wanted.query, found) if isinstance(wanted, ReadRecords) else ""
        return field(_RECORDS, encode_page(found, token))
    put_read(result := commits_pb.ReadResult(), wanted, found)
    return result.SerializeToString()


def put_read(target: commits_pb.ReadResult, wanted: Read, found: ReadResult) -> None:
    """Fills an empty result with anything but a page of records."""
    match found:
        case Session():
            put_session(target.session, found)
        case ContextRead(context, value):
            if isinstance(wanted, ReadContext) and wanted.path:
                put_context_part(target.context, context, value)
            else:
                put_context(target.context, context)
        case HistoryPage():
            target.history.SetInParent()
            put_history(target.history, found)
        case Message():
            put_message(target.message, found)
        case Record():
            put_stored(target.record, found)
        case LeftOut():
            target.left_out = True
        case None:
            pass
