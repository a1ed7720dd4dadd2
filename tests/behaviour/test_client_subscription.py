"""Subscriptions through the client, across restarts of the server and broken connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sessions_client import (
    AsyncClient,
    ContextChangeData,
    Event,
    Message,
    NotFound,
    OutOfRange,
    Session,
    StateChangeData,
)
from tests.support.flavours import open_client
from tests.support.proxy import proxy_to
from tests.support.server import Server, start_server


async def take(subscription: AsyncIterator[Event], count: int) -> list[Event]:
    return [await anext(subscription) for _ in range(count)]


async def say(client: AsyncClient, session: Session, *texts: str) -> None:
    for text in texts:
        await client.sessions.add_message(session.id, role="user", content=text)


async def test_every_change_is_an_event_with_its_own_data(client: AsyncClient, session: Session) -> None:
    async with client.sessions.subscribe(session.id) as subscription:
        await client.sessions.start(session.id, request_id="the-start")
        await client.sessions.update_context(session.id, path="a.b", value=1)
        await client.sessions.update(session.id, metadata={"x": 1})
        await say(client, session, "Hello")
        events = await take(subscription, 4)  # clearing erases a message that was not delivered yet
        await client.sessions.clear_history(session.id)
        events += await take(subscription, 1)
    kinds = ["state_change", "context_change", "updated", "message", "history_cleared"]
    assert [event.type for event in events] == kinds
    assert [event.sequence for event in events] == [2, 3, 4, 5, 6]
    started, changed, _, message, _ = events
    assert started.request_id == "the-start"
    assert isinstance(started.data, StateChangeData)
    assert (started.data.state, started.data.previous_state, started.data.reason) == (
        "active",
        "created",
        "caller",
    )
    assert isinstance(changed.data, ContextChangeData)
    assert changed.data.paths == ("a.b",)
    assert isinstance(message.data, Message)
    assert message.data.sequence == message.sequence
    assert all(event.session_id == session.id and event.time is not None for event in events)


async def test_it_starts_now_or_after_a_position(client: AsyncClient, session: Session) -> None:
    await say(client, session, "before")
    async with (
        client.sessions.subscribe(session.id) as live,
        client.sessions.subscribe(session.id, after_sequence=0) as whole,
    ):
        assert live.position == 2
        await say(client, session, "after")
        assert [event.sequence for event in await take(live, 1)] == [3]
        assert [event.type for event in await take(whole, 3)] == ["created", "message", "message"]


async def test_only_requested_types_are_delivered(client: AsyncClient, session: Session) -> None:
    async with client.sessions.subscribe(session.id, event_types=["message"]) as subscription:
        await client.sessions.start(session.id)
        await say(client, session, "Hello")
        assert [event.type for event in await take(subscription, 1)] == ["message"]


async def test_types_callback_and_position_may_be_given_by_place(
    client: AsyncClient, session: Session
) -> None:
    await say(client, session, "a", "b")
    delivered: list[Event] = []
    arrived = asyncio.Event()

    def note(event: Event) -> None:
        delivered.append(event)
        arrived.set()

    async with client.sessions.subscribe(session.id, ["message"], note, 2):
        await asyncio.wait_for(arrived.wait(), 30)
    assert [event.sequence for event in delivered] == [3]


async def test_the_deletion_is_the_last_event(client: AsyncClient, session: Session) -> None:
    async with client.sessions.subscribe(session.id) as subscription:
        await client.sessions.delete(session.id)
        assert [event.type async for event in subscription] == ["deleted"]
        assert subscription.closed


async def test_a_position_ahead_of_the_log_is_refused(client: AsyncClient, session: Session) -> None:
    with pytest.raises(OutOfRange) as caught:
        _ = await client.sessions.subscribe(session.id, after_sequence=99)
    assert caught.value.reason == "CURSOR_AHEAD"
    with pytest.raises(NotFound):
        _ = await client.sessions.subscribe("no-such-session")


async def test_the_content_of_a_cleared_message_is_not_delivered(
    client: AsyncClient, session: Session
) -> None:
    await say(client, session, "secret")
    await client.sessions.clear_history(session.id)
    async with client.sessions.subscribe(session.id, after_sequence=1) as subscription:
        message, cleared = await take(subscription, 2)
    assert (message.type, message.erased, cleared.type) == ("message", True, "history_cleared")
    assert isinstance(message.data, Message)
    assert message.data.content == ""


async def test_a_callback_receives_everything_in_order(client: AsyncClient, session: Session) -> None:
    received: list[int] = []
    done = threading.Event()

    async def callback(event: Event) -> None:
        await asyncio.sleep(0)
        received.append(event.sequence)
        if event.sequence == 51:
            done.set()

    subscription = await client.sessions.subscribe(session.id, callback=callback)
    await client.sessions.add_messages(
        session.id, messages=[{"role": "user", "content": str(number)} for number in range(50)]
    )
    assert await asyncio.to_thread(done.wait, 30)
    await subscription.close()
    assert received == list(range(2, 52))


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Server]:
    """A server for a single test, which may stop and restart it."""
    with start_server(tmp_path) as server:
        yield server


@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_a_server_restart_loses_and_repeats_no_event(flavour: str, mortal: Server, ending: str) -> None:
    client = open_client(flavour, mortal.address)
    session = await client.sessions.create("u")
    async with client.sessions.subscribe(session.id) as subscription:
        await say(client, session, "one", "two")
        assert [event.sequence for event in await take(subscription, 2)] == [2, 3]
        await asyncio.to_thread(mortal.stop if ending == "stop" else mortal.kill)
        await asyncio.to_thread(mortal.start)
        await say(client, session, "three", "four")
        assert [event.sequence for event in await take(subscription, 2)] == [4, 5]
    await client.close()


async def test_a_callback_survives_a_restart(flavour: str, mortal: Server) -> None:
    received: list[int] = []
    heard_two, done = threading.Event(), threading.Event()

    def callback(event: Event) -> None:
        received.append(event.sequence)
        if event.sequence == 3:
            heard_two.set()
        if event.type == "deleted":
            done.set()

    client = open_client(flavour, mortal.address)
    session = await client.sessions.create("u")
    subscription = await client.sessions.subscribe(session.id, callback=callback)
    await say(client, session, "one")
    await asyncio.to_thread(mortal.kill)
    await asyncio.to_thread(mortal.start)
    await say(client, session, "two")
    # A deletion erases the log, including events not delivered yet.
    assert await asyncio.to_thread(heard_two.wait, 30)
    await client.sessions.delete(session.id)
    assert await asyncio.to_thread(done.wait, 30)
    await subscription.wait()
    assert received == [2, 3, 4]
    await client.close()


async def test_cut_connections_lose_and_repeat_no_event(flavour: str, server: Server) -> None:
    async with proxy_to("127.0.0.1", server.port) as proxy:
        client = open_client(flavour, proxy.address)
        session = await client.sessions.create("u")
        async with client.sessions.subscribe(session.id) as subscription:
            for round_ in range(3):
                await say(client, session, "before the cut")
                proxy.cut()
                await say(client, session, "after the cut")
                first = 2 + 2 * round_
                assert [event.sequence for event in await take(subscription, 2)] == [first, first + 1]
        await client.close()


async def test_a_write_whose_response_was_lost_takes_effect_once(flavour: str, server: Server) -> None:
    first = iter([True])
    async with proxy_to(
        "127.0.0.1", server.port, cut_after=lambda data: b"only once" in data and next(first, False)
    ) as proxy:
        client = open_client(flavour, proxy.address)
        session = await client.sessions.create("u")
        await say(client, session, "only once")
        assert proxy.cuts == 1
        assert [one.content for one in await client.sessions.get_history(session.id)] == ["only once"]
        assert (await client.sessions.get(session.id)).last_sequence == 2
        await client.close()
