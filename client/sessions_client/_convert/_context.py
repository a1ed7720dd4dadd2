"""The context: conversion of changes to the wire and of contexts from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sessions_client._changes import Append, Change, Increment, Merge, Remove, Set
from sessions_client._convert import _scalars as scalars
from sessions_client._convert._json import (
    fill_struct,
    fill_value,
    number,
    read_number,
    read_struct,
    read_value,
)
from sessions_client._errors import refused
from sessions_client._models import Context
from sessions_proto.v1 import sessions_pb2 as pb

_OPERATIONS = ("set", "remove", "increment", "append", "merge")


def read_context(wire: pb.Context) -> Context:
    """A context from the wire."""
    return Context(
        read_struct(wire.data),
        etag=wire.etag,
        update_time=scalars.read_timestamp(wire.update_time) if wire.HasField("update_time") else None,
        value=read_value(wire.value),
        has_value=wire.HasField("value"),
    )


def read_change(wire: pb.ContextChange) -> Set | Remove | Increment | Append | Merge | None:
    """A change as the caller would write it; None for a kind added by a later version."""
    match wire.WhichOneof("operation"):
        case "set":
            return Set(wire.path, read_value(wire.set))
        case "remove":
            return Remove(wire.path)
        case "increment":
            return Increment(wire.path, read_number(wire.increment))
        case "append":
            return Append(wire.path, read_value(wire.append))
        case "merge":
            return Merge(wire.path, read_struct(wire.merge))
        case _:
            return None


def get_request(session_id: str, *, path: str | None, at_sequence: int | None) -> pb.GetContextRequest:
    return pb.GetContextRequest(
        session_id=scalars.text(session_id, field="session_id"),
        path=scalars.text(path, field="path"),
        at_sequence=scalars.position(at_sequence),
    )


def set_request(
    session_id: str,
    *,
    context: Mapping[str, Any],
    forget_past: bool,
    etag: str | None,
    request_id: str | None,
) -> pb.SetContextRequest:
    target = scalars.target(session_id, etag=etag, request_id=request_id)
    request = pb.SetContextRequest(forget_past=forget_past, **target)
    fill_struct(request.context, context, field="context")
    return request


def update_request(
    session_id: str,
    *,
    changes: Iterable[Change],
    forget_past: bool,
    etag: str | None,
    request_id: str | None,
) -> pb.UpdateContextRequest:
    target = scalars.target(session_id, etag=etag, request_id=request_id)
    request = pb.UpdateContextRequest(forget_past=forget_past, **target)
    for index, change in enumerate(scalars.each(changes, field="changes")):
        fill_change(request.changes.add(), change, field=f"changes[{index}]")
    return request


def fill_change(out: pb.ContextChange, change: Change, *, field: str) -> None:
    """Fills an empty wire message with a change. Raises InvalidArgument, naming the path below `field`."""
    path, operation, argument = _parts(change, field=field)
    out.path = scalars.text(path, field=f"{field}.path")
    match operation:
        case "set":
            fill_value(out.set, argument, field=f"{field}.set")
        case "append":
            fill_value(out.append, argument, field=f"{field}.append")
        case "increment":
            out.increment = number(argument, field=f"{field}.increment")
        case "merge":
            fill_struct(out.merge, argument, field=f"{field}.merge")
        case _:
            if argument is not True:
                raise refused(f"{field}.remove", "must be True.")
            out.remove = True


def _parts(change: Change, *, field: str) -> tuple[str, str, Any]:
    match change:
        case Set(path, value):
            return path, "set", value
        case Remove(path):
            return path, "remove", True
        case Increment(path, by):
            return path, "increment", by
        case Append(path, value):
            return path, "append", value
        case Merge(path, values):
            return path, "merge", values
        case _:
            return _parts_of_dict(change, field=field)


def _parts_of_dict(change: Mapping[str, Any], *, field: str) -> tuple[str, str, Any]:
    given = scalars.known_keys(change, ("path", *_OPERATIONS), field=field)
    named = [operation for operation in _OPERATIONS if operation in given]
    if len(named) != 1:
        raise refused(field, f"must hold exactly one of {', '.join(_OPERATIONS)}.")
    if "path" not in given and named != ["merge"]:
        raise refused(f"{field}.path", "is missing; only `merge` works on the whole context.")
    return given.get("path", ""), named[0], given[named[0]]
