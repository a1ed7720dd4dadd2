"""Metadata conditions in SQLite's SQL; their meaning is defined in `storage/conditions.py`.

A value is a row of json_each: its type, and its SQL value, or the JSON text of an object or list. Many values to
compare with are one parameter, in which SQLite looks up each stored one: the cost depends on the stored values, and the
size of the statement does not depend on the number of values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql.elements import Grouping

from sessions_server.domain.filters import Condition, Operator
from sessions_server.storage.conditions import (
    ORDER,
    NotPlain,
    Path,
    Shape,
    Test,
    are_flat,
    are_plain,
    item_parts,
    items_of,
    parts_of,
    shape_of,
    stored_json,
)

if TYPE_CHECKING:
    from sessions_server.domain.models import Json, JsonObject

Identity: TypeAlias = "tuple[str | int | float, ...]"
"""The identity of plain values: the type and SQL value of each, possibly preceded by keys."""

_MOST_JOINED: Final = 40
"""SQLite joins at most 64 tables."""

_MOST_BESIDE: Final = 20
"""The number of terms in one AND, which SQLite nests, up to 1,000 expressions."""


def sql_of(condition: Condition, document: sa.ColumnElement[Any]) -> Test:
    path, operator, operand = condition
    document = _if_valid(document)
    if operator is Operator.NE:
        return sa.not_(_below(document, path, lambda value: _equals(value, operand)))
    if operator is Operator.EXISTS:
        exists = _below(document, path, lambda _: sa.true())
        return exists if operand is True else sa.not_(exists)
    return _below(document, path, lambda value: _test(value, operator, operand))


def _if_valid(document: Any) -> Any:
    """Treats a damaged document as empty: json_each would otherwise fail the search for all others."""
    return sa.case((sa.func.json_valid(document) == 1, document), else_=sa.literal_column("'{}'"))


def _test(value: Any, operator: Operator, operand: Json) -> Test:
    if operator is Operator.EQ:
        return _equals(value, operand)
    if operator is Operator.IN:
        return _is_among(_identity_columns(value), {_identities((item,)) for item in items_of(operand)})
    if operator is Operator.CONTAINS:
        return _contains(value, operand)
    return sa.and_(_kind(value) == _kind_of(operand), ORDER[operator](value.value, _operand(operand)))


def _below(document: Any, path: Path, test: Callable[[Any], Test]) -> Test:
    """Whether there is a value at the path that passes the test."""
    members = _steps(document, len(path))
    return _exists(members, *_leads(members, path), test(members[-1].c))


def _steps(document: Any, count: int) -> list[Any]:
    """The members of an object, their members, and so on, as one flat join, because SQLite's parser limits nesting."""
    members = [_members(document)]
    for _ in range(count - 1):
        members.append(_members(_if_type(members[-1].c, "object", "{}")))
    return members


def _leads(members: Iterable[Any], path: Path) -> Iterator[Test]:
    return (member.c.key == key for member, key in zip(members, path, strict=True))


def _exists(tables: Iterable[Any], *tests: Test) -> Test:
    return sa.select(sa.literal_column("1")).select_from(*tables).where(*tests).exists()


def _members(document: Any) -> Any:
    return sa.func.json_each(document).table_valued("key", "type", "value", joins_implicitly=True).alias()


def _if_type(value: Any, kind: str, otherwise: str) -> Any:
    """The value's JSON text if it is of the given kind: json_each fails for plain strings."""
    return sa.case((value.type == kind, value.value), else_=sa.literal_column(f"'{otherwise}'"))


def _equals(value: Any, operand: Json) -> Test:
    if isinstance(operand, (dict, list)):
        kind = "object" if isinstance(operand, dict) else "array"
        return sa.and_(value.type == kind, value.value == stored_json(operand))
    if operand is None or isinstance(operand, bool):
        return sa.and_(value.type == ("null" if operand is None else "true" if operand else "false"))
    return sa.and_(_kind(value) == _kind_of(operand), value.value == _operand(operand))


def _operand(operand: Json) -> Any:
    """SQLite reads a number from its JSON, as for the stored one, so that both become the same double."""
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
        return _all([value.type == "object", *_members_hold(_if_type(value, "object", "{}"), operand)])
    if isinstance(operand, list):
        return _all([value.type == "array", *_items_hold(value, operand)])
    return _equals(value, operand)


def _members_hold(members: Any, operand: JsonObject) -> Iterator[Test]:
    """For each depth, one comparison for all plain values of an object, one for all items of lists, one for all objects
    and one for all lists that may contain anything. Lists that contain lists or objects are compared one by one."""
    values: dict[tuple[int, str], set[Identity]] = defaultdict(set)
    for path, part in parts_of(operand):
        if isinstance(part, dict):
            values[len(path), "object"].add(path)
        elif not isinstance(part, list):
            values[len(path), "plain"].add((*path, *_identities((part,))))
        elif not part:
            values[len(path), "array"].add(path)
        elif are_plain(part):
            values[len(path), "item"].update((*path, *_identities((item,))) for item in part)
        else:
            yield _below(members, path, partial(_holds, operand=part))
    for (depth, kind), wanted in values.items():
        steps = _steps(members, depth)
        keys = [step.c.key for step in steps]
        if kind in ("object", "array"):
            yield _count(steps, keys, wanted, steps[-1].c.type == kind)
        elif kind == "plain":
            yield _count(steps, [*keys, *_identity_columns(steps[-1].c)], wanted)
        else:
            items = _members(_if_type(steps[-1].c, "array", "[]"))
            yield _count([*steps, items], [*keys, *_identity_columns(items.c)], wanted)


def _items_hold(value: Any, operand: list[Json]) -> Iterator[Test]:
    """One comparison for all items that have values at the same paths. Items with lists that contain lists or objects,
    and items with very many values, are compared one by one."""
    alike: dict[Shape, list[list[Json]]] = defaultdict(list)
    for item in operand:
        parts = item_parts(item)
        if parts and are_flat(parts.values()) and sum(map(len, parts)) + len(parts) < _MOST_JOINED:
            shape = shape_of(parts)
            alike[shape].append([parts[path] for path, _ in shape])
        else:
            yield _item_exists(value, partial(_holds, operand=item))
    for shape, wanted in alike.items():
        yield _one_holds_each(value, shape, wanted)


def _one_holds_each(value: Any, shape: Shape, wanted: list[list[Json]]) -> Test:
    """Whether each wanted item, given as its values at the paths, is contained in an item of the list. The shape has
    the paths, and whether each is to be a list."""
    items = _members(_if_type(value, "array", "[]"))
    tables, ends = [items], []
    tests: list[Test] = []
    for path, _ in shape:
        steps = _steps(_if_type(items.c, "object", "{}"), len(path)) if path else []
        tables += steps
        tests += _leads(steps, path)
        ends.append((steps[-1] if path else items).c)
    if not any(is_list for _, is_list in shape):
        columns = [*chain.from_iterable(map(_identity_columns, ends))]
        return _count(tables, columns, {_identities(parts) for parts in wanted}, *tests)
    each = _members(
        stored_json([[part if isinstance(part, list) else [part] for part in parts] for parts in wanted])
    )
    for index, ((_, is_list), end) in enumerate(zip(shape, ends, strict=True)):
        said = _members(sa.func.json_extract(each.c.value, sa.literal_column(f"'$[{index}]'")))
        found = _members(_if_type(end, "array", "[]")) if is_list else None
        held = _same(said.c, end) if found is None else _exists([found], _same(said.c, found.c))
        tests.append(sa.not_(_exists([said], sa.not_(held))))
        tests += [end.type == "array"] if is_list else []
    return sa.not_(_exists([each], sa.not_(_exists(tables, *tests))))


def _item_exists(value: Any, test: Callable[[Any], Test]) -> Test:
    items = _members(_if_type(value, "array", "[]"))
    return sa.and_(value.type == "array", _exists([items], test(items.c)))


def _same(value: Any, other: Any) -> Test:
    return sa.tuple_(*_identity_columns(value)) == sa.tuple_(*_identity_columns(other))


def _count(tables: list[Any], columns: list[Any], wanted: Collection[Identity], *tests: Test) -> Test:
    """Whether all wanted rows are among the rows of the columns."""
    found = sa.select(sa.func.count(sa.distinct(sa.func.json_array(*columns)))).select_from(*tables)
    return found.where(*tests, _is_among(columns, wanted)).scalar_subquery() == len(wanted)


def _is_among(columns: list[Any], wanted: Collection[Identity]) -> Test:
    rows = _members(stored_json([[*each] for each in sorted(wanted, key=repr)]))
    found = (
        sa.func.json_extract(rows.c.value, sa.literal_column(f"'$[{index}]'"))
        for index in range(len(columns))
    )
    return sa.tuple_(*columns).in_(sa.select(*found))


def _identity_columns(value: Any) -> list[Any]:
    """The identity of a value; 1 and 1.0 are the same number."""
    return [_kind(value), sa.func.coalesce(value.value, sa.literal_column("''"))]


def _kind(value: Any) -> Any:
    return sa.case((value.type == "integer", "real"), else_=value.type)


def _kind_of(operand: Json) -> str:
    return "text" if isinstance(operand, str) else "real"


def _identities(values: Iterable[Json]) -> Identity:
    return tuple(chain.from_iterable(map(_identity, values)))


def _identity(value: Json) -> tuple[str, str | int | float]:
    """Raises NotPlain for an object or a list."""
    if value is None:
        return "null", ""
    if isinstance(value, bool):
        return ("true", 1) if value else ("false", 0)
    if isinstance(value, str):
        return "text", value
    if isinstance(value, (int, float)):
        return "real", value
    raise NotPlain(value)


def _all(tests: list[Test]) -> Test:
    """The conjunction of many tests, nested no deeper than SQLite allows."""
    while len(tests) > _MOST_BESIDE:
        tests = [
            Grouping(sa.and_(*tests[start : start + _MOST_BESIDE]))
            for start in range(0, len(tests), _MOST_BESIDE)
        ]
    return sa.and_(*tests)
