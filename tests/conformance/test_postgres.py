"""Specific to PostgreSQL: several servers on one database, its clock, and lost connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio

from sessions_server.domain.errors import LimitExceeded, SessionExists, Unavailable
from sessions_server.domain.limits import Limits
from sessions_server.domain.lineage import differ_from
from sessions_server.domain.models import Sequence, Session
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import opening, parse_url
from sessions_server.storage.erasure import FEW
from sessions_server.storage.errors import StoreRefused
from sessions_server.storage.postgres.runner import _SESSION_SETTINGS, PostgresRunner
from sessions_server.storage.postgres.spelling import PostgresSpelling
from sessions_server.storage.store import Store, open_store
from tests.conformance.harness import KEY, OTHER, Harness, add, create, key, move, stamp
from tests.conformance.test_hidden import stored
from tests.conformance.test_settling import Held
from tests.support import commits as c
from tests.support.clock import HandClock
from tests.support.ports import HOST
from tests.support.postgres import ROLE

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from sessions_server.domain.ports import Cells, Transaction
    from tests.conformance.conftest import Opener
    from tests.support.postgres import Postgres


@pytest_asyncio.fixture
async def replicas(postgres_url: str, opener: Opener, clock: HandClock) -> AsyncIterator[list[Harness]]:
    """Three servers on one database."""
    stores = [opener(postgres_url) for _ in range(3)]
    for store in stores:
        await store.start()
    yield [Harness(store, clock) for store in stores]
    for store in stores:
        await store.close()


async def test_many_servers_number_a_sessions_events_without_gaps(replicas: list[Harness]) -> None:
    await replicas[0].do(create())
    await asyncio.gather(
        *(bench.do(add(f"{place} {number}")) for number in range(15) for place, bench in enumerate(replicas))
    )
    for bench in replicas:
        page = await bench.store.log(KEY, Sequence(0), 100)
        assert [event.sequence for event in page.events] == list(range(1, 47))
        assert (await bench.store.session(KEY)).last_sequence == 46


async def test_messages_of_many_sessions_take_four_statements(
    replicas: list[Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sets the lock timeout, one locks and reads the sessions, one reads the request ids, and one writes."""
    keys = [key(f"s{number}") for number in range(9)]
    await replicas[0].apply(*(create(each) for each in keys), *(add("first", key=each) for each in keys))
    sent: list[str] = []
    execute = PostgresSpelling.execute

    def counted(spelling: PostgresSpelling, connection: Any, text: str, parameters: tuple[Any, ...]) -> Any:
        sent.append(text)
        return execute(spelling, connection, text, parameters)

    monkeypatch.setattr(PostgresSpelling, "execute", counted)
    monkeypatch.setattr(PostgresSpelling, "execute_many", lambda *_: sent.append("many"))
    commits = [add("a", "b", key=each, request=stamp(f"r {each.session_id}")) for each in keys]
    first = await replicas[0].apply(*commits)
    assert len(sent) == 4
    assert await replicas[1].apply(*commits) == first
    for each in keys:
        assert await replicas[1].contents(each) == ["first", "a", "b"]
        assert (await replicas[1].store.session(each)).message_count == 3


async def test_one_of_many_servers_creators_wins_each_time(replicas: list[Harness]) -> None:
    for number in range(10):
        each = key(f"s{number}")
        outcomes = await asyncio.gather(
            *(bench.apply(create(each), add(f"{place}", key=each)) for place, bench in enumerate(replicas))
        )
        made = [outcome for outcome, _ in outcomes]
        assert sum(isinstance(outcome, Session) for outcome in made) == 1
        assert sum(isinstance(outcome, SessionExists) for outcome in made) == 2
        assert (await replicas[0].store.session(each)).last_sequence == 4


async def test_a_statement_timeout_is_not_reported_as_an_unreachable_database(
    postgres_url: str, opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_SESSION_SETTINGS, "statement_timeout", "50ms")
    store = opener(postgres_url)
    await store.start()

    def sleep(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_sleep(60)")

    for call in (store._write(sleep), store._read(sleep)):
        with pytest.raises(
            LimitExceeded, match="took too long for this call and nothing was stored; ask for less"
        ):
            await call
    assert not store._in_doubt
    await store.ping()
    await store.close()


async def test_a_log_never_goes_back_while_servers_race_to_create_and_delete(replicas: list[Harness]) -> None:
    async def churn(bench: Harness) -> int:
        outcomes = [await bench.apply(create(), c.delete(key=KEY), create()) for _ in range(8)]
        outcomes += [await bench.apply(c.delete(key=KEY)) for _ in range(2)]
        return sum(not isinstance(outcome, Exception) for batch in outcomes for outcome in batch)

    effects = await asyncio.gather(*map(churn, replicas))
    assert (await replicas[0].store.heads([KEY]))[KEY] == sum(effects)


async def test_the_last_step_of_an_erasure_waits_for_a_creation_under_the_same_id(
    replicas: list[Harness],
) -> None:
    creator, eraser, _ = replicas
    await creator.apply(create(), add(*map(str, range(FEW))))
    await creator.do(c.delete(key=KEY))
    held = Held()

    def begin(transaction: Transaction) -> None:
        workspace = transaction.load([create()])
        workspace.apply(create())
        transaction.save(workspace)
        held.wait()

    creating = asyncio.create_task(creator.store.transact(begin))
    await held.reached.wait()
    erased = await eraser.store.erase(2 * FEW)
    held.let_go()
    await creating
    assert erased == 0, "the id is locked"
    while await eraser.store.erase(2 * FEW):
        pass
    assert await stored(eraser, "SELECT count(*) FROM log") == 1
    assert await stored(eraser, "SELECT count(*) FROM sessions WHERE hidden IS NOT NULL") == 0
    assert await stored(eraser, "SELECT count(*) FROM erasures") == 0


async def test_servers_that_take_the_same_sessions_in_any_order_do_not_block_each_other(
    replicas: list[Harness],
) -> None:
    await replicas[0].apply(create(), create(OTHER))
    batches = [
        bench.apply(*(add(f"{place} {number}", key=each) for each in (keys if number % 2 else keys[::-1])))
        for place, (bench, keys) in enumerate(zip(replicas, [(KEY, OTHER), (OTHER, KEY)] * 2, strict=False))
        for number in range(10)
    ]
    outcomes = await asyncio.gather(*batches)
    assert not any(isinstance(outcome, Exception) for batch in outcomes for outcome in batch)


async def test_a_request_repeated_on_another_server_has_one_effect(replicas: list[Harness]) -> None:
    await replicas[0].do(create())
    answers = await asyncio.gather(*(bench.do(move(c.Verb.START, request="r")) for bench in replicas))
    assert all(answer == answers[0] for answer in answers)
    assert (await replicas[0].store.session(KEY)).last_sequence == 2


async def test_a_read_on_any_server_sees_what_another_acknowledged(replicas: list[Harness]) -> None:
    one, other, _ = replicas
    await one.do(create())
    for number in range(20):
        await one.do(add(f"m{number}"))
        assert (await other.store.session(KEY)).message_count == number + 1


async def test_a_transactions_time_is_after_the_locks_it_waited_for(postgres_url: str, cells: Cells) -> None:
    stores = [
        open_store(
            parse_url(postgres_url), cells=cells, limits=Limits(), options=RunOptions(allow_unsafe=True)
        )
        for _ in range(2)
    ]
    for store in stores:
        await store.start()
    replicas = [Harness(store, HandClock()) for store in stores]
    await replicas[0].do(create())
    writes = (
        bench.do(add(f"{place} {number}")) for number in range(20) for place, bench in enumerate(replicas)
    )
    await asyncio.gather(*writes)
    events = (await stores[0].log(KEY, Sequence(0), 100)).events
    times = [event.time for event in events]
    assert (len(times), times) == (41, sorted(times))
    for store in stores:
        await store.close()


async def test_a_transactions_time_is_after_waiting_for_an_id_being_created(
    postgres: Postgres, postgres_url: str, cells: Cells
) -> None:
    store = open_store(
        parse_url(postgres_url), cells=cells, limits=Limits(), options=RunOptions(allow_unsafe=True)
    )
    await store.start()
    bench = Harness(store, HandClock())
    await bench.do(create())
    database = postgres_url.rpartition("/")[2]
    other = await asyncpg.connect(user=ROLE, host=HOST, port=postgres.port, database=database, ssl=False)
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(hashtextextended('default/other', 0))")
        waiting = asyncio.create_task(bench.apply(move(c.Verb.START), create(OTHER)))
        while not await other.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        ):
            pass
        released = await other.fetchval(
            "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
        )
    started, created = await waiting
    await other.close()
    assert isinstance(started, Session)
    assert isinstance(created, Session)
    assert started.update_time == created.create_time > released
    await store.close()


async def test_servers_that_start_together_migrate_once(postgres: Postgres, opener: Opener) -> None:
    url = postgres.url(await postgres.fresh_database())
    stores = [opener(url) for _ in range(4)]
    await asyncio.gather(*(store.start() for store in stores))
    await asyncio.gather(*(store.ping() for store in stores))
    for store in stores:
        await store.close()


async def test_a_transaction_that_loses_a_race_is_retried(postgres_url: str, opener: Opener) -> None:
    store = opener(postgres_url)
    await store.start()
    attempts = 0

    def work(transaction: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        workspace = transaction.load([create()])
        workspace.apply(create())
        transaction.save(workspace)
        if attempts == 1:
            raise lost

    lost = serialization_failure()
    await store.transact(work)
    assert attempts == 2
    assert (await store.session(KEY)).last_sequence == 1
    await store.close()


def serialization_failure() -> Exception:
    import sqlalchemy as sa

    class Refused(Exception):
        sqlstate = "40001"

    return sa.exc.DBAPIError("", None, Refused())


async def test_callers_do_not_notice_dead_pooled_connections(
    postgres: Postgres, postgres_url: str, opener: Opener, clock: HandClock
) -> None:
    store = opener(postgres_url)
    await store.start()
    bench = Harness(store, clock)
    await bench.apply(create(), add("a"))
    await cut_all(postgres)
    assert await bench.contents() == ["a"]
    await cut_all(postgres)
    await bench.do(add("b"))
    await cut_all(postgres)
    assert (await store.session(KEY)).message_count == 2
    await store.close()


async def test_an_unreachable_database_is_unavailable(postgres: Postgres, opener: Opener) -> None:
    for url in (postgres.url("does_not_exist"), "postgresql+asyncpg://u@127.0.0.1:9/d"):
        store = opener(url)
        with pytest.raises(Unavailable):
            await store.start()
        with pytest.raises(Unavailable):
            await store.session(KEY)
        with pytest.raises(Unavailable):
            await store.ping()
        await store.close()


async def test_a_database_that_may_lose_what_it_acknowledged_is_refused(
    postgres_url: str, cells: Cells
) -> None:
    # The tests' own server has fsync off.
    backend = parse_url(postgres_url)
    store = open_store(backend, cells=cells, limits=Limits())
    with pytest.raises(StoreRefused, match="fsync is off"), opening(backend):
        await store.start()
    await store.close()


async def cut_all(postgres: Postgres) -> None:
    await postgres.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND application_name = 'sessions-server'"
    )


async def test_a_restored_database_does_not_accept_positions_lost_by_the_restore(
    postgres: Postgres, postgres_url: str, opener: Opener, clock: HandClock
) -> None:
    before = await _grown_log(opener(postgres_url), clock, create(), add("2"), add("3"))
    copied = postgres_url.rpartition("/")[2]
    copy_url = postgres.url(await postgres.fresh_database(template=copied))
    lost = await _grown_log(opener(postgres_url), clock, add("4"), add("5"))
    now = await _grown_log(opener(copy_url), clock, add("other 4"), add("other 5"))
    assert differ_from(before, lost) is None
    assert differ_from(before, now) == differ_from(lost, now) == 4


async def _grown_log(store: Store, clock: HandClock, *commits: c.Commit) -> str:
    """The log's identity after the commits; closes the store again."""
    await store.start()
    try:
        bench = Harness(store, clock)
        for commit in commits:
            await bench.do(commit)
        return (await store.log(KEY, Sequence(0), 1)).log_id
    finally:
        await store.close()


async def test_new_tables_are_analyzed_once_they_have_rows(replicas: list[Harness]) -> None:
    bench = replicas[0]
    runner = bench.store._runner
    assert isinstance(runner, PostgresRunner)
    await runner._look_around()
    analyzed = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('sessions') AND reltuples >= 0"
    assert await stored(bench, analyzed) == 0, "there is nothing to learn from empty tables"
    await bench.do(create())
    await runner._look_around()
    assert await stored(bench, analyzed) == 1
