"""Filters on metadata or labels: a list of conditions on paths, all of which must hold.

A path is dotted, or a JSON Pointer for keys with dots, like the paths of a context. Comparisons are typed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from sessions_server.domain.context import parse_path
from sessions_server.domain.errors import InvalidRequest, Violation

if TYPE_CHECKING:
    from sessions_server.domain.models import Json, JsonObject

MAX_CONDITIONS = 32

_PLACE_SENTENCE = (
    'Must be a path with the operators under it, such as `{"age": {"$gte": 18}}`; '
    "all conditions have to hold."
)
_WITHIN_SENTENCE = (
    "Operators must be directly under a dotted path, such as `a.b`, not inside an object or a list; "
    "to compare with keys that begin with `$` use `$eq`."
)


class Operator(StrEnum):
    EQ = "$eq"
    NE = "$ne"
    GT = "$gt"
    GTE = "$gte"
    LT = "$lt"
    LTE = "$lte"
    IN = "$in"
    EXISTS = "$exists"
    CONTAINS = "$contains"


class Condition(NamedTuple):
    path: tuple[str, ...]
    operator: Operator
    operand: Json
    """A list for IN. A bool for EXISTS. For CONTAINS an object to be contained, a value to be in a list, or a string to
    be in a string."""


def parse_filter(raw: JsonObject, *, field: str = "metadata_filter") -> tuple[Condition, ...]:
    """Reads `{"a.b": value | {"$op": operand, …} | {sub-object}}`. Raises InvalidRequest with every violation, reported
    for the request's `field`."""
    conditions: list[Condition] = []
    violations: list[str] = []
    for key, wanted in raw.items():
        try:
            path = parse_path(key)
        except ValueError as error:
            violations.append(str(error))
            continue
        if not path:
            violations.append("Must be a path such as `device.os`, or a JSON Pointer such as `/device.os`.")
        elif key.startswith("$") and path[0] != "$":
            violations.append(_PLACE_SENTENCE)
        elif isinstance(wanted, dict) and _has_operator(wanted):
            for name, operand in wanted.items():
                problem = _problem(name, operand)
                if problem:
                    violations.append(problem)
                else:
                    conditions.append(Condition(path, Operator(name), operand))
        elif _is_operator_within(wanted):
            violations.append(_WITHIN_SENTENCE)
        elif isinstance(wanted, dict):
            conditions.append(Condition(path, Operator.CONTAINS, wanted))
        else:
            conditions.append(Condition(path, Operator.EQ, wanted))
    if len(conditions) > MAX_CONDITIONS:
        violations.append(f"A filter has at most {MAX_CONDITIONS} conditions.")
    if violations:
        raise InvalidRequest(Violation(field, sentence) for sentence in violations)
    return tuple(conditions)


def _has_operator(wanted: JsonObject) -> bool:
    return any(name.startswith("$") for name in wanted)


def _is_operator_within(wanted: Json) -> bool:
    """Whether a value to be contained has keys that look like operators, which they would not be."""
    if isinstance(wanted, dict):
        return _has_operator(wanted) or any(map(_is_operator_within, wanted.values()))
    return isinstance(wanted, list) and any(map(_is_operator_within, wanted))


def _problem(name: str, operand: Json) -> str:
    if name not in list(Operator):
        return f"Unknown operator; use one of {', '.join(Operator)}."
    if name == Operator.IN:
        if not isinstance(operand, list) or not 1 <= len(operand) <= 100:
            return "`$in` takes a list of 1 to 100 values."
        if any(isinstance(item, (dict, list)) for item in operand):
            return "`$in` compares plain values, not objects or lists."
    if name == Operator.CONTAINS and _is_operator_within(operand):
        return _WITHIN_SENTENCE
    if name == Operator.EXISTS and not isinstance(operand, bool):
        return "`$exists` takes true or false."
    if name in (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE) and (
        isinstance(operand, bool) or not isinstance(operand, (int, float, str))
    ):
        return f"`{name}` compares with a number or a string."
    return ""
