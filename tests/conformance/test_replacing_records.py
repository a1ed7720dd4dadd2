"""The records of an import in slices that replaces a session: stored beside the old ones, whose names they may have,
and read by nobody before the last slice."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import pytest

from sessions_server.domain.commit import Commit
from sessions_server.domain.errors import ImportUnderWay
from sessions_server.domain.fork import Fork
from sessions_server.domain.imports import Slice
from sessions_server.domain.models import Micros, SessionKey
from sessions_server.domain.operations import ImportRecords
from sessions_server.domain.record_reads import CollectionQuery
from sessions_server.domain.records import DeleteRecord, PutRecord, Record, RecordsDeleted, Scope
from sessions_server.service import transfer
from sessions_server.storage import record_lists
from tests.conformance.harness import KEY, OTHER, Harness, create, key
from tests.conformance.importing import EARLIER, Coming, erase_all, rows_of
from tests.conformance.record_harness import OF_TENANT, all_of, listed, micros, name, query
from tests.conformance.test_hidden import stored
from tests.conformance.test_imports import Importer, stream
from tests.support import commits as c

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessions_server.domain.models import JsonObject
    from sessions_server.domain.ports import Cells, Transaction

T = TypeVar("T")

SCOPE: Final = Scope(*KEY)
COLLECTIONS: Final = (("a",), ("a", "b"), ("c",))
ORDERS: Final = ("key", "key desc", "time", "time desc")
NOT_FIVE: Final[JsonObject] = {"n": {"$ne": 5}}
FILTERS: Final[tuple[JsonObject, ...]] = ({}, NOT_FIVE, {"of": "old"}, {"of": "new"})


class Life(NamedTuple):
    """The records that a session has before or after an import."""

    of: str
    numbers: range

    def records(self, session: SessionKey = KEY) -> list[Record]:
        """With the names and times of other lives, with other labels and values."""
        return [
            Record(
                name(f"k{number:03}", *COLLECTIONS[number % 3], scope=Scope(*session)),
                f"{self.of} {number}".encode(),
                "text",
                {"of": self.of, "n": number % 10},
                Micros(EARLIER + number // 4),
                None,
                f"{self.of}{number}",
                EARLIER,
                EARLIER,
                None,
            )
            for number in self.numbers
        ]

    def slices(self, session: SessionKey = KEY) -> Iterator[Slice]:
        records = sorted(self.records(session), key=lambda each: each.name)
        for start in range(0, len(records), 10):
            yield (ImportRecords(tuple(records[start : start + 10])),)


OLD: Final = Life("old", range(40))
NEW: Final = Life("new", range(20, 80))
NEWER: Final = Life("newer", range(10, 70, 4))


class Replacing(Coming):
    """An import of few messages and the records of one life."""

    def __init__(
        self, bench: Harness, life: Life, at: SessionKey = KEY, data_key: bytes | None = None
    ) -> None:
        super().__init__(bench, at, count=12, data_key=data_key)
        self._life = life

    def slices_of_records(self) -> Iterator[Slice]:
        return self._life.slices(self.key)


async def fill(bench: Harness, at: SessionKey = KEY, *, data_key: bytes | None = None) -> None:
    await bench.do(create(at, data_key=data_key))
    restored = ImportRecords(tuple(OLD.records(at)))
    await bench.commit(Commit(key=at, operations=(restored,)))


async def check(bench: Harness, life: Life, at: SessionKey = KEY) -> None:
    """Every kind of read finds exactly the records of this life."""
    store, scope, expected = bench.store, Scope(*at), life.records(at)
    by_name = {each.name: each for each in expected}
    for number in range(0, 80, 7):
        named = name(f"k{number:03}", *COLLECTIONS[number % 3], scope=scope)
        assert await store.record(named) == by_name.get(named)
        assert await store.record(named, refresh_ttl=True) == by_name.get(named)
    for order, wanted, everywhere in itertools.product(ORDERS, FILTERS, (False, True)):
        owner, subtree = OF_TENANT if everywhere else scope, wanted != NOT_FIVE
        asked = query(
            *("a",), scope=owner, all_sessions=everywhere, subtree=subtree, order=order, filter=wanted, limit=9
        )  # fmt: skip
        found = [each for each in await all_of(store, asked) if each.name.scope == scope]
        assert found == in_order(expected, order, wanted, subtree=subtree), (order, wanted, everywhere)
    for everywhere in (False, True):
        page = await store.collections(CollectionQuery(scope, everywhere, (), 0, 10))
        assert page.paths == COLLECTIONS


def in_order(records: list[Record], order: str, wanted: JsonObject, *, subtree: bool) -> list[Record]:
    [(field, value)] = wanted.items() or [("", None)]
    found = [
        each
        for each in records
        if (each.name.collection[0] == "a" if subtree else each.name.collection == ("a",))
        and (
            not field or (each.labels[field] != 5 if isinstance(value, dict) else each.labels[field] == value)
        )
    ]
    by_time = order.startswith("time")
    return sorted(
        found, key=lambda each: (each.time if by_time else 0, *each.name[1:]), reverse=order.endswith("desc")
    )


async def rows_and_terms(bench: Harness) -> tuple[int, int]:
    return (
        await stored(bench, "SELECT count(*) FROM records"),
        await stored(bench, "SELECT count(*) FROM record_terms"),
    )


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_every_read_finds_the_old_records_until_the_last_slice_and_then_the_new_ones(
    bench: Harness, cells: Cells, encrypted: bool
) -> None:
    await fill(bench, data_key=cells.new_key(*KEY) if encrypted else None)
    coming = Replacing(bench, NEW, data_key=cells.new_key(*KEY) if encrypted else None)
    await coming.some(4)
    await check(bench, OLD)
    for part in [*coming.slices()][4:]:
        await coming.add(part)
    await check(bench, OLD)
    assert (await rows_and_terms(bench))[0] == len(OLD.numbers) + len(NEW.numbers)
    await coming.end()
    await check(bench, NEW)
    while await bench.store.erase(15):
        assert len(await listed(bench.store, query("a", scope=SCOPE, subtree=True))) == 40
    await check(bench, NEW)
    assert await rows_and_terms(bench) == (len(NEW.numbers), 2 * len(NEW.numbers))


async def test_short_walks_of_a_list_leave_out_nothing(
    bench: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that end between an old and a new record of the same name."""
    await fill(bench)
    await Replacing(bench, NEW).some(100)
    monkeypatch.setattr(record_lists, "FEW", 0)
    for most in (1, 2, 5):
        monkeypatch.setattr("sessions_server.storage.walk.MOST_LOOKED_AT", most)
        for order, subtree in itertools.product(ORDERS, (False, True)):
            for limit, wanted in ((1, FILTERS[0]), (2, NOT_FIVE)):
                asked = query(
                    *("a",), all_sessions=True, subtree=subtree, order=order, filter=wanted, limit=limit
                )  # fmt: skip
                found = await all_of(bench.store, asked)
                assert found == in_order(OLD.records(), order, wanted, subtree=subtree), (most, order, limit)


@pytest.mark.parametrize("gives_up", [False, True], ids=["killed", "given up"])
async def test_the_records_of_an_import_that_ends_early_are_erased(bench: Harness, gives_up: bool) -> None:
    await fill(bench)
    before = await rows_of(bench, KEY)
    for _ in range(2):
        coming = Replacing(bench, NEW)
        await coming.some(5)
        assert (await rows_and_terms(bench))[0] > len(OLD.numbers)
        if gives_up:
            await coming.give_up()
        bench.clock.turn(seconds=30)
        while await bench.store.erase(7):
            assert len(await listed(bench.store, query("a", scope=SCOPE, subtree=True))) == 27
        await check(bench, OLD)
        assert await rows_of(bench, KEY) == before
    await Replacing(bench, NEWER).all()
    await check(bench, NEWER)


async def test_a_session_is_replaced_again_before_the_eraser_has_ended(bench: Harness) -> None:
    await fill(bench)
    for life in (NEW, NEWER, OLD, NEW):
        coming = Replacing(bench, life)
        await coming.some(3)
        await bench.store.erase(9)
        for part in [*coming.slices()][3:]:
            await coming.add(part)
        await coming.end()
        await check(bench, life)
    assert (await rows_and_terms(bench))[0] > len(NEW.numbers)
    await erase_all(bench)
    await check(bench, NEW)
    assert await rows_and_terms(bench) == (len(NEW.numbers), 2 * len(NEW.numbers))


async def test_writes_of_a_replaced_session_find_its_records_only(bench: Harness) -> None:
    await fill(bench)
    await Replacing(bench, NEWER).all()
    kept = {each.name: each.value for each in NEWER.records()}
    changed, deleted, *_ = kept
    added = OLD.records()[1].name
    operations = (
        PutRecord(changed, b"changed", {"of": "changed"}, "e"),
        PutRecord(added, b"added", {"of": "added"}, "e", if_absent=True),
        DeleteRecord(deleted),
        DeleteRecord(name("k04", *changed.collection, scope=SCOPE), prefix=True),
    )
    done = await bench.commit(Commit(key=KEY, operations=operations))
    below = [each for each in kept if each.collection == changed.collection and each.key.startswith("k04")]
    assert done.results[2:] == (RecordsDeleted(1), RecordsDeleted(len(below)))
    expected = {each: value for each, value in kept.items() if each not in (deleted, *below)}
    expected |= {changed: b"changed", added: b"added"}
    for _ in range(2):
        found = [
            *await all_of(bench.store, query("a", scope=SCOPE, subtree=True)),
            *await all_of(bench.store, query("c", scope=SCOPE)),
        ]
        assert {each.name: each.value for each in found} == expected
        assert await listed(bench.store, query("a", scope=SCOPE, subtree=True, filter={"of": "old"})) == []
        await erase_all(bench)
    assert await rows_and_terms(bench) == (len(expected), sum(len(each.labels) for each in found))


async def test_the_times_of_records_change_without_those_of_the_import(bench: Harness) -> None:
    """A read that restarts a ttl, and the sweep of expired records, while an import stores records of these names."""
    lasting, short = (name(each, "a", scope=SCOPE) for each in ("lasting", "short"))
    await bench.do(create())
    puts = (PutRecord(each, b"old", {"of": "old"}, "e", ttl=micros(10)) for each in (lasting, short))
    await bench.commit(Commit(key=KEY, operations=tuple(puts)))
    until = Micros(bench.clock.now() + micros(3_600))
    coming = Coming(bench, count=12, records=0)
    await coming.some(9)
    new = (
        Record(each, b"new", "", {"of": "new"}, EARLIER, micros(3_600), "n", EARLIER, EARLIER, until)
        for each in (lasting, short)
    )
    await coming.add((ImportRecords(tuple(new)),))
    bench.clock.turn(seconds=6)
    refreshed = await bench.store.record(lasting, refresh_ttl=True)
    assert refreshed is not None
    assert refreshed.expire_time == bench.clock.now() + micros(10)
    bench.clock.turn(seconds=5)
    assert await bench.store.sweep_records(10) == 1
    assert await listed(bench.store, query("a", scope=SCOPE)) == ["lasting"]
    with pytest.raises(ImportUnderWay):
        await bench.commit(Commit(key=KEY, operations=(DeleteRecord(lasting),)))
    await coming.end()
    found = await all_of(bench.store, query("a", scope=SCOPE))
    assert [(each.value, each.expire_time) for each in found] == [(b"new", until)] * 2
    await erase_all(bench)
    assert await rows_and_terms(bench) == (2, 2)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_fork_has_the_records_that_are_read(bench: Harness, cells: Cells, encrypted: bool) -> None:
    def key_for(session: SessionKey) -> bytes | None:
        return cells.new_key(*session) if encrypted else None

    async def fork(to: str) -> SessionKey:
        made = key(to)
        await bench.store.fork(Fork(source=KEY, key=made, at=None, log_id="f", data_key=key_for(made)))
        return made

    await fill(bench, data_key=key_for(KEY))
    coming = Replacing(bench, NEW, data_key=key_for(KEY))
    await coming.some(100)
    early = await fork("early")
    await coming.end()
    late = await fork("late")
    await erase_all(bench)
    for session, life in ((early, OLD), (late, NEW), (KEY, NEW)):
        await check(bench, life, session)
    assert (await rows_and_terms(bench))[1] == 2 * (len(OLD.numbers) + 2 * len(NEW.numbers))


async def test_a_replaced_session_is_erased_with_all_of_its_records(bench: Harness) -> None:
    await fill(bench)
    await Replacing(bench, NEW).all()
    await bench.do(c.delete(key=KEY))
    await erase_all(bench)
    assert await rows_and_terms(bench) == (0, 0)
    await fill(bench)
    await check(bench, OLD)


async def test_random_imports_and_reads_agree_with_a_model(bench: Harness) -> None:
    rng, lives = random.Random(7), (OLD, NEW, NEWER)
    current: dict[SessionKey, Life] = {}
    coming: dict[SessionKey, tuple[Replacing, Life, list[Slice]]] = {}
    for at in (KEY, OTHER):
        await fill(bench, at)
        current[at] = OLD
    for _ in range(60):
        at, choice = rng.choice((KEY, OTHER)), rng.random()
        if at not in coming:
            life = rng.choice(lives)
            begun = Replacing(bench, life, at)
            assert await begun.begin() is not None
            coming[at] = begun, life, [*begun.slices()]
        elif choice < 0.1:
            await coming.pop(at)[0].give_up()
            await erase_all(bench)
        elif coming[at][2]:
            for part in coming[at][2][:4]:
                await coming[at][0].add(part)
            del coming[at][2][:4]
        else:
            begun, current[at], _ = coming.pop(at)
            await begun.end()
        await bench.store.erase(rng.randrange(1, 20))
        found = await all_of(
            bench.store, query("a", all_sessions=True, subtree=True, limit=rng.randrange(1, 9))
        )
        expected = [
            each for one in current for each in current[one].records(one) if each.name.collection[0] == "a"
        ]
        assert sorted(each.name for each in found) == sorted(each.name for each in expected)
        assert {each.name: each.value for each in found} == {each.name: each.value for each in expected}


async def test_no_transaction_of_an_import_stores_more_than_a_slice(
    bench: Harness, cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "SLICE_ROWS", 20)
    monkeypatch.setattr(transfer, "MESSAGES_PER_RECORD", 10)
    added: list[int] = []
    transact = bench.store.transact

    async def counting(work: Callable[[Transaction], T]) -> T:
        before = await rows_of_import(bench)
        result = await transact(work)
        added.append(await rows_of_import(bench) - before)
        return result

    monkeypatch.setattr(bench.store, "transact", counting)
    async with AsyncExitStack() as stack:
        importer = Importer(bench, cells, stack)
        await importer.start()
        for _ in range(2):  # at first the id is new
            added.clear()
            await importer.run(stream(100, records=100))
            assert sum(added) == 201
            assert max(added) < 20 + 10
            assert added[-1] == 1, "the event of the import"


async def rows_of_import(bench: Harness) -> int:
    return await stored(bench, "SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM records)")


@pytest.mark.parametrize("order", ORDERS)
async def test_pages_over_all_sessions_have_a_record_of_a_replaced_session_once(
    bench: Harness, order: str
) -> None:
    await fill(bench)
    asked = query("a", all_sessions=True, order=order, limit=1)
    page = await bench.store.records(asked)
    assert page.next is not None
    await Replacing(bench, OLD).all()
    rest = await all_of(bench.store, asked._replace(after=page.next))
    found = [each.name for each in (*page.records, *rest)]
    of_collection = [each for each in OLD.records() if each.name.collection == ("a",)]
    assert found == [each.name for each in in_order(of_collection, order, {}, subtree=False)]
