"""Export records as plain JSON and back, driven by the message descriptors.

Nothing is lost, whatever fields a record has: the server checks the digest on import. Unset fields are left out; enums
are their names, bytes are base64, 64-bit integers are JSON integers, times are RFC 3339 and durations are decimal
seconds with an `s`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, cast

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from sessions_client._convert import _scalars as scalars
from sessions_client._convert._json import fill_struct, fill_value, read_struct, read_value
from sessions_client._errors import refused
from sessions_proto.v1 import sessions_pb2 as pb

_SPAN = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", flags=re.ASCII)


def record_to_json(record: pb.ExportRecord) -> dict[str, Any]:
    """A record as JSON values."""
    return _to_json(record)


def record_from_json(data: Any, *, field: str) -> pb.ExportRecord:
    """The record that `record_to_json` wrote. Raises InvalidArgument, naming the path of what does not fit."""
    record = pb.ExportRecord()
    _from_json(record, data, path=field)
    return record


def _to_json(message: Message) -> dict[str, Any]:
    return {
        field.name: [_value_to_json(field, one) for one in value]
        if field.is_repeated
        else _value_to_json(field, value)
        for field, value in message.ListFields()
    }


def _value_to_json(field: FieldDescriptor, value: Any) -> Any:
    match value:
        case struct_pb2.Struct():
            return read_struct(value)
        case struct_pb2.Value():
            return read_value(value)
        case timestamp_pb2.Timestamp():
            return value.ToJsonString()
        case duration_pb2.Duration():
            return value.ToJsonString()
        case Message():
            return _to_json(value)
        case bytes():
            return base64.b64encode(value).decode()
        case _ if field.enum_type is not None and value in field.enum_type.values_by_number:
            return field.enum_type.values_by_number[value].name
        case _:
            return value


def _from_json(out: Message, data: Any, *, path: str) -> None:
    by_name = out.DESCRIPTOR.fields_by_name
    for key, item in scalars.known_keys(data, by_name, field=path).items():
        field, where = cast(FieldDescriptor, by_name[key]), f"{path}.{key}"
        if not field.is_repeated:
            _set(out, field, item, path=where)
            continue
        if not isinstance(item, list):
            raise refused(where, "must be a list.")
        for index, one in enumerate(item):
            _add(getattr(out, key), field, one, path=f"{where}.{index}")


def _set(out: Message, field: FieldDescriptor, item: Any, *, path: str) -> None:
    if field.message_type is not None:
        target = getattr(out, field.name)
        target.SetInParent()
        _fill(target, item, path=path)
        return
    scalar = _scalar(field, item, path=path)
    with _of_its_type(path):
        setattr(out, field.name, scalar)


def _add(values: Any, field: FieldDescriptor, item: Any, *, path: str) -> None:
    """Appends to a repeated field of messages or scalars."""
    if field.message_type is not None:
        _fill(values.add(), item, path=path)
        return
    scalar = _scalar(field, item, path=path)
    with _of_its_type(path):
        values.append(scalar)


@contextmanager
def _of_its_type(path: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as exc:
        raise refused(path, "does not have the form that an export writes.") from exc


def _fill(target: Message, item: Any, *, path: str) -> None:
    match target:
        case struct_pb2.Struct():
            fill_struct(target, item, field=path)
        case struct_pb2.Value():
            fill_value(target, item, field=path)
        case timestamp_pb2.Timestamp():
            target.CopyFrom(scalars.timestamp(item, field=path))
        case duration_pb2.Duration():
            target.CopyFrom(_span(item, path=path))
        case _:
            _from_json(target, item, path=path)


def _span(item: Any, *, path: str) -> duration_pb2.Duration:
    parts = _SPAN.fullmatch(item) if isinstance(item, str) else None
    if parts is None:
        raise refused(path, "must be a duration such as `3600s`.")
    sign, seconds, fraction = parts.groups()
    factor = -1 if sign else 1
    nanos = int(Decimal(f"0.{fraction or 0}") * 10**9)
    return duration_pb2.Duration(seconds=factor * int(seconds), nanos=factor * nanos)


def _scalar(field: FieldDescriptor, item: Any, *, path: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        try:
            return base64.b64decode(item, validate=True)
        except (TypeError, ValueError) as exc:
            raise refused(path, "must be base64.") from exc
    if field.enum_type is not None and isinstance(item, str):
        value = field.enum_type.values_by_name.get(item)
        if value is None:
            raise refused(path, "must be a name that an export writes there.")
        return value.number
    return item
