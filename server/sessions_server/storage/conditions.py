"""Conditions on metadata and labels in SQL: their meaning in every database. A test compares them with Python.

A path leads through objects only. Values of different types are never equal and never ordered: `true` is not 1, "1" is
not 1. Strings are ordered by code point. A condition fails if its path does not exist, except `$ne` and `$exists:
false`. An object contains another if it has all its keys with values that contain its values; a list contains another
if it contains each of its items; any other value contains only its equal. `$contains` tests an object for an object, a
list for a list or an item, and a string for a substring. Paths and values are always bound parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy.sql.expression import ColumnElement

from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.domain.filters import Condition, Operator
from sessions_server.domain.jsonbytes import canonical

if TYPE_CHECKING:
    from sessions_server.domain.models import Json

Test: TypeAlias = ColumnElement[bool]

_MOST_PARTS: Final = 400
_MOST_NESTED_LISTS: Final = 3

ORDER: Final[dict[Operator, Callable[[Any, Any], Any]]] = {
    Operator.GT: gt,
    Operator.GTE: ge,
    Operator.LT: lt,
    Operator.LTE: le,
}


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
    parts = 0
    for path, _, operand in conditions:
        count, lists = _size(operand)
        parts += count
        if lists > _MOST_NESTED_LISTS or parts > _MOST_PARTS:
            raise _refused(
                field,
                f"A filter compares at most {_MOST_PARTS} values, and lists nested at most {_MOST_NESTED_LISTS} deep.",
            )
        if "\0" in "".join(path) or r"\u0000" in stored_json(operand):
            raise _refused(field, "U+0000 is never stored in what is searched; leave it out of the filter.")


def _size(operand: Json) -> tuple[int, int]:
    """The number of plain values, and how deep lists nest."""
    if not isinstance(operand, (dict, list)):
        return 1, 0
    items = [_size(item) for item in (operand.values() if isinstance(operand, dict) else operand)]
    deepest = max((lists for _, lists in items), default=0)
    return sum(count for count, _ in items), deepest + isinstance(operand, list)


def _refused(field: str, sentence: str) -> InvalidRequest:
    return InvalidRequest([Violation(field, sentence)])
