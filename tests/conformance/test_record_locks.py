"""Commits on the same shared records, in any order, by several servers: all succeed, each as a whole."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from sessions_server.domain.commit import Commit, without_session
from sessions_server.domain.models import Sequence
from sessions_server.domain.records import DeleteRecord, PutRecord, RecordIs, RecordName, RecordState, Scope
from sessions_server.log.writer import Writer
from tests.conformance.harness import KEY, OTHER, Harness, create
from tests.conformance.record_harness import IN_SESSION, OF_TENANT, OF_USER, all_of, name, put, query

if TYPE_CHECKING:
    from sessions_server.storage.store import Store
    from tests.conformance.conftest import Opener
    from tests.support.clock import HandClock

COMMITS = 300
SERVERS = 2
AT_ONCE = 24

SHARED = [name(f"k{number}", scope=scope) for number in range(4) for scope in (OF_USER, OF_TENANT)]
IN_SESSIONS = {key: name("k", scope=Scope(*key)) for key in (KEY, OTHER)}


async def test_commits_in_opposite_orders_never_deadlock(
    lasting_url: str, opener: Opener, clock: HandClock
) -> None:
    """On SQLite with a single server, since there can be no other."""
    async with AsyncExitStack() as stack:
        writers = []
        for _ in range(SERVERS if "postgresql" in lasting_url else 1):
            store = opener(lasting_url)
            await store.start()
            stack.push_async_callback(store.close)
            writers.append(await running_writer(store, stack))
        await Harness(store, clock).apply(create(KEY), create(OTHER))
        rng, gate = random.Random(7), asyncio.Semaphore(AT_ONCE)

        async def commit(number: int) -> None:
            async with gate:
                await writers[number % len(writers)].submit(mixed(number, rng))

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for number in range(COMMITS):
                tasks.create_task(commit(number))
        for scope in (OF_USER, OF_TENANT):
            values = {record.value for record in await all_of(store, query(scope=scope))}
            assert len(values) == 1, "a commit was applied in part"
        assert (await store.session(KEY)).last_sequence > Sequence(1)
    assert await deadlocks(lasting_url) == 0


async def deadlocks(url: str) -> int:
    """How many deadlocks PostgreSQL has resolved, each after a second of waiting. The servers have exited by now."""
    if "postgresql" not in url:
        return 0
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        counted = sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        found = int((await connection.execute(counted)).scalar_one())
    await engine.dispose()
    return found


async def running_writer(store: Store, stack: AsyncExitStack) -> Writer:
    writer = Writer(store, announce=lambda _: None)
    running = asyncio.create_task(writer.run())

    async def stop() -> None:
        writer.close()
        await running

    stack.push_async_callback(stop)
    return writer


def mixed(number: int, rng: random.Random) -> Commit:
    """Writes the same value to all shared records of a scope, in random order, and to a session's record. One in four
    deletes by prefix first."""
    # One session per server, since its lock would otherwise keep the other server from the records.
    session = (KEY, OTHER)[number % SERVERS] if number % 3 else None
    of_both = [each for each in SHARED if number % 2 or each.scope == OF_USER]
    names: list[RecordName] = rng.sample(of_both, len(of_both))
    operations: list[PutRecord | DeleteRecord] = [put(each, str(number).encode()) for each in names]
    if session is not None:
        operations.insert(rng.randrange(len(operations)), put(IN_SESSIONS[session]))
    if number % 4 == 0:
        operations.insert(0, DeleteRecord(names[0]._replace(key="k"), prefix=True))
        operations += [put(each, str(number).encode()) for each in SHARED if each.scope == names[0].scope]
    return Commit(
        key=session or without_session("default", str(number)),
        conditions=(RecordIs(names[-1]._replace(key="never"), RecordState.ABSENT),),
        operations=tuple(operations),
        shows_session=False,
    )


def test_the_harness_session_has_a_record() -> None:
    assert IN_SESSIONS[KEY].scope == IN_SESSION
