"""Pages of records are read with few statements, and records that are listed again are not parsed again; what is stored
is authoritative."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sessions_server.domain.commit import Commit
from sessions_server.domain.records import PutRecord
from sessions_server.storage.record_lists import INLINE_BYTES
from tests.conformance.harness import KEY, Harness, create
from tests.conformance.record_harness import IN_SESSION, all_of, delete, micros, name, put, query, write
from tests.conformance.test_plans import recorded_statements

if TYPE_CHECKING:
    from sessions_server.domain.ports import Cells
    from sessions_server.domain.record_reads import RecordQuery
    from sessions_server.domain.records import Record
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

LARGE = b"x" * (INLINE_BYTES + 1)
OF_SESSIONS = query("c", all_sessions=True)
FILTERED = query("c", scope=IN_SESSION, filter={"kind": "a"})


async def page(bench: Harness, wanted: RecordQuery) -> tuple[Record, ...]:
    return (await bench.store.records(wanted)).records


async def test_a_page_has_small_and_large_values_in_order(bench: Harness) -> None:
    await bench.do(create())
    values = {"1": b"small", "2": LARGE, "3": b"", "4": LARGE + b"y", "5": b"s" * INLINE_BYTES}
    for scope in (IN_SESSION, name("").scope):
        puts = [put(name(key, scope=scope), value, {"kind": "a"}) for key, value in values.items()]
        await write(bench.store, *puts)
    for wanted in (OF_SESSIONS, FILTERED, query("c")):
        found = await page(bench, wanted)
        assert [(each.name.key, each.value) for each in found] == list(values.items())
        keys = await page(bench, wanted._replace(keys_only=True))
        assert [(each.name.key, each.value) for each in keys] == [(key, b"") for key in values]


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("order", ["key", "key desc", "time", "time desc"])
async def test_pages_of_values_are_those_of_their_records(
    bench: Harness, cells: Cells, encrypted: bool, order: str
) -> None:
    await bench.do(create(data_key=cells.new_key(*KEY) if encrypted else None))
    values = {"1": b"small", "2": LARGE, "3": b"", "4": LARGE + b"y", "5": b"s" * INLINE_BYTES}
    puts = [
        PutRecord(name(key, scope=IN_SESSION), value, {}, "e", time=micros(9 - int(key)))
        for key, value in values.items()
    ]
    await bench.commit(Commit(key=KEY, operations=tuple(puts)))
    for some in (
        query("c", all_sessions=True, order=order, limit=2),
        query("c", scope=IN_SESSION, order=order, limit=2),
        query(scope=IN_SESSION, subtree=True, order=order, limit=2),
        query("c", scope=IN_SESSION, order=order, limit=2, refresh_ttl=True),
    ):
        expected = [record.value for record in await all_of(bench.store, some)]
        assert len(expected) == len(values)
        wanted, found, sizes = some._replace(values_only=True), list[bytes](), list[int]()
        while True:
            page = await bench.store.records(wanted)
            assert page.records == ()
            found += page.values
            sizes.append(len(page.values))
            if page.next is None:
                break
            wanted = wanted._replace(after=page.next)
        assert (found, sizes) == (expected, [2, 2, 1])


async def test_a_page_of_small_values_takes_one_statement(
    file_url: str, opener: Opener, clock: HandClock
) -> None:
    with recorded_statements() as statements:
        store = opener(file_url)
        await store.start()
        await write(store, *(put(str(number), b"value") for number in range(20)))
        statements.clear()
        assert len(await page(Harness(store, clock), query("c"))) == 20
        assert sum("records" in each for each in statements) == 1
        await store.close()


async def test_a_record_that_is_listed_again_is_the_same_until_it_is_written(bench: Harness) -> None:
    await bench.do(create())
    named = name("k", scope=IN_SESSION)
    await write(bench.store, put(named, b"first", {"kind": "a"}, ttl=micros(5)))
    for wanted in (OF_SESSIONS, FILTERED):
        (first,) = await page(bench, wanted)
        (again,) = await page(bench, wanted)
        assert again is first
    await write(bench.store, put(named, b"other", {"kind": "a"}, ttl=micros(5)))
    (written,) = await page(bench, FILTERED)
    assert (written.value, written.etag) == (b"other", first.etag)
    bench.clock.turn(seconds=3)
    await bench.store.record(named, refresh_ttl=True)
    (refreshed,) = await page(bench, FILTERED)
    assert refreshed == written._replace(expire_time=micros(bench.clock.now() / 1_000_000 + 5))
    bench.clock.turn(seconds=6)
    assert await page(bench, FILTERED) == ()


async def test_a_deleted_record_is_not_listed_from_memory(bench: Harness) -> None:
    await write(bench.store, put("k", b"first"))
    assert len(await page(bench, query("c"))) == 1
    await write(bench.store, delete("k"))
    assert await page(bench, query("c")) == ()
