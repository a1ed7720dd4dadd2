"""Commits and combined reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sessions_client._commits import LEFT_OUT, CommitResult, Removed
from sessions_client._convert import _scalars as scalars
from sessions_client._convert._context import read_context
from sessions_client._convert._messages import read_message
from sessions_client._convert._records import read_list, read_record
from sessions_client._convert._sessions import read_session
from sessions_client._errors import SessionsError, error_of, refused
from sessions_client._models import History, Message
from sessions_client._records import RecordResult
from sessions_client.ops import Condition, NewSession, Operation, Read
from sessions_proto.v1 import commits_pb2 as commits_pb, sessions_pb2 as pb


def commit_request(
    session_id: str | None,
    operations: Iterable[Operation],
    *,
    conditions: Iterable[Condition] = (),
    create: NewSession | None = None,
    reads: Iterable[Read] = (),
    request_id: str | None = None,
) -> commits_pb.CommitRequest:
    request = commits_pb.CommitRequest(
        session_id=scalars.text(session_id, field="session_id"),
        request_id=scalars.new_request_id(request_id),
        operations=_wires(operations, Operation, field="operations"),
        conditions=_wires(conditions, Condition, field="conditions"),
        reads=_wires(reads, Read, field="reads"),
    )
    if create is not None:
        (wire,) = _wires([create], NewSession, field="create")
        request.create.CopyFrom(wire)
    return request


def read_request(reads: Iterable[Read]) -> commits_pb.ReadRequest:
    return commits_pb.ReadRequest(reads=_wires(reads, Read, field="reads"))


def read_commit(request: commits_pb.CommitRequest, response: commits_pb.CommitResponse) -> CommitResult:
    """The result of a commit. An appended message is returned whole, although only the server's fields are
    transferred."""
    return CommitResult(
        session=read_session(response.session) if response.HasField("session") else None,
        results=[_read_result(*pair) for pair in zip(request.operations, response.results, strict=True)],
        reads=read_results(response.reads),
    )


def read_results(results: Iterable[commits_pb.ReadResult]) -> list[Any]:
    """The results of reads, each as its single call returns it; None for what does not exist."""
    return [_read(result) for result in results]


def failure_of(failure: commits_pb.CommitFailure) -> SessionsError:
    """The error that the single call would have raised."""
    return error_of(failure.code, failure.message, reason=failure.reason, metadata=failure.metadata)


def read_appended(operation: commits_pb.Operation, result: commits_pb.OperationResult) -> Message:
    """The stored message: the sent fields and those from the server."""
    whole = pb.Message()
    whole.CopyFrom(operation.append)
    whole.MergeFrom(result.appended)
    return read_message(whole)


def _read_result(operation: commits_pb.Operation, result: commits_pb.OperationResult) -> Any:
    match result.WhichOneof("result"):
        case "appended":
            return read_appended(operation, result)
        case "removed":
            messages = tuple(map(read_message, result.removed.messages))
            return Removed(count=result.removed.count, messages=messages)
        case "context_etag":
            return result.context_etag
        case "put":
            return RecordResult(etag=result.put.etag, kept=result.put.kept)
        case "deleted_count":
            return result.deleted_count
        case _:
            return None


_READERS: dict[str, Callable[[commits_pb.ReadResult], Any]] = {
    "session": lambda result: read_session(result.session),
    "context": lambda result: read_context(result.context),
    "history": lambda result: History(
        map(read_message, result.history.messages), has_more=result.history.has_more
    ),
    "message": lambda result: read_message(result.message),
    "record": lambda result: read_record(result.record),
    "records": lambda result: read_list(result.records),
    "left_out": lambda result: LEFT_OUT,
}


def _read(result: commits_pb.ReadResult) -> Any:
    read = _READERS.get(result.WhichOneof("result") or "")
    return None if read is None else read(result)


def _wires(given: Iterable[Any], kind: type, *, field: str) -> Sequence[Any]:
    items = scalars.each(given, field=field)
    for index, item in enumerate(items):
        if not isinstance(item, kind):
            raise refused(
                f"{field}[{index}]", f"must be made by a function of sessions_client.ops, not {item!r:.60}."
            )
    return [item._wire for item in items]
