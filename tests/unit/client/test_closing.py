"""Closing a client while it is in use, with either flavour."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from sessions_client import AsyncClient, Client, Event, SessionData
from sessions_client._async._connection import Connection
from sessions_client._options import target_of
from sessions_proto.v1 import sessions_pb2 as pb
from tests.unit.client.scripted import Failure, ScriptedServer, Stream, checkpoint, message_event

LATER = Failure(grpc.StatusCode.UNAVAILABLE, "Shutting down.", reason="SHUTTING_DOWN", retry_after=20)
DATA = SessionData([pb.ExportRecord(header=pb.ExportHeader(version=1))])

CALLS: dict[str, Callable[[AsyncClient], Any]] = {
    "GetSession": lambda client: client.sessions.get("s"),
    "ExportSession": lambda client: client.sessions.export("s"),
    "ImportSession": lambda client: client.sessions.import_("s", session_data=DATA),
    "Subscribe": lambda client: client.sessions.subscribe("s"),
}


class Hanging:
    """A step that never returns, and reports when the call has arrived."""

    def __init__(self) -> None:
        self._arrived = threading.Event()

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        over = threading.Event()
        context.add_callback(over.set)
        self._arrived.set()
        over.wait()
        LATER.abort(context)

    async def arrived(self) -> None:
        assert await asyncio.to_thread(self._arrived.wait, 30)


async def _get(call: Any) -> Any:
    return await call


@pytest.mark.parametrize("method", CALLS)
async def test_a_running_call_reports_that_the_client_was_closed(
    method: str, client: AsyncClient, server: ScriptedServer
) -> None:
    step = Hanging()
    server.on(method, step)
    call = asyncio.create_task(_get(CALLS[method](client)))
    await step.arrived()
    await client.close()
    with pytest.raises(RuntimeError, match="This client is closed"):
        await call


@pytest.mark.parametrize("method", CALLS)
async def test_a_call_waiting_for_its_next_attempt_reports_it_too(
    method: str, client: AsyncClient, server: ScriptedServer
) -> None:
    refused = threading.Event()

    def later(request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(refused.set)
        LATER.abort(context)

    server.on(method, later)
    call = asyncio.create_task(_get(CALLS[method](client)))
    assert await asyncio.to_thread(refused.wait, 30)
    await client.close()
    with pytest.raises(RuntimeError, match="This client is closed"):
        await call
    assert len(server.calls) == 1


def test_a_subscription_being_established_reports_it_while_a_callback_keeps_another_open(
    server: ScriptedServer,
) -> None:
    called, leaves, refused = threading.Event(), threading.Event(), threading.Event()

    def callback(event: Event) -> None:
        called.set()
        leaves.wait(30)

    def later(request: Any, context: grpc.ServicerContext) -> Any:
        context.add_callback(refused.set)
        LATER.abort(context)

    server.on("Subscribe", Stream(checkpoint(3), message_event(4)), later)
    client = Client(server.address)
    with ThreadPoolExecutor() as pool:
        client.sessions.subscribe("s", callback=callback)
        assert called.wait(30)
        second = pool.submit(client.sessions.subscribe, "s", callback=callback)
        assert refused.wait(30)
        closing = pool.submit(client.close)
        with pytest.raises(RuntimeError, match="This client is closed"):
            second.result(30)
        leaves.set()
        closing.result(30)


async def test_a_task_cancelled_while_the_client_closes_stays_cancelled(
    server: ScriptedServer,
) -> None:
    step = Hanging()
    server.on("GetSession", step)
    client = AsyncClient(server.address)
    call = asyncio.create_task(client.sessions.get("s"))
    await step.arrived()
    call.cancel()
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await call


def two_streams(server: ScriptedServer) -> None:
    server.on("Subscribe", *(Stream(checkpoint(3), message_event(4)) for _ in range(2)))


def test_synchronous_callbacks_of_two_subscriptions_may_both_close_the_client(server: ScriptedServer) -> None:
    two_streams(server)
    both = threading.Barrier(2)
    client = Client(server.address)

    def callback(event: Event) -> None:
        both.wait(30)
        client.close()

    subscriptions = [client.sessions.subscribe("s", callback=callback) for _ in range(2)]
    waiting = [threading.Thread(target=one.wait, daemon=True) for one in subscriptions]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(30)
    assert [thread.is_alive() for thread in waiting] == [False, False]
    client.close()


async def test_asynchronous_callbacks_of_two_subscriptions_may_both_close_the_client(
    server: ScriptedServer,
) -> None:
    two_streams(server)
    both = asyncio.Barrier(2)
    client = AsyncClient(server.address)

    async def callback(event: Event) -> None:
        await both.wait()
        await client.close()

    subscriptions = [await client.sessions.subscribe("s", callback=callback) for _ in range(2)]
    async with asyncio.timeout(30):
        for subscription in subscriptions:
            await subscription.wait()


async def test_what_a_callback_starts_may_close_the_subscription_too(server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4), message_event(5)))
    seen = []

    async def callback(event: Event) -> None:
        seen.append(event.sequence)
        await asyncio.gather(subscription.close())

    async with AsyncClient(server.address) as client, asyncio.timeout(30):
        subscription = await client.sessions.subscribe("s", callback=callback)
        await subscription.wait()
    assert seen == [4]


def test_a_synchronous_callback_cannot_wait_for_itself(server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)))
    known = threading.Event()

    def callback(event: Event) -> None:
        known.wait(30)
        subscription.wait()

    with Client(server.address) as client:
        subscription = client.sessions.subscribe("s", callback=callback)
        known.set()
        with pytest.raises(RuntimeError, match="cannot wait for its own"):
            subscription.wait()


async def test_an_asynchronous_callback_cannot_wait_for_itself(server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)))

    async def callback(event: Event) -> None:
        await subscription.wait()

    async with AsyncClient(server.address) as client:
        subscription = await client.sessions.subscribe("s", callback=callback)
        with pytest.raises(RuntimeError, match="cannot wait for its own"):
            await subscription.wait()


async def test_while_closing_calls_continue_and_no_subscription_starts(server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)))
    server.on("GetSession", pb.GetSessionResponse(session=pb.Session(id="s")))
    client = AsyncClient(server.address)
    running, closing = asyncio.Event(), asyncio.Event()
    answers: list[str] = []

    async def last(event: Event) -> None:
        running.set()
        await closing.wait()
        answers.append((await client.sessions.get("s")).id)
        with pytest.raises(RuntimeError, match="closed"):
            _ = await client.sessions.subscribe("s")

    subscription = await client.sessions.subscribe("s", callback=last)
    await running.wait()
    close = asyncio.create_task(client.close())
    while not subscription.closed:  # noqa: ASYNC110  # the state has no signal to wait for
        await asyncio.sleep(0)
    closing.set()
    await close
    await subscription.wait()
    assert answers == ["s"]


async def test_a_cancelled_close_still_closes_the_client(server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)))
    client = AsyncClient(server.address)
    running = asyncio.Event()

    async def forever(event: Event) -> None:
        running.set()
        await asyncio.Event().wait()

    _ = await client.sessions.subscribe("s", callback=forever)
    await running.wait()
    close = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    close.cancel()
    with pytest.raises(asyncio.CancelledError):
        await close
    with pytest.raises(RuntimeError, match="closed"):
        await client.sessions.get("s")


async def test_a_pause_that_begins_after_the_close_ends_at_once() -> None:
    connection = Connection(target_of("localhost:1", tls=False))
    await connection.close()
    with pytest.raises(RuntimeError, match="This client is closed"):
        await asyncio.wait_for(connection.pause(3600), 30)
