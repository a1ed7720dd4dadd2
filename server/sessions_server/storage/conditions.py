"""Conditions on metadata and labels in SQL: what they mean, whatever the database. A test compares them with Python.

A path leads through objects only. Values of different types are never equal and never in an order: `true` is not 1,
"1" is not 1. Texts are in the order of their code points. A condition fails where its path leads nowhere, except `$ne`
and `$exists: false`. An object holds another when it has all its keys with values that hold its values; a list holds
another when it holds each of its items; anything else holds its equal. `$contains` asks whether an object holds an
object, a list holds a list or an item, a text has a part. Paths and values are bound parameters, without exception.
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
    """The text in which metadata is stored: equal values have equal texts."""
    return canonical(_unified(value)).decode()


def _unified(value: Json) -> Json:
    """Numbers that are equal are written alike: 1.0 as 1."""
    if isinstance(value, dict):
        return {key: _unified(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unified(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def check(conditions: Iterable[Condition], *, field: str) -> None:
    """Refuses what nothing stored can match, or what SQLite cannot parse. The field is the request's that has them.
    Raises InvalidRequest."""
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
    """How many plain values there are, and how deep lists nest."""
    if not isinstance(operand, (dict, list)):
        return 1, 0
    items = [_size(item) for item in (operand.values() if isinstance(operand, dict) else operand)]
    deepest = max((lists for _, lists in items), default=0)
    return sum(count for count, _ in items), deepest + isinstance(operand, list)


def _refused(field: str, sentence: str) -> InvalidRequest:
    return InvalidRequest([Violation(field, sentence)])
