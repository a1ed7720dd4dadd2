"""Past states of a session, and events that include changes, through the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sessions_client import (
    Append,
    AsyncClient,
    Change,
    Event,
    Increment,
    Merge,
    OutOfRange,
    Remove,
    Session,
    Set,
)


async def states(client: AsyncClient, session: Session, **at: Any) -> tuple[Any, ...]:
    """The session, its context and its history, now or as of a position."""
    return (
        await client.sessions.get(session.id, **at),
        await client.sessions.get_context(session.id, **at),
        await client.sessions.get_history(session.id, **at),
    )


async def test_a_session_can_be_read_as_it_was_after_each_event(
    client: AsyncClient, session: Session
) -> None:
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: client.sessions.start(session.id),
        lambda: client.sessions.set_context(session.id, context={"a": 1, "b": [1]}),
        lambda: client.sessions.add_message(session.id, role="user", content="one"),
        lambda: client.sessions.update(session.id, metadata={"device": "tv"}),
        lambda: client.sessions.update_context(
            session.id, changes=[Increment("a"), Append("b", 2), Set("c.d", None), Remove("b")]
        ),
        lambda: client.sessions.add_message(session.id, role="user", content="two"),
        lambda: client.sessions.update(session.id, update_mask=["metadata.device"]),
        lambda: client.sessions.end(session.id),
    ]
    seen = [await states(client, session)]
    for step in steps:
        await step()
        seen.append(await states(client, session))
    for state in seen:
        assert await states(client, session, at_sequence=state[0].last_sequence) == state


async def test_a_position_after_the_end_is_refused(client: AsyncClient, session: Session) -> None:
    for read in (client.sessions.get, client.sessions.get_context, client.sessions.get_history):
        with pytest.raises(OutOfRange) as refusal:
            await read(session.id, at_sequence=99)
        assert refusal.value.reason == "CURSOR_AHEAD"


async def test_past_values_of_a_context_can_be_forgotten(client: AsyncClient, session: Session) -> None:
    await client.sessions.set_context(session.id, context={"secret": "old"})
    past = (await client.sessions.get(session.id)).last_sequence
    assert await client.sessions.get_context(session.id, at_sequence=past) == {"secret": "old"}
    await client.sessions.update_context(session.id, path="secret", value="new", forget_past=True)
    with pytest.raises(OutOfRange):
        await client.sessions.get_context(session.id, at_sequence=past)
    await client.sessions.set_context(session.id, context={"secret": "newer"}, forget_past=True)
    events = await events_of(client, session, include_changes=True)
    told = [event.data for event in events if event.type == "context_change"]
    assert [data.changes_omitted for data in told[:-1]] == [True, True]
    assert "old" not in repr(events)
    assert await client.sessions.get_context(session.id) == {"secret": "newer"}


async def events_of(client: AsyncClient, session: Session, **options: Any) -> list[Event]:
    last = (await client.sessions.get(session.id)).last_sequence
    found: list[Event] = []
    async with client.sessions.subscribe(session.id, after_sequence=0, **options) as events:
        async for event in events:
            found.append(event)
            if event.sequence == last:
                break
    return found


async def test_events_include_changes_on_request(client: AsyncClient, session: Session) -> None:
    changes: list[Change] = [
        Set("a.b", {"c": [None]}),
        Increment("n", 2),
        Append("list", "x"),
        Merge("", {"k": 1}),
        Remove("n"),
    ]
    await client.sessions.set_context(session.id, context={"whole": True})
    await client.sessions.update_context(session.id, changes=changes)
    updated = await client.sessions.update(session.id, metadata={"device": "tv"})
    await client.sessions.set_context(session.id, context={"large": "x" * 70_000})
    _, whole, parts, update, large = await events_of(client, session, include_changes=True)
    assert whole.data.changes == (Set("", {"whole": True}),)
    assert parts.data.changes == tuple(changes)
    assert update.data.session == updated
    assert (large.data.changes, large.data.changes_omitted) == ((), True)
    plain = await events_of(client, session)
    assert [getattr(event.data, "changes", ()) for event in plain] == [()] * 5
    assert plain[3].data.session is None


async def test_a_position_of_another_log_is_refused(client: AsyncClient, session: Session) -> None:
    with pytest.raises(OutOfRange) as refusal:
        async with client.sessions.subscribe(session.id, after_sequence=1, log_id="another"):
            pass
    assert refusal.value.reason == "LOG_REPLACED"
    log_id = refusal.value.metadata["log_id"]
    async with client.sessions.subscribe(session.id, after_sequence=0, log_id=log_id) as events:
        async for event in events:
            assert event.type == "created"
            break


async def test_the_newest_whole_turns_never_begin_with_a_tool_result(
    client: AsyncClient, session: Session
) -> None:
    roles = ["user", "assistant", "user", "assistant", "tool", "assistant"]
    await client.sessions.add_messages(
        session.id, messages=[{"role": role, "content": "x"} for role in roles]
    )

    async def window(limit: int) -> list[str]:
        history = await client.sessions.get_history(session.id, limit=limit, window="whole_turns")
        return [message.role for message in history]

    assert await window(6) == roles
    assert await window(5) == await window(4) == roles[2:]
    assert (await window(2))[:1] != ["tool"]


async def test_a_payload_comes_back_byte_for_byte(client: AsyncClient, session: Session) -> None:
    payload = b'{"b": 1.0, "a": 123456789012345678901234567890}\x00\xff'
    stored = await client.sessions.add_message(session.id, payload=payload, payload_type="application/json")
    assert (stored.role, stored.content, stored.payload) == ("", "", payload)
    assert await client.sessions.get_history(session.id) == [stored]
    data = await client.sessions.export(session.id)
    copy = await client.sessions.import_(f"copy-{session.id}", session_data=data.to_json())
    (copied,) = await client.sessions.get_history(copy.id)
    assert (copied.payload, copied.payload_type) == (payload, "application/json")


async def test_a_message_with_a_role_may_be_empty(client: AsyncClient, session: Session) -> None:
    stored = await client.sessions.add_messages(
        session.id, messages=[{"role": "tool", "content": ""}, {"role": "assistant"}]
    )
    assert [message.content for message in stored] == ["", ""]


async def test_the_limit_is_reached_with_large_messages_too(client: AsyncClient, session: Session) -> None:
    for number in range(5):
        await client.sessions.add_message(
            session.id, role="user", content=str(number), payload=bytes(600_000)
        )
    history = await client.sessions.get_history(session.id, limit=4)
    assert ([message.content for message in history], history.has_more) == (["1", "2", "3", "4"], True)
    history = await client.sessions.get_history(session.id, limit=9, after_sequence=0)
    assert ([message.content for message in history], history.has_more) == (["0", "1", "2", "3", "4"], False)
