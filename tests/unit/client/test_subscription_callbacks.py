"""Subscriptions with a callback, with either client."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import warnings
import weakref
from typing import Any

import grpc
import pytest

from sessions_client import AsyncClient, Client, Event, OutOfRange
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


class Receiver:
    """A callback that collects events, and lets a test wait for them."""

    def __init__(self, *, fails_at: int = 0) -> None:
        self.sequences: list[int] = []
        self._fails_at = fails_at
        self._arrived = threading.Condition()
        self._failed = threading.Event()

    def __call__(self, event: Event) -> None:
        if event.sequence == self._fails_at:
            self._failed.set()
            raise LookupError("the callback failed")
        with self._arrived:
            self.sequences.append(event.sequence)
            self._arrived.notify_all()

    async def has(self, *sequences: int) -> None:
        def arrived() -> bool:
            with self._arrived:
                return self._arrived.wait_for(lambda: self.sequences == list(sequences), timeout=30)

        assert await asyncio.to_thread(arrived), self.sequences

    async def failed(self) -> None:
        await asyncio.to_thread(self._failed.wait)


async def test_a_callback_gets_every_event_in_order(client: AsyncClient, server: ScriptedServer) -> None:
    receiver, stream = Receiver(), Stream(checkpoint(3), message_event(4))
    server.on("Subscribe", stream)
    subscription = await client.sessions.subscribe("s", callback=receiver)
    stream.send(message_event(5), checkpoint(5), message_event(6))
    await receiver.has(4, 5, 6)
    await subscription.close()


async def test_a_coroutine_callback_finishes_one_event_before_the_next(
    client: AsyncClient, server: ScriptedServer
) -> None:
    running, seen = 0, []

    async def callback(event: Event) -> None:
        nonlocal running
        running += 1
        await asyncio.sleep(0.01)
        seen.append((event.sequence, running))
        running -= 1

    server.on("Subscribe", finished(checkpoint(0), message_event(1), message_event(2), message_event(3)))
    subscription = await client.sessions.subscribe("s", callback=callback)
    await subscription.wait()
    assert seen == [(1, 1), (2, 1), (3, 1)]


async def test_a_callback_survives_a_broken_stream(client: AsyncClient, server: ScriptedServer) -> None:
    receiver = Receiver()
    server.on(
        "Subscribe",
        finished(checkpoint(3), message_event(4), failure=LOST),
        finished(checkpoint(4), message_event(5), deleted_event(6)),
    )
    subscription = await client.sessions.subscribe("s", callback=receiver)
    await subscription.wait()
    assert receiver.sequences == [4, 5, 6]
    assert subscription.position == 6


async def test_an_error_of_the_callback_stops_the_delivery_and_is_logged_and_raised(
    client: AsyncClient, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(fails_at=5)
    server.on("Subscribe", Stream(checkpoint(3), message_event(4), message_event(5), message_event(6)))
    subscription = await client.sessions.subscribe("s", callback=receiver)
    with pytest.raises(LookupError, match="the callback failed"):
        await subscription.wait()
    assert receiver.sequences == [4]
    assert subscription.position == 4
    assert subscription.closed
    logged = [record for record in caplog.records if record.name == "sessions_client"]
    assert [record.levelno for record in logged] == [logging.ERROR]
    await subscription.close()


async def test_a_callback_that_ends_with_a_cancellation_ends_the_delivery_with_an_error(
    client: AsyncClient, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def callback(event: Event) -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    server.on("Subscribe", Stream(checkpoint(3), message_event(4)))
    subscription = await client.sessions.subscribe("s", callback=callback)
    with pytest.raises(RuntimeError, match="ended with CancelledError") as caught:
        await subscription.wait()
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert subscription.closed
    assert [record.levelno for record in caplog.records if record.name == "sessions_client"] == [
        logging.ERROR
    ]


@pytest.mark.parametrize("flavour", ["sync"])
async def test_a_systemexit_in_a_threads_callback_is_reported(
    client: AsyncClient, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    def callback(event: Event) -> None:
        sys.exit(3)

    server.on("Subscribe", Stream(checkpoint(3), message_event(4)))
    subscription = await client.sessions.subscribe("s", callback=callback)
    outcome = await asyncio.gather(_caught(subscription.wait()))
    assert [str(one) for one in outcome] == ["3"]
    assert subscription.closed
    assert "has ended with an error" in caplog.text


def test_a_systemexit_in_an_event_loops_callback_ends_the_program(server: ScriptedServer) -> None:
    program = f"""
import asyncio, sys
from sessions_client import AsyncClient

async def main():
    client = AsyncClient({server.address!r})
    await client.sessions.subscribe("s", callback=lambda event: sys.exit(7))
    await asyncio.Event().wait()

asyncio.run(main())
"""
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)))
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, timeout=60)
    assert done.returncode == 7


async def _caught(call: Any) -> BaseException | None:
    try:
        await call
    except SystemExit as exc:
        return exc
    return None


async def test_a_worker_cancelled_with_its_loop_has_not_failed(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream(checkpoint(3), message_event(4))
    server.on("Subscribe", stream)
    client = AsyncClient(server.address)
    entered = asyncio.Event()

    async def callback(event: Event) -> None:
        entered.set()
        await asyncio.Event().wait()

    subscription = await client.sessions.subscribe("s", callback=callback)
    await entered.wait()
    for task in asyncio.all_tasks():
        if task.get_name().startswith("sessions-subscription"):
            task.cancel()
    await subscription.wait()
    assert subscription.closed
    assert [record for record in caplog.records if record.name == "sessions_client"] == []
    await client.close()


async def test_an_error_of_the_callback_is_raised_by_close(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("Subscribe", finished(checkpoint(3), message_event(4), message_event(5)))
    receiver = Receiver(fails_at=5)
    subscription = await client.sessions.subscribe("s", callback=receiver)
    await receiver.failed()
    with pytest.raises(LookupError):
        await subscription.close()


async def test_an_error_of_the_callback_is_raised_when_the_block_is_left(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)))
    receiver = Receiver(fails_at=4)
    with pytest.raises(LookupError):
        async with client.sessions.subscribe("s", callback=receiver):
            await receiver.failed()


async def test_an_error_of_the_block_takes_precedence_over_the_callbacks(
    client: AsyncClient, server: ScriptedServer
) -> None:
    async def block(receiver: Receiver) -> None:
        async with client.sessions.subscribe("s", callback=receiver):
            await receiver.failed()
            raise ZeroDivisionError

    server.on("Subscribe", Stream(checkpoint(3), message_event(4)))
    with pytest.raises(ZeroDivisionError):
        await block(Receiver(fails_at=4))


async def test_an_error_of_the_stream_is_raised_by_wait(client: AsyncClient, server: ScriptedServer) -> None:
    compacted = Failure(grpc.StatusCode.OUT_OF_RANGE, reason="EVENTS_COMPACTED")
    server.on("Subscribe", finished(checkpoint(3), failure=compacted))
    subscription = await client.sessions.subscribe("s", callback=Receiver())
    with pytest.raises(OutOfRange):
        await subscription.wait()


async def test_closing_it_waits_for_a_running_callback(client: AsyncClient, server: ScriptedServer) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    async def callback(event: Event) -> None:
        begun.set()
        await asyncio.to_thread(go_on.wait)
        done.append(event.sequence)

    server.on("Subscribe", Stream(checkpoint(3), message_event(4), message_event(5)))
    subscription = await client.sessions.subscribe("s", callback=callback)
    await asyncio.to_thread(begun.wait)
    closing = asyncio.create_task(_close(subscription))
    while not subscription.closed:  # noqa: ASYNC110  # the state has no signal to wait for
        await asyncio.sleep(0)
    assert done == []
    assert not closing.done()
    go_on.set()
    await closing
    assert done == [4]


async def _close(subscription: Any) -> None:
    await subscription.close()


async def test_a_subscription_with_a_callback_cannot_be_iterated(
    client: AsyncClient, server: ScriptedServer
) -> None:
    server.on("Subscribe", Stream(checkpoint(3)), Stream(checkpoint(3)))
    async with client.sessions.subscribe("s", callback=Receiver()) as subscription:
        with pytest.raises(RuntimeError, match="callback"):
            await anext(subscription)
    async with client.sessions.subscribe("s") as subscription:
        with pytest.raises(RuntimeError, match="iterate it"):
            await subscription.wait()


def test_a_synchronous_callback_may_close_its_own_subscription(server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4), message_event(5)))
    seen = []

    def callback(event: Event) -> None:
        seen.append(event.sequence)
        held.wait()
        subscription.close()

    held = threading.Event()
    with Client(server.address) as client:
        subscription = client.sessions.subscribe("s", callback=callback)
        held.set()
        subscription.wait()
    assert seen == [4]


async def test_an_asynchronous_callback_may_close_its_own_subscription(server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4), message_event(5)))
    seen = []

    async def callback(event: Event) -> None:
        seen.append(event.sequence)
        await subscription.close()

    async with AsyncClient(server.address) as client:
        subscription = await client.sessions.subscribe("s", callback=callback)
        await subscription.wait()
    assert seen == [4]


async def test_waiting_for_a_closed_subscription_returns(client: AsyncClient, server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3)))
    subscription = await client.sessions.subscribe("s", callback=Receiver())
    await subscription.close()
    await subscription.wait()


async def test_waiting_for_a_subscription_closed_before_it_started_returns(
    server: ScriptedServer,
) -> None:
    async with AsyncClient(server.address) as client:
        subscription = client.sessions.subscribe("s", callback=Receiver())
        await subscription.close()
        await subscription.wait()
    assert server.calls == []


async def test_closing_the_client_ends_its_subscriptions(flavour: str, server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3)))
    client = open_client(flavour, server.address)
    subscription = await client.sessions.subscribe("s", callback=Receiver())
    await client.close()
    assert subscription.closed
    await subscription.wait()


async def test_a_callback_subscription_that_was_never_entered_gives_a_warning(server: ScriptedServer) -> None:
    async with AsyncClient(server.address) as client:
        with pytest.warns(RuntimeWarning, match="never awaited"):
            client.sessions.subscribe("s", callback=Receiver())  # type: ignore[unused-awaitable]  # that is the test
    assert server.calls == []


async def test_a_subscription_that_could_not_start_in_time_gives_no_warning(server: ScriptedServer) -> None:
    server.on("Subscribe", Stream())
    async with AsyncClient(server.address) as client:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            seen = await _out_of_time(client)
            while seen() is not None:
                await asyncio.sleep(0)
                gc.collect()
    assert warned == []


async def _out_of_time(client: AsyncClient) -> weakref.ref[Any]:
    subscription = client.sessions.subscribe("s", callback=Receiver())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await subscription.wait()
    return weakref.ref(subscription)


def test_a_program_exits_although_its_subscription_was_not_closed(server: ScriptedServer) -> None:
    server.on("Subscribe", Stream(checkpoint(3), message_event(4)))
    program = (
        "import threading\n"
        "from sessions_client import Client\n"
        "got = threading.Event()\n"
        f"Client({server.address!r}).sessions.subscribe('s', callback=lambda event: got.set())\n"
        "assert got.wait(30)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "Traceback" not in ended.stderr
