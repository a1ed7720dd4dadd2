"""JSON values as `google.protobuf.Struct` and back.

Values come back equal: integral doubles become `int` again, and what a double cannot hold is refused. Written by hand,
because protobuf's generic converter takes twice as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import struct_pb2

from sessions_client._errors import InvalidArgument, refused

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer up to which doubles represent every integer."""

MAX_DEPTH = 32
"""How deep objects and lists may nest; an object of plain values is 1 deep."""


class _Unfit(Exception):
    """A value that JSON or a double cannot hold. It collects its path while propagating, so that valid values cost
    nothing for paths."""

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description
        self.path: list[str] = []

    def refusal(self, field: str) -> InvalidArgument:
        return refused(".".join([field, *reversed(self.path)]), self.description)


def fill_struct(out: struct_pb2.Struct, data: object, *, field: str) -> None:
    """Fills an empty Struct with a JSON object. Raises InvalidArgument, naming the path below `field`."""
    if not isinstance(data, Mapping):
        raise refused(field, f"must be a dict, not {_name(data)}.")
    out.SetInParent()
    try:
        _fill_object(out, data, 1)
    except _Unfit as unfit:
        raise unfit.refusal(field) from None


def fill_value(out: struct_pb2.Value, item: Any, *, field: str) -> None:
    """Fills an empty Value with any JSON value. Raises InvalidArgument, naming the path below `field`."""
    try:
        _fill(out, item, 1)
    except _Unfit as unfit:
        raise unfit.refusal(field) from None


def number(item: Any, *, field: str) -> float:
    """A number that a double represents exactly. Raises InvalidArgument."""
    out = struct_pb2.Value()
    if isinstance(item, bool) or not isinstance(item, (int, float)):
        raise refused(field, f"must be a number, not {_name(item)}.")
    fill_value(out, item, field=field)
    return out.number_value


def read_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """The JSON object in a Struct, with sorted keys: the order of a protobuf map differs between processes."""
    fields = struct.fields
    return {key: read_value(fields[key]) for key in sorted(fields)}


def read_value(value: struct_pb2.Value) -> Any:
    """The JSON value in a Value; None if it is empty."""
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return read_number(value.number_value)
        case "struct_value":
            return read_struct(value.struct_value)
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [read_value(item) for item in value.list_value.values]
        case _:
            return None


_INFINITE = (math.inf, -math.inf)
_SURROGATE = "holds half of a surrogate pair, which is not valid Unicode."


def read_number(double: float) -> int | float:
    """The number of a double; an integral one is an `int`, except -0.0."""
    if not double.is_integer() or abs(double) > MAX_SAFE_INTEGER:
        return double
    if double == 0 and math.copysign(1.0, double) < 0:
        return double
    return int(double)


def _fill_object(out: struct_pb2.Struct, data: Mapping[str, Any], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Unfit(f"nests deeper than {MAX_DEPTH} levels.")
    fields = out.fields
    for key, item in data.items():
        if not isinstance(key, str):
            raise _Unfit(f"has a key of type {_name(key)}; keys must be strings.")
        try:
            target = fields[key]
        except UnicodeEncodeError:
            raise _Unfit(f"has a key that {_SURROGATE}") from None
        try:
            _fill(target, item, depth)
        except _Unfit as unfit:
            unfit.path.append(key)
            raise


def _fill_list(out: struct_pb2.ListValue, items: list[Any] | tuple[Any, ...], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Unfit(f"nests deeper than {MAX_DEPTH} levels.")
    add = out.values.add
    for index, item in enumerate(items):
        try:
            _fill(add(), item, depth)
        except _Unfit as unfit:
            unfit.path.append(str(index))
            raise


def _fill(out: struct_pb2.Value, item: Any, depth: int) -> None:
    fill = _FILLERS.get(type(item)) or _filler_of_subclass(item)
    fill(out, item, depth)


def _fill_none(out: struct_pb2.Value, item: None, depth: int) -> None:
    out.null_value = struct_pb2.NULL_VALUE


def _fill_bool(out: struct_pb2.Value, item: bool, depth: int) -> None:
    out.bool_value = item


def _fill_str(out: struct_pb2.Value, item: str, depth: int) -> None:
    try:
        out.string_value = item
    except UnicodeEncodeError:
        raise _Unfit(_SURROGATE) from None


def _fill_number(out: struct_pb2.Value, item: float, depth: int) -> None:
    # Written so that NaN, for which every comparison is false, is caught too.
    if not -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER:
        if item in _INFINITE or item != item:
            raise _Unfit("is NaN or infinite, which JSON cannot hold.")
        if item == math.floor(item):
            raise _Unfit(
                "is an integer beyond ±(2^53 - 1), which no double holds exactly; send it as a string."
            )
    out.number_value = item


def _fill_nested_object(out: struct_pb2.Value, item: Mapping[str, Any], depth: int) -> None:
    out.struct_value.SetInParent()
    _fill_object(out.struct_value, item, depth + 1)


def _fill_nested_list(out: struct_pb2.Value, item: list[Any] | tuple[Any, ...], depth: int) -> None:
    out.list_value.SetInParent()
    _fill_list(out.list_value, item, depth + 1)


_Filler = Callable[[struct_pb2.Value, Any, int], None]

# Subclasses are looked up in this order: bool is an int.
_FILLERS: dict[type, _Filler] = {
    str: _fill_str,
    bool: _fill_bool,
    int: _fill_number,
    float: _fill_number,
    dict: _fill_nested_object,
    list: _fill_nested_list,
    tuple: _fill_nested_list,
    type(None): _fill_none,
}


def _filler_of_subclass(item: Any) -> _Filler:
    for base, fill in _FILLERS.items():
        if isinstance(item, base):
            return fill
    if isinstance(item, Mapping):
        return _fill_nested_object
    raise _Unfit(
        f"is of type {_name(item)}, which JSON does not have; make it a string, a number, a list or a dict."
    )


def _name(item: Any) -> str:
    return type(item).__name__
