"""Sessions through the client: their lifecycle, lists and searches."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sessions_client import (
    Aborted,
    AlreadyExists,
    AsyncClient,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Session,
    SessionConfig,
    StorageOptions,
)


async def test_a_new_session_shows_what_it_was_created_with(client: AsyncClient, user_id: str) -> None:
    metadata = {"device": "web", "visits": 3, "ratio": 0.5, "tags": ["a", None], "nested": {"deep": {}}}
    session = await client.sessions.create(
        user_id,
        metadata=metadata,
        config={"timeout": 3600, "max_messages": 5, "context_window": 2, "overflow": "reject"},
        storage_options={"ttl": timedelta(days=1), "expiry_action": "archive"},
    )
    assert await client.sessions.get(session.id) == session
    assert (session.user_id, session.state, session.metadata) == (user_id, "created", metadata)
    assert type(session.metadata["visits"]) is int
    assert session.config == SessionConfig(
        timeout=timedelta(hours=1), max_messages=5, context_window=2, overflow=session.config.overflow
    )
    assert session.config.overflow == "reject"
    assert session.storage_options.expiry_action == "archive"
    assert session.create_time is not None
    assert session.create_time.tzinfo is UTC
    assert session.expire_time == session.create_time + timedelta(days=1)
    assert abs(session.create_time - datetime.now(UTC)) < timedelta(minutes=5)
    assert (session.message_count, session.last_sequence) == (0, 1)


async def test_a_client_chosen_id_is_taken_once(client: AsyncClient, user_id: str) -> None:
    chosen = f"chosen-{uuid.uuid4().hex}"
    session = await client.sessions.create(user_id, session_id=chosen)
    assert session.id == chosen
    with pytest.raises(AlreadyExists) as caught:
        await client.sessions.create(user_id, session_id=chosen)
    assert (caught.value.code, caught.value.reason) == ("ALREADY_EXISTS", "SESSION_ALREADY_EXISTS")
    again = await client.sessions.create("someone else", session_id=chosen, if_exists="return")
    assert again == session


async def test_the_same_request_id_creates_one_session(client: AsyncClient, user_id: str) -> None:
    request_id = uuid.uuid4().hex
    first, *others = await asyncio.gather(
        *(_get(client.sessions.create(user_id, request_id=request_id)) for _ in range(8))
    )
    assert all(other == first for other in others)
    with pytest.raises(FailedPrecondition) as caught:
        await client.sessions.create(user_id, metadata={"other": True}, request_id=request_id)
    assert caught.value.reason == "REQUEST_ID_REUSED"


async def _get(call: Any) -> Any:
    return await call


async def test_verbs_take_a_session_through_its_lifecycle(client: AsyncClient, session: Session) -> None:
    sessions = client.sessions
    states = []
    for verb in (sessions.start, sessions.pause, sessions.resume, sessions.end, sessions.archive):
        moved = await verb(session.id)
        states.append(str(moved.state))
    assert states == ["active", "paused", "active", "ended", "archived"]
    assert moved.start_time is not None
    assert moved.end_time is not None
    assert moved.archive_time is not None


async def test_a_verb_from_a_wrong_state_is_refused_with_the_state(
    client: AsyncClient, session: Session
) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await client.sessions.resume(session.id)
    assert caught.value.reason == "INVALID_STATE"
    assert "created" in {value.lower() for value in caught.value.metadata.values()}


async def test_one_of_many_equal_verbs_wins(client: AsyncClient, session: Session) -> None:
    outcomes = await asyncio.gather(
        *(_get(client.sessions.end(session.id)) for _ in range(8)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["FailedPrecondition"] * 7 + ["Session"]


async def test_an_update_changes_what_is_given_and_nothing_else(client: AsyncClient, user_id: str) -> None:
    session = await client.sessions.create(
        user_id, metadata={"a": 1, "b": 2}, config={"timeout": 60, "max_messages": 9}
    )
    updated = await client.sessions.update(session.id, config={"timeout": 120})
    assert updated.config.timeout == timedelta(minutes=2)
    assert (updated.config.max_messages, updated.metadata) == (9, {"a": 1, "b": 2})
    updated = await client.sessions.update(session.id, metadata={"c": 3})
    assert updated.metadata == {"c": 3}
    updated = await client.sessions.update(session.id, metadata={"d": 4}, update_mask=["metadata.d"])
    assert updated.metadata == {"c": 3, "d": 4}
    updated = await client.sessions.update(
        session.id, config={"timeout": None}, storage_options={"ttl": 3600}
    )
    assert updated.config.timeout is None
    assert updated.storage_options.ttl == timedelta(hours=1)


async def test_an_update_with_an_object_changes_given_fields_and_erases_nothing(
    client: AsyncClient, user_id: str
) -> None:
    session = await client.sessions.create(user_id, config={"max_messages": 2, "overflow": "reject"})
    await client.sessions.add_messages(session.id, messages=[{"role": "user", "content": "x"}] * 2)
    updated = await client.sessions.update(session.id, config=SessionConfig(context_window=3))
    assert (updated.config.overflow, updated.config.context_window) == ("reject", 3)
    with pytest.raises(ResourceExhausted):
        await client.sessions.add_message(session.id, role="user", content="one too many")
    assert len(await client.sessions.get_history(session.id)) == 2


async def test_options_that_were_read_can_be_passed_back_with_a_change(
    client: AsyncClient, user_id: str
) -> None:
    session = await client.sessions.create(user_id, storage_options={"ttl": 3600, "expiry_action": "archive"})
    updated = await client.sessions.update(
        session.id,
        config=dataclasses.replace(session.config, context_window=5),
        storage_options=dataclasses.replace(session.storage_options, ttl=timedelta(hours=2)),
    )
    assert updated.config == dataclasses.replace(session.config, context_window=5)
    assert updated.storage_options == dataclasses.replace(session.storage_options, ttl=timedelta(hours=2))
    updated = await client.sessions.update(session.id, storage_options=StorageOptions(ttl=timedelta(hours=3)))
    assert updated.storage_options.expiry_action == "archive"


async def test_empty_option_objects_equal_no_options(client: AsyncClient, user_id: str) -> None:
    plain = await client.sessions.create(user_id)
    session = await client.sessions.create(user_id, config=SessionConfig(), storage_options=StorageOptions())
    assert (session.config, session.storage_options) == (plain.config, plain.storage_options)


async def test_a_stale_etag_is_refused_with_the_current_one(client: AsyncClient, session: Session) -> None:
    updated = await client.sessions.update(session.id, metadata={"a": 1}, etag=session.etag)
    assert updated.etag != session.etag
    with pytest.raises(Aborted) as caught:
        await client.sessions.end(session.id, etag=session.etag)
    assert caught.value.metadata["current_etag"] == updated.etag


async def test_a_deleted_session_is_gone(client: AsyncClient, session: Session) -> None:
    assert await client.sessions.delete(session.id) is None  # type: ignore[func-returns-value]  # that is the test
    for call in (
        client.sessions.get,
        client.sessions.delete,
        client.sessions.get_context,
        client.sessions.export,
    ):
        with pytest.raises(NotFound) as caught:
            await call(session.id)
        assert caught.value.reason == "SESSION_NOT_FOUND"


async def test_all_violations_of_a_request_arrive(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await client.sessions.create("", session_id="../../etc/passwd", config={"timeout": 0})
    assert {violation.field for violation in caught.value.violations} >= {
        "user_id",
        "session_id",
        "config.timeout",
    }


@pytest.fixture
async def five(client: AsyncClient, user_id: str) -> list[Session]:
    """Five sessions of one user, two of them active."""
    created = [
        await client.sessions.create(user_id, metadata={"number": number, "user": user_id})
        for number in range(5)
    ]
    return [await client.sessions.start(one.id) if number < 2 else one for number, one in enumerate(created)]


async def test_a_listing_iterates_over_all_pages_in_order(
    client: AsyncClient, user_id: str, five: list[Session]
) -> None:
    ids = [session.id for session in five]
    listed = client.sessions.list(user_id=user_id, page_size=2, order_by="create_time")
    assert [session.id async for session in listed] == ids
    newest_first = client.sessions.list(user_id=user_id, page_size=2, order_by="create_time desc")
    assert [session.id async for session in newest_first] == ids[::-1]


async def test_a_listing_can_be_limited_to_states(
    client: AsyncClient, user_id: str, five: list[Session]
) -> None:
    active = client.sessions.list(user_id=user_id, status="active")
    assert {session.id async for session in active} == {five[0].id, five[1].id}
    both = client.sessions.list(user_id=user_id, status=["active", "created"])
    assert len([session async for session in both]) == 5


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (2, [2]),
        ({"$gte": 1, "$lt": 4}, [1, 2, 3]),
        ({"$in": [0, 4, 9]}, [0, 4]),
        ({"$ne": 0}, [1, 2, 3, 4]),
        ("2", []),
    ],
)
async def test_a_search_compares_metadata(
    client: AsyncClient, user_id: str, five: list[Session], number: Any, found: list[int]
) -> None:
    results = client.sessions.search(
        metadata_filter={"user": user_id, "number": number}, order_by="create_time"
    )
    assert [session.metadata["number"] async for session in results] == found


async def test_an_unknown_operator_or_order_is_refused(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgument):
        [_ async for _ in client.sessions.search(metadata_filter={"a": {"$regex": "x"}})]
    with pytest.raises(InvalidArgument):
        [_ async for _ in client.sessions.list(order_by="user_id; DROP TABLE sessions")]
    with pytest.raises(InvalidArgument):
        [_ async for _ in client.sessions.list(page_token="garbage")]
    with pytest.raises(InvalidArgument):
        [_ async for _ in client.sessions.list(page_size=-1)]


async def test_a_huge_page_size_is_clamped(client: AsyncClient, user_id: str, five: list[Session]) -> None:
    assert len([_ async for _ in client.sessions.list(user_id=user_id, page_size=2**31 - 1)]) == 5
