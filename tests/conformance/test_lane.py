"""The search lane: other calls do not wait for searches, and each search ends with its caller or its time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import pytest
import pytest_asyncio
import sqlalchemy as sa

from sessions_server.domain.errors import LimitExceeded, Unavailable
from sessions_server.domain.models import JsonObject, Sequence
from sessions_server.domain.reads import ReadContext, ReadRecords, ReadSession
from sessions_server.domain.record_reads import RecordQuery
from sessions_server.storage import lane
from sessions_server.storage.lane import MOST_WAITING, SEARCHES
from tests.conformance.harness import KEY, OTHER, Harness, create, list_of, set_context
from tests.conformance.record_harness import name, put, query, write

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import ListQuery
    from sessions_server.storage.store import Store
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
IN_TIME = 30.0
"""In seconds. Calls that do not wait take milliseconds."""


@pytest_asyncio.fixture
async def bench(lasting_url: str, opener: Opener, clock: HandClock) -> AsyncIterator[Harness]:
    """An in-memory database has a single connection, and so no search lane."""
    store = opener(lasting_url)
    await store.start()
    bench = Harness(store, clock)
    await bench.do(create(metadata={"a": 1}))
    yield bench
    await store.close()


def endless(connection: Connection) -> None:
    connection.execute(sa.text(ENDLESS)).all()


def search(
    bench: Harness, work: Callable[[Connection], Any] = endless, *, tenant: str = "default"
) -> asyncio.Task[Any]:
    return asyncio.create_task(bench.store._runner.search(work, tenant=tenant, field="metadata_filter"))


async def until(condition: Callable[[], bool]) -> None:
    async def ask() -> bool:
        return condition()

    await until_asked(ask)


async def until_asked(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(IN_TIME):
        while not await condition():  # noqa: ASYNC110  # there is no signal to wait for
            await asyncio.sleep(0)


async def leave(*callers: asyncio.Task[Any]) -> None:
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)


async def test_reads_of_one_session_do_not_wait_for_searches(bench: Harness) -> None:
    searches = [search(bench) for _ in range(3 * SEARCHES)]
    await until(lambda: bench.store.lane.running == SEARCHES)
    async with asyncio.timeout(IN_TIME):
        for _ in range(3):
            assert (await bench.store.session(KEY)).key == KEY
            assert await bench.listed(list_of()) == ["s"]
    assert bench.store.lane.running == SEARCHES
    await leave(*searches)


async def test_a_slow_search_is_stopped_and_says_what_to_do(bench: Harness) -> None:
    bench.store.lane.seconds = 0.05
    with pytest.raises(LimitExceeded) as caught:
        await asyncio.wait_for(search(bench), IN_TIME)
    assert caught.value.message.startswith("The search took longer than 0.05 seconds")
    assert caught.value.metadata == {"field": "metadata_filter"}
    bench.store.lane.seconds = IN_TIME
    assert await bench.listed(list_of(metadata_filter={"a": 1})) == ["s"]


async def test_a_search_is_stopped_when_its_caller_leaves(bench: Harness) -> None:
    bench.store.lane.seconds = 10 * IN_TIME
    searches = [search(bench) for _ in range(SEARCHES)]
    await until(lambda: bench.store.lane.running == SEARCHES)
    await leave(*searches)
    async with asyncio.timeout(IN_TIME):  # every thread and connection is free again
        found = await asyncio.gather(*(bench.listed(list_of(metadata_filter={"a": 1})) for _ in range(9)))
    assert found == [["s"]] * 9


async def test_a_stopped_search_is_cancelled_in_postgresql_too(
    postgres_url: str, opener: Opener, clock: HandClock
) -> None:
    store = opener(postgres_url)
    await store.start()
    running = search(Harness(store, clock))

    def count(connection: Connection) -> int:
        asked = (
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'WITH RECURSIVE n%'"
        )
        return int(connection.execute(sa.text(asked)).scalar_one())

    async def is_active() -> bool:
        return await store._runner.read(count, snapshot=False) == 1

    async def is_stopped() -> bool:
        return not await is_active()

    await until_asked(is_active)
    await leave(running)
    await until_asked(is_stopped)
    await store.close()


async def test_a_waiting_search_is_dropped_when_its_caller_leaves(bench: Harness) -> None:
    searches = [search(bench) for _ in range(SEARCHES)]
    await until(lambda: bench.store.lane.running == SEARCHES)
    ran: list[bool] = []
    waiting = [search(bench, lambda _: ran.append(True)) for _ in range(5)]
    await until(lambda: bench.store.lane.waiting == 5)
    await leave(*waiting)
    assert bench.store.lane.waiting == 0
    await leave(*searches)
    assert await bench.listed(list_of(metadata_filter={"a": 1})) == ["s"]
    assert ran == []


async def test_searches_beyond_the_waiting_limit_are_refused(bench: Harness) -> None:
    searches = [search(bench) for _ in range(SEARCHES + MOST_WAITING)]
    await until(lambda: bench.store.lane.waiting == MOST_WAITING)
    with pytest.raises(Unavailable) as caught:
        await bench.listed(list_of(metadata_filter={"a": 1}))
    assert caught.value.message.endswith("try again in a moment.")
    await leave(*searches)


async def test_no_tenants_searches_wait_for_all_of_anothers(bench: Harness) -> None:
    """Each gets a turn after one search of every other waiting tenant, and has a separate queue."""
    order: list[str] = []
    running = [search(bench) for _ in range(SEARCHES)]
    await until(lambda: bench.store.lane.running == SEARCHES)
    waiting = [search(bench, lambda _: order.append("a"), tenant="a") for _ in range(MOST_WAITING)]
    await until(lambda: bench.store.lane.waiting == MOST_WAITING)
    waiting += [search(bench, lambda _: order.append("b"), tenant="b") for _ in range(3)]
    waiting += [search(bench, lambda _: order.append("c"), tenant="c") for _ in range(3)]
    await until(lambda: bench.store.lane.waiting == MOST_WAITING + 6)
    left = waiting[MOST_WAITING]
    await leave(left)
    waiting.remove(left)
    await leave(running[0])
    await asyncio.wait_for(asyncio.gather(*waiting), IN_TIME)
    assert order == ["a", "b", "c", "a", "b", "c", "a", "c", *["a"] * (MOST_WAITING - 3)]
    assert (bench.store.lane.waiting, bench.store.lane.running) == (0, SEARCHES - 1)
    await leave(*running)
    assert await bench.listed(list_of(metadata_filter={"a": 1})) == ["s"]


async def test_a_turn_is_passed_over_those_who_are_leaving(bench: Harness) -> None:
    """Their callers were cancelled together with the one who had the turn."""
    running = [search(bench) for _ in range(SEARCHES)]
    await until(lambda: bench.store.lane.running == SEARCHES)
    waiting = [search(bench, tenant=tenant) for tenant in "aabc"]
    await until(lambda: bench.store.lane.waiting == 4)
    for each in (*running, *waiting):
        each.cancel()
    await asyncio.gather(*running, *waiting, return_exceptions=True)
    assert (bench.store.lane.waiting, bench.store.lane.running) == (0, 0)
    for _ in range(SEARCHES + 1):
        assert await asyncio.wait_for(bench.listed(list_of(metadata_filter={"a": 1})), IN_TIME) == ["s"]


FILTER: JsonObject = {"n": 1}
SEARCHED: dict[str, ListQuery | RecordQuery] = {
    "sessions by metadata": list_of(metadata_filter=FILTER),
    "sessions by the time of their update": list_of(order="update_time"),
    "records by labels": query("a", filter=FILTER),
    "records by labels, their ttls started again": query("a", filter=FILTER, refresh_ttl=True),
    "records of a subtree by time": query("a", subtree=True, order="time"),
    "records of a subtree, of some keys": query("a", subtree=True, key_prefix="k"),
    "records by time, of some keys": query("a", order="time", key_prefix="k"),
}
LISTED: dict[str, ListQuery | RecordQuery] = {
    "sessions": list_of(user_id="u"),
    "records": query("a"),
    "records by time": query("a", order="time"),
    "records of a subtree": query("a", subtree=True),
    "records of some keys": query("a", key_prefix="k"),
}


@pytest.mark.parametrize("asked", [*SEARCHED.values(), *LISTED.values()], ids=[*SEARCHED, *LISTED])
async def test_queries_that_may_examine_many_rows_are_searches(
    file_url: str, opener: Opener, asked: ListQuery | RecordQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opener(file_url)
    await store.start()
    await write(store, put(name("k", "a"), labels={"n": 1}))
    monkeypatch.setattr(lane, "MOST_WAITING", 0)
    monkeypatch.setattr(store.lane, "_free", 0)  # no search is admitted now
    read = store.records(asked) if isinstance(asked, RecordQuery) else store.sessions(asked)
    if asked in SEARCHED.values():
        with pytest.raises(Unavailable):
            await read
    else:
        await read
    await store.close()


PAST: Final[dict[str, Callable[[Store], Awaitable[object]]]] = {
    "a session": lambda store: store.session(KEY, Sequence(2)),
    "a context": lambda store: store.context(KEY, Sequence(2)),
    "several things": lambda store: store.read([ReadSession(KEY), ReadContext(KEY, at=Sequence(2))]),
}


@pytest.mark.parametrize("what", PAST)
async def test_reads_of_the_past_are_searches(
    bench: Harness, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is computed from the log, which may take seconds; reads of the present must not wait for it."""
    store = bench.store
    await bench.apply(set_context({"n": 1}), set_context({"n": 2}))
    await PAST[what](store)
    store.lane.seconds = 0.0
    with pytest.raises(LimitExceeded) as caught:
        await PAST[what](store)
    assert caught.value.message.startswith(("Reading the past took longer", "The search took longer"))
    assert caught.value.metadata["field"] in ("at_sequence", "reads")
    monkeypatch.setattr(lane, "MOST_WAITING", 0)
    monkeypatch.setattr(store.lane, "_free", 0)
    with pytest.raises(Unavailable):
        await PAST[what](store)
    assert (await store.session(KEY)).last_sequence == 3
    assert (await store.context(KEY)).data == {"n": 2}
    assert await store.read([ReadContext(KEY)])


async def test_equal_reads_of_the_past_by_a_crowd_are_answered(bench: Harness) -> None:
    """As when many subscribers are notified of an update."""
    await bench.do(set_context({"n": 1}))
    asked = (bench.store.session(KEY, Sequence(1)) for _ in range(3 * MOST_WAITING))
    assert {session.last_sequence for session in await asyncio.gather(*asked)} == {1}


async def test_a_search_within_a_write_does_not_delay_others_for_long(
    file_url: str, opener: Opener, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite, where writes wait for each other."""
    store = opener(file_url)
    await store.start()
    bench = Harness(store, clock)
    await write(store, *(put(f"k{number:04}", labels={"n": 1}) for number in range(2_000)))
    reads = (ReadRecords(query(filter={"n": {"$ne": 1}})),)
    assert (await bench.read_after(create(), reads))[0] is not None
    monkeypatch.setattr(lane, "SECONDS_IN_A_WRITE", 0.0)
    with pytest.raises(LimitExceeded) as caught:
        await bench.read_after(create(OTHER), reads)
    assert caught.value.metadata == {"field": "reads"}
    assert await bench.listed(list_of()) == ["s"]
    await store.close()
