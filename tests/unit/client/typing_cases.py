"""Code that uses the client as a typed program does, mistakes included.

Each `type: ignore` here is a promise that the type checker catches that mistake: it also reports an ignore that it has
no use for. `test_typing.py` runs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

from sessions_client import (
    AsyncClient,
    AsyncPage,
    AsyncPager,
    AsyncSubscription,
    Client,
    Context,
    Event,
    History,
    Increment,
    Message,
    Page,
    Pager,
    Session,
    SessionData,
    Set,
    Subscription,
)


def plain(event: Event) -> None: ...


async def coroutine(event: Event) -> None: ...


def of_messages(message: Message) -> None: ...


def synchronous(client: Client) -> None:
    assert_type(client.sessions.create("u", config={"timeout": 3600}, storage_options={"ttl": 60}), Session)
    assert_type(client.sessions.list(status=["active", "paused"]), Pager)
    assert_type(next(client.sessions.list().pages()), Page)
    for session in client.sessions.search(metadata_filter={"device": "web"}):
        assert_type(session, Session)
    assert_type(client.sessions.get_context("s", path="a"), Context)
    assert_type(client.sessions.update_context("s", path="a", value=None), Context)
    assert_type(
        client.sessions.update_context("s", changes=[Set("a", 1), {"path": "b", "remove": True}]), Context
    )
    assert_type(client.sessions.add_message("s", message={"role": "user", "content": "Hello"}), Message)
    assert_type(client.sessions.get_history("s"), History)
    assert_type(client.sessions.subscribe("s", callback=plain), Subscription)
    assert_type(client.sessions.subscribe("s", callback=coroutine), Subscription)
    with client.sessions.subscribe("s", event_types=["message"]) as subscription:
        for event in subscription:
            assert_type(event, Event)
            if isinstance(event.data, Message):
                assert_type(event.data.content, str)
    assert_type(client.sessions.import_("t", session_data=client.sessions.export("s").to_json()), Session)


async def asynchronous(client: AsyncClient) -> None:
    assert_type(await client.sessions.create(user_id="u"), Session)
    pager: AsyncPager = client.sessions.list()
    assert_type(pager.pages(), AsyncIterator[AsyncPage])
    assert_type(await client.sessions.list(), AsyncPage)
    async for session in client.sessions.list():
        assert_type(session, Session)
    established: AsyncSubscription = await client.sessions.subscribe("s", callback=coroutine)
    assert_type(established.position, int | None)
    async with client.sessions.subscribe("s") as subscription:
        async for event in subscription:
            assert_type(event, Event)
    assert_type(await client.sessions.export("s"), SessionData)


def mistakes(client: Client) -> None:
    client.sessions.create()  # type: ignore[call-arg]
    client.sessions.create("u", config={"timeot": 3600})  # type: ignore[arg-type]
    client.sessions.create("u", storage_options={"persistence": "forever"})  # type: ignore[arg-type]
    client.sessions.create("u", {"device": "web"})  # type: ignore[call-arg]
    client.sessions.list(status="sleeping")  # type: ignore[arg-type]
    client.sessions.add_message("s", message={"rolle": "user"})  # type: ignore[call-overload]
    client.sessions.add_message("s")  # type: ignore[call-overload]
    client.sessions.update_context("s", path="a")  # type: ignore[call-overload]
    client.sessions.update_context("s", path="a", value=1, context={})  # type: ignore[call-overload]
    client.sessions.update_context("s", changes=[Increment("a", "1")])  # type: ignore[arg-type]
    client.sessions.subscribe("s", callback=of_messages)  # type: ignore[arg-type]
    client.sessions.subscribe("s", event_types=["massage"])  # type: ignore[list-item]
    client.sessions.import_("s", session_data=5)  # type: ignore[arg-type]
    _ = client.sessions.get("s").sate  # type: ignore[attr-defined]
    Client("a", timeout="30")  # type: ignore[arg-type]


async def mistakes_with_await(client: AsyncClient) -> None:
    for _ in client.sessions.list():  # type: ignore[attr-defined]
        break
    client.sessions.get("s")  # type: ignore[unused-coroutine]
    with client.sessions.subscribe("s"):  # type: ignore[attr-defined]
        return
