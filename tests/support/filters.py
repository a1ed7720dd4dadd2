"""The meaning of metadata filters in plain Python, to compare both databases with."""

from __future__ import annotations

from collections.abc import Callable
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Any

from sessions_server.domain.filters import Condition, Operator

if TYPE_CHECKING:
    from sessions_server.domain.models import Json, JsonObject

_NOWHERE = object()

_ORDER: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.GT: gt,
    Operator.GTE: ge,
    Operator.LT: lt,
    Operator.LTE: le,
}


def satisfies(metadata: JsonObject, condition: Condition) -> bool:
    path, operator, operand = condition
    found = _at(metadata, path)
    if operator is Operator.EXISTS:
        return (found is not _NOWHERE) is operand
    if operator is Operator.NE:
        return not equal(found, operand)
    if operator is Operator.EQ:
        return equal(found, operand)
    if operator is Operator.IN:
        return isinstance(operand, list) and any(equal(found, item) for item in operand)
    if operator is Operator.CONTAINS:
        return _contains(found, operand)
    return _kind(found) == _kind(operand) and _ORDER[operator](found, operand)


def equal(one: Any, other: Any) -> bool:
    if _kind(one) != _kind(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def holds(one: Any, other: Any) -> bool:
    if isinstance(other, dict):
        return isinstance(one, dict) and all(key in one and holds(one[key], other[key]) for key in other)
    if isinstance(other, list):
        return isinstance(one, list) and all(any(holds(item, wanted) for item in one) for wanted in other)
    return equal(one, other)


def _contains(found: Any, operand: Json) -> bool:
    if isinstance(operand, (dict, list)):
        return holds(found, operand)
    if isinstance(found, str) and isinstance(operand, str):
        return operand in found
    return isinstance(found, list) and any(equal(item, operand) for item in found)


def _at(metadata: JsonObject, path: tuple[str, ...]) -> Any:
    value: Any = metadata
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return _NOWHERE
        value = value[key]
    return value


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None or value is _NOWHERE:
        return type(value).__name__
    return "number" if isinstance(value, (int, float)) else type(value).__name__
