"""Subscriptions with a callback: events in order and one at a time, no swallowed errors, and closing."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from sessions_client import AsyncClient, Event, EventType, MessageDict, Session

MESSAGES = 200


class Received:
    """Collects what a callback receives. May be called from another thread."""

    def __init__(self, *, last: int = 0, fails_at: int = 0) -> None:
        self.sequences: list[int] = []
        self.at_once = 0
        self.most_at_once = 0
        self._last = last
        self._fails_at = fails_at
        self._done = threading.Event()

    def plain(self, event: Event) -> None:
        self._begin(event)
        self._end()

    async def coroutine(self, event: Event) -> None:
        self._begin(event)
        await asyncio.sleep(0)
        self._end()

    async def all(self) -> list[int]:
        assert await asyncio.to_thread(self._done.wait, 60), f"only {self.sequences} came"
        return self.sequences

    def _begin(self, event: Event) -> None:
        if event.sequence == self._fails_at:
            self._done.set()
            raise ValueError(f"event {event.sequence} is too much")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.sequences.append(event.sequence)

    def _end(self) -> None:
        self.at_once -= 1
        if self.sequences[-1] == self._last:
            self._done.set()


def as_plain(received: Received) -> Callable[[Event], object]:
    return received.plain


def as_coroutine(received: Received) -> Callable[[Event], object]:
    return received.coroutine


kinds_of_callback = pytest.mark.parametrize("callback", [as_plain, as_coroutine], ids=["plain", "coroutine"])


async def add(client: AsyncClient, session: Session, count: int) -> None:
    messages: list[MessageDict] = [{"role": "user", "content": str(number)} for number in range(count)]
    await client.sessions.add_messages(session.id, messages=messages)


@kinds_of_callback
async def test_a_callback_gets_every_event_in_order_one_at_a_time(
    client: AsyncClient, session: Session, callback: Callable[[Received], Callable[[Event], object]]
) -> None:
    received = Received(last=MESSAGES + 1)
    subscription = await client.sessions.subscribe(session.id, callback=callback(received))
    for _ in range(4):
        await add(client, session, MESSAGES // 4)
    assert await received.all() == list(range(2, MESSAGES + 2))
    assert received.most_at_once == 1
    await subscription.close()


@kinds_of_callback
async def test_a_callback_error_is_logged_and_raised_and_loses_no_event(
    client: AsyncClient,
    session: Session,
    callback: Callable[[Received], Callable[[Event], object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await add(client, session, 9)
    received = Received(fails_at=6)
    subscription = await client.sessions.subscribe(session.id, callback=callback(received), after_sequence=1)
    with pytest.raises(ValueError, match="event 6 is too much"):
        await subscription.wait()
    assert subscription.closed
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("sessions_client", logging.ERROR)
    ]
    assert received.sequences == [2, 3, 4, 5]
    resumed = Received(last=10)
    async with client.sessions.subscribe(
        session.id, callback=callback(resumed), after_sequence=subscription.position
    ):
        assert await resumed.all() == [6, 7, 8, 9, 10]


async def test_close_raises_the_callbacks_error_once(client: AsyncClient, session: Session) -> None:
    received = Received(fails_at=2)
    subscription = await client.sessions.subscribe(session.id, callback=received.plain)
    await add(client, session, 1)
    await received.all()
    with pytest.raises(ValueError, match="event 2 is too much"):
        await subscription.close()
    await subscription.close()


async def test_nothing_is_delivered_after_close_and_the_position_allows_resuming(
    client: AsyncClient, session: Session
) -> None:
    received = Received(last=3)
    subscription = await client.sessions.subscribe(session.id, callback=received.plain)
    await add(client, session, 2)
    assert await received.all() == [2, 3]
    await subscription.close()
    await add(client, session, 2)
    assert (received.sequences, subscription.position) == ([2, 3], 3)
    async with client.sessions.subscribe(session.id, after_sequence=subscription.position) as resumed:
        assert [(await anext(resumed)).sequence for _ in range(2)] == [4, 5]


async def test_close_ends_a_waiting_iteration(client: AsyncClient, session: Session) -> None:
    async with client.sessions.subscribe(session.id) as subscription:
        iteration = asyncio.create_task(sequences(subscription))
        await subscription.close()
        assert await iteration == []


async def sequences(events: AsyncIterator[Event]) -> list[int]:
    return [event.sequence async for event in events]


async def test_a_slow_subscriber_delays_no_other(client: AsyncClient, session: Session) -> None:
    released = threading.Event()
    slow, quick = Received(last=MESSAGES + 1), Received(last=MESSAGES + 1)

    async def wait_and_receive(event: Event) -> None:
        await asyncio.to_thread(released.wait, 60)
        await slow.coroutine(event)

    async with (
        client.sessions.subscribe(session.id, callback=wait_and_receive),
        client.sessions.subscribe(session.id, callback=quick.plain),
    ):
        await add(client, session, MESSAGES)
        assert await quick.all() == list(range(2, MESSAGES + 2))
        assert slow.sequences == []
        released.set()
        assert await slow.all() == quick.sequences


async def test_subscribers_with_different_filters_share_a_connection(
    client: AsyncClient, session: Session
) -> None:
    kinds = [EventType.MESSAGE, EventType.STATE_CHANGE, EventType.CONTEXT_CHANGE]
    async with AsyncExitStack() as stack:
        subscriptions = [
            await stack.enter_async_context(client.sessions.subscribe(session.id, event_types=[kind]))
            for kind in kinds
        ]
        await client.sessions.start(session.id)
        await client.sessions.update_context(session.id, path="a", value=1)
        await add(client, session, 1)
        assert [(await anext(one)).type for one in subscriptions] == kinds
