"""Metadata conditions in SQL. What they mean is the same on both databases; a test compares both with plain Python.

A path leads through objects only. Values of different types are never equal and never in an order: `true` is not 1,
"1" is not 1. Texts are in the order of their code points. A condition fails where its path leads nowhere, except `$ne`
and `$exists: false`. An object holds another when it has all its keys with values that hold its values; a list holds
another when it holds each of its items; anything else holds its equal. `$contains` asks whether an object holds an
object, a list holds a list or an item, a text has a part. Paths and values are bound parameters, without exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.expression import ColumnElement

from sessions_server.domain.errors import InvalidRequest, Violation
from sessions_server.domain.filters import Condition, Operator
from sessions_server.domain.jsonbytes import canonical
from sessions_server.domain.limits import MAX_DEPTH
from sessions_server.storage.schema import sessions

if TYPE_CHECKING:
    from sessions_server.domain.models import Json

Test: TypeAlias = ColumnElement[bool]

_MOST_PARTS: Final = 400
_MOST_NESTED_LISTS: Final = 3

_ORDER: Final[dict[Operator, Callable[[Any, Any], Any]]] = {
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


def check(conditions: Iterable[Condition]) -> None:
    """Refuses what no metadata can match, or what SQLite cannot parse. Raises InvalidRequest."""
    parts = 0
    for path, _, operand in conditions:
        count, lists = _size(operand)
        parts += count
        if lists > _MOST_NESTED_LISTS or parts > _MOST_PARTS:
            raise _refused(
                f"A filter compares at most {_MOST_PARTS} values, and lists nested at most {_MOST_NESTED_LISTS} deep."
            )
        if "\0" in "".join(path) or r"\u0000" in stored_json(operand):
            raise _refused("Metadata never holds U+0000, so do not look for it.")


def _size(operand: Json) -> tuple[int, int]:
    """How many plain values there are, and how deep lists nest."""
    if not isinstance(operand, (dict, list)):
        return 1, 0
    items = [_size(item) for item in (operand.values() if isinstance(operand, dict) else operand)]
    deepest = max((lists for _, lists in items), default=0)
    return sum(count for count, _ in items), deepest + isinstance(operand, list)


def _refused(sentence: str) -> InvalidRequest:
    return InvalidRequest([Violation("metadata_filter", sentence)])


# SQLite. A value is a row of json_each: its type, and the value as SQL has it, or the JSON text of an object or list.


def sqlite_condition(condition: Condition) -> Test:
    path, operator, operand = condition
    if operator is Operator.NE:
        return sa.not_(_at_path(path, lambda value: _equals(value, operand)))
    if operator is Operator.EXISTS:
        exists = _at_path(path, lambda _: sa.true())
        return exists if operand is True else sa.not_(exists)
    return _at_path(path, lambda value: _sqlite_test(value, operator, operand))


def _sqlite_test(value: Any, operator: Operator, operand: Json) -> Test:
    if operator is Operator.EQ:
        return _equals(value, operand)
    if operator is Operator.IN:
        return sa.or_(*(_equals(value, item) for item in cast("list[Json]", operand)))
    if operator is Operator.CONTAINS:
        return _sqlite_contains(value, operand)
    same_type = value.type == "text" if isinstance(operand, str) else value.type.in_(("integer", "real"))
    return sa.and_(same_type, _ORDER[operator](value.value, _sqlite_operand(operand)))


def _at_path(path: tuple[str, ...], test: Callable[[Any], Test]) -> Test:
    """Whether there is a value at the path, and it passes."""
    if len(path) > MAX_DEPTH:
        return sa.false()
    return _below(sessions.c.metadata, path, test)


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
    return sa.and_(same_type, value.value == _sqlite_operand(operand))


def _sqlite_operand(operand: Json) -> Any:
    """A number is read by SQLite from its JSON, as the stored one is, so that both become the same double."""
    return (
        operand
        if isinstance(operand, str)
        else sa.func.json_extract(stored_json(operand), sa.literal_column("'$'"))
    )


def _sqlite_contains(value: Any, operand: Json) -> Test:
    if isinstance(operand, (dict, list)):
        return _sqlite_holds(value, operand)
    in_list = _item_exists(value, lambda item: _equals(item, operand))
    if isinstance(operand, str):
        return sa.or_(in_list, sa.and_(value.type == "text", sa.func.instr(value.value, operand) > 0))
    return in_list


def _sqlite_holds(value: Any, operand: Json) -> Test:
    if isinstance(operand, dict):
        members = _if_type(value, "object", "{}")
        parts = (
            _below(members, path, partial(_sqlite_holds, operand=part)) for path, part in _parts(operand, ())
        )
        return sa.and_(value.type == "object", *parts)
    if isinstance(operand, list):
        parts = (_item_exists(value, partial(_sqlite_holds, operand=item)) for item in operand)
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


# PostgreSQL. A value is a jsonb, NULL where the path leads nowhere.


def postgresql_condition(condition: Condition) -> Test:
    return cast("Test", _postgresql_test(_jsonb_at(condition.path), condition.operator, condition.operand))


def _jsonb_at(path: tuple[str, ...]) -> Any:
    if len(path) > MAX_DEPTH:
        return sa.cast(sa.null(), JSONB)
    value: Any = sa.type_coerce(sessions.c.metadata, JSONB)
    for key in path:  # the operator with a text steps into objects only
        value = value.op("->", return_type=JSONB())(sa.cast(key, sa.Text))
    return value


def _postgresql_test(value: Any, operator: Operator, operand: Json) -> Any:
    if operator is Operator.EXISTS:
        return value.is_not(None) if operand is True else value.is_(sa.null())
    if operator is Operator.EQ:
        return value == _jsonb(operand)
    if operator is Operator.NE:
        return value.is_distinct_from(_jsonb(operand))
    if operator is Operator.IN:
        return sa.or_(*(value == _jsonb(item) for item in cast("list[Json]", operand)))
    if operator is Operator.CONTAINS:
        return _postgresql_contains(value, operand)
    if isinstance(operand, str):
        return sa.and_(_typeof(value) == "string", _ORDER[operator](_text(value), operand))
    return sa.and_(_typeof(value) == "number", _ORDER[operator](value, _jsonb(operand)))


def _postgresql_contains(value: Any, operand: Json) -> Test:
    # A list also "contains" (@>) a plain value, so what is compared is always list with list, object with object.
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
