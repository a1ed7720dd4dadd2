"""Compaction removes the oldest events of a log, and no subscriber skips removed events without an error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from google.rpc import error_details_pb2

from sessions_client import AsyncClient, MessageDict, OutOfRange, Session
from sessions_proto.v1 import sessions_pb2 as pb
from tests.faults.subscriptions.shut_stream import ShutStream, shut_stream
from tests.support.clock import SharedClock
from tests.support.figures import show
from tests.support.server import Server, start_server
from tests.support.waiting import eventually

KEPT_SECONDS: Final = 3600
OUT_OF_RANGE: Final = 11


@pytest.fixture
def clock(tmp_path: Path) -> SharedClock:
    return SharedClock(tmp_path / "clock")


@pytest.fixture
def server(tmp_path: Path, clock: SharedClock) -> Iterator[Server]:
    env = {"SESSIONS_EVENTS_KEPT": str(KEPT_SECONDS), "SESSIONS_SWEEP_INTERVAL": "0.02"}
    with start_server(tmp_path, env=env, clock=clock) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.address) as client:
        yield client


async def read_after(client: AsyncClient, session: str, position: int) -> list[int] | int:
    """The sequences after a position, up to the head; or the oldest one that is kept, if an earlier one is
    requested."""
    head = (await client.sessions.get(session)).last_sequence
    try:
        async with client.sessions.subscribe(session, after_sequence=position) as subscription:
            return [(await anext(subscription)).sequence for _ in range(head - position)]
    except OutOfRange as error:
        if error.reason != "EVENTS_COMPACTED":
            raise
        return int(error.metadata["oldest_sequence"])


async def oldest(client: AsyncClient, session: str) -> int:
    """The first position still in the log."""
    found = await read_after(client, session, 0)
    return 1 if isinstance(found, list) else found


async def change_context(client: AsyncClient, session: Session, *, times: int) -> None:
    for number in range(times):
        await client.sessions.update_context(session.id, path="at", value=number)


async def add(client: AsyncClient, session: Session, *, count: int, size: int = 10) -> None:
    messages: list[MessageDict] = [{"role": "user", "content": "x" * size}] * count
    await client.sessions.add_messages(session.id, messages=messages)


async def test_events_past_the_retention_outside_the_history_are_removed(
    client: AsyncClient, clock: SharedClock
) -> None:
    session = await client.sessions.create("u")
    await change_context(client, session, times=4)
    clock.turn(seconds=KEPT_SECONDS - 1)
    await change_context(client, session, times=3)
    assert await oldest(client, session.id) == 1
    clock.turn(seconds=1)
    assert await eventually(lambda: oldest(client, session.id), lambda found: found > 1) == 6
    assert await read_after(client, session.id, 5) == [6, 7, 8]
    clock.turn(seconds=KEPT_SECONDS)
    assert await eventually(lambda: oldest(client, session.id), lambda found: found > 6) == 9
    assert await read_after(client, session.id, 8) == []


async def test_the_history_stays_however_old_it_is(client: AsyncClient, clock: SharedClock) -> None:
    session = await client.sessions.create("u")
    await change_context(client, session, times=4)
    await add(client, session, count=3)
    await change_context(client, session, times=2)
    clock.turn(seconds=10 * KEPT_SECONDS)
    assert await eventually(lambda: oldest(client, session.id), lambda found: found > 1) == 11
    assert await read_after(client, session.id, 10) == []
    assert [message.sequence for message in await client.sessions.get_history(session.id)] == [6, 7, 8]
    await client.sessions.clear_history(session.id)
    assert await eventually(lambda: oldest(client, session.id), lambda found: found > 6) == 11
    assert await read_after(client, session.id, 10) == [11]


async def test_every_position_is_refused_or_served_completely(
    client: AsyncClient, clock: SharedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    session = await client.sessions.create("u")
    for _ in range(10):
        await change_context(client, session, times=3)
        clock.turn(seconds=KEPT_SECONDS / 5)
    head = (await client.sessions.get(session.id)).last_sequence
    first = await eventually(lambda: oldest(client, session.id), lambda found: found == 20)
    for position in range(head + 1):
        whole = list(range(position + 1, head + 1))
        assert await read_after(client, session.id, position) == (first if position + 1 < first else whole)
    show(
        capsys,
        f"compacted up to {first} of {head}: every position before is refused, every other one is whole",
    )


async def test_a_live_subscriber_does_not_notice(client: AsyncClient, clock: SharedClock) -> None:
    session = await client.sessions.create("u")
    async with client.sessions.subscribe(
        session.id, event_types=["updated"], after_sequence=0
    ) as subscription:
        await change_context(client, session, times=5)
        clock.turn(seconds=2 * KEPT_SECONDS)
        assert await eventually(lambda: oldest(client, session.id), lambda found: found > 1) == 7
        await client.sessions.update(session.id, metadata={"a": 1})
        assert (await anext(subscription)).sequence == 7


async def test_a_stalled_stream_overtaken_by_compaction_ends_with_the_oldest_position(
    server: Server, client: AsyncClient, clock: SharedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    session = await client.sessions.create("u")
    request = pb.SubscribeRequest(session_id=session.id, after_sequence=0)
    async with shut_stream(server.port, request) as stalled:
        for _ in range(20):
            await add(client, session, count=100, size=2000)
        await stalled.full()
        await client.sessions.clear_history(session.id)
        clock.turn(seconds=2 * KEPT_SECONDS)
        assert await eventually(lambda: oldest(client, session.id), lambda found: found > 1) == 2003
        stalled.open()
        shown = [
            response.event.sequence async for response in stalled.responses() if response.HasField("event")
        ]
        reported = oldest_sequence(stalled)
    show(
        capsys, f"overtaken by compaction after event {shown[-1]}: reported that the log begins at {reported}"
    )
    assert shown == list(range(1, len(shown) + 1))
    assert len(shown) < 2000
    assert reported == 2003


def oldest_sequence(stream: ShutStream) -> int:
    """The oldest sequence according to the refusal that ended the stream."""
    ending, info = stream.ending(), error_details_pb2.ErrorInfo()
    assert ending.details.details[0].Unpack(info)
    assert (ending.code, info.reason) == (OUT_OF_RANGE, "EVENTS_COMPACTED")
    return int(info.metadata["oldest_sequence"])
