"""An expiry that is not recorded yet, while a write decided before it is on its way to the disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.engine import make_url
from sqlalchemy.util import await_only

from sessions_server.domain.errors import SessionNotFound
from sessions_server.domain.limits import Limits
from sessions_server.domain.models import (
    SECOND,
    ExpiryAction,
    Micros,
    Sequence,
    SessionConfig,
    SessionKey,
    State,
    StorageOptions,
)
from sessions_server.domain.ports import Cells, HistoryQuery, Transaction
from sessions_server.storage.backend import Backend
from sessions_server.storage.postgres.backend import PostgresBackend
from sessions_server.storage.postgres.hosts import Hosts
from sessions_server.storage.postgres.runner import PostgresRunner
from sessions_server.storage.sqlite.backend import SqliteBackend
from sessions_server.storage.sqlite.runner import SqliteRunner
from sessions_server.storage.store import Store
from tests.conformance.harness import KEY, Harness, add, create
from tests.support import commits as c
from tests.support.clock import HandClock

MINUTE = Micros(60 * SECOND)


class Held:
    """Holds a transaction before its commit, in a thread or a greenlet, until released."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.asked = asyncio.Event()
        """Set when a reader waits for the session's writes."""
        self._loop = asyncio.get_running_loop()
        self._go = threading.Event()
        self._go_here = asyncio.Event()

    def wait(self) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        if threading.current_thread() is threading.main_thread():
            await_only(self._go_here.wait())
        else:
            self._go.wait()

    def let_go(self) -> None:
        self._go.set()
        self._go_here.set()


URL = make_url("postgresql+asyncpg://")


class OnSqlite(SqliteRunner):
    held: Held

    async def settle(self, key: SessionKey) -> None:
        self.held.asked.set()
        await super().settle(key)


class OnPostgres(PostgresRunner):
    held: Held

    async def settle(self, key: SessionKey) -> None:
        self.held.asked.set()
        await super().settle(key)


@pytest.fixture(params=["sqlite", "postgres"])
def runner(request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock) -> OnSqlite | OnPostgres:
    if request.param == "sqlite":
        return OnSqlite(tmp_path / "sessions.db", clock=clock, scrub_seconds=0.01)
    url = make_url(request.getfixturevalue("postgres_url"))
    return OnPostgres(url, Hosts(url), clock=clock, pool_size=4, allow_unsafe=True)


@pytest_asyncio.fixture
async def bench(runner: OnSqlite | OnPostgres, clock: HandClock, cells: Cells) -> AsyncIterator[Harness]:
    runner.held = Held()
    backend: Backend = (
        SqliteBackend(None) if isinstance(runner, OnSqlite) else PostgresBackend(URL, Hosts(URL))
    )
    store = Store(backend, runner, cells=cells, limits=Limits())
    await store.start()
    yield Harness(store, clock)
    await store.close()


READS: dict[str, Callable[[Store], Coroutine[Any, Any, Any]]] = {
    "session": lambda store: store.session(KEY),
    "context": lambda store: store.context(KEY),
    "history": lambda store: store.history(KEY, HistoryQuery(10)),
    "log": lambda store: store.log(KEY, Sequence(0), 10),
}

IDLING = create(config=SessionConfig(timeout=MINUTE))
TO_BE_ERASED = create(storage=StorageOptions(ttl=MINUTE, expiry_action=ExpiryAction.DELETE))
PUT_OFF = c.update(
    key=KEY,
    paths=("storage_options.ttl",),
    metadata={},
    config=SessionConfig(),
    storage=StorageOptions(ttl=Micros(2 * MINUTE)),
)


async def read_beside(
    bench: Harness, held: Held, command: c.Commit, *, read: str = "session", fails: bool = False
) -> Any:
    """What a reader sees after the expiry, while a write from before it is not durable yet."""

    def work(transaction: Transaction) -> None:
        workspace = transaction.load([command])
        workspace.apply(command)
        transaction.save(workspace)
        held.wait()
        if fails:
            raise ConnectionError

    bench.clock.turn(seconds=60, micros=-1)
    writing = asyncio.create_task(bench.store.transact(work))
    await held.reached.wait()
    bench.clock.turn(micros=1)
    reading = asyncio.create_task(READS[read](bench.store))
    asked = asyncio.create_task(held.asked.wait())
    await asyncio.wait({reading, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    held.let_go()
    await asyncio.gather(writing, return_exceptions=True)
    return await reading


async def test_a_session_that_was_written_in_time_does_not_seem_expired(
    bench: Harness, runner: OnSqlite | OnPostgres
) -> None:
    await bench.do(IDLING)
    session = await read_beside(bench, runner.held, add("in time"))
    assert (session.state, session.message_count) == (State.CREATED, 1)


async def test_a_session_whose_write_failed_is_expired(bench: Harness, runner: OnSqlite | OnPostgres) -> None:
    await bench.do(IDLING)
    session = await read_beside(bench, runner.held, add("in time"), fails=True)
    assert (session.state, session.message_count) == (State.EXPIRED, 0)


@pytest.mark.parametrize("read", READS)
async def test_a_session_whose_ttl_was_extended_in_time_does_not_seem_erased(
    bench: Harness, runner: OnSqlite | OnPostgres, read: str
) -> None:
    await bench.do(TO_BE_ERASED)
    found = await read_beside(bench, runner.held, PUT_OFF, read=read)
    if read == "log":
        assert len(found.events) == 2


@pytest.mark.parametrize("read", READS)
async def test_a_session_that_was_only_written_is_erased(
    bench: Harness, runner: OnSqlite | OnPostgres, read: str
) -> None:
    await bench.do(TO_BE_ERASED)
    reading = read_beside(bench, runner.held, add("in time"), read=read)
    if read == "log":
        assert (await reading).events == ()
        return
    with pytest.raises(SessionNotFound):
        await reading
