"""PostgreSQL is away for a while, or keeps silent: what callers, health checks and subscribers see of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sessions.v1 import sessions_pb2 as pb, sessions_pb2_grpc as pb_grpc
from sessions_client import AsyncClient, Event
from sessions_server.domain.errors import Unavailable
from sessions_server.domain.limits import Limits
from sessions_server.security.cells import open_cells
from sessions_server.storage.store import open_store
from tests.conformance.harness import KEY, Harness, add, create
from tests.support.clock import HandClock
from tests.support.postgres import Postgres, running_postgres
from tests.support.replicas import running_replicas
from tests.support.server import Server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
AWAY_SECONDS = 3.0


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """One that the test takes away."""
    with running_postgres() as postgres:
        yield postgres


@pytest.fixture
def servers(postgres: Postgres, tmp_path: Path) -> Iterator[list[Server]]:
    url = postgres.url(asyncio.run(postgres.fresh_database()))
    env = {"SESSIONS_ALLOW_UNSAFE_DURABILITY": "true"}
    with running_replicas(tmp_path, count=2, database_url=url, env=env) as servers:
        yield servers


class Calls:
    """Bare calls, which nobody repeats."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._service = pb_grpc.SessionServiceStub(channel)
        self._health: Any = health_pb2_grpc.HealthStub(channel)  # its types know no asyncio

    async def codes(self, session_id: str) -> set[grpc.StatusCode]:
        """What reads and a write of a session answer."""
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
        """Follows the health as a balancer does."""
        async for answer in self._health.Watch(health_pb2.HealthCheckRequest()):
            if answer.status == wanted:
                return


async def test_while_the_database_is_away_calls_are_refused_and_streams_go_on_without_a_hole(
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
        heard = 1
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
            heard += 2
            for stream in streams:
                assert await sequences(stream, 2) == [heard - 1, heard]
        assert (await clients[0].sessions.get(session.id)).last_sequence == heard
    assert [server.pid for server in servers] == pids


async def test_a_database_that_keeps_silent_is_given_up_and_found_again(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_server.storage.postgres._COMMAND_SECONDS", 0.5)
    monkeypatch.setattr("sessions_server.storage.postgres._CONNECT_SECONDS", 0.5)
    url = postgres.url(await postgres.fresh_database())
    store = open_store(url, cells=open_cells(None), limits=Limits(), allow_unsafe=True)
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


async def sequences(events: AsyncIterator[Event], count: int) -> list[int]:
    return [(await anext(events)).sequence for _ in range(count)]
