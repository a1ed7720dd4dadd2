"""Subscriptions over streams that break, with either client."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc
import pytest

from sessions.v1 import sessions_pb2 as pb
from sessions_client import (
    AsyncClient,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    OutOfRange,
    Unavailable,
    _async,
    _sync,
)
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


def positions(server: ScriptedServer) -> list[int | None]:
    """Where each stream was asked to begin."""
    requests = server.requests("Subscribe")
    return [one.after_sequence if one.HasField("after_sequence") else None for one in requests]


async def test_it_is_established_by_the_first_checkpoint(client: AsyncClient, server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3)))
    async with client.sessions.subscribe("s", event_types=["message"]) as subscription:
        assert (subscription.position, subscription.closed) == (3, False)
    assert (subscription.position, subscription.closed) == (3, True)
    assert server.requests("Subscribe") == [
        pb.SubscribeRequest(session_id="s", event_types=[pb.EVENT_TYPE_MESSAGE])
    ]


async def test_awaiting_it_establishes_it_too(client: AsyncClient, server: ScriptedServer) -> None:
    server.on("Subscribe", finished(checkpoint(3), message_event(4)))
    subscription = await client.sessions.subscribe("s")
    assert subscription.position == 3
    assert [event.sequence async for event in subscription] == [4]


async def test_iterating_it_straight_away_establishes_it(client: AsyncClient, server: ScriptedServer) -> None:
    server.on("Subscribe", finished(checkpoint(3), message_event(4)))
    assert [event.sequence async for event in client.sessions.subscribe("s")] == [4]


async def test_it_ends_after_the_deletion_of_the_session(client: AsyncClient, server: ScriptedServer) -> None:
    server.on("Subscribe", finished(checkpoint(3), message_event(4), deleted_event(5)))
    async with client.sessions.subscribe("s") as subscription:
        received = [event async for event in subscription]
        assert [event.type for event in received] == ["message", "deleted"]
        assert [event async for event in subscription] == []
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "failure",
    [
        LOST,
        Failure(grpc.StatusCode.UNAVAILABLE, reason="SHUTTING_DOWN"),
        Failure(grpc.StatusCode.CANCELLED),
        Failure(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 8"),
        Failure(grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
    ids=lambda failure: f"{failure.code.name} {failure.reason or failure.message}",
)
async def test_a_broken_stream_goes_on_after_the_last_event(
    failure: Failure, client: AsyncClient, server: ScriptedServer
) -> None:
    server.on(
        "Subscribe",
        finished(checkpoint(3), message_event(4), failure=failure),
        finished(checkpoint(4), message_event(5)),
    )
    async with client.sessions.subscribe("s") as subscription:
        assert [event.sequence async for event in subscription] == [4, 5]
    assert positions(server) == [None, 4]


async def test_a_broken_stream_goes_on_after_the_last_checkpoint(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on(
        "Subscribe",
        finished(checkpoint(3), message_event(4), checkpoint(90), failure=LOST),
        finished(checkpoint(90), message_event(91)),
    )
    async with client.sessions.subscribe("s", after_sequence=2, event_types=["message"]) as subscription:
        assert [event.sequence async for event in subscription] == [4, 91]
    assert positions(server) == [2, 90]


async def test_what_a_new_stream_repeats_is_not_handed_over_again(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on(
        "Subscribe",
        finished(checkpoint(0), message_event(1), message_event(2), failure=LOST),
        finished(checkpoint(0), message_event(1), message_event(2), message_event(3)),
    )
    async with client.sessions.subscribe("s", after_sequence=0) as subscription:
        assert [event.sequence async for event in subscription] == [1, 2, 3]


async def test_it_waits_for_a_server_that_restarts(client: AsyncClient, server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)), finished(checkpoint(4), message_event(5)))
    async with client.sessions.subscribe("s") as subscription:
        assert (await anext(subscription)).sequence == 4
        server.stop()
        comeback = threading.Timer(0.5, server.start)
        comeback.start()
        assert (await anext(subscription)).sequence == 5
        comeback.join()


async def test_a_silent_stream_is_taken_for_dead(
    client: AsyncClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for subscription_module in (_async._subscription, _sync._subscription):
        monkeypatch.setattr(subscription_module, "PATIENCE_SECONDS", 0.3)
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)), finished(checkpoint(4), message_event(5)))
    async with client.sessions.subscribe("s") as subscription:
        assert [event.sequence async for event in subscription] == [4, 5]
    assert positions(server) == [None, 4]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure(grpc.StatusCode.OUT_OF_RANGE, reason="CURSOR_AHEAD"), OutOfRange),
        (
            Failure(
                grpc.StatusCode.OUT_OF_RANGE, reason="EVENTS_COMPACTED", metadata={"oldest_sequence": "9"}
            ),
            OutOfRange,
        ),
        (Failure(grpc.StatusCode.NOT_FOUND, reason="SESSION_NOT_FOUND"), NotFound),
    ],
)
async def test_a_refusal_is_raised_when_it_is_established(
    failure: Failure, error: Any, client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("Subscribe", failure)
    with pytest.raises(error) as caught:
        _ = await client.sessions.subscribe("s", after_sequence=1)
    assert caught.value.reason == failure.reason
    assert caught.value.metadata == failure.metadata
    assert len(server.calls) == 1


async def test_compaction_in_mid_stream_is_raised_and_never_skipped(
    client: AsyncClient, server: ScriptedServer
) -> None:
    compacted = Failure(grpc.StatusCode.OUT_OF_RANGE, reason="EVENTS_COMPACTED")
    server.on("Subscribe", finished(checkpoint(3), message_event(4), failure=compacted))
    async with client.sessions.subscribe("s") as subscription:
        assert (await anext(subscription)).sequence == 4
        with pytest.raises(OutOfRange):
            await anext(subscription)
        assert subscription.closed


async def test_a_service_that_stays_away_cannot_be_subscribed_to(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("Subscribe", LOST)
    with pytest.raises(Unavailable):
        _ = await client.sessions.subscribe("s", timeout=0.5)
    assert len(server.calls) > 1


async def test_a_service_that_says_nothing_cannot_be_subscribed_to(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("Subscribe", Stream())
    with pytest.raises(DeadlineExceeded, match="silent"):
        _ = await client.sessions.subscribe("s", timeout=0.3)


@pytest.mark.parametrize(
    "options",
    [
        {"event_types": "message"},
        {"event_types": 5},
        {"event_types": ["nope"]},
        {"after_sequence": "1"},
        {"callback": 5},
        {"timeout": 0},
    ],
)
async def test_bad_input_is_refused_before_anything_is_sent(
    options: Any, client: AsyncClient, server: ScriptedServer
) -> None:
    with pytest.raises(InvalidArgument):
        _ = await client.sessions.subscribe("s", **options)
    assert server.calls == []


async def test_two_cannot_read_it_at_once(client: AsyncClient, server: ScriptedServer) -> None:
    stream = Stream(checkpoint(3))
    server.on("Subscribe", stream)
    subscription = await client.sessions.subscribe("s")
    readers = [asyncio.create_task(anext(subscription)) for _ in range(2)]
    refused, reading = await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(RuntimeError, match="being read already"):
        await refused.pop()
    stream.send(message_event(4), message_event(5))
    assert (await reading.pop()).sequence == 4
    assert (await anext(subscription)).sequence == 5
    await subscription.close()


async def test_closing_it_wakes_a_reader_that_waits(client: AsyncClient, server: ScriptedServer) -> None:
    waiting = Stream(checkpoint(3))
    server.on("Subscribe", waiting)
    subscription = await client.sessions.subscribe("s")
    reader = asyncio.create_task(anext(subscription, None))
    await asyncio.sleep(0)
    await subscription.close()
    assert await reader is None


async def test_closing_it_ends_the_pause_before_a_new_stream(
    client: AsyncClient, server: ScriptedServer
) -> None:
    later = Failure(grpc.StatusCode.UNAVAILABLE, retry_after=0.9)
    server.on("Subscribe", finished(checkpoint(3), failure=later))
    subscription = await client.sessions.subscribe("s")
    reader = asyncio.create_task(anext(subscription, None))
    await asyncio.sleep(0)
    await subscription.close()
    assert await reader is None
    assert len(server.calls) == 1


async def test_a_reader_that_was_cancelled_loses_nothing(server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)), finished(checkpoint(4), message_event(5)))
    async with AsyncClient(server.address) as client, client.sessions.subscribe("s") as subscription:
        assert (await anext(subscription)).sequence == 4
        reader = asyncio.create_task(anext(subscription))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert [event.sequence async for event in subscription] == [5]
    assert positions(server) == [None, 4]
