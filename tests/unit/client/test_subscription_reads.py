"""Reading a subscription: with timeouts, up to a position, by several readers, and its connection state."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import pytest

from sessions_client import AsyncClient, DeadlineExceeded, StreamStatus, Unavailable
from sessions_client._places import STREAMS_PER_CHANNEL
from sessions_proto.v1 import sessions_pb2 as pb
from tests.unit.client.scripted import (
    LOST,
    Failure,
    ScriptedServer,
    Stream,
    checkpoint,
    deleted_event,
    finished,
    message_event,
)


async def test_a_cancelled_reader_keeps_its_stream_and_loses_nothing(server: ScriptedServer) -> None:
    stream = Stream(checkpoint(3), message_event(4))
    server.on("Subscribe", stream)
    async with AsyncClient(server.address) as client, client.sessions.subscribe("s") as subscription:
        assert (await anext(subscription)).sequence == 4
        for _ in range(3):
            reader = asyncio.create_task(anext(subscription))
            await asyncio.sleep(0)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
        stream.send(message_event(5))
        stream.end()
        assert [event.sequence async for event in subscription] == [5]
    assert server.positions() == [None]


async def test_repeatedly_abandoned_reads_reach_a_rare_event(server: ScriptedServer) -> None:
    """Every endpoint that sends keep-alives reads like this. A regression test: reads used to go back over the
    checkpoints, to the start."""
    server.on(
        "Subscribe", Stream(checkpoint(0), *map(checkpoint, range(1000, 9000, 1000)), message_event(9000))
    )
    async with (
        AsyncClient(server.address) as client,
        client.sessions.subscribe("s", after_sequence=0) as subscription,
    ):
        event = None
        while event is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    event = await anext(subscription)
        assert (event.sequence, subscription.position) == (9000, 9000)
    assert server.positions() == [0]


async def test_next_waits_no_longer_than_its_timeout(client: AsyncClient, server: ScriptedServer) -> None:
    stream = Stream(checkpoint(3))
    server.on("Subscribe", stream)
    subscription = await client.sessions.subscribe("s")
    for _ in range(2):
        with pytest.raises(DeadlineExceeded, match="No event came within the timeout"):
            await subscription.next(timeout=0.01)
    stream.send(checkpoint(7), message_event(8), deleted_event(9))
    events = [await subscription.next(timeout=30) for _ in range(3)]
    assert [event and event.sequence for event in events] == [8, 9, None]
    assert subscription.position == 9
    assert server.positions() == [None]


async def test_next_and_iteration_take_turns(client: AsyncClient, server: ScriptedServer) -> None:
    stream = Stream(checkpoint(3))
    server.on("Subscribe", stream)
    subscription = await client.sessions.subscribe("s")
    with pytest.raises(TimeoutError):
        await subscription.next(timeout=0.01)
    stream.send(message_event(4), message_event(5))
    assert (await anext(subscription)).sequence == 4
    assert (await subscription.next()).sequence == 5  # type: ignore[union-attr]  # it is not the end
    await subscription.close()


async def test_next_waits_for_a_new_stream_no_longer_than_its_timeout(
    client: AsyncClient, server: ScriptedServer
) -> None:
    later = Failure(grpc.StatusCode.UNAVAILABLE, reason="SHUTTING_DOWN", retry_after=600)
    server.on("Subscribe", finished(checkpoint(3), failure=later), finished(message_event(4)))
    subscription = await client.sessions.subscribe("s")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await subscription.next(timeout=0.02)
    assert server.positions() == [None]
    await subscription.close()


@pytest.mark.parametrize(
    ("until", "seen"), [(3, []), (4, [4]), (5, [4]), (6, [4, 6]), (2**62, [4, 6, 8])], ids=str
)
async def test_it_ends_at_the_requested_position(
    until: int, seen: list[int], client: AsyncClient, server: ScriptedServer
) -> None:
    responses = (checkpoint(3), message_event(4), checkpoint(5), message_event(6), deleted_event(8))
    server.on("Subscribe", Stream(*responses))
    subscription = await client.sessions.subscribe("s", until=until)
    assert [event.sequence async for event in subscription] == seen
    assert subscription.closed


async def test_it_ends_before_an_event_after_the_last_requested_position(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4), message_event(9)))
    subscription = await client.sessions.subscribe("s", until=6)
    assert [event.sequence async for event in subscription] == [4]


async def test_it_shows_its_connection_state(client: AsyncClient, server: ScriptedServer) -> None:
    statuses: list[StreamStatus] = []
    server.on("Subscribe", finished(checkpoint(3), failure=LOST), finished(checkpoint(3), deleted_event(4)))
    subscription = await client.sessions.subscribe("s", on_connection=statuses.append)
    assert subscription.connection.state == "live"
    assert [event.sequence async for event in subscription] == [4]
    assert [status.state for status in statuses] == ["live", "reconnecting", "live", "ended"]
    assert isinstance(statuses[1].error, Unavailable)
    assert sorted(status.since for status in statuses) == [status.since for status in statuses]
    assert subscription.connection == statuses[-1]


async def test_a_failing_listener_is_logged_and_has_no_other_effect(
    client: AsyncClient, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(status: StreamStatus) -> None:
        raise ValueError(status.state)

    server.on("Subscribe", finished(checkpoint(3), deleted_event(4)))
    subscription = await client.sessions.subscribe("s", on_connection=fail)
    assert [event.sequence async for event in subscription] == [4]
    assert "on_connection" in caplog.text


async def test_streams_never_share_a_connection_with_calls_nor_more_than_90_of_them_one(
    client: AsyncClient, server: ScriptedServer
) -> None:
    peers: dict[str, list[str]] = {"Subscribe": [], "GetSession": []}

    def follow(request: Any, context: grpc.ServicerContext) -> Any:
        peers["Subscribe"].append(context.peer())
        return iter([checkpoint(3), deleted_event(4)])

    def get(request: Any, context: grpc.ServicerContext) -> pb.GetSessionResponse:
        peers["GetSession"].append(context.peer())
        return pb.GetSessionResponse(session=pb.Session(id="s"))

    server.on("Subscribe", follow)
    server.on("GetSession", get)
    subscriptions = [await client.sessions.subscribe("s") for _ in range(STREAMS_PER_CHANNEL + 1)]
    await client.sessions.get("s")
    assert len(set(peers["Subscribe"])) == 2
    assert not set(peers["Subscribe"]) & set(peers["GetSession"])
    for subscription in subscriptions:
        await subscription.close()
    _ = await client.sessions.subscribe("s")
    assert len(set(peers["Subscribe"])) == 2
