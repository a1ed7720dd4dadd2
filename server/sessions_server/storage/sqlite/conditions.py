"""Metadata conditions in SQLite's SQL; what they mean, `storage/conditions.py` says.

A value is a row of json_each: its type, and the value as SQL has it, or the JSON text of an object or list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from sessions_server.domain.filters import Condition, Operator
from sessions_server.domain.limits import MAX_DEPTH
from sessions_server.storage.conditions import ORDER, Test, stored_json

if TYPE_CHECKING:
    from sessions_server.domain.models import Json


def sql_of(condition: Condition, document: sa.ColumnElement[Any]) -> Test:
    path, operator, operand = condition
    document = _if_valid(document)
    if operator is Operator.NE:
        return sa.not_(_at_path(document, path, lambda value: _equals(value, operand)))
    if operator is Operator.EXISTS:
        exists = _at_path(document, path, lambda _: sa.true())
        return exists if operand is True else sa.not_(exists)
    return _at_path(document, path, lambda value: _test(value, operator, operand))


def _if_valid(document: Any) -> Any:
    """A document that is damaged holds nothing: json_each would fail the search of all the others."""
    return sa.case((sa.func.json_valid(document) == 1, document), else_=sa.literal_column("'{}'"))


def _test(value: Any, operator: Operator, operand: Json) -> Test:
    if operator is Operator.EQ:
        return _equals(value, operand)
    if operator is Operator.IN:
        return sa.or_(*(_equals(value, item) for item in cast("list[Json]", operand)))
    if operator is Operator.CONTAINS:
        return _contains(value, operand)
    same_type = value.type == "text" if isinstance(operand, str) else value.type.in_(("integer", "real"))
    return sa.and_(same_type, ORDER[operator](value.value, _operand(operand)))


def _at_path(document: Any, path: tuple[str, ...], test: Callable[[Any], Test]) -> Test:
    """Whether there is a value at the path, and it passes."""
    if len(path) > MAX_DEPTH:
        return sa.false()
    return _below(document, path, test)


def _below(document: Any, path: tuple[str, ...], test: Callable[[Any], Test]) -> Test:
    """One flat join for the whole path: SQLite's parser does not nest deeply."""
    members = [_members(document)]
    for _ in path[1:]:
        members.append(_members(_if_type(members[-1].c, "object", "{}")))
    steps = (member.c.key == key for member, key in zip(members, path, strict=True))
    return sa.select(sa.literal_column("1")).select_from(*members).where(*steps, test(members[-1].c)).exists()


def _members(document: Any) -> Any:
    return sa.func.json_each(document).table_valued("key", "type", "value", joins_implicitly=True).alias()


def _if_type(value: Any, kind: str, otherwise: str) -> Any:
    """The value's JSON text if it is of a kind: json_each cannot be asked about a plain text."""
    return sa.case((value.type == kind, value.value), else_=sa.literal_column(f"'{otherwise}'"))


def _equals(value: Any, operand: Json) -> Test:
    if isinstance(operand, (dict, list)):
        kind = "object" if isinstance(operand, dict) else "array"
        return sa.and_(value.type == kind, value.value == stored_json(operand))
    if operand is None or isinstance(operand, bool):
        return sa.and_(value.type == ("null" if operand is None else "true" if operand else "false"))
    same_type = value.type == "text" if isinstance(operand, str) else value.type.in_(("integer", "real"))
    return sa.and_(same_type, value.value == _operand(operand))


def _operand(operand: Json) -> Any:
    """A number is read by SQLite from its JSON, as the stored one is, so that both become the same double."""
    return (
        operand
        if isinstance(operand, str)
        else sa.func.json_extract(stored_json(operand), sa.literal_column("'$'"))
    )


def _contains(value: Any, operand: Json) -> Test:
    if isinstance(operand, (dict, list)):
        return _holds(value, operand)
    in_list = _item_exists(value, lambda item: _equals(item, operand))
    if isinstance(operand, str):
        return sa.or_(in_list, sa.and_(value.type == "text", sa.func.instr(value.value, operand) > 0))
    return in_list


def _holds(value: Any, operand: Json) -> Test:
    if isinstance(operand, dict):
        members = _if_type(value, "object", "{}")
        parts = (_below(members, path, partial(_holds, operand=part)) for path, part in _parts(operand, ()))
        return sa.and_(value.type == "object", *parts)
    if isinstance(operand, list):
        parts = (_item_exists(value, partial(_holds, operand=item)) for item in operand)
        return sa.and_(value.type == "array", *parts)
    return _equals(value, operand)


def _parts(operand: Json, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Json]]:
    """What an object says, each with its path."""
    if isinstance(operand, dict) and (operand or not path):
        for key, item in operand.items():
            yield from _parts(item, (*path, key))
    else:
        yield path, operand


def _item_exists(value: Any, test: Callable[[Any], Test]) -> Test:
    items = _members(_if_type(value, "array", "[]"))
    found = sa.select(sa.literal_column("1")).select_from(items).where(test(items.c)).exists()
    return sa.and_(value.type == "array", found)
