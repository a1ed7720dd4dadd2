"""Many records that an import replaces are hidden at once and erased in steps: nobody can tell when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from sessions_server.domain.commit import Commit
from sessions_server.domain.errors import StillErasing
from sessions_server.domain.fork import Fork
from sessions_server.domain.operations import ImportRecords
from sessions_server.domain.record_reads import CollectionQuery
from sessions_server.domain.records import (
    DeleteRecord,
    PutRecord,
    Record,
    RecordIs,
    RecordsDeleted,
    RecordState,
    Scope,
)
from sessions_server.storage.erasure import FEW
from tests.conformance.harness import KEY, Harness, create, key
from tests.conformance.importing import EARLIER
from tests.conformance.record_harness import IN_SESSION, all_of, listed, name, query
from tests.conformance.test_hidden import STEP, erase_all, stored
from tests.support import commits as c

if TYPE_CHECKING:
    from sessions_server.domain.models import JsonObject, SessionKey
    from sessions_server.domain.ports import Cells

MANY: Final = 2 * FEW + 40
OLD: Final = [f"k{number:04}" for number in range(MANY)]
NEW: Final = [f"k{number:04}" for number in range(0, 2 * MANY, 40)]
"""Half of them have the names of old ones."""


def old(key_: str, scope: Scope = IN_SESSION) -> PutRecord:
    return PutRecord(name(key_, scope=scope), b"old", {"of": "old", "k": key_}, "e")


def new(key_: str) -> Record:
    labels: JsonObject = {"of": "new", "k": key_}
    return Record(
        name(key_, scope=IN_SESSION), b"new", "", labels, EARLIER, None, "n", EARLIER, EARLIER, None
    )


async def fill(bench: Harness, *, data_key: bytes | None = None) -> None:
    await bench.do(create(data_key=data_key))
    await bench.commit(Commit(key=KEY, operations=tuple(map(old, OLD))))
    await bench.commit(
        Commit(key=KEY, operations=(PutRecord(name("o", "other", scope=IN_SESSION), b"", {}, "e"),))
    )


async def replace(bench: Harness, *keys: str) -> None:
    session = await bench.store.session(KEY)
    opening = c.import_session(key=KEY, exported=session, context={}, message_count=0)
    restored = ImportRecords(tuple(map(new, keys)))
    await bench.commit(opening._replace(operations=(*opening.operations, restored)))


async def check(bench: Harness, keys: list[str], session: SessionKey = KEY) -> None:
    """Only these records are there."""
    store, scope = bench.store, Scope(*session)
    assert await listed(store, query(scope=scope)) == keys
    assert await listed(store, query(scope=scope, filter={"of": "new"})) == keys
    for wanted in (
        query(scope=scope, filter={"of": "old"}),
        query(scope=scope, filter={"k": "k0001"}),
        query("other", scope=scope),
    ):
        assert await listed(store, wanted) == []
    assert {record.value for record in await all_of(store, query(scope=scope))} <= {b"new"}
    assert await store.record(name("k0001", scope=scope)) is None
    assert await store.record(name("k0001", scope=scope), refresh_ttl=True) is None
    found = await store.collections(CollectionQuery(scope, False, (), 0, 10))
    assert found.paths == ((("c",),) if keys else ())


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_nothing_replaced_can_be_read_before_it_is_erased(
    bench: Harness, cells: Cells, encrypted: bool
) -> None:
    await fill(bench, data_key=cells.new_key(*KEY) if encrypted else None)
    await replace(bench, *NEW)
    assert await stored(bench, "SELECT count(*) FROM records") == MANY + 1 + len(NEW)
    for number in range(2):
        await check(bench, NEW)
        everywhere = await all_of(bench.store, query(all_sessions=True))
        assert [each.name.key for each in everywhere if each.name.scope == IN_SESSION] == NEW
        fork = Fork(
            source=KEY,
            key=key(f"fork {number}"),
            at=None,
            log_id="f",
            data_key=cells.new_key("default", f"fork {number}") if encrypted else None,
        )
        await bench.store.fork(fork)
        await check(bench, NEW, fork.key)
        steps = await erase_all(bench)
        assert not steps or max(steps) <= STEP
    assert await stored(bench, "SELECT count(*) FROM records") == 3 * len(NEW)
    assert await stored(bench, "SELECT count(*) FROM record_terms") == 3 * 2 * len(NEW)
    assert await stored(bench, "SELECT count(*) FROM erasures") == 0


async def test_writes_find_nothing_that_is_hidden(bench: Harness) -> None:
    await fill(bench)
    await replace(bench)
    absent = RecordIs(name("k0001", scope=IN_SESSION), RecordState.ABSENT)
    done = await bench.commit(
        Commit(key=KEY, conditions=(absent,), operations=(DeleteRecord(name("k0002", scope=IN_SESSION)),))
    )
    assert done.results == (RecordsDeleted(0),)
    done = await bench.commit(
        Commit(key=KEY, operations=(DeleteRecord(name("k", scope=IN_SESSION), prefix=True),))
    )
    assert done.results == (RecordsDeleted(0),)
    await bench.store.erase(STEP)
    record = new("k0500")
    put = PutRecord(record.name, record.value, record.labels, "n", if_absent=True)
    await bench.commit(Commit(key=KEY, operations=(put,)))
    for _ in range(2):
        await check(bench, ["k0500"])
        await erase_all(bench)
    assert await stored(bench, "SELECT count(*) FROM records") == 1
    assert await stored(bench, "SELECT count(*) FROM record_terms") == 2
    done = await bench.commit(
        Commit(key=KEY, operations=(DeleteRecord(name("k", scope=IN_SESSION), prefix=True),))
    )
    assert done.results == (RecordsDeleted(1),)


async def test_a_session_replaced_twice_has_the_last_records_only(bench: Harness) -> None:
    await fill(bench)
    await replace(bench, *OLD)
    await bench.store.erase(STEP)
    await replace(bench, "k0003")
    for _ in range(2):
        await check(bench, ["k0003"])
        await erase_all(bench)
    assert await stored(bench, "SELECT count(*) FROM records") == 1


async def test_a_replaced_session_can_be_deleted_and_created_again(bench: Harness) -> None:
    await fill(bench)
    await replace(bench, *NEW)
    await bench.store.erase(STEP)
    await bench.do(c.delete(key=KEY))
    with pytest.raises(StillErasing):
        await bench.do(create())
    await erase_all(bench)
    assert await stored(bench, "SELECT count(*) FROM records") == 0
    assert await stored(bench, "SELECT count(*) FROM record_terms") == 0
    await bench.do(create())
    await bench.commit(Commit(key=KEY, operations=(old("k0000"),)))
    assert await listed(bench.store, query(scope=IN_SESSION)) == ["k0000"]


async def test_a_damaged_session_loses_no_record(bench: Harness) -> None:
    await fill(bench)
    await replace(bench, *NEW)
    await bench.store._runner.write(
        lambda connection: connection.exec_driver_sql("UPDATE sessions SET hidden = '{'")
    )
    await erase_all(bench)
    assert await stored(bench, "SELECT count(*) FROM records") == len(NEW)
