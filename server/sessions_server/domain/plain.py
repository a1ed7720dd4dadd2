"""Conversion of domain values to plain JSON, derived from their fields. Named tuples become objects without
defaults."""

from __future__ import annotations

import functools
import types
import typing
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

Converter = Callable[[Any], Any]
Check = Callable[[Any], bool]


class _Field(NamedTuple):
    """A field of a named tuple, and the conversions of its value."""

    name: str
    encode: Converter | None
    """None if the value is JSON already."""
    decode: Converter | None


def to_plain(value: Any) -> dict[str, Any]:
    """A named tuple as an object without the fields that have their default value."""
    out: dict[str, Any] = {}
    for index, name, default, encode in _PLANS.get(type(value)) or _plan_of(type(value)):
        given = value[index]
        if given != default:
            out[name] = given if encode is None or given is None else encode(given)
    return out


_Plan: TypeAlias = tuple[tuple[int, str, Any, Converter | None], ...]
"""The index, name, default and conversion of each field."""


def _plan_of(kind: type[Any]) -> _Plan:
    defaults = kind._field_defaults
    plan = tuple(
        (index, field.name, defaults.get(field.name, _NO_DEFAULT), field.encode)
        for index, field in enumerate(_fields_of(kind))
    )
    _PLANS[kind] = plan
    return plan


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
        fields = _fields_of(kind)
        found = _DECODERS[kind] = {each.name: each.decode for each in fields if each.decode is not None}
    return found


_DECODERS: dict[type, dict[str, Converter]] = {}


def _fields_of(kind: type[Any]) -> Iterator[_Field]:
    """The fields of a named tuple. Reading type hints is slow, so callers keep what they derive."""
    hints = typing.get_type_hints(kind)
    return (_Field(name, *_converters(hints[name])) for name in kind._fields)


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


def is_sound(value: Any, kind: Any) -> bool:
    """Whether a value is of this class and all its fields match their type hints. Integers must fit into 64 bits;
    negative ones are valid, such as times before 1970."""
    return _check_of(kind)(value)


def are_sound(values: Iterable[Any], kind: Any) -> bool:
    """Whether each of the values is sound."""
    return all(map(_check_of(kind), values))


@functools.cache
def _check_of(kind: Any) -> Check:
    """The check for a class; cached, since reading type hints is slow."""
    if _is_named_tuple(kind):
        return _check_of_tuple(kind)
    if kind is int:
        return lambda value: type(value) is int and -_LARGEST <= value <= _LARGEST
    return lambda value: type(value) is kind


def _check_of_tuple(kind: type[Any]) -> Check:
    hints = typing.get_type_hints(kind)
    fields = [_checks_of(hints[name]) for name in kind._fields]

    @functools.lru_cache
    def to_check(types: tuple[type, ...]) -> list[tuple[int, Check]]:
        """The fields whose soundness does not follow from their values' types."""
        checks = [checks.get(type_, _never) for checks, type_ in zip(fields, types, strict=True)]
        return [(index, check) for index, check in enumerate(checks) if check is not None]

    def is_sound_tuple(value: Any) -> bool:
        if type(value) is not kind:
            return False
        for index, check in to_check(tuple(map(type, value))):  # noqa: SIM110  # `all` would take twice as long
            if not check(value[index]):
                return False
        return True

    return is_sound_tuple


def _checks_of(hint: Any) -> dict[Any, Check | None]:
    """What to check in a field, by its value's class; None where the class says enough."""
    classes = map(_class_of, typing.get_args(hint) if _is_union(hint) else (hint,))
    return {kind: _check_of(kind) if kind is int or _is_named_tuple(kind) else None for kind in classes}


def _never(_value: Any) -> bool:
    return False


def _class_of(hint: Any) -> Any:
    """The class of the values of a hint that is not a union."""
    kind = getattr(hint, "__supertype__", hint)
    return typing.get_origin(kind) or kind


def _is_named_tuple(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


_LARGEST = 2**63 - 1
