"""Several servers over one database, as clients see them: calls are distributed, and each expiry happens once."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

from sessions_client import AsyncClient, Event
from tests.support.clock import SharedClock
from tests.support.figures import show
from tests.support.flavours import open_client
from tests.support.ports import HOST, free_port
from tests.support.postgres import Postgres
from tests.support.replicas import running_replicas
from tests.support.server import Server, start_server

EXPIRING = 40
ROUNDS = 3
MOST_CALLS = 3_000


def shared_settings(postgres: Postgres) -> dict[str, str]:
    """The settings of servers that share a new database."""
    url = postgres.url(asyncio.run(postgres.fresh_database()))
    return {"SESSIONS_DATABASE_URL": url, "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true"}


class Counted:
    """A server that reports how many calls it has served."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        folder.mkdir()
        self._metrics = f"{HOST}:{free_port()}"
        self.server = start_server(folder, env={**env, "SESSIONS_METRICS_LISTEN": self._metrics})

    def calls(self) -> int:
        with urlopen(f"http://{self._metrics}/metrics") as answer:
            text = answer.read().decode()
        counts = re.findall(
            r'^sessions_rpc_handled_total{.*method="GetSession".*} (\S+)$', text, re.MULTILINE
        )
        return sum(int(float(count)) for count in counts)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres) -> Iterator[list[Counted]]:
    folder, env = tmp_path_factory.mktemp("counted"), shared_settings(postgres_server)
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(lambda number: Counted(folder / str(number), env), range(3)))
    yield found
    for one in found:
        one.server.stop()


async def test_a_client_with_several_addresses_uses_all_and_tolerates_lost_ones(
    flavour: str, counted: list[Counted]
) -> None:
    client = open_client(flavour, [one.server.address for one in counted])
    session = await client.sessions.create("u")

    async def call_until_all_were_called() -> None:
        before = [one.calls() for one in counted]
        for _ in range(MOST_CALLS):
            assert await client.sessions.get(session.id) == session
            if all(one.calls() >= count + 10 for one, count in zip(counted, before, strict=True)):
                return
        pytest.fail(f"calls were not spread: {before} became {[one.calls() for one in counted]}")

    await call_until_all_were_called()
    counted[0].server.kill()
    for _ in range(30):
        assert await client.sessions.get(session.id) == session
    counted[0].server.start()
    await call_until_all_were_called()
    await client.close()


async def kinds(events: AsyncIterator[Event], count: int) -> list[tuple[int, str]]:
    taken = [await anext(events) for _ in range(count)]
    return [(event.sequence, getattr(event.data, "state", event.type)) for event in taken]


def test_a_session_that_expires_on_two_replicas_does_so_once(
    tmp_path: Path, postgres_server: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SharedClock(tmp_path / "clock")
    env = {**shared_settings(postgres_server), "SESSIONS_SWEEP_INTERVAL": "0.02"}
    url = env["SESSIONS_DATABASE_URL"]
    with running_replicas(tmp_path, count=2, database_url=url, env=env, clock=clock) as servers:
        events = asyncio.run(expire_again_and_again(servers, clock))
    counts = Counter(state for log in events for _, state in log)
    show(
        capsys,
        f"{EXPIRING} sessions expired {ROUNDS} times under two sweepers: "
        f"{counts['expired']} events seen by {len(servers)} subscribers of each session",
    )
    one = ["created", *["expired", "active"] * ROUNDS]
    assert events == [list(enumerate(one, start=1))] * EXPIRING * len(servers)


async def expire_again_and_again(servers: list[Server], clock: SharedClock) -> list[list[tuple[int, str]]]:
    """The logs that subscribers saw, of each session on each server."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncClient(server.address)) for server in servers]
        sessions = [await clients[0].sessions.create("u", config={"timeout": 60}) for _ in range(EXPIRING)]
        streams = [
            await stack.enter_async_context(client.sessions.subscribe(session.id, after_sequence=0))
            for client in clients
            for session in sessions
        ]
        logs = list(await asyncio.gather(*(kinds(stream, 1) for stream in streams)))
        for _ in range(ROUNDS):
            clock.turn(seconds=61)
            expired = await asyncio.gather(*(kinds(stream, 1) for stream in streams))
            await asyncio.gather(*(clients[1].sessions.resume(session.id) for session in sessions))
            active = await asyncio.gather(*(kinds(stream, 1) for stream in streams))
            logs = [log + one + two for log, one, two in zip(logs, expired, active, strict=True)]
        return logs
