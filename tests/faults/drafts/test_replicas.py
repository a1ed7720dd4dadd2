"""Drafts on three replicas, over PostgreSQL alone and over NATS: all watchers see every draft, whichever process
dies."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest

from sessions_client import AsyncClient
from sessions_proto.v1 import sessions_pb2 as pb
from sessions_server.security.keyring import create_keyring
from tests.faults.drafts.eavesdropper import notified, overheard
from tests.faults.drafts.watching import Watcher, channels_for, text_of, tokens_of
from tests.support.nats import NatsServer
from tests.support.ports import HOST
from tests.support.postgres import Postgres
from tests.support.processes import ending
from tests.support.replicas import running_replicas
from tests.support.server import ROOT, SOURCES, Server

WATCHERS = 9
TOKENS = 75
PER_SECOND = 60
END_CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"


class Fleet:
    """Three replicas, with NATS if they use it."""

    def __init__(self, servers: list[Server], url: str, nats: NatsServer | None) -> None:
        self.servers = servers
        self.url = url
        self.nats = nats
        self._marks = [0, 0, 0]

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers]

    def begin(self) -> None:
        """Forgets the earlier owners of drafts."""
        self._marks = [len(server.log) for server in self.servers]

    def owner(self) -> Server:
        """The owner of the drafts written since."""
        (owner,) = [
            server
            for server, mark in zip(self.servers, self._marks, strict=True)
            if "WriteDraft" in server.log[mark:]
        ]
        return owner


@pytest.fixture(scope="module", params=["postgres", "nats"])
def replicas(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("drafts")
    create_keyring(folder / "keyring", now=datetime.now(UTC))
    env = {
        "SESSIONS_ALLOW_UNSAFE_DURABILITY": "true",
        "SESSIONS_LOG_LEVEL": "debug",
        "SESSIONS_KEYRING": str(folder / "keyring"),
    }
    with ExitStack() as stack:
        nats = None
        if request.param == "nats":
            nats = stack.enter_context(NatsServer(folder))
            env["SESSIONS_WAKEUPS"] = f"nats://{HOST}:{nats.port}"
        url = postgres_server.url(asyncio.run(postgres_server.fresh_database()))
        servers = stack.enter_context(running_replicas(folder, count=3, database_url=url, env=env))
        yield Fleet(servers, url, nats)


@pytest.fixture
def fleet(replicas: Fleet) -> Fleet:
    replicas.begin()
    return replicas


@asynccontextmanager
async def watching(
    addresses: list[str], session_id: str, texts: dict[str, str], *, count: int = WATCHERS
) -> AsyncIterator[list[Watcher]]:
    """Watchers on every replica, each of which moves to the next when its own dies."""
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


async def test_watchers_everywhere_see_a_draft_whose_owner_is_killed(fleet: Fleet) -> None:
    texts = {"m-1": text_of(1, TOKENS)}
    async with AsyncClient(fleet.addresses) as writer:
        session = await writer.sessions.create("u")
        async with watching(fleet.addresses, session.id, texts) as watchers:
            async with writer.sessions.draft(session.id, message_id="m-1") as draft:
                for number, token in enumerate(tokens_of(texts["m-1"])):
                    await draft.write(token)
                    if number == TOKENS // 2:
                        for watcher in watchers:
                            await watcher.see_text("m-1")
                        assert draft.watchers > WATCHERS // 3
                        owner = fleet.owner()
                        owner.kill()
                    await asyncio.sleep(1 / PER_SECOND)
                async with watching(
                    [each.address for each in alive(fleet, owner)], session.id, texts
                ) as late:
                    for watcher in late:
                        await watcher.see_text("m-1", len(texts["m-1"]))
            for watcher in watchers:
                await watcher.see_messages("m-1")
            assert all(watcher.pieces > 1 for watcher in watchers)
    await asyncio.to_thread(owner.start)


def alive(fleet: Fleet, killed: Server) -> list[Server]:
    """Three running servers to watch on."""
    others = [server for server in fleet.servers if server is not killed]
    return [*others, others[0]]


@pytest.mark.parametrize("replicas", ["nats"], indirect=True)  # the transport makes no difference
async def test_watchers_see_a_draft_abandoned_when_its_writer_and_owner_are_killed(
    fleet: Fleet,
) -> None:
    texts = {"m-1": "begun and never ended"}
    async with AsyncClient(fleet.addresses) as client:
        session = await client.sessions.create("u")
        async with watching(fleet.addresses, session.id, texts) as watchers:
            with ending(writing(fleet.addresses, session.id, texts["m-1"])):
                for watcher in watchers:
                    await watcher.see_text("m-1", len(texts["m-1"]))
                owner = fleet.owner()
            owner.kill()
            for watcher in elsewhere(watchers, fleet, owner):
                await watcher.see_state("m-1", pb.DRAFT_STATE_ABANDONED)
        assert await client.sessions.get_history(session.id) == []
    await asyncio.to_thread(owner.start)


def elsewhere(watchers: list[Watcher], fleet: Fleet, owner: Server) -> list[Watcher]:
    """The watchers of the remaining replicas."""
    place = fleet.servers.index(owner)
    return [watcher for number, watcher in enumerate(watchers) if number % 3 != place]


def writing(addresses: list[str], session_id: str, text: str) -> subprocess.Popen[bytes]:
    """A program that writes a draft and then waits."""
    program = f"""
import time
from sessions_client import Client
with Client({addresses!r}) as client, client.sessions.draft({session_id!r}, message_id="m-1") as draft:
    draft.write({text!r})
    time.sleep(600)
"""
    paths = os.pathsep.join(map(str, SOURCES))
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}
    )


@pytest.mark.parametrize("replicas", ["postgres"], indirect=True)
async def test_a_killed_writers_draft_is_committed_as_configured(fleet: Fleet) -> None:
    texts = {"m-1": text_of(2, 5)}
    async with AsyncClient(fleet.addresses) as client:
        session = await client.sessions.create("u")
        async with watching(fleet.addresses, session.id, texts, count=3) as watchers:
            draft = client.sessions.draft(session.id, message_id="m-1", on_abandon="commit", idle=1)
            await draft.write(texts["m-1"])
            for watcher in watchers:
                await watcher.see_text("m-1", len(texts["m-1"]))
                await watcher.see_messages("m-1")
        (message,) = await client.sessions.get_history(session.id)
    assert (message.content, message.metadata) == (texts["m-1"], {"interrupted": True})


@pytest.mark.parametrize("encryption", [False, True])
async def test_encrypted_content_is_never_unencrypted_between_replicas(
    fleet: Fleet, *, encryption: bool
) -> None:
    canary = "a canary in a cage" if encryption else "a canary in the open"
    texts = {"m-1": f"Hear {canary} sing."}
    port = None if fleet.nats is None else fleet.nats.port
    async with AsyncClient(fleet.addresses) as client, overheard(fleet.url, port) as packets:
        session = await client.sessions.create("u", storage_options={"encryption": encryption})
        async with (
            watching(fleet.addresses, session.id, texts, count=3) as watchers,
            client.sessions.draft(session.id, message_id="m-1") as draft,
        ):
            await draft.write(texts["m-1"])
            for watcher in watchers:
                await watcher.see_text("m-1", len(texts["m-1"]))
            found = await packets()
    assert found
    assert any(canary.encode() in packet for packet in found) is not encryption


@pytest.mark.parametrize("replicas", ["postgres"], indirect=True)
async def test_the_text_of_a_draft_is_never_in_a_notification(fleet: Fleet) -> None:
    texts = {"m-1": "Hear a canary sing."}
    async with AsyncClient(fleet.addresses) as client, notified(fleet.url) as received:
        session = await client.sessions.create("u")
        async with watching(fleet.addresses, session.id, texts, count=3) as watchers:
            async with client.sessions.draft(session.id, message_id="m-1") as draft:
                await draft.write(texts["m-1"])
                for watcher in watchers:
                    await watcher.see_text("m-1", len(texts["m-1"]))
            for watcher in watchers:
                await watcher.see_messages("m-1")
        packets = [await received.get()]
        while session.id not in packets[-1]:
            packets.append(await received.get())
        while not received.empty():
            packets.append(received.get_nowait())
    assert [packet for packet in packets if "canary" in packet] == []


async def test_a_draft_survives_a_failure_of_the_transport(fleet: Fleet, postgres_server: Postgres) -> None:
    texts = {"m-1": text_of(3, 40)}
    tokens = tokens_of(texts["m-1"])
    async with AsyncClient(fleet.addresses) as client:
        session = await client.sessions.create("u")
        async with watching(fleet.addresses, session.id, texts, count=3) as watchers:
            async with client.sessions.draft(session.id, message_id="m-1") as draft:
                for token in tokens[:20]:
                    await draft.write(token)
                for watcher in watchers:
                    await watcher.see_text("m-1")
                if fleet.nats is not None:
                    fleet.nats.kill()
                else:
                    await postgres_server.execute(END_CONNECTIONS.format(fleet.url.rpartition("/")[2]))
                for token in tokens[20:]:
                    await draft.write(token)
                if fleet.nats is not None:
                    await asyncio.to_thread(fleet.nats.start)
                for watcher in watchers:
                    await watcher.see_text("m-1", len(texts["m-1"]))
            for watcher in watchers:
                await watcher.see_messages("m-1")
