"""Drives a store through writes and reads of records, with defaults for everything that a test does not set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessions_server.domain.filters import parse_filter
from sessions_server.domain.models import JsonObject, Micros, SessionKey
from sessions_server.domain.record_reads import RecordOrder, RecordQuery
from sessions_server.domain.records import DeleteRecord, PutRecord, Record, RecordName, Records, Scope
from sessions_server.storage.content import Content
from sessions_server.storage.records import load_records, lock_records, save_records

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.storage.store import Store

IN_SESSION = Scope("default", session_id="s")
OF_USER = Scope("default", user_id="u")
OF_TENANT = Scope("default")


def name(key: str, *collection: str, scope: Scope = OF_TENANT) -> RecordName:
    return RecordName(scope, collection or ("c",), key)


def put(
    key: str | RecordName, value: bytes = b"", labels: JsonObject | None = None, **more: Any
) -> PutRecord:
    wanted = name(key) if isinstance(key, str) else key
    return PutRecord(wanted, value, labels or {}, more.pop("etag", "e"), **more)


def delete(key: str | RecordName, *, prefix: bool = False) -> DeleteRecord:
    return DeleteRecord(name(key) if isinstance(key, str) else key, prefix)


def query(*collection: str, scope: Scope = OF_TENANT, **more: Any) -> RecordQuery:
    conditions = parse_filter(more.pop("filter", {}))
    more["order"] = RecordOrder(more.pop("order", "key"))
    return RecordQuery(scope, collection=collection or ("c",), conditions=conditions, **more)


async def write(
    store: Store, *operations: PutRecord | DeleteRecord, data_key: bytes | None = None
) -> Records:
    """The results of the operations, in one transaction."""
    rules, runner = store._rules, store._runner

    def work(connection: Connection) -> Records:
        names = [each.name for each in operations if not getattr(each, "prefix", False)]
        prefixes = [each.name for each in operations if getattr(each, "prefix", False)]
        now = lock_records(connection, names, prefixes, locks=rules.backend.locks, now=runner.now())
        assert now is not None
        before = after = load_records(connection, names, prefixes, rules=rules, now=now, starts={})
        for operation in operations:
            if isinstance(operation, PutRecord):
                after, _ = after.put(operation, now)
            else:
                after, _ = after.delete(operation, rules.limits)

        def content_of(key: SessionKey) -> Content:
            return Content(rules.cells, key, data_key)

        save_records(connection, before, after, content_of=content_of, starts={}, erased=(), rules=rules)
        return after

    return await store._write(work)


async def listed(store: Store, wanted: RecordQuery) -> list[str]:
    """The keys of all pages."""
    return [record.name.key for record in await all_of(store, wanted)]


async def all_of(store: Store, wanted: RecordQuery) -> list[Record]:
    found: list[Record] = []
    while True:
        page = await store.records(wanted)
        found += page.records
        if page.next is None:
            return found
        wanted = wanted._replace(after=page.next)


def micros(seconds: float) -> Micros:
    return Micros(int(seconds * 1_000_000))
