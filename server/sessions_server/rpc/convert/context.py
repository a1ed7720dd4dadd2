"""Conversion of context changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessions_server.domain.context import Append, Change, Increment, Merge, Operation, Remove, Set
from sessions_server.rpc.convert.values import put_object, put_value

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

    from sessions_proto.v1 import sessions_pb2 as pb
    from sessions_server.domain.models import JsonObject
    from sessions_server.rpc.convert.check import Check


def read_whole(check: Check, field: str, given: Struct) -> JsonObject:
    """A whole context."""
    data = check.json_object(field, given)
    check.context_size(field, data)
    return data


def read_change(check: Check, field: str, given: pb.ContextChange) -> Change:
    path = check.path(f"{field}.path", given.path)
    operation = _read_operation(check, field, given)
    if not given.path and not isinstance(operation, Merge):
        check.wrong(f"{field}.path", "Must not be empty; only `merge` may change the root.")
    return Change(given.path, path, operation)


def paths_bytes(change: pb.ContextChange) -> int:
    """An upper bound for the paths in the event. A merge has one path for each key, with `~` escaped."""
    path, keys = len(change.path.encode()), change.merge.fields
    return 2 * (len(keys) * path + sum(len(key.encode()) for key in keys) if keys else path)


def put_change(target: pb.ContextChange, change: Change) -> None:
    target.path = change.text
    match change.operation:
        case Set(value):
            put_value(target.set, value)
        case Append(value):
            put_value(target.append, value)
        case Increment(by):
            target.increment = by
        case Merge(values):
            put_object(target.merge, values)
        case Remove():
            target.remove = True


def _read_operation(check: Check, field: str, given: pb.ContextChange) -> Operation:
    kind = given.WhichOneof("operation")
    if kind == "set":
        return Set(check.context_value(f"{field}.set", given.set))
    if kind == "append":
        return Append(check.context_value(f"{field}.append", given.append))
    if kind == "increment":
        return Increment(check.json_number(f"{field}.increment", given.increment))
    if kind == "merge":
        return Merge(read_whole(check, f"{field}.merge", given.merge))
    if kind is None:
        check.wrong(field, "Must have one of set, remove, increment, append, merge.")
    elif not given.remove:
        check.wrong(
            f"{field}.remove", "Must be true, the only value; leave the change out to keep the value."
        )
    return Remove()
