"""Conversion of domain values to plain JSON, derived from their fields. Named tuples become objects without
defaults."""

from __future__ import annotations

import functools
import types
import typing
from base64 import b64decode, b64encode
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

Converter = Callable[[Any], Any]
Check = Callable[[Any], bool]


class Field(NamedTuple):
    """A field of a named tuple, and the conversions of its value."""

    name: str
    encode: Converter | None
    """None if the value is JSON already."""
    decode: Converter | None


def to_plain(value: Any) -> dict[str, Any]:
    """A named tuple as an object without the fields that have their default value."""
    names, defaults, encoders = _plan_of(type(value))
    out = {
        name: given for name, given, default in zip(names, value, defaults, strict=True) if given != default
    }
    for name, encode in encoders:
        if (given := out.get(name)) is not None:
            out[name] = encode(given)
    return out


class _Plan(NamedTuple):
    names: tuple[str, ...]
    defaults: tuple[Any, ...]
    encoders: tuple[tuple[str, Converter], ...]
    """Of the fields whose values are not JSON."""


def _plan_of(kind: type[Any]) -> _Plan:
    found = _PLANS.get(kind)
    if found is None:
        fields, defaults = fields_of(kind), kind._field_defaults
        found = _PLANS[kind] = _Plan(
            tuple(field.name for field in fields),
            tuple(defaults.get(field.name, _NO_DEFAULT) for field in fields),
            tuple((field.name, field.encode) for field in fields if field.encode is not None),
        )
    return found


_PLANS: dict[type, _Plan] = {}
_NO_DEFAULT = object()


def from_plain(kind: type[T], raw: dict[str, Any]) -> T:
    """Restores what `to_plain` returned. Raises ValueError, TypeError, KeyError for anything else."""
    decoders = _decoders_of(kind)
    if decoders.keys().isdisjoint(raw):
        return kind(**raw)
    given = {
        name: value if value is None or (decode := decoders.get(name)) is None else decode(value)
        for name, value in raw.items()
    }
    return kind(**given)


def _decoders_of(kind: type[Any]) -> dict[str, Converter]:
    """The fields whose values need conversion."""
    found = _DECODERS.get(kind)
    if found is None:
        fields = fields_of(kind)
        found = _DECODERS[kind] = {each.name: each.decode for each in fields if each.decode is not None}
    return found


_DECODERS: dict[type, dict[str, Converter]] = {}


def fields_of(kind: type[Any]) -> tuple[Field, ...]:
    """The fields of a named tuple."""
    found = _FIELDS.get(kind)
    if found is None:
        hints = typing.get_type_hints(kind)
        found = _FIELDS[kind] = tuple(Field(name, *_converters(hints[name])) for name in kind._fields)
    return found


_FIELDS: dict[type, tuple[Field, ...]] = {}


def _converters(hint: Any) -> tuple[Converter | None, Converter | None]:
    """The conversions of a field's value to JSON and back."""
    kinds = (
        [each for each in typing.get_args(hint) if each is not types.NoneType] if _is_union(hint) else [hint]
    )
    kind = kinds[0] if len(kinds) == 1 else None
    if kind is bytes:
        return lambda value: b64encode(value).decode(), b64decode
    if isinstance(kind, type) and issubclass(kind, tuple):
        return to_plain, functools.partial(from_plain, kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return None, kind
    return None, None


def _is_union(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union


def is_sound(value: Any, hint: Any) -> bool:
    """Whether a value and all its fields match the type hint. Integers must fit into 64 bits; negative ones are valid,
    such as times before 1970."""
    return _check_of(hint)(value)


@functools.cache
def _check_of(hint: Any) -> Callable[[Any], bool]:
    """The check for a type; cached, since reading type hints is slow."""
    if _is_union(hint):
        checks = [_check_of(each) for each in typing.get_args(hint)]
        return lambda value: any(check(value) for check in checks)
    kind = _class_of(hint)
    if _is_named_tuple(kind):
        return _check_of_tuple(kind)
    if kind is int:
        return lambda value: type(value) is int and -_LARGEST <= value <= _LARGEST
    return lambda value: type(value) is kind


def _check_of_tuple(kind: type[Any]) -> Check:
    hints = typing.get_type_hints(kind)
    fields = [(_types_of(hints[name]), _check_of(hints[name])) for name in kind._fields]

    @functools.lru_cache
    def to_check(types: tuple[type, ...]) -> list[tuple[int, Check]]:
        """The fields whose soundness does not follow from their values' types."""
        known = zip(fields, types, strict=True)
        return [(index, check) for index, ((sound, check), type_) in enumerate(known) if type_ not in sound]

    def is_sound_tuple(value: Any) -> bool:
        if type(value) is not kind:
            return False
        left = to_check(tuple(map(type, value)))
        return not left or all(check(value[index]) for index, check in left)

    return is_sound_tuple


def _types_of(hint: Any) -> frozenset[Any]:
    """The types in a hint whose values are all valid."""
    hints = typing.get_args(hint) if _is_union(hint) else (hint,)
    found = map(_class_of, hints)
    return frozenset(each for each in found if each is not int and not _is_named_tuple(each))


def _class_of(hint: Any) -> Any:
    """The class of the values of a hint that is not a union."""
    kind = getattr(hint, "__supertype__", hint)
    return typing.get_origin(kind) or kind


def _is_named_tuple(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


_LARGEST = 2**63 - 1
