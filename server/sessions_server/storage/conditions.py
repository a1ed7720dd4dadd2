"""Conditions on metadata and labels in SQL: their meaning in every database. A test compares them with Python.

A path leads through objects only. Values of different types are never equal and never ordered: `true` is not 1, "1" is
not 1. Strings are ordered by code point. A condition fails if its path does not exist, except `$ne` and `$exists:
false`. An object contains another if it has all its keys with values that contain its values; a list contains another
if it contains each of its items; any other value contains only its equal. `$contains` tests an object for an object, a
list for a list or an item, and a string for a substring. Paths and values are always bound parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy.sql.expression import ColumnElement

from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.domain.filters import Condition, Operator
from sessions_server.domain.jsonbytes import canonical

if TYPE_CHECKING:
    from sessions_server.domain.models import Json

Test: TypeAlias = ColumnElement[bool]
Path: TypeAlias = tuple[str, ...]
Shape: TypeAlias = tuple[tuple[Path, bool], ...]

_MOST_PARTS: Final = 400
_MOST_NESTED_LISTS: Final = 3
_MOST_COMPARISONS: Final = 50
"""Each takes milliseconds to compile, during which no other call is served."""

ORDER: Final[dict[Operator, Callable[[Any, Any], Any]]] = {
    Operator.GT: gt,
    Operator.GTE: ge,
    Operator.LT: lt,
    Operator.LTE: le,
}


class NotPlain(TypeError):
    """An object or a list where filters have a single value, or a single value where they have a list."""


def items_of(operand: Json) -> list[Json]:
    """The values of `$in`. Raises NotPlain for anything but a list."""
    if not isinstance(operand, list):
        raise NotPlain(operand)
    return operand


def stored_json(value: Json) -> str:
    """The stored form of metadata: equal values have equal strings."""
    return canonical(_unified(value)).decode()


def _unified(value: Json) -> Json:
    """Writes equal numbers alike: 1.0 as 1."""
    if isinstance(value, dict):
        return {key: _unified(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unified(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def check(conditions: Iterable[Condition], *, field: str) -> None:
    """Refuses operands that no stored value can match, or that SQLite cannot parse. `field` is the request's field to
    report. Raises InvalidRequest."""
    parts = comparisons = 0
    for path, operator, operand in conditions:
        count, lists = _size(operand)
        parts += count
        if lists > _MOST_NESTED_LISTS or parts > _MOST_PARTS:
            raise _refused(
                field,
                f"A filter compares at most {_MOST_PARTS} values, and lists nested at most {_MOST_NESTED_LISTS} deep.",
            )
        comparisons += _comparisons(operand) if operator is Operator.CONTAINS else 0
        if comparisons > _MOST_COMPARISONS:
            raise _refused(
                field,
                f"A filter compares at most {_MOST_COMPARISONS} items of lists that have different keys, or lists or "
                "empty objects within them; search for fewer at a time.",
            )
        if "\0" in "".join(path) or r"\u0000" in stored_json(operand):
            raise _refused(field, "U+0000 is never stored in what is searched; leave it out of the filter.")


def _size(operand: Json) -> tuple[int, int]:
    """The number of plain values and empty containers, and how deep lists nest."""
    if not operand or not isinstance(operand, (dict, list)):
        return 1, int(isinstance(operand, list))
    items = [_size(item) for item in (operand.values() if isinstance(operand, dict) else operand)]
    deepest = max((lists for _, lists in items), default=0)
    return sum(count for count, _ in items), deepest + isinstance(operand, list)


def _comparisons(operand: Json) -> int:
    """How many comparisons of items of lists are made one by one, at least on SQLite."""
    if isinstance(operand, dict):
        return _within(part for _, part in parts_of(operand))
    if not isinstance(operand, list):
        return 0
    shapes, count = set[Shape](), 0
    for item in operand:
        parts = item_parts(item)
        if are_flat(parts.values()):
            shapes.add(shape_of(parts))
        else:
            count += 1 + _within(parts.values())
    return len(shapes) + count


def _within(values: Iterable[Json]) -> int:
    return sum(_comparisons(each) for each in values if isinstance(each, list) and not are_plain(each))


def parts_of(operand: Json, path: Path = ()) -> Iterator[tuple[Path, Json]]:
    """The values within an object, with their paths."""
    if isinstance(operand, dict) and (operand or not path):
        for key, item in operand.items():
            yield from parts_of(item, (*path, key))
    else:
        yield path, operand


def item_parts(item: Json) -> dict[Path, Json]:
    """The values within an item of a list, or the item itself if it is not an object."""
    return dict(parts_of(item)) if isinstance(item, dict) else {(): item}


def shape_of(parts: Mapping[Path, Json]) -> Shape:
    """The paths of an item's values, and whether each is a list. Items of one shape are compared together."""
    return tuple((path, isinstance(parts[path], list)) for path in sorted(parts))


def are_plain(values: Iterable[Json]) -> bool:
    return not any(isinstance(value, (dict, list)) for value in values)


def are_flat(values: Iterable[Json]) -> bool:
    """Whether all are plain values, or lists of plain values."""
    return all(are_plain(value if isinstance(value, list) else [value]) for value in values)


def _refused(field: str, sentence: str) -> InvalidRequest:
    return InvalidRequest([Violation(field, sentence)])
