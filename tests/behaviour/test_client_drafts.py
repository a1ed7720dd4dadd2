"""Drafts through the client: a message is shown while it is being written, and stored at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from sessions_client import (
    Abandon,
    AlreadyExists,
    AsyncClient,
    DraftUpdate,
    FailedPrecondition,
    InvalidArgument,
    Message,
    Session,
)
from tests.support.flavours import open_client
from tests.support.server import start_server

TOKENS = [f"{number} é " for number in range(60)]
TEXT = "".join(TOKENS)


class Screen:
    """What a subscriber sees of one message."""

    def __init__(self) -> None:
        self.updates: list[DraftUpdate] = []
        self.message: Message | None = None
        self.shown = asyncio.Event()
        """Set by each update."""

    async def follow(self, events: AsyncIterator[object]) -> None:
        """Collects updates until the message, or until the draft ends without one."""
        async for event in events:
            if isinstance(event, DraftUpdate):
                self.updates.append(event)
                self.shown.set()
                if event.state != "writing":
                    return
            elif isinstance(data := getattr(event, "data", None), Message):
                self.message = data
                return


async def test_a_message_is_shown_while_it_is_written(client: AsyncClient, session: Session) -> None:
    screens = [Screen(), Screen(), Screen()]
    async with asyncio.TaskGroup() as tasks:
        subscribed = []
        for screen in screens:
            events = await client.sessions.subscribe(session.id, include_drafts=True)
            subscribed.append(events)
            tasks.create_task(screen.follow(events))
        async with client.sessions.draft(session.id, name="ada") as draft:
            for half in (TOKENS[:30], TOKENS[30:]):
                for screen in screens:
                    screen.shown.clear()
                for token in half:
                    await draft.write(token)
                for screen in screens:
                    await asyncio.wait_for(screen.shown.wait(), 30)
        assert draft.text == TEXT
    for events in subscribed:
        await events.close()
    assert draft.message is not None
    assert (draft.message.id, draft.message.content, draft.message.name) == (draft.message_id, TEXT, "ada")
    for screen in screens:
        assert len(screen.updates) > 1
        assert screen.message == draft.message
        for update in screen.updates:
            assert TEXT.startswith(update.text)
            assert update.text.endswith(update.added)
            assert (update.role, update.name, update.part) == ("assistant", "ada", "")
            assert (update.session_id, update.message_id) == (session.id, draft.message_id)


async def test_a_late_subscriber_sees_the_draft_so_far(client: AsyncClient, session: Session) -> None:
    async with client.sessions.draft(session.id) as draft:
        await draft.write("Hmm", part="reasoning")
        await draft.write("Hello")
        async with client.sessions.subscribe(session.id, include_drafts=True, draft_interval=0.01) as events:
            parts: dict[str, str] = {}
            while parts != {"reasoning": "Hmm", "": "Hello"}:
                update = await anext(events)
                assert isinstance(update, DraftUpdate)
                parts[update.part] = update.text
    assert (await client.sessions.get_history(session.id))[-1].content == "Hello"


@pytest.mark.parametrize("on_abandon", [Abandon.DISCARD, Abandon.COMMIT])
async def test_an_exception_ends_the_draft_as_configured(
    client: AsyncClient, session: Session, on_abandon: Abandon
) -> None:
    screen = Screen()
    async with asyncio.TaskGroup() as tasks:
        events = await client.sessions.subscribe(session.id, include_drafts=True)
        tasks.create_task(screen.follow(events))

        async def fail() -> None:
            async with client.sessions.draft(session.id, on_abandon=on_abandon) as draft:
                await draft.write("Hello")
                while not screen.updates:  # noqa: ASYNC110  # until it is shown
                    await asyncio.sleep(0.01)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
    await events.close()
    history = await client.sessions.get_history(session.id)
    if on_abandon is Abandon.DISCARD:
        assert (screen.updates[-1].state, screen.updates[-1].text, history) == ("discarded", "", [])
    else:
        assert screen.message == history[0]
        assert (history[0].content, history[0].metadata) == ("Hello", {"interrupted": True})


async def test_a_commit_adds_the_other_fields(client: AsyncClient, session: Session) -> None:
    async with client.sessions.draft(session.id, role="assistant", message_id="m-1") as draft:
        await draft.write("Hello")
        message = await draft.commit(metadata={"model": "x"}, data={"parts": []})
    assert (message.id, message.content, message.metadata, message.data) == (
        "m-1",
        "Hello",
        {"model": "x"},
        {"parts": []},
    )
    assert await client.sessions.get_history(session.id) == [message]
    with pytest.raises(RuntimeError, match="The draft has ended"):
        await draft.write("more")


async def test_a_refused_draft_says_why(client: AsyncClient, session: Session) -> None:
    await client.sessions.end(session.id)

    async def write_on(on_abandon: str, idle: float | None = None) -> None:
        async with client.sessions.draft(
            session.id, on_abandon=cast("Abandon", on_abandon), idle=idle
        ) as draft:
            while True:
                await draft.write("Hello")
                await asyncio.sleep(0.01)

    with pytest.raises(FailedPrecondition, match="ENDED"):
        await write_on("discard")
    with pytest.raises(InvalidArgument, match="on_abandon"):
        await write_on("keep")
    for idle in (0, 0.5, 600.1, 1e9):
        with pytest.raises(InvalidArgument, match="idle: must be between 1 second and 10 minutes"):
            await write_on("discard", idle)


async def test_a_draft_of_a_message_that_exists_is_refused(client: AsyncClient, session: Session) -> None:
    await client.sessions.add_message(session.id, message={"id": "m-1", "role": "user", "content": "Hi"})
    with pytest.raises(AlreadyExists):
        async with client.sessions.draft(session.id, message_id="m-1") as draft:
            await draft.write("Hello")


async def test_a_subscription_shows_drafts_again_after_a_broken_stream(flavour: str, tmp_path: Path) -> None:
    server = start_server(tmp_path)
    client = open_client(flavour, server.address)
    session = await client.sessions.create("u")
    async with (
        client.sessions.subscribe(session.id, include_drafts=True) as events,
        client.sessions.draft(session.id) as draft,
    ):
        await draft.write("Hello")
        update = await anext(events)
        assert isinstance(update, DraftUpdate)
        assert update.text == "Hello"
        await asyncio.to_thread(server.restart)
        await draft.write(" world")
        while update.text != "Hello world":
            assert "Hello world".startswith(update.text)
            update = await anext(events)
            assert isinstance(update, DraftUpdate)
        assert update.added == "Hello world"
    assert draft.message is not None
    assert draft.message.content == "Hello world"
    await client.close()
    server.stop()
