"""PostgreSQL is down for a while, refuses connections or does not respond: what callers, health checks, subscribers and
operators see."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sessions_client import AsyncClient, Event
from sessions_proto.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc
from sessions_server.domain.errors import Unavailable
from sessions_server.domain.limits import Limits
from sessions_server.security.encryption import open_cells
from sessions_server.storage.backend import RunOptions
from sessions_server.storage.databases import parse_url
from sessions_server.storage.store import open_store
from tests.conformance.harness import KEY, Harness, add, create
from tests.support.clock import HandClock
from tests.support.command_line import command, environment
from tests.support.ports import HOST
from tests.support.postgres import ROLE, Postgres, running_postgres
from tests.support.processes import ending
from tests.support.replicas import running_replicas
from tests.support.server import Server, start_server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
AWAY_SECONDS = 3.0
UNSAFE = {"SESSIONS_ALLOW_UNSAFE_DURABILITY": "true"}
MIGRATION_LOCK = 7_353_118_022_617_342
STOPPED_SECONDS = 30.0
"""A stopped server exits within this time even on a busy machine; shorter than the longest statement."""


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A server that the test stops."""
    with running_postgres() as postgres:
        yield postgres


@pytest.fixture
def servers(postgres: Postgres, tmp_path: Path) -> Iterator[list[Server]]:
    url = postgres.url(asyncio.run(postgres.fresh_database()))
    with running_replicas(tmp_path, count=2, database_url=url, env=UNSAFE) as servers:
        yield servers


class Calls:
    """Calls without retries."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._service = pb_grpc.SessionServiceStub(channel)
        self._health: Any = health_pb2_grpc.HealthStub(channel)  # its types do not cover asyncio

    async def codes(self, session_id: str) -> set[grpc.StatusCode]:
        """The codes of several reads and a write of a session."""
        message = pb.Message(role="user", content="lost")
        calls: list[grpc.aio.UnaryUnaryCall[Any, Any]] = [
            self._service.GetSession(pb.GetSessionRequest(session_id=session_id)),
            self._service.GetContext(pb.GetContextRequest(session_id=session_id)),
            self._service.GetHistory(pb.GetHistoryRequest(session_id=session_id)),
            self._service.ListSessions(pb.ListSessionsRequest()),
            self._service.AddMessage(pb.AddMessageRequest(session_id=session_id, message=message)),
        ]
        return {await call.code() for call in calls}

    async def until_health_is(self, wanted: int) -> None:
        """Follows the health as a load balancer does."""
        async for answer in self._health.Watch(health_pb2.HealthCheckRequest()):
            if answer.status == wanted:
                return


async def test_while_the_database_is_down_calls_fail_and_streams_resume_without_a_gap(
    postgres: Postgres, servers: list[Server]
) -> None:
    pids = [server.pid for server in servers]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncClient(server.address)) for server in servers]
        calls = [
            Calls(await stack.enter_async_context(grpc.aio.insecure_channel(server.address)))
            for server in servers
        ]
        session = await clients[0].sessions.create("u")
        streams = [
            await stack.enter_async_context(client.sessions.subscribe(session.id)) for client in clients
        ]
        for one in calls:
            await one.until_health_is(SERVING)
        received = 1
        for mode in ("fast", "immediate"):
            await asyncio.to_thread(postgres.stop, mode)
            for one in calls:
                await one.until_health_is(NOT_SERVING)
                assert await one.codes(session.id) == {grpc.StatusCode.UNAVAILABLE}
            writing = asyncio.create_task(
                clients[1].sessions.add_message(session.id, role="user", content="a")
            )
            await asyncio.sleep(AWAY_SECONDS)
            await asyncio.to_thread(postgres.start)
            await writing
            for one in calls:
                await one.until_health_is(SERVING)
            await clients[0].sessions.add_message(session.id, role="user", content="b")
            received += 2
            for stream in streams:
                assert await sequences(stream, 2) == [received - 1, received]
        assert (await clients[0].sessions.get(session.id)).last_sequence == received
    assert [server.pid for server in servers] == pids


async def test_a_silent_database_is_abandoned_and_found_again(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_server.storage.postgres.runner._COMMAND_SECONDS", 0.5)
    monkeypatch.setattr("sessions_server.storage.postgres.hosts.HOST_SECONDS", 0.5)
    url = postgres.url(await postgres.fresh_database())
    store = open_store(
        parse_url(url), cells=open_cells(None), limits=Limits(), options=RunOptions(allow_unsafe=True)
    )
    await store.start()
    bench = Harness(store, HandClock())
    await bench.do(create())
    with postgres.silent():
        for _ in range(3):
            with pytest.raises(Unavailable):
                await bench.do(add("lost"))
            with pytest.raises(Unavailable):
                await store.session(KEY)
    await bench.do(add("a"))
    assert await bench.contents() == ["a"]
    await store.close()


class Ousted:
    """A server with a session, on a database that a test makes unavailable."""

    def __init__(self, postgres: Postgres, name: str, server: Server, calls: Calls, session_id: str) -> None:
        self.name = name
        self.server = server
        self.calls = calls
        self.session_id = session_id
        self._postgres = postgres

    async def shut_out(self, statement: str) -> None:
        """Ends all of the server's connections after the statement."""
        await self._postgres.execute(statement)
        ended = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{self.name}'"
        await self._postgres.execute(ended)


@asynccontextmanager
async def ousted(
    postgres: Postgres, folder: Path, *, options: str = "", role: str = ROLE
) -> AsyncIterator[Ousted]:
    name = await postgres.fresh_database()
    await postgres.execute(f'ALTER DATABASE "{name}" OWNER TO {role}')
    url = f"postgresql+asyncpg://{role}@/{name}?host={HOST}:{postgres.port}{options}"
    server = await asyncio.to_thread(start_server, folder, env={**UNSAFE, "SESSIONS_DATABASE_URL": url})
    with server:
        async with AsyncClient(server.address) as client, grpc.aio.insecure_channel(server.address) as bare:
            calls = Calls(bare)
            await calls.until_health_is(SERVING)
            yield Ousted(postgres, name, server, calls, (await client.sessions.create("u")).id)


@pytest.mark.parametrize("away", ["READ ONLY", "NO CONNECTIONS", "NO RIGHT"])
async def test_the_server_waits_for_an_unusable_database_to_return(
    postgres: Postgres, tmp_path: Path, away: str
) -> None:
    """During a failover all hosts are read-only, and `read-write` rejects them."""
    await postgres.execute("CREATE ROLE serving LOGIN")
    async with ousted(
        postgres, tmp_path, options="&target_session_attrs=read-write", role="serving"
    ) as place:
        out, back = {
            "READ ONLY": ("SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
            "NO CONNECTIONS": ("ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true"),
            "NO RIGHT": ("OWNER TO postgres", "OWNER TO serving"),
        }[away]
        await postgres.execute(f'REVOKE CONNECT ON DATABASE "{place.name}" FROM PUBLIC')
        for _ in range(2):
            await place.shut_out(f'ALTER DATABASE "{place.name}" {out}')
            await place.calls.until_health_is(NOT_SERVING)
            assert await place.calls.codes(place.session_id) == {grpc.StatusCode.UNAVAILABLE}
            await asyncio.sleep(AWAY_SECONDS / 3)
            await postgres.execute(f'ALTER DATABASE "{place.name}" {back}')
            await place.calls.until_health_is(SERVING)
            assert await place.calls.codes(place.session_id) == {grpc.StatusCode.OK}
        log = place.server.log
        assert log.count("the database cannot be used: ") == 2, "once for each time"
        assert log.count("the database can be used again") == 2
        assert "Traceback" not in log


async def test_a_server_stops_while_its_database_is_silent(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.url(await postgres.fresh_database())
    env = {**UNSAFE, "SESSIONS_DATABASE_URL": url, "SESSIONS_DRAIN_GRACE": "1"}
    server = await asyncio.to_thread(start_server, tmp_path, env=env)
    async with grpc.aio.insecure_channel(server.address) as channel, AsyncClient(server.address) as client:
        session = await client.sessions.create("u")
        calls = Calls(channel)
        assert await calls.codes(session.id) == {grpc.StatusCode.OK}, "so the pool holds several connections"
        with postgres.silent():
            asked = asyncio.create_task(calls.codes(session.id))
            # Health pings the database every second without a response, so the calls wait for the ping by now.
            await asyncio.sleep(1)
            server.send(signal.SIGTERM)
            async with asyncio.timeout(STOPPED_SECONDS):
                assert await asyncio.to_thread(server.wait) == 0
        await asked
    assert "Traceback" not in server.log


def test_a_server_stops_while_waiting_for_anothers_migration(postgres: Postgres, tmp_path: Path) -> None:
    name = asyncio.run(postgres.fresh_database())
    with migrating(postgres, name):
        env = {**UNSAFE, "SESSIONS_DATABASE_URL": postgres.url(name), "SESSIONS_LISTEN": f"{HOST}:0"}
        starting = subprocess.Popen(
            command("serve"),
            cwd=tmp_path,
            env=environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with ending(starting):
            while not asyncio.run(postgres.fetch("SELECT FROM pg_locks WHERE NOT granted")):
                assert starting.poll() is None
            starting.send_signal(signal.SIGTERM)
            said = starting.communicate(timeout=STOPPED_SECONDS)
        assert (starting.returncode, said) == (0, ("", ""))


@contextmanager
def migrating(postgres: Postgres, database: str) -> Iterator[None]:
    """Acts as another server that is migrating."""
    with asyncio.Runner() as runner:
        connect = asyncpg.connect(user=ROLE, host=HOST, port=postgres.port, database=database, ssl=False)
        other = runner.run(connect)
        try:
            runner.run(other.execute(f"SELECT pg_advisory_lock({MIGRATION_LOCK})"))
            yield
        finally:
            runner.run(other.close())


async def sequences(events: AsyncIterator[Event], count: int) -> list[int]:
    return [(await anext(events)).sequence for _ in range(count)]
