"""`SessionsSession`, compared with the SDK's own `SQLiteSession` as the reference."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from agents import SQLiteSession
from agents.extensions.memory import EncryptedSession

from sessions_client import Aborted, AsyncClient, DataLoss, DraftUpdate, Event, Scope
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations.openai_agents import SessionsSession

CALL = {
    "type": "function_call",
    "call_id": "c",
    "name": "f",
    "z": 1.0,
    "a": 2**70,
    "arguments": '{"n": 9007199254740993}',
}
IMAGE = {
    "role": "user",
    "content": [{"type": "input_image", "image_url": "data:image/png;base64," + "A" * 2_700_000}],
}
DEEP: dict[str, Any] = {"role": "user", "content": "deep"}
for _ in range(64):
    DEEP = {"role": "user", "content": "deep", "within": DEEP}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        yield client


@pytest.fixture(params=["the SDK's own", "plain id", "any text as id"])
def session(request: pytest.FixtureRequest, client: AsyncClient) -> Any:
    name = str(uuid.uuid4())
    if request.param == "the SDK's own":
        return SQLiteSession(name)
    return SessionsSession(name if request.param == "plain id" else f"any text/é\n\0{name}", client=client)


def same(found: Any, expected: Any) -> bool:
    """Equal byte for byte: the order of keys matters, and 1.0 differs from 1."""
    return json.dumps(found) == json.dumps(expected)


async def test_a_session_that_does_not_exist_is_empty(session: Any) -> None:
    assert await session.get_items() == []
    assert await session.pop_item() is None
    await session.clear_session()
    await session.add_items([])
    assert await session.get_items() == []


async def test_items_come_back_as_they_were(session: Any) -> None:
    items = [user("hi"), CALL, DEEP, user("\0 and \x7f and é"), IMAGE, {"type": "reasoning", "summary": []}]
    await session.add_items(items[:2])
    await session.add_items(items[2:])
    assert same(await session.get_items(), items)
    assert same(await session.get_items(2), items[-2:])
    assert await session.get_items(0) == []
    assert same(await session.get_items(-1), items)


async def test_items_larger_than_one_request_are_added_together(session: Any) -> None:
    items = [user("x" * 3_500_000), user("y" * 3_500_000), *(user("z" * 60_000) for _ in range(60))]
    await session.add_items(items)
    assert same(await session.get_items(), items)
    for item in reversed(items):
        assert same(await session.pop_item(), item)


async def test_the_newest_item_is_popped_first(session: Any) -> None:
    await session.add_items([user("1"), user("2"), user("3")])
    assert [await session.pop_item() for _ in range(4)] == [user("3"), user("2"), user("1"), None]
    await session.add_items([user("4")])
    assert await session.get_items() == [user("4")]


async def test_a_cleared_session_continues_empty(session: Any) -> None:
    await session.add_items([user("1"), IMAGE])
    await session.clear_session()
    assert await session.get_items() == []
    await session.add_items([user("2")])
    assert await session.get_items() == [user("2")]


async def test_a_cancelled_change_completes_before_the_cancellation_takes_effect(session: Any) -> None:
    await session.add_items([user("1")])
    changes = {
        partial(session.add_items, [user("2"), user("3")]): ["1", "2", "3"],
        session.pop_item: ["1", "2"],
        session.clear_session: [],
    }
    for change, left in changes.items():
        calling = asyncio.create_task(change())
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert await session.get_items() == [user(text) for text in left]


async def test_a_cancelled_compaction_completes_before_the_cancellation_takes_effect(session: Any) -> None:
    await session.add_items([user("1"), user("2"), user("3")])
    snapshot = await session._get_compaction_snapshot(10)
    calling = asyncio.create_task(snapshot.replace_suffix(1, [user("compact")]))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert await session.get_items() == [user("1"), user("compact")]


async def test_an_encrypted_session_reads_pops_and_clears(session: Any) -> None:
    encrypted = EncryptedSession(session.session_id, session, encryption_key="secret")
    items = [user("1"), CALL, user("3")]
    await encrypted.add_items(items)
    assert same(await encrypted.get_items(), items)
    assert same(await encrypted.get_items(1), items[-1:])
    assert [each["__enc__"] for each in await session.get_items()] == [1, 1, 1]
    assert await encrypted.pop_item() == user("3")
    assert same(await encrypted.get_items(), items[:2])
    await encrypted.clear_session()
    assert await encrypted.pop_item() is None


async def test_a_thousand_items_and_the_newest_of_them(session: Any) -> None:
    items = [user(str(number)) for number in range(1_500)]
    await session.add_items(items)
    assert await session.get_items() == items
    assert await session.get_items(1_200) == items[-1_200:]


async def test_settings_may_be_a_dictionary_whose_fields_are_known(client: AsyncClient) -> None:
    for made in (SQLiteSession, partial(SessionsSession, client=client)):
        session = made(str(uuid.uuid4()), session_settings={"limit": 1})
        await session.add_items([user("1"), user("2")])
        assert await session.get_items() == [user("2")]
        with pytest.raises(TypeError, match="limitt"):
            made("any", session_settings={"limitt": 1})


async def test_concurrent_pops_take_each_item_once(client: AsyncClient) -> None:
    name = str(uuid.uuid4())
    sessions = [SessionsSession(name, client=client) for _ in range(4)]
    await sessions[0].add_items([user(str(number)) for number in range(20)])
    popped = await asyncio.gather(*(sessions[number % 4].pop_item() for number in range(24)))
    assert sorted(int(item["content"]) for item in popped if item) == list(range(20))


async def test_compaction_replaces_the_whole_end_or_nothing(client: AsyncClient) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client)
    await session.add_items([user(str(number)) for number in range(6)])
    snapshot = await session._get_compaction_snapshot(4)
    assert snapshot is not None
    assert not snapshot.complete
    assert snapshot.items == [user(str(number)) for number in range(2, 6)]
    await session.add_items([user("late")])
    assert not await snapshot.replace_suffix(1, [user("compact")])
    snapshot = await session._get_compaction_snapshot(10)
    assert snapshot is not None
    assert snapshot.complete
    assert await snapshot.replace_suffix(1, [user("compact")])
    assert await session.get_items() == [user("0"), user("compact")]


@pytest.mark.parametrize("first", ["kept", "expired"])
async def test_compaction_removes_only_expired_oldest_items(session: Any, first: str) -> None:
    texts = [first, *["expired"] * 5, "kept", "expired", "compacted"]
    await session.add_items([user(text) for text in texts])

    def is_expired(item: Any) -> bool:
        return bool(item["content"] == "expired")

    snapshot = await session._get_compaction_snapshot(4, prune_prefix=is_expired)
    assert await snapshot.replace_suffix(3, [user("compact")])
    left = texts if first == "kept" else texts[6:]
    assert await session.get_items() == [user(text) for text in [*left[:-1], "compact"]]


async def test_messages_of_other_programs_are_items(client: AsyncClient) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client)
    await session.add_items([user("1")])
    add = partial(client.sessions.add_message, session.session_id, role="user", content="shown")
    await add()
    await add(payload=b"\x89PNG", payload_type="image/png")
    await add(payload=b"{no JSON", payload_type="application/json")
    assert await session.get_items() == [user("1"), *[user("shown")] * 3]


async def test_a_cleared_or_popped_image_leaves_nothing_stored(client: AsyncClient) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client)
    await session.add_items([user("x" * 4_000_000)])
    await session.pop_item()
    await session.add_items([user("y" * 4_000_000)])
    await session.clear_session()
    scope = Scope(session_id=session.session_id)
    assert [record.name async for record in client.records.list(scope, subtree=True, keys_only=True)] == []


async def test_a_session_that_was_deleted_begins_again(client: AsyncClient) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client, user_id="u")
    for number in range(3):
        await session.add_items([user(str(number)), user("next")])
        assert await session.get_items() == [user(str(number)), user("next")]
        assert (await client.sessions.get(session.session_id)).user_id == "u"
        await client.sessions.delete(session.session_id)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("kind", ["cleared", "deleted"])
async def test_items_whose_parts_are_deleted_meanwhile_are_added_whole_or_not_at_all(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, kind: str, times: int
) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client)
    write, left = payloads.write_chunks, iter(range(times))

    async def interrupted(*arguments: Any) -> None:
        await write(*arguments)
        if next(left) == times - 1:
            monkeypatch.undo()
        await (session.clear_session() if kind == "cleared" else client.sessions.delete(session.session_id))

    monkeypatch.setattr(payloads, "write_chunks", interrupted)
    items = [user("x" * 3_500_000), user("y")]
    if times == 1:
        await session.add_items(items)
    else:
        with pytest.raises(Aborted):
            await session.add_items(items)
    assert same(await session.get_items(), items if times == 1 else [])


class Died(BaseException):
    """The end of a caller's process."""


async def test_a_caller_that_dies_before_its_commit_has_added_nothing(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, write = SessionsSession(str(uuid.uuid4()), client=client), payloads.write_chunks
    await session.add_items([user("1")])

    async def dies(*arguments: Any) -> None:
        await write(*arguments)
        raise Died

    monkeypatch.setattr(payloads, "write_chunks", dies)
    with pytest.raises(Died):
        await session.add_items([user("x" * 3_500_000), user("2")])
    monkeypatch.undo()
    another = SessionsSession(session.session_id, client=client)
    assert await another.get_items() == [user("1")]
    await another.add_items([user("x" * 3_500_000)])
    assert same(await another.get_items(), [user("1"), user("x" * 3_500_000)])
    await another.clear_session()
    scope = Scope(session_id=session.session_id)
    assert [record.name async for record in client.records.list(scope, subtree=True, keys_only=True)] == []


def before_parts_are_read(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[object]]) -> None:
    """Runs something between the next read of messages and the read of their parts."""
    unpack = payloads.unpack

    async def interrupted(*arguments: Any) -> Any:
        monkeypatch.undo()
        await happens()
        return await unpack(*arguments)

    monkeypatch.setattr(payloads, "unpack", interrupted)


async def test_items_removed_while_being_read_are_left_out(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client)

    async def replace() -> None:
        await session.clear_session()
        await session.add_items([user("later")])

    await session.add_items([user("x" * 3_500_000), user("y")])
    before_parts_are_read(monkeypatch, replace)
    assert await session.get_items() == [user("later")]
    await session.add_items([user("x" * 3_500_000)])
    before_parts_are_read(monkeypatch, session.pop_item)
    snapshot = await session._get_compaction_snapshot(10)
    assert snapshot is not None
    assert snapshot.items == [user("later")]


async def test_items_removed_between_two_pages_are_left_out(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client)
    await session.add_items([user(letter * 900_000) for letter in "abc"])
    caller: Any = client.sessions._caller
    unary = caller.unary

    async def interrupted(*arguments: Any, **named: Any) -> Any:
        monkeypatch.undo()
        page = await unary(*arguments, **named)
        await session.clear_session()
        await session.add_items([user("later")])
        return page

    monkeypatch.setattr(caller, "unary", interrupted)
    assert await session.get_items() == [user("later")]


@pytest.mark.parametrize("kind", ["cleared", "deleted"])
async def test_an_item_popped_and_cleared_at_once_counts_as_cleared(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client)
    await session.add_items([user("x" * 3_500_000)])
    delete = partial(client.sessions.delete, session.session_id)
    before_parts_are_read(monkeypatch, session.clear_session if kind == "cleared" else delete)
    assert await session.pop_item() is None


async def test_a_popped_item_is_returned_even_if_its_parts_cannot_be_deleted(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client)
    item = user("x" * 3_500_000)
    await session.add_items([item])
    unpack = payloads.unpack

    async def followed_by_a_deletion(*arguments: Any) -> Any:
        found = await unpack(*arguments)
        await client.sessions.delete(session.session_id)
        return found

    monkeypatch.setattr(payloads, "unpack", followed_by_a_deletion)
    assert same(await session.pop_item(), item)


async def test_an_item_whose_part_was_deleted_alone_is_named(client: AsyncClient) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client)
    await session.add_items([user("x" * 3_500_000)])
    scope = Scope(session_id=session.session_id)
    (first, *_) = [record.name async for record in client.records.list(scope, "payloads", keys_only=True)]
    await client.records.delete(first)
    with pytest.raises(DataLoss, match="holds a part of a message, is missing") as refusal:
        await session.get_items()
    assert first.key in str(refusal.value)


async def test_a_draft_becomes_the_first_item_with_its_text_or_is_discarded(client: AsyncClient) -> None:
    session = SessionsSession(str(uuid.uuid4()), client=client)
    await session.add_items([user("stored")])
    answer = {"role": "assistant", "content": [{"type": "output_text", "text": "stored"}]}

    async def end_of_a_draft(text: str, items: list[Any], *, fails: bool = False) -> str:
        async with client.sessions.subscribe(session.session_id, include_drafts=True) as events:
            with contextlib.suppress(ZeroDivisionError):
                async with session.draft() as draft:
                    await draft.write(text)
                    async for event in events:
                        if isinstance(event, DraftUpdate):
                            break
                    if fails:
                        raise ZeroDivisionError
            await session.add_items(items)
            async for event in events:
                if isinstance(event, DraftUpdate) and event.state != "writing":
                    return str(event.state)
                if isinstance(event, Event) and event.type == "message" and event.data.id == draft.message_id:
                    return str(event.data.content)
        raise AssertionError("The draft has no end.")

    assert await end_of_a_draft("other", [user("stored"), answer]) == "discarded"
    assert await end_of_a_draft("stored", [user("stored"), answer, answer]) == "stored"
    assert await end_of_a_draft("stored", [], fails=True) == "discarded"
    assert same(await session.get_items(), [user("stored")] * 2 + [answer, user("stored"), answer, answer])
