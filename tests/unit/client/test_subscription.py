"""Subscriptions over streams that break, with either client."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from sessions_client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    Event,
    InvalidArgument,
    NotFound,
    OutOfRange,
    Unauthenticated,
    Unavailable,
)
from sessions_proto.v1 import sessions_pb2 as pb
from tests.support.flavours import open_client
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

if TYPE_CHECKING:
    from types import FrameType


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


async def test_iterating_it_immediately_establishes_it(client: AsyncClient, server: ScriptedServer) -> None:
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
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="TOO_MANY_STREAMS"),
        Failure(grpc.StatusCode.UNAUTHENTICATED, reason="UNAUTHENTICATED"),
    ],
    ids=lambda failure: f"{failure.code.name} {failure.reason or failure.message}",
)
async def test_a_broken_stream_resumes_after_the_last_event(
    failure: Failure, client: AsyncClient, server: ScriptedServer
) -> None:
    server.on(
        "Subscribe",
        finished(checkpoint(3), message_event(4), failure=failure),
        finished(checkpoint(4), message_event(5)),
    )
    async with client.sessions.subscribe("s") as subscription:
        assert [event.sequence async for event in subscription] == [4, 5]
    assert server.positions() == [None, 4]


async def test_a_broken_stream_resumes_after_the_last_checkpoint(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on(
        "Subscribe",
        finished(checkpoint(3), message_event(4), checkpoint(90), failure=LOST),
        finished(checkpoint(90), message_event(91)),
    )
    async with client.sessions.subscribe("s", after_sequence=2, event_types=["message"]) as subscription:
        assert [event.sequence async for event in subscription] == [4, 91]
    assert server.positions() == [2, 90]


async def test_events_repeated_by_a_new_stream_are_not_delivered_again(
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


async def test_a_silent_stream_counts_as_dead(
    client: AsyncClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough that only the silent stream is silent for so long, also on a busy machine.
    monkeypatch.setattr("sessions_client._follow.MAX_SILENCE_SECONDS", 1.0)
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)), finished(checkpoint(4), message_event(5)))
    async with client.sessions.subscribe("s") as subscription:
        assert [event.sequence async for event in subscription] == [4, 5]
    assert server.positions() == [None, 4]


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


async def test_subscribing_to_a_service_that_stays_down_fails(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("Subscribe", LOST)
    with pytest.raises(Unavailable):
        _ = await client.sessions.subscribe("s", timeout=1)
    assert len(server.calls) > 1


async def test_subscribing_to_a_silent_service_fails(client: AsyncClient, server: ScriptedServer) -> None:
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


async def test_concurrent_reads_are_refused(client: AsyncClient, server: ScriptedServer) -> None:
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


async def test_closing_it_wakes_a_waiting_reader(client: AsyncClient, server: ScriptedServer) -> None:
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
    later = Failure(grpc.StatusCode.UNAVAILABLE, retry_after=60)
    server.on("Subscribe", finished(checkpoint(3), failure=later))
    subscription = await client.sessions.subscribe("s")
    reader = asyncio.create_task(anext(subscription, None))
    await asyncio.sleep(0)
    await subscription.close()
    assert await reader is None


async def test_a_new_stream_has_a_new_token_and_waits_for_one(flavour: str, server: ScriptedServer) -> None:
    tokens: list[str | Exception] = ["first", OSError("nobody gives tokens now"), "second"]

    def token() -> str:
        given = tokens.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    expired = Failure(grpc.StatusCode.UNAUTHENTICATED, reason="UNAUTHENTICATED")
    server.on("Subscribe", finished(checkpoint(3), message_event(4), failure=expired))
    server.on("Subscribe", finished(checkpoint(4), message_event(5), failure=expired), expired)
    client = open_client(flavour, server.address, token=token)
    tokens += ["third"]
    subscription = await client.sessions.subscribe("s")
    assert [(await anext(subscription)).sequence for _ in range(2)] == [4, 5]
    with pytest.raises(Unauthenticated):
        await anext(subscription)
    assert [call.metadata["authorization"] for call in server.calls] == [
        "Bearer first",
        "Bearer second",
        "Bearer third",
    ]
    await client.close()


async def test_no_stream_is_opened_after_the_session_was_deleted(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("Subscribe", finished(checkpoint(3), deleted_event(4), failure=LOST))
    async with client.sessions.subscribe("s") as subscription:
        assert [event.sequence async for event in subscription] == [4]
        assert subscription.closed
    assert len(server.calls) == 1


async def test_an_unreferenced_stream_is_ended(server: ScriptedServer) -> None:
    ended = threading.Event()

    def live(request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(ended.set)
        yield from (checkpoint(3), message_event(4))
        ended.wait()

    server.on("Subscribe", live)
    async with AsyncClient(server.address) as client:
        async for _ in client.sessions.subscribe("s"):
            break
        assert await asyncio.to_thread(ended.wait, 30)


class Interrupted(Exception):  # as KeyboardInterrupt
    """Raised by a signal handler."""


def test_an_event_interrupted_by_a_signal_is_delivered_again(server: ScriptedServer) -> None:
    def log(request: Any, context: grpc.ServicerContext) -> Any:
        yield checkpoint(request.after_sequence)
        yield from map(message_event, itertools.count(request.after_sequence + 1))

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 0.005))
        # gRPC's own code may swallow the exception.
        if frame is not None and "sessions_client" in frame.f_code.co_filename:
            raise Interrupted

    server.on("Subscribe", log)
    seen: list[Event] = []
    interruptions = 0
    with Client(server.address) as client:
        subscription = client.sessions.subscribe("s", after_sequence=0)
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            while interruptions < 20:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.003)
                    seen.extend(subscription)
                except Interrupted:
                    interruptions += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
