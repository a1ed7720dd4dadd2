"""Checks that JSON has the shape of a protobuf message, before protobuf's own parser sees it.

That parser accepts what would be stored altered, such as base64 with foreign characters, and its errors quote the
request. The errors here name the field, by its path in the protos, and what it must be.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, EnumDescriptor

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_DURATION: Final = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,9})?s")
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}(?:\.0+)?")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[-+][0-9]{2}:[0-9]{2})"
)
_INTEGER_BITS: Final = {FieldDescriptor.CPPTYPE_INT32: 32, FieldDescriptor.CPPTYPE_INT64: 64}


class WrongShape(Exception):
    """Where the JSON is wrong and what it must be there. Quotes nothing of the request."""

    def __init__(self, rule: str, path: str = "") -> None:
        super().__init__(f"{path}: {rule}" if path else rule)
        self.rule = rule
        self.path = path
        """The field's path in the protos, such as `message.timestamp`; empty for the whole."""


def check_shape(value: Mapping[str, Any], kind: Descriptor, path: str = "") -> None:
    """Raises WrongShape if the JSON object is not a message of this type. The values in Structs are not looked at."""
    names = _fields_by_name(kind)
    seen: set[str] = set()
    for key, each in value.items():
        field = names.get(key)
        if field is None:
            known = ", ".join(field.json_name for field in kind.fields)
            raise WrongShape(f"An unknown field is given; known fields are {known}.", path)
        below = f"{path}.{field.name}" if path else field.name
        if field.name in seen:
            raise WrongShape("Must be given once; its two spellings are one field.", below)
        seen.add(field.name)
        oneof = field.containing_oneof
        if oneof is not None and (each is not None or _is_value(field)):
            if oneof.name in seen:  # oneofs and fields share one namespace
                choice = ", ".join(other.name for other in oneof.fields)
                raise WrongShape(f"Must have only one of {choice}.", path)
            seen.add(oneof.name)
        _check_field(each, field, below)


@functools.cache
def _fields_by_name(kind: Descriptor) -> dict[str, FieldDescriptor]:
    """The fields by both of their spellings."""
    return {name: field for field in kind.fields for name in (field.name, field.json_name)}


def _check_field(value: Any, field: FieldDescriptor, path: str) -> None:
    if field.is_repeated:
        if value is not None and not isinstance(value, list):
            raise WrongShape("Must be a list.", path)
        for number, each in enumerate(value or ()):
            _check_one(each, field, f"{path}[{number}]", is_element=True)
    else:
        _check_one(value, field, path)


def _check_one(value: Any, field: FieldDescriptor, path: str, *, is_element: bool = False) -> None:
    kind = field.message_type
    if _is_value(field) or (value is None and not is_element):  # null is the default of every other field
        return
    if kind is None:
        rule = _scalar_rule(value, field)
    elif kind.full_name in _WELL_KNOWN:
        fits, rule = _WELL_KNOWN[kind.full_name]
        rule = "" if fits(value) else rule
    elif isinstance(value, dict):
        check_shape(value, kind, path)
        return
    else:
        rule = "Must be an object."
    if rule:
        raise WrongShape(rule, path)


def _is_value(field: FieldDescriptor) -> bool:
    """Whether any JSON fits, of which null is not the same as nothing."""
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Value"


def _scalar_rule(value: Any, field: FieldDescriptor) -> str:
    """What the value has to be; empty if it is that."""
    if field.enum_type is not None:
        return "" if _is_of_enum(value, field.enum_type) else _enum_rule(field.enum_type)
    bits = _INTEGER_BITS.get(field.cpp_type)
    if bits is not None:
        return "" if _is_integer(value, bits) else f"Must be an integer of at most {bits} bits."
    fits, rule = _SCALARS[field.type]
    return "" if fits(value) else rule


def _is_of_enum(value: Any, kind: EnumDescriptor) -> bool:
    """Also numbers that have no name here: the request's own check refuses them."""
    return value in kind.values_by_name if isinstance(value, str) else _is_integer(value, 32)


def _enum_rule(kind: EnumDescriptor) -> str:
    return f"Must be one of {', '.join(value.name for value in kind.values if value.number)}."


def _is_integer(value: Any, bits: int) -> bool:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value.partition(".")[0])
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _is_base64(value: Any) -> bool:
    return isinstance(value, str) and _BASE64.fullmatch(value) is not None and len(value.rstrip("=")) % 4 != 1


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None and _converts(Timestamp(), value)


def _is_duration(value: Any) -> bool:
    return isinstance(value, str) and _DURATION.fullmatch(value) is not None and _converts(Duration(), value)


def _converts(message: Timestamp | Duration, value: str) -> bool:
    try:
        message.FromJsonString(value)
    except ValueError:
        return False
    return True


def _is_mask(value: Any) -> bool:
    return isinstance(value, str) and "_" not in value and not _LONE_SURROGATE.search(value)


_Rule: TypeAlias = tuple[Callable[[Any], bool], str]

_SCALARS: Final[Mapping[int, _Rule]] = {
    FieldDescriptor.TYPE_STRING: (
        lambda value: isinstance(value, str) and not _LONE_SURROGATE.search(value),
        "Must be a string of whole characters.",
    ),
    FieldDescriptor.TYPE_BYTES: (_is_base64, "Must be a string of base64."),
    FieldDescriptor.TYPE_BOOL: (lambda value: isinstance(value, bool), "Must be true or false."),
    FieldDescriptor.TYPE_DOUBLE: (_is_number, "Must be a finite number."),
}
"""The protos use no other scalars in requests; a new one fails here at its first use."""

_WELL_KNOWN: Final[Mapping[str, _Rule]] = {
    "google.protobuf.Struct": (lambda value: isinstance(value, dict), "Must be an object."),
    "google.protobuf.Timestamp": (_is_time, "Must be a time such as `2026-01-31T12:00:00Z`."),
    "google.protobuf.Duration": (_is_duration, "Must be a string of seconds such as `3600s`."),
    "google.protobuf.FieldMask": (
        _is_mask,
        "Must be a string of paths in camelCase, such as `metadata,config.maxMessages`.",
    ),
}
