"""Items of LangGraph's stores as records of the tenant: the namespace is the collection path."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    PutOp,
    SearchItem,
    SearchOp,
    validate_op_namespace as validate,
)

from sessions_client import RecordName, Scope, ops
from sessions_client.integrations import _langgraph_values as values
from sessions_client.integrations._ids import key_of
from sessions_client.integrations._payloads import JSON, dump, load
from sessions_client.integrations._reads import PAGE, read_all

if TYPE_CHECKING:
    from langgraph.store.base import MatchCondition, Op, Result

    from sessions_client import Record
    from sessions_client.integrations._steps import Steps

ROOT: Final = "langgraph-store"
_TENANT: Final = Scope(tenant=True)
_KEY_BYTES: Final = 1_024
_KEY: Final = "key"
"""The label with the key, as JSON, of a record whose own key cannot be the same."""
_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def batch(operations: Sequence[Op], *, refreshes: bool) -> Steps[list[Result]]:
    """The result of each operation. `refreshes`: whether reads that ask for it restart the lifetime of what they
    find."""
    for each in operations:
        validate(each)
    reads = {
        index: _read_of(each, refreshes=refreshes)
        for index, each in enumerate(operations)
        if isinstance(each, GetOp | SearchOp)
    }
    found = yield from read_all(list(reads.values()))
    first = dict(zip(reads, found, strict=True))
    results: list[Result] = []
    for index, each in enumerate(operations):
        if isinstance(each, GetOp):
            record = first[index]
            results.append(None if record is None else Item(**_fields(record)))
        elif isinstance(each, SearchOp):
            results.append((yield from _search(each, first[index], refreshes=refreshes)))
        elif isinstance(each, ListNamespacesOp):
            results.append((yield from _namespaces(each)))
        else:
            results.append(None)
    yield from _write([each for each in operations if isinstance(each, PutOp)])
    return results


def _read_of(operation: GetOp | SearchOp, *, refreshes: bool, token: str | None = None) -> ops.Read:
    if isinstance(operation, GetOp):
        refresh = bool(refreshes and operation.refresh_ttl)
        return ops.read_record(_name(operation.namespace, operation.key), refresh_ttl=refresh)
    most = PAGE if operation.filter else min(PAGE, operation.offset + operation.limit)
    return ops.list_records(
        _TENANT,
        (ROOT, *operation.namespace_prefix),
        subtree=True,
        order_by="time desc",
        page_size=max(1, most),
        page_token=token,
    )


def _search(operation: SearchOp, page: Any, *, refreshes: bool) -> Steps[list[SearchItem]]:
    """The matching items, the last written first."""
    found = yield from _found(operation, page)
    if refreshes and operation.refresh_ttl:
        names = [_name(item.namespace, item.key) for item in found]
        yield from read_all([ops.read_record(name, refresh_ttl=True) for name in names])
    return found


def _found(operation: SearchOp, page: Any) -> Steps[list[SearchItem]]:
    wanted = operation.offset + operation.limit
    found: list[SearchItem] = []
    while True:
        items = (SearchItem(**_fields(record)) for record in page or ())
        found += [item for item in items if fits(item.value, operation.filter or {})]
        # A page may be empty and still have a next page.
        if len(found) >= wanted or page is None or not page.next_page_token:
            return found[operation.offset : wanted]
        read = _read_of(operation, refreshes=False, token=page.next_page_token)
        (page,) = yield from read_all([read])


def _namespaces(operation: ListNamespacesOp) -> Steps[list[tuple[str, ...]]]:
    conditions = operation.match_conditions or ()
    prefix: tuple[str, ...] = ()
    for condition in conditions:
        if condition.match_type == "prefix" and "*" not in condition.path:
            prefix = max(prefix, tuple(condition.path), key=len)
    paths = yield lambda client: client.records.list_collections(_TENANT, (ROOT, *prefix))
    fitting = {path[1:] for path in paths if all(_matches(each, path[1:]) for each in conditions)}
    cut = sorted({path[: operation.max_depth] for path in fitting})
    return cut[operation.offset : operation.offset + operation.limit]


def _write(puts: Sequence[PutOp]) -> Steps[None]:
    last = {(put.namespace, put.key): put for put in puts}
    sized = [_written(put) for put in last.values()]
    for group in values.in_commits(sized):
        yield values.committing(None, group)


def _written(put: PutOp) -> tuple[ops.Operation, int]:
    name = _name(put.namespace, put.key)
    if put.value is None:
        return ops.delete(name), 0
    value = dump(put.value)
    ttl = None if put.ttl is None else timedelta(minutes=put.ttl)
    labels = None if name.key == put.key else {_KEY: json.dumps(put.key)}
    return ops.put(name, value, value_type=JSON, ttl=ttl, labels=labels), len(value)


def _name(namespace: tuple[str, ...], key: str) -> RecordName:
    return RecordName(_TENANT, (ROOT, *namespace), key if _fits(key) else key_of(key))


def _fits(key: str) -> bool:
    """Whether a record can have this key."""
    try:
        return "\0" not in key and len(key.encode()) <= _KEY_BYTES
    except UnicodeEncodeError:
        return False


def _fields(record: Record) -> dict[str, Any]:
    return {
        "value": load(record.value),
        "key": json.loads(record.labels[_KEY]) if record.labels else record.name.key,
        "namespace": record.name.collection[1:],
        "created_at": record.create_time,
        "updated_at": record.update_time,
    }


def _matches(condition: MatchCondition, namespace: tuple[str, ...]) -> bool:
    size = len(condition.path)
    if len(namespace) < size:
        return False
    part = namespace[:size] if condition.match_type == "prefix" else namespace[len(namespace) - size :]
    return all(wanted in {"*", label} for wanted, label in zip(condition.path, part, strict=True))


def fits(value: Any, condition: Any) -> bool:
    """Whether a value matches a filter: equal, an object with these fields, or within `$gt` and the like."""
    if not isinstance(condition, Mapping):
        return bool(value == condition)
    if any(key.startswith("$") for key in condition):
        return all(_compares(value, name, bound) for name, bound in condition.items())
    return isinstance(value, Mapping) and all(fits(at(value, key), each) for key, each in condition.items())


def at(value: Mapping[str, Any], key: str) -> Any:
    """What a key of a filter means: the value of this key or, as in LangGraph's SQLite store, at this dotted path."""
    if key in value or "." not in key:
        return value.get(key)
    first, _, rest = key.partition(".")
    inner = value.get(first)
    return at(inner, rest) if isinstance(inner, Mapping) else None


def _compares(value: Any, name: str, bound: Any) -> bool:
    if name in {"$eq", "$ne"}:
        return bool((value == bound) is (name == "$eq"))
    if name not in _ORDERS:
        raise ValueError(f"A filter cannot use {name!r}; use $eq, $ne, $gt, $gte, $lt or $lte.")
    try:
        return _ORDERS[name](value, bound)
    except TypeError:
        return False
