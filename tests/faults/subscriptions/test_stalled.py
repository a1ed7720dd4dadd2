"""A subscriber that stalls for a long time: what it costs, and what it sees if the log changed meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from sessions_client import AsyncClient, MessageDict, Session
from sessions_proto.v1 import sessions_pb2 as pb
from tests.faults.subscriptions.shut_stream import WINDOW, ShutStream, shut_stream
from tests.support.figures import show
from tests.support.processes import memory_bytes
from tests.support.server import Server, start_server

MIB: Final = 2**20
KEPT_BY_GRPC: Final = 128 * 1024
"""More than gRPC buffers for a stream with a closed window, beyond the window itself."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with start_server(tmp_path) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.address) as client:
        yield client


async def add(client: AsyncClient, session: Session, *, count: int, size: int) -> None:
    """Adds this many messages of this size, in batches of about 1 MiB."""
    at_once = max(1, min(100, MIB // size))
    for first in range(0, count, at_once):
        messages: list[MessageDict] = [{"role": "user", "content": "x" * size}] * min(at_once, count - first)
        await client.sessions.add_messages(session.id, messages=messages)


def from_the_start(session: Session) -> pb.SubscribeRequest:
    return pb.SubscribeRequest(session_id=session.id, after_sequence=0)


async def events_through(stream: ShutStream, sequence: int) -> list[pb.Event]:
    events = [await stream.event()]
    while events[-1].sequence < sequence:
        events.append(await stream.event())
    return events


def sequences(events: list[pb.Event]) -> list[int]:
    return [event.sequence for event in events]


async def test_unread_events_are_not_kept_in_memory_and_arrive_in_order(
    server: Server, client: AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    session = await client.sessions.create("u")
    await add(client, session, count=500, size=16 * 1024)  # warms the caches
    async with shut_stream(server.port, from_the_start(session)) as stalled:
        await stalled.full()
        memory = memory_bytes(server.pid)
        await add(client, session, count=6000, size=16 * 1024)
        grown = memory_bytes(server.pid) - memory
        held = stalled.received_bytes
        stalled.open()
        events = await events_through(stalled, 6501)
    show(
        capsys,
        f"one stalled reader, 94 MiB written: server {grown / MIB:+.1f} MiB, then {len(events)} events read",
    )
    assert held <= WINDOW
    assert sequences(events) == list(range(1, 6502))
    assert grown < 32 * MIB, "the reader is behind by three times as much"


async def test_large_messages_do_not_fill_memory_either(
    server: Server, client: AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    session = await client.sessions.create("u")
    await add(client, session, count=160, size=256 * 1024)
    async with AsyncExitStack() as stack:
        grown = []
        for behind in range(10):
            request = pb.SubscribeRequest(session_id=session.id, after_sequence=1 + behind)
            stalled = await stack.enter_async_context(shut_stream(server.port, request))
            await stalled.full()
            grown.append(memory_bytes(server.pid))
        stalled.open()
        assert sequences(await events_through(stalled, 161)) == list(range(11, 162))
    more = grown[-1] - grown[0]
    show(
        capsys,
        f"nine more stalled readers of 40 MiB, each at a place of its own: server {more / MIB:+.1f} MiB",
    )
    assert more < 160 * MIB, "all of it for each of them would be 360 MiB"


async def test_after_a_clear_it_receives_events_without_content(
    server: Server, client: AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    session = await client.sessions.create("u")
    async with shut_stream(server.port, from_the_start(session)) as stalled:
        await add(client, session, count=1000, size=4096)
        await stalled.full()
        await client.sessions.clear_history(session.id)
        stalled.open()
        events = await events_through(stalled, 1002)
    shown = with_content(events)
    show(capsys, f"cleared while a reader stood still: {shown} of 1000 messages came with content")
    assert sequences(events) == list(range(1, 1003))
    assert shown <= (WINDOW + KEPT_BY_GRPC) // 4096, "only messages that were already on their way"
    assert all(bool(event.message.content) != event.erased for event in events[1:-1])


async def test_after_a_truncation_it_receives_events_without_content(
    server: Server, client: AsyncClient
) -> None:
    session = await client.sessions.create("u", config={"max_messages": 100})
    async with shut_stream(server.port, from_the_start(session)) as stalled:
        await add(client, session, count=100, size=4096)
        await stalled.full()
        await add(client, session, count=900, size=4096)
        stalled.open()
        events = await events_through(stalled, 1001)
    assert sequences(events) == list(range(1, 1002))
    assert with_content(events[:-100]) <= (WINDOW + KEPT_BY_GRPC) // 4096
    assert with_content(events[-100:]) == 100


async def test_after_an_import_it_receives_events_without_content(
    server: Server, client: AsyncClient
) -> None:
    session = await client.sessions.create("u")
    empty = await client.sessions.export(session.id)
    async with shut_stream(server.port, from_the_start(session)) as stalled:
        await add(client, session, count=200, size=4096)
        await stalled.full()
        await client.sessions.import_(session.id, session_data=empty)
        stalled.open()
        events = await events_through(stalled, 202)
    assert sequences(events) == list(range(1, 203))
    assert events[-1].type == pb.EVENT_TYPE_IMPORTED
    assert with_content(events) <= (WINDOW + KEPT_BY_GRPC) // 4096


async def test_after_a_deletion_it_receives_only_the_deletion(server: Server, client: AsyncClient) -> None:
    session = await client.sessions.create("u")
    async with shut_stream(server.port, from_the_start(session)) as stalled:
        await add(client, session, count=1000, size=4096)
        await stalled.full()
        await client.sessions.delete(session.id)
        stalled.open()
        events = await events_through(stalled, 1002)
        assert [response async for response in stalled.responses()] == []
    assert (events[-1].type, stalled.ending().code) == (pb.EVENT_TYPE_DELETED, 0)
    assert sequences(events[:-1]) == list(range(1, len(events)))
    assert len(events) <= 2 + (WINDOW + KEPT_BY_GRPC) // 4096


def with_content(events: list[pb.Event]) -> int:
    return sum(bool(event.message.content) for event in events)
