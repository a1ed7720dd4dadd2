"""A session that another transaction keeps locked: which calls wait for it, and which do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import pytest

from sessions_server.domain.errors import SessionExists, SessionLocked, Unavailable
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import (
    SECOND,
    Message,
    Micros,
    Sequence,
    SessionConfig,
    SessionKey,
    State,
)
from sessions_server.log.writer import LANES, Writer
from sessions_server.security.encryption import open_cells
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import parse_url
from sessions_server.storage.store import Store, open_store
from tests.conformance.harness import add, create, key
from tests.support.ports import HOST
from tests.support.postgres import ROLE, Postgres

LOCKED: Final = key("locked")
FREE: Final = [key(f"free{number}") for number in range(8)]


class Replica:
    def __init__(self, store: Store, writer: Writer) -> None:
        self.store = store
        self.writer = writer

    async def write(self, session: SessionKey, text: str) -> None:
        await self.writer.submit(add(text, key=session))

    async def texts(self, session: SessionKey) -> list[str]:
        page = await self.store.log(session, Sequence(1), 1_000)
        return [event.data.body.content for event in page.events if isinstance(event.data, Message)]


@pytest.fixture
async def database(postgres_server: Postgres) -> str:
    return await postgres_server.fresh_database()


@pytest.fixture
async def replica(postgres_server: Postgres, database: str) -> AsyncIterator[Replica]:
    store = open_store(
        parse_url(postgres_server.url(database)),
        cells=open_cells(None),
        limits=Limits(),
        options=RunOptions(allow_unsafe=True),
    )
    await store.start()
    writer = Writer(store, announce=lambda _: None)
    running = asyncio.create_task(writer.run())
    await asyncio.gather(*(writer.submit(create(each)) for each in (LOCKED, *FREE)))
    yield Replica(store, writer)
    writer.close()
    await running
    await store.close()


@asynccontextmanager
async def locked(postgres: Postgres, database: str, *sessions: SessionKey) -> AsyncIterator[None]:
    """Lets another transaction lock these sessions."""
    connection = await asyncpg.connect(user=ROLE, host=HOST, port=postgres.port, database=database, ssl=False)
    try:
        async with connection.transaction():
            names = [session.session_id for session in sessions]
            await connection.fetch("SELECT 1 FROM sessions WHERE session_id = ANY($1) FOR UPDATE", names)
            yield
    finally:
        await connection.close()


async def test_only_writers_to_a_locked_session_wait(
    postgres_server: Postgres, database: str, replica: Replica
) -> None:
    async with locked(postgres_server, database, LOCKED):
        waiting = [asyncio.create_task(replica.write(LOCKED, f"{turn}")) for turn in range(3)]
        for turn in range(20):
            await asyncio.gather(*(replica.write(each, f"{turn}") for each in FREE))
            waiting.append(asyncio.create_task(replica.write(LOCKED, f"{turn + 3}")))
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)
    assert sorted(await replica.texts(LOCKED), key=int) == [f"{turn}" for turn in range(23)]
    for each in FREE:
        assert await replica.texts(each) == [f"{turn}" for turn in range(20)]


async def test_more_locked_sessions_than_lanes_are_all_written(
    postgres_server: Postgres, database: str, replica: Replica
) -> None:
    some = FREE[: LANES + 2]
    async with locked(postgres_server, database, *some):
        waiting = [asyncio.create_task(replica.write(each, text)) for each in some for text in "ab"]
        await replica.write(LOCKED, "a")
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)
    for each in some:
        assert await replica.texts(each) == ["a", "b"]


async def test_accepted_commits_are_answered_before_the_writer_ends(
    postgres_server: Postgres, database: str, replica: Replica
) -> None:
    async with locked(postgres_server, database, LOCKED):
        waiting = [asyncio.create_task(replica.write(LOCKED, "a"))]
        await replica.write(FREE[0], "a")  # by then the other write has been set aside
        waiting += [asyncio.create_task(replica.write(LOCKED, text)) for text in "bc"]
        await asyncio.sleep(0)
        replica.writer.close()
    await asyncio.gather(*waiting)
    assert await replica.texts(LOCKED) == ["a", "b", "c"]


async def test_a_write_to_a_session_that_stays_locked_fails(
    postgres_server: Postgres, database: str, replica: Replica
) -> None:
    async with locked(postgres_server, database, LOCKED):
        with pytest.raises(SessionLocked) as caught:
            await replica.write(LOCKED, "a")
    assert isinstance(caught.value, Unavailable), "a caller may try again"
    await replica.write(LOCKED, "b")
    assert await replica.texts(LOCKED) == ["b"]


async def test_sessions_can_be_created_while_another_is_locked(
    postgres_server: Postgres, database: str, replica: Replica
) -> None:
    async with locked(postgres_server, database, LOCKED):
        waiting = asyncio.create_task(replica.write(LOCKED, "a"))
        creating = (replica.writer.submit(create(key("new"))) for _ in range(3))
        outcomes = await asyncio.gather(*creating, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes].count(SessionExists) == 2
        assert not waiting.done()
    await waiting


async def test_a_slow_creation_of_an_id_delays_no_other_session(
    postgres_server: Postgres, database: str, replica: Replica
) -> None:
    connection = await asyncpg.connect(
        user=ROLE, host=HOST, port=postgres_server.port, database=database, ssl=False
    )
    async with connection.transaction():
        await connection.fetch("SELECT pg_advisory_xact_lock(hashtextextended('default/new', 0))")
        creating = asyncio.create_task(replica.writer.submit(create(key("new"))))
        for turn in range(20):
            await asyncio.gather(*(replica.write(each, f"{turn}") for each in FREE))
        assert not creating.done()
    await creating
    await connection.close()


async def test_readers_of_a_locked_expired_session_do_not_affect_others(
    postgres_server: Postgres, database: str, replica: Replica
) -> None:
    brief = SessionConfig(timeout=Micros(SECOND))
    expiring = [key(f"expiring{number}") for number in range(20)]
    await asyncio.gather(*(replica.writer.submit(create(each, config=brief)) for each in expiring))
    async with locked(postgres_server, database, *expiring):
        await postgres_server.execute("SELECT pg_sleep(1.1)")  # by the database's clock
        reading = [asyncio.create_task(replica.store.session(each)) for each in expiring for _ in range(3)]
        for turn in range(20):
            await asyncio.gather(*(replica.write(each, f"{turn}") for each in FREE))
            assert (await replica.store.session(FREE[0])).message_count == turn + 1
        assert not any(task.done() for task in reading)
    states = {session.state for session in await asyncio.gather(*reading)}
    assert states == {State.EXPIRED}
