"""Conversion of commits and their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence as Seq
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from sessions_proto.v1 import commits_pb2 as commits_pb
from sessions_server.domain.commit import Commit, Committed, NewSession, RequestStamp, Result, without_session
from sessions_server.domain.models import Message, SessionKey
from sessions_server.domain.operations import ContextWritten, Done, EraseMessage, Operation, Removed
from sessions_server.domain.records import RecordsDeleted, RecordWritten
from sessions_server.rpc.convert.check import Check
from sessions_server.rpc.convert.common import read_stamp
from sessions_server.rpc.convert.content import check_paths
from sessions_server.rpc.convert.operations import OF_RECORDS, read_condition, read_operation
from sessions_server.rpc.convert.reads import encode_reads, read_all
from sessions_server.rpc.convert.records import Names, new_etag
from sessions_server.rpc.convert.records_encoded import field, tag
from sessions_server.rpc.convert.responses import put_messages, put_session
from sessions_server.rpc.convert.scalars import put_time
from sessions_server.rpc.convert.sessions import read_new_session
from sessions_server.service.ids import new_session_id

if TYPE_CHECKING:
    from sessions_server.domain.limits import Limits
    from sessions_server.domain.reads import Read, ReadResult

T = TypeVar("T")
Given = TypeVar("Given")

_AROUND_BYTES: Final = 64 * 1024
"""Reserved for what surrounds a response in a stream."""
_RESULTS: Final = tag(commits_pb.ReadResponse.DESCRIPTOR, "results")


def read_commit(request: commits_pb.CommitRequest, *, tenant: str, limits: Limits) -> Commit:
    check = Check(limits)
    stamp = read_stamp(check, request)
    key, has_session = _read_key(check, tenant, request, stamp)
    names = Names(check, tenant, key.session_id if has_session else "")
    _check_shape(check, request, has_session=has_session)
    commit = Commit(
        key=key,
        request=stamp,
        create=_read_create(check, request, stamp),
        conditions=_each(read_condition, names, "conditions", request.conditions, limits.commit_conditions),
        operations=_each(read_operation, names, "operations", request.operations, limits.commit_operations),
        reads=read_all(names, tenant, request.reads),
        shows_session=has_session,
        numbers_errors=True,
    )
    check.done()
    return commit


def _each(
    read: Callable[[Names, str, Given], T], names: Names, field: str, given: Seq[Given], most: int
) -> tuple[T, ...]:
    """The first items of a field, at most this many; more are refused by `_check_shape`."""
    if not given:
        return ()
    return tuple([read(names, f"{field}[{place}]", each) for place, each in enumerate(given[:most])])


def _read_key(
    check: Check, tenant: str, request: commits_pb.CommitRequest, stamp: RequestStamp | None
) -> tuple[SessionKey, bool]:
    """The key of the commit, and whether it names a session."""
    if request.session_id:
        return SessionKey(tenant, check.id("session_id", request.session_id)), True
    if request.HasField("create"):
        return SessionKey(tenant, new_session_id(tenant, stamp)), True
    return without_session(tenant, new_etag() if stamp is None else stamp.id), False


def _read_create(
    check: Check, request: commits_pb.CommitRequest, stamp: RequestStamp | None
) -> NewSession | None:
    if not request.HasField("create"):
        return None
    create = read_new_session(check, request.create, "create.")
    return replace(create, id_is_derived=not request.session_id and stamp is not None)


def _check_shape(check: Check, request: commits_pb.CommitRequest, *, has_session: bool) -> None:
    """Checks the commit as a whole."""
    operations, conditions, limits = request.operations, request.conditions, check.limits
    if len(conditions) > limits.commit_conditions:
        check.wrong("conditions", f"Must have at most {limits.commit_conditions:,} conditions.")
    if len(operations) > limits.commit_operations:
        check.wrong("operations", f"Must have at most {limits.commit_operations:,} operations.")
    kinds = [operation.WhichOneof("operation") for operation in operations]
    if not has_session:
        named = [condition.WhichOneof("condition") for condition in conditions]
        if not OF_RECORDS.issuperset([*kinds, *named]):
            check.wrong("session_id", "Must be the session that the operations and conditions apply to.")
    if "delete_session" in kinds[:-1]:
        check.wrong("operations", "Must have delete_session as the last operation.")
    if "context" in kinds:
        check_paths(
            check,
            "operations",
            [each.context for each, kind in zip(operations, kinds, strict=True) if kind == "context"],
        )


def put_committed(
    target: commits_pb.CommitResponse, commit: Commit, committed: Committed, limits: Limits
) -> None:
    if committed.session is not None:
        put_session(target.session, committed.session)
    for operation, result in zip(commit.operations, committed.results, strict=True):
        _put_result(target.results.add(), operation, result)
    if commit.reads:
        room = _room_beside(target.ByteSize(), limits)
        for read in encode_reads(commit.reads, committed.reads, room=room):
            target.reads.add().MergeFromString(read)


def encode_response(reads: Iterable[Read], found: Iterable[ReadResult], limits: Limits) -> bytes:
    """The bytes of a ReadResponse. As messages, a page of records would be parsed and encoded again."""
    results = encode_reads(reads, found, room=_room_beside(0, limits))
    return b"".join([field(_RESULTS, each) for each in results])


def _room_beside(size: int, limits: Limits) -> int:
    """How many bytes of a response are left when this many are taken."""
    return limits.answer_bytes - _AROUND_BYTES - size


def _put_result(target: commits_pb.OperationResult, operation: Operation, result: Result) -> None:
    match result:
        case Message():
            target.appended.id, target.appended.sequence = result.id, result.sequence
            put_time(target.appended.create_time, result.create_time)
        case Removed(count, messages):
            if isinstance(operation, EraseMessage):
                target.deleted_count = count
            else:
                target.removed.SetInParent()
                target.removed.count = count
                put_messages(target.removed.messages, messages)
        case ContextWritten(revision):
            target.context_etag = str(revision)
        case RecordWritten(etag, kept):
            target.put.etag, target.put.kept = etag, kept
        case RecordsDeleted(deleted_count):
            target.deleted_count = deleted_count
        case Done():
            pass
