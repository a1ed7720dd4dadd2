"""Wake-ups between replicas over PostgreSQL and over NATS, while the transport fails.

The replicas of these tests poll the database once an hour, so whatever arrives was caused by a wake-up, or by the read
of the log after a lost connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from sessions_client import AsyncClient, Event
from tests.support.nats import NatsServer
from tests.support.pgbouncer import running_pgbouncer
from tests.support.ports import HOST
from tests.support.postgres import Postgres
from tests.support.replicas import running_replicas
from tests.support.server import Server, start_server

OF_WAKEUPS: Final = (
    "FROM pg_stat_activity WHERE application_name = 'sessions-server wake-ups' AND datname = '{database}'"
)


class Pair:
    """A session that is written on one replica and watched on the other."""

    def __init__(self, writing: AsyncClient, session_id: str, events: AsyncIterator[Event]) -> None:
        self._writing = writing
        self._session_id = session_id
        self._events = events

    async def write(self) -> int:
        """Returns the event's sequence."""
        message = await self._writing.sessions.add_message(self._session_id, role="user", content="Hello")
        return message.sequence

    async def receive(self) -> int:
        """The sequence of the next event on the other replica."""
        return (await anext(self._events)).sequence

    async def exchange(self, count: int = 10) -> None:
        """Writes and receives one event after another."""
        for _ in range(count):
            assert await self.write() == await self.receive()


@asynccontextmanager
async def pair(servers: list[Server]) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncClient(server.address)) for server in servers]
        session = await clients[0].sessions.create("u")
        events = await stack.enter_async_context(clients[1].sessions.subscribe(session.id))
        yield Pair(clients[0], session.id, events)


@contextmanager
def replicas(folder: Path, database_url: str, **settings: str) -> Iterator[list[Server]]:
    env = {"SESSIONS_ALLOW_UNSAFE_DURABILITY": "true", "SESSIONS_POLL_INTERVAL": "3600", **settings}
    with running_replicas(folder, count=2, database_url=database_url, env=env) as servers:
        yield servers


@pytest.fixture
def database(postgres_server: Postgres) -> str:
    return asyncio.run(postgres_server.fresh_database())


@pytest.fixture
def listening(postgres_server: Postgres, database: str, tmp_path: Path) -> Iterator[list[Server]]:
    # Options that only SQLAlchemy's form of the URL has must not prevent the channel from connecting.
    url = postgres_server.url(database) + "?ssl=prefer&prepared_statement_cache_size=200"
    with replicas(tmp_path, url) as servers:
        yield servers


async def test_notify_wakes_the_other_replicas_subscribers(listening: list[Server]) -> None:
    async with pair(listening) as watched:
        await watched.exchange()


async def test_a_lost_listening_connection_is_reopened_and_every_stream_reads_the_log(
    listening: list[Server], postgres_server: Postgres, database: str
) -> None:
    async with pair(listening) as watched:
        await watched.exchange()
        for _ in range(2):
            cut = await postgres_server.fetch(
                f"SELECT pg_terminate_backend(pid, 5000) {OF_WAKEUPS.format(database=database)}"
            )
            assert len(cut) >= 2, "each replica listens, and one has sent"
            assert await watched.write() == await watched.receive()  # nobody may have been listening
            await watched.exchange()


async def test_wakeups_work_through_a_session_mode_pooler_and_its_restarts(
    postgres_server: Postgres, database: str, tmp_path: Path
) -> None:
    with (
        running_pgbouncer(postgres_server) as pgbouncer,
        replicas(tmp_path, postgres_server.url(database, port=pgbouncer.port)) as servers,
    ):
        async with pair(servers) as watched:
            await watched.exchange()
            pgbouncer.restart()
            assert await watched.write() == await watched.receive()
            await watched.exchange()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """Not started."""
    daemon = NatsServer(tmp_path)
    yield daemon
    daemon.kill()


@pytest.fixture
def over_nats(
    postgres_server: Postgres, database: str, nats: NatsServer, tmp_path: Path
) -> Iterator[list[Server]]:
    """Replicas that were started while NATS was down."""
    url = postgres_server.url(database)
    with replicas(tmp_path, url, SESSIONS_WAKEUPS=f"nats://{HOST}:{nats.port}") as servers:
        yield servers


async def test_nats_wakes_the_other_replicas_subscribers_and_may_start_later(
    over_nats: list[Server], nats: NatsServer, postgres_server: Postgres, database: str
) -> None:
    async with pair(over_nats) as watched:
        written = await watched.write()
        nats.start()
        assert await watched.receive() == written
        await asyncio.to_thread(nats.wait_for_subscribers, 2)
        await watched.exchange()
    assert await postgres_server.fetch(f"SELECT pid {OF_WAKEUPS.format(database=database)}") == []


async def test_writes_made_while_nats_was_down_arrive_when_it_is_back(
    over_nats: list[Server], nats: NatsServer
) -> None:
    nats.start()
    async with pair(over_nats) as watched:
        for _ in range(2):
            await asyncio.to_thread(nats.wait_for_subscribers, 2)
            await watched.exchange()
            nats.kill()
            written = [await watched.write() for _ in range(3)]
            nats.start()
            assert [await watched.receive() for _ in range(3)] == written


def test_a_server_refuses_an_unknown_kind_of_wakeups(
    postgres_server: Postgres, database: str, tmp_path: Path
) -> None:
    env = {"SESSIONS_DATABASE_URL": postgres_server.url(database), "SESSIONS_WAKEUPS": "redis://127.0.0.1"}
    env["SESSIONS_ALLOW_UNSAFE_DURABILITY"] = "true"
    with pytest.raises(RuntimeError, match="such as nats://") as caught:
        start_server(tmp_path, env=env)
    assert "Traceback" not in str(caught.value)
