"""Code that uses the client as a typed program does, including mistakes.

Each `type: ignore` here asserts that the type checker catches that mistake, since it also reports unused ignores.
`test_typing.py` runs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
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
    Persistence,
    Session,
    SessionConfig,
    SessionData,
    SessionState,
    Set,
    StateChangeData,
    StorageOptions,
    Subscription,
)


def plain(event: Event) -> None: ...


async def coroutine(event: Event) -> None: ...


def of_messages(message: Message) -> None: ...


def synchronous(client: Client) -> None:
    assert_type(client.sessions.create("u", config={"timeout": 3600}, storage_options={"ttl": 60}), Session)
    assert_type(client.sessions.list(status=["active", "paused"]), Pager[Session])
    assert_type(next(client.sessions.list().pages()), Page[Session])
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


def ordinary_variables(client: Client, status: str) -> None:
    config = {"timeout": 3600}
    options = {"ttl": 86400, "expiry_action": "archive"}
    messages = [{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}]
    types = ["message"]
    changes = [{"path": "a", "set": 1}, {"path": "b", "remove": True}]
    client.sessions.create("u", config=config, storage_options=options)
    client.sessions.update("s", config=config, storage_options=options, update_mask=("config",))
    client.sessions.add_message("s", message=messages[0])
    client.sessions.add_messages("s", messages=messages)
    client.sessions.add_messages("s", messages=(Message(role="user", content=text) for text in "ab"))
    client.sessions.update_context("s", changes=changes)
    client.sessions.list(status=status)
    client.sessions.search(status=[status])
    client.sessions.subscribe("s", event_types=types).close()
    client.sessions.import_("s", session_data=bytearray())
    assert_type(client.sessions.add_message("s", data={"parts": []}), Message)


def options(session: Session) -> None:
    assert_type(SessionConfig(timeout=3600, overflow="reject").timeout, timedelta | None)
    assert_type(StorageOptions(ttl=86400.0, persistence="temporary").persistence, Persistence)
    assert_type(replace(session.config, timeout=timedelta(hours=1)), SessionConfig)


async def handler_of_the_guide(event: Event) -> None:
    if event.type == "message":
        print(f"Content: {event.data.content}")  # noqa: T201  # as the guide has it
    elif event.type == "state_change":
        print(event.data.state)  # noqa: T201  # as the guide has it
    if isinstance(event.data, StateChangeData):
        assert_type(event.data.state, SessionState)


async def asynchronous(client: AsyncClient) -> None:
    assert_type(await client.sessions.create(user_id="u"), Session)
    pager: AsyncPager[Session] = client.sessions.list()
    assert_type(pager.pages(), AsyncIterator[AsyncPage[Session]])
    assert_type(await client.sessions.list(), AsyncPage[Session])
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
    client.sessions.create("u", config={1: 3600})  # type: ignore[dict-item]
    SessionConfig(timeot=3600)  # type: ignore[call-arg]
    StorageOptions(persistence="forever")  # type: ignore[arg-type]
    client.sessions.create("u", {"device": "web"})  # type: ignore[call-arg]
    client.sessions.list(status=5)  # type: ignore[arg-type]
    client.sessions.add_message("s", message="Hello")  # type: ignore[call-overload]
    client.sessions.add_message("s")  # type: ignore[call-overload]
    client.sessions.update_context("s", path="a")  # type: ignore[call-overload]
    client.sessions.update_context("s", path="a", value=1, context={})  # type: ignore[call-overload]
    client.sessions.update_context("s", changes=[Increment("a", "1")])  # type: ignore[arg-type]
    client.sessions.subscribe("s", callback=of_messages)  # type: ignore[arg-type]
    client.sessions.subscribe("s", event_types=[5])  # type: ignore[list-item]
    client.sessions.import_("s", session_data=5)  # type: ignore[arg-type]
    _ = client.sessions.get("s").sate  # type: ignore[attr-defined]
    Client("a", timeout="30")  # type: ignore[arg-type]


async def mistakes_with_await(client: AsyncClient) -> None:
    for _ in client.sessions.list():  # type: ignore[attr-defined]
        break
    client.sessions.get("s")  # type: ignore[unused-coroutine]
    with client.sessions.subscribe("s"):  # type: ignore[attr-defined]
        return
