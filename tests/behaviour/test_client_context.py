"""Contexts through the client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sessions_client import (
    Aborted,
    Append,
    AsyncClient,
    Change,
    FailedPrecondition,
    Increment,
    InvalidArgument,
    Merge,
    Remove,
    ResourceExhausted,
    Session,
    Set,
)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"a": None, "b": True, "c": 1, "d": -0.5, "e": "x", "f": [], "g": {}},
        {"n": 2**53 - 1, "m": -(2**53 - 1), "f": 1e-300},
        {"a\u0000b": "c\u0000d", "ключ": "🦆", "": "empty", "a.b": 1, "__proto__": {"$": 1}},
        {"deep": [[[[{"er": [1, [2, [3]]]}]]]]},
    ],
    ids=["empty", "every kind", "extreme numbers", "odd texts", "nested"],
)
async def test_a_written_context_comes_back_equal(client: AsyncClient, session: Session, data: Any) -> None:
    written = await client.sessions.set_context(session.id, context=data)
    read = await client.sessions.get_context(session.id)
    assert written == read == data
    assert written.etag == read.etag
    assert read.update_time is not None


async def test_integers_stay_integers(client: AsyncClient, session: Session) -> None:
    context = await client.sessions.set_context(session.id, context={"n": 3, "f": 3.5})
    assert (type(context["n"]), type(context["f"])) == (int, float)


async def test_a_new_session_has_an_empty_context(client: AsyncClient, session: Session) -> None:
    assert await client.sessions.get_context(session.id) == {}


async def test_a_merge_at_the_root_keeps_other_keys_and_stores_null(
    client: AsyncClient, session: Session
) -> None:
    await client.sessions.set_context(session.id, context={"a": 1, "b": {"x": 1}, "c": 2})
    context = await client.sessions.update_context(session.id, context={"b": {"y": 2}, "c": None})
    assert context == {"a": 1, "b": {"y": 2}, "c": None}


async def test_changes_are_applied_in_order(client: AsyncClient, session: Session) -> None:
    changes: list[Change] = [
        Set("user.name", "Ada"),
        Increment("visits", 2),
        Append("log", "first"),
        {"path": "log", "append": {"n": 1}},
        Merge("user", {"age": 36}),
        Set("/a.b", None),
        Remove("user.name"),
        Set("log.0", "changed"),
    ]
    context = await client.sessions.update_context(session.id, changes=changes)
    assert context == {"user": {"age": 36}, "visits": 2, "log": ["changed", {"n": 1}], "a.b": None}


async def test_a_failing_change_undoes_all(client: AsyncClient, session: Session) -> None:
    before = await client.sessions.set_context(session.id, context={"a": "text"})
    with pytest.raises(FailedPrecondition) as caught:
        await client.sessions.update_context(session.id, changes=[Set("b", 1), Set("a.b", 2)])
    assert caught.value.reason == "PATH_CONFLICT"
    after = await client.sessions.get_context(session.id)
    assert (after, after.etag) == (before, before.etag)


async def test_a_single_path_can_be_read(client: AsyncClient, session: Session) -> None:
    await client.sessions.set_context(
        session.id, context={"user": {"name": "Ada", "nick": None}, "items": [1, {"x": 2}]}
    )
    for path, value in {
        "user.name": "Ada",
        "items.1.x": 2,
        "/items/0": 1,
        "user": {"name": "Ada", "nick": None},
    }.items():
        found = await client.sessions.get_context(session.id, path=path)
        assert (found.value, found.has_value) == (value, True)
    null = await client.sessions.get_context(session.id, path="user.nick")
    assert (null.value, null.has_value) == (None, True)
    missing = await client.sessions.get_context(session.id, path="user.age")
    assert (missing.value, missing.has_value) == (None, False)
    assert missing.etag


async def test_concurrent_increments_are_all_counted(client: AsyncClient, session: Session) -> None:
    async def count() -> None:
        await client.sessions.update_context(session.id, changes=[Increment("n")])

    await asyncio.gather(*(count() for _ in range(20)))
    assert await client.sessions.get_context(session.id) == {"n": 20}


async def test_the_etag_protects_a_read_modify_write(client: AsyncClient, session: Session) -> None:
    mine = await client.sessions.set_context(session.id, context={"n": 1})
    await client.sessions.add_message(session.id, role="user", content="does not count")
    theirs = await client.sessions.update_context(session.id, path="n", value=2, etag=mine.etag)
    with pytest.raises(Aborted) as caught:
        await client.sessions.update_context(session.id, path="n", value=3, etag=mine.etag)
    assert caught.value.reason == "ETAG_MISMATCH"
    assert caught.value.metadata["current_etag"] == theirs.etag


@pytest.mark.parametrize("path", ["", ".", "a..b", "/a/~2"])
async def test_an_invalid_path_is_refused(client: AsyncClient, session: Session, path: str) -> None:
    with pytest.raises(InvalidArgument):
        await client.sessions.update_context(session.id, path=path, value=1)


@pytest.mark.parametrize("path", ["list.5", "text.inside"])
async def test_a_path_past_the_end_of_a_list_or_through_a_scalar_cannot_be_read(
    client: AsyncClient, session: Session, path: str
) -> None:
    await client.sessions.set_context(session.id, context={"list": [1], "text": "x"})
    with pytest.raises(FailedPrecondition):
        await client.sessions.get_context(session.id, path=path)
    assert not (await client.sessions.get_context(session.id, path="nowhere.inside")).has_value


async def test_a_context_that_is_too_large_is_refused(client: AsyncClient, session: Session) -> None:
    with pytest.raises(ResourceExhausted) as caught:
        await client.sessions.set_context(session.id, context={"a": "x" * 2**20})
    assert caught.value.reason == "LIMIT_EXCEEDED"
    assert await client.sessions.get_context(session.id) == {}


async def test_a_paused_session_refuses_context_changes(client: AsyncClient, session: Session) -> None:
    await client.sessions.start(session.id)
    await client.sessions.pause(session.id)
    with pytest.raises(FailedPrecondition) as caught:
        await client.sessions.set_context(session.id, context={})
    assert caught.value.reason == "INVALID_STATE"
