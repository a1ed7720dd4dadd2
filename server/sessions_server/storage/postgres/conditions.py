"""Metadata conditions in PostgreSQL's SQL; their meaning is defined in `storage/conditions.py`.

A value is a jsonb; NULL if the path does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from sessions_server.domain.filters import Condition, Operator
from sessions_server.storage.conditions import ORDER, Test, stored_json

if TYPE_CHECKING:
    from sessions_server.domain.models import Json


def sql_of(condition: Condition, document: sa.ColumnElement[Any]) -> Test:
    value = _jsonb_at(document, condition.path)
    test: Test = _test(value, condition.operator, condition.operand)
    return test


def _jsonb_at(document: sa.ColumnElement[Any], path: tuple[str, ...]) -> Any:
    value: Any = sa.type_coerce(document, JSONB)
    for key in path:  # with a string this operator only steps into objects
        value = value.op("->", return_type=JSONB())(sa.cast(key, sa.Text))
    return value


def _test(value: Any, operator: Operator, operand: Json) -> Any:
    if operator is Operator.EXISTS:
        return value.is_not(None) if operand is True else value.is_(sa.null())
    if operator is Operator.EQ:
        return value == _jsonb(operand)
    if operator is Operator.NE:
        return value.is_distinct_from(_jsonb(operand))
    if operator is Operator.IN:  # a list also "contains" (@>) a list, so only plain values are compared here
        return sa.and_(_typeof(value).not_in(("object", "array")), _jsonb(operand).op("@>")(value))
    if operator is Operator.CONTAINS:
        return _contains(value, operand)
    if isinstance(operand, str):
        return sa.and_(_typeof(value) == "string", ORDER[operator](_text(value), operand))
    return sa.and_(_typeof(value) == "number", ORDER[operator](value, _jsonb(operand)))


def _contains(value: Any, operand: Json) -> Test:
    # A list also "contains" (@>) a plain value, so a list is always compared with a list, and an object with an object.
    if isinstance(operand, dict):
        return sa.and_(_typeof(value) == "object", value.op("@>")(_jsonb(operand)))
    if isinstance(operand, list):
        return sa.and_(_typeof(value) == "array", value.op("@>")(_jsonb(operand)))
    in_list = sa.and_(_typeof(value) == "array", value.op("@>")(_jsonb([operand])))
    if isinstance(operand, str):
        return sa.or_(in_list, sa.and_(_typeof(value) == "string", sa.func.strpos(_text(value), operand) > 0))
    return in_list


def _typeof(value: Any) -> Any:
    return sa.func.jsonb_typeof(value)


def _text(value: Any) -> Any:
    return value.op("#>>", return_type=sa.Text())(sa.literal_column("'{}'")).collate("C")


def _jsonb(value: Json) -> Any:
    return sa.cast(sa.bindparam(None, stored_json(value), type_=sa.Text), JSONB)
