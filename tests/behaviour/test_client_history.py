"""Histories through the client."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sessions_client import (
    AlreadyExists,
    AsyncClient,
    FailedPrecondition,
    InvalidArgument,
    Message,
    MessageDict,
    ResourceExhausted,
    Session,
)


def numbered(*numbers: int) -> list[MessageDict | Message]:
    return [{"role": "user", "content": f"text {number}"} for number in numbers]


async def contents(client: AsyncClient, session: Session, **query: Any) -> list[str]:
    return [
        message.content.removeprefix("text ")
        for message in await client.sessions.get_history(session.id, **query)
    ]


async def test_a_message_comes_back_as_it_was_sent(client: AsyncClient, session: Session) -> None:
    sent: MessageDict = {
        "id": "m-1",
        "role": "assistant",
        "content": "Hello\u0000 🦆",
        "name": "Ada",
        "tool_call_id": "call-1",
        "data": {"tool_calls": [{"id": "call-1", "arguments": {"n": 1}}]},
        "metadata": {"model": "x", "tokens": 12},
        "timestamp": "2024-01-01T00:00:00.123456Z",
    }
    stored = await client.sessions.add_message(session.id, message=sent)
    assert [stored] == await client.sessions.get_history(session.id)
    assert (stored.id, stored.role, stored.content, stored.name) == (
        "m-1",
        "assistant",
        sent["content"],
        "Ada",
    )
    assert (stored.tool_call_id, stored.data, stored.metadata) == ("call-1", sent["data"], sent["metadata"])
    assert stored.timestamp == datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert stored.sequence == 2
    assert stored.create_time is not None


async def test_a_message_may_be_given_in_parts(client: AsyncClient, session: Session) -> None:
    when = datetime(2024, 1, 1, tzinfo=UTC)
    stored = await client.sessions.add_message(
        session.id, role="user", content="Hi", timestamp=when, metadata={"a": 1}
    )
    assert (stored.role, stored.content, stored.timestamp, stored.metadata) == ("user", "Hi", when, {"a": 1})
    assert stored.id


async def test_a_batch_is_stored_in_order(client: AsyncClient, session: Session) -> None:
    stored = await client.sessions.add_messages(session.id, messages=numbered(*range(5)))
    assert [message.sequence for message in stored] == [2, 3, 4, 5, 6]
    assert (await client.sessions.get(session.id)).message_count == 5


async def test_one_bad_message_refuses_the_whole_batch(client: AsyncClient, session: Session) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await client.sessions.add_messages(
            session.id, messages=[*numbered(1, 2), {"content": "without a role"}]
        )
    assert any(
        "messages" in violation.field and "2" in violation.field for violation in caught.value.violations
    )
    assert await client.sessions.get_history(session.id) == []


async def test_a_history_is_the_newest_messages_oldest_first(client: AsyncClient, session: Session) -> None:
    await client.sessions.add_messages(session.id, messages=numbered(*range(10)))
    history = await client.sessions.get_history(session.id, limit=3)
    assert [message.content for message in history] == ["text 7", "text 8", "text 9"]
    assert history.has_more
    assert await contents(client, session, limit=3, before_sequence=history[0].sequence) == ["4", "5", "6"]
    assert await contents(client, session, limit=3, after_sequence=history[0].sequence) == ["8", "9"]
    assert await contents(client, session, limit=2, after_sequence=0) == ["0", "1"]
    everything = await client.sessions.get_history(session.id)
    assert (len(everything), everything.has_more) == (10, False)


async def test_the_context_window_is_the_default_limit(client: AsyncClient, user_id: str) -> None:
    session = await client.sessions.create(user_id, config={"context_window": 2})
    await client.sessions.add_messages(session.id, messages=numbered(*range(5)))
    assert await contents(client, session) == ["3", "4"]
    assert len(await client.sessions.get_history(session.id, limit=10)) == 5


async def test_the_oldest_messages_make_room_for_a_new_one(client: AsyncClient, user_id: str) -> None:
    session = await client.sessions.create(user_id, config={"max_messages": 3})
    await client.sessions.add_messages(session.id, messages=numbered(0, 1, 2))
    await client.sessions.add_message(session.id, role="user", content="text 3")
    assert await contents(client, session) == ["1", "2", "3"]


async def test_with_reject_the_new_message_is_refused(client: AsyncClient, user_id: str) -> None:
    session = await client.sessions.create(user_id, config={"max_messages": 1, "overflow": "reject"})
    await client.sessions.add_message(session.id, role="user", content="text 0")
    with pytest.raises(ResourceExhausted) as caught:
        await client.sessions.add_message(session.id, role="user", content="text 1")
    assert caught.value.reason == "HISTORY_FULL"
    assert await contents(client, session) == ["0"]


async def test_a_chosen_id_makes_an_add_repeatable(client: AsyncClient, session: Session) -> None:
    first = await client.sessions.add_message(session.id, id="m", role="user", content="Hi")
    assert await client.sessions.add_message(session.id, id="m", role="user", content="Hi") == first
    with pytest.raises(AlreadyExists) as caught:
        await client.sessions.add_message(session.id, id="m", role="user", content="Ho")
    assert caught.value.reason == "MESSAGE_ALREADY_EXISTS"
    assert len(await client.sessions.get_history(session.id)) == 1


async def test_clearing_returns_the_number_of_messages(client: AsyncClient, session: Session) -> None:
    await client.sessions.add_messages(session.id, messages=numbered(0, 1, 2))
    assert await client.sessions.clear_history(session.id) == 3
    assert await client.sessions.get_history(session.id) == []
    assert await client.sessions.clear_history(session.id) == 0
    after = await client.sessions.add_message(session.id, role="user", content="text 3")
    assert [message.sequence for message in await client.sessions.get_history(session.id)] == [after.sequence]


async def test_an_ended_session_refuses_messages(client: AsyncClient, session: Session) -> None:
    await client.sessions.end(session.id)
    with pytest.raises(FailedPrecondition):
        await client.sessions.add_message(session.id, role="user", content="late")


async def test_content_that_is_too_long_is_refused(client: AsyncClient, session: Session) -> None:
    with pytest.raises(ResourceExhausted):
        await client.sessions.add_message(session.id, role="user", content="x" * (256 * 1024 + 1))
    whole = await client.sessions.add_message(session.id, role="user", content="x" * (256 * 1024))
    assert len(whole.content) == 256 * 1024


@pytest.mark.parametrize("query", [{"limit": -1}, {"before_sequence": -1}])
async def test_a_meaningless_query_is_refused(client: AsyncClient, session: Session, query: Any) -> None:
    with pytest.raises(InvalidArgument):
        await client.sessions.get_history(session.id, **query)
