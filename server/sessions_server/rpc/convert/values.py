"""JSON between Struct and plain values. Accepted values come back equal; what a double cannot hold is refused.

Struct numbers are doubles; integral ones become ints, except -0.0. This is written by hand because protobuf's own
conversion takes several times as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from sessions_server.domain.limits import MAX_DEPTH, MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import ListValue, Struct, Value

    from sessions_server.domain.models import Json, JsonObject

_LARGEST: Final = float(MAX_SAFE_INTEGER)

_NUMBER_SENTENCE: Final = (
    "Must be a finite number, and within ±(2^53 - 1) if integral; send a larger one as a string."
)
_DEPTH_SENTENCE: Final = f"JSON nests at most {MAX_DEPTH} levels; make it flatter."
_NUL_SENTENCE: Final = "Must not contain U+0000 in a string or key."
_KIND_SENTENCE: Final = (
    "Set a kind on every Value; for JSON's null that is null_value. JavaScript's `undefined` has none: leave out its "
    "key."
)


class Refuse(NamedTuple):
    """Takes a sentence for each violation."""

    wrong: Callable[[str], None]
    searched: bool = False
    """Whether databases search the value: PostgreSQL's jsonb allows no U+0000, and turns -0.0 into 0."""


def read_struct(struct: Struct, refuse: Refuse, depth: int = MAX_DEPTH) -> JsonObject:
    """The object in a Struct; `depth` is how many levels it may nest, including itself."""
    if depth == 0:
        refuse.wrong(_DEPTH_SENTENCE)
        return {}
    values = {key: read_value(value, refuse, depth - 1) for key, value in struct.fields.items()}
    if refuse.searched and any("\0" in key for key in values):
        refuse.wrong(_NUL_SENTENCE)
    return values


def read_value(value: Value, refuse: Refuse, depth: int) -> Json:
    """The JSON value of a Value; `depth` is how many levels it may nest."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        if refuse.searched and "\0" in text:
            refuse.wrong(_NUL_SENTENCE)
        return text
    if kind == "number_value":
        return read_number(value.number_value, refuse)
    if kind == "struct_value":
        return read_struct(value.struct_value, refuse, depth)
    if kind == "list_value":
        return _read_list(value.list_value, refuse, depth)
    if kind == "bool_value":
        return value.bool_value
    if kind is None or value.null_value:  # null_value has only the number 0
        refuse.wrong(_KIND_SENTENCE)
    return None


def read_number(number: float, refuse: Refuse) -> int | float:
    if not -_LARGEST <= number <= _LARGEST:  # true for NaN as well; every double beyond it is integral
        refuse.wrong(_NUMBER_SENTENCE)
        return 0
    if not number.is_integer():
        return number
    return int(number) or _zero(number, refuse)


def _zero(number: float, refuse: Refuse) -> int | float:
    is_negative = math.copysign(1.0, number) < 0
    return number if is_negative and not refuse.searched else 0


def _read_list(items: ListValue, refuse: Refuse, depth: int) -> Json:
    if depth == 0:
        refuse.wrong(_DEPTH_SENTENCE)
        return []
    return [read_value(item, refuse, depth - 1) for item in items.values]


def put_object(struct: Struct, value: JsonObject) -> None:
    """Fills an empty Struct, and marks it as present if it is a field."""
    struct.SetInParent()
    fields = struct.fields
    for key, item in value.items():
        put_value(fields[key], item)


def put_value(target: Value, value: Json) -> None:
    """Fills an empty Value."""
    kind = type(value)
    if kind is str:
        target.string_value = value  # type: ignore[assignment]  # its type is known from the line above
    elif value is None:
        target.null_value = 0  # type: ignore[assignment]  # the only value of its enum
    elif kind is bool:
        target.bool_value = value  # type: ignore[assignment]  # as above
    elif isinstance(value, dict):
        put_object(target.struct_value, value)
    elif isinstance(value, list):
        items = target.list_value
        items.SetInParent()
        for item in value:
            put_value(items.values.add(), item)
    else:
        target.number_value = value  # type: ignore[assignment]  # what is left
