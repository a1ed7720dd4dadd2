"""Drafts on three replicas, over PostgreSQL alone and over NATS: watchers everywhere see every draft, whatever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sessions_client import AsyncClient
from sessions_server.security.keyring import create_keyring
from tests.faults.drafts.watching import Watcher, channels_for, text_of, tokens_of
from tests.support.nats import NatsServer
from tests.support.ports import HOST
from tests.support.postgres import Postgres
from tests.support.replicas import running_replicas
from tests.support.server import Server

WATCHERS = 12


class Fleet:
    """Three replicas, and NATS if they have it."""

    def __init__(self, servers: list[Server], database: str, nats: NatsServer | None) -> None:
        self.servers = servers
        self.database = database
        self.nats = nats

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers]

    def owner(self) -> Server:
        """The one that drafts were written to."""
        (owner,) = [server for server in self.servers if "WriteDraft" in server.log]
        return owner


@pytest.fixture(params=["postgres", "nats"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path, postgres_server: Postgres) -> Iterator[Fleet]:
    database = asyncio.run(postgres_server.fresh_database())
    keyring = tmp_path / "keyring"
    create_keyring(keyring, now=datetime.now(UTC))
    env = {
        "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
        "SESSIONS_LOG_LEVEL": "debug",
        "SESSIONS_KEYRING": str(keyring),
    }
    with ExitStack() as stack:
        nats = None
        if request.param == "nats":
            nats = stack.enter_context(NatsServer(tmp_path))
            env["SESSIONS_WAKEUPS"] = f"nats://{HOST}:{nats.port}"
        url = postgres_server.url(database)
        servers = stack.enter_context(running_replicas(tmp_path, count=3, database_url=url, env=env))
        yield Fleet(servers, database, nats)


@asynccontextmanager
async def watching(
    addresses: list[str], session_id: str, texts: dict[str, str], *, count: int = WATCHERS
) -> AsyncIterator[list[Watcher]]:
    """Watchers on every replica, each of which goes on at the next one when its own dies."""
    (channels,) = channels_for(addresses, 1)
    watchers = [
        Watcher([*channels[number % 3 :], *channels[: number % 3]], session_id, texts)
        for number in range(count)
    ]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(watcher.watch()) for watcher in watchers]
        for watcher in watchers:
            await watcher.established.wait()
        yield watchers
        for task in running:
            task.cancel()
    for channel in channels:
        await channel.close()
    assert [wrong for watcher in watchers for wrong in watcher.wrong] == []


async def test_watchers_of_every_replica_see_a_draft_whose_owner_is_killed(fleet: Fleet) -> None:
    texts = {"m-1": text_of(1, 90)}
    async with AsyncClient(fleet.addresses) as writer:
        session = await writer.sessions.create("u")
        async with watching(fleet.addresses, session.id, texts) as watchers:
            async with writer.sessions.draft(session.id, message_id="m-1") as draft:
                for number, token in enumerate(tokens_of(texts["m-1"])):
                    await draft.write(token)
                    if number == 40:
                        for watcher in watchers:
                            await watcher.see_text("m-1")
                        fleet.owner().kill()
                    await asyncio.sleep(1 / 60)
            for watcher in watchers:
                await watcher.see_messages("m-1")
            assert all(watcher.pieces > 3 for watcher in watchers)
