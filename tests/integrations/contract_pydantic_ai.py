"""`SessionsConversationStore`, compared with pydantic-ai's own `InMemoryConversationStore` as the reference."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.conversation import Conversation
from pydantic_ai.conversation_store import ConversationConflict, InMemoryConversationStore
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.test import TestModel

from sessions_client import AsyncClient
from sessions_client.integrations import _payloads as payloads, session_id_of
from sessions_client.integrations.pydantic_ai import SessionsConversationStore


@pytest.fixture(params=["pydantic-ai's own", "ours"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "pydantic-ai's own":
        yield InMemoryConversationStore()
        return
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        yield SessionsConversationStore(client)


@pytest.fixture
def name() -> str:
    return f"any text/é {uuid.uuid4()}"


def said(text: Any) -> ModelMessage:
    return ModelRequest(parts=[UserPromptPart(content=text)])


async def saved(store: Any, name: str, *texts: Any, scope: str | None = None) -> Conversation:
    conversation = Conversation(conversation_id=name, messages=[said(text) for text in texts])
    await store.save(conversation, scope=scope)
    return conversation


async def loaded(store: Any, name: str, **how: Any) -> list[Any] | None:
    found = await store.load(name, **how)
    return None if found is None else [message.parts[0].content for message in found.messages]


async def test_an_agent_continues_its_conversation(store: Any, name: str) -> None:
    agent = Agent(TestModel(custom_output_text="hello"))
    for count in (2, 4, 6):
        conversation = await store.load(name) or Conversation(conversation_id=name)
        result = await agent.run("hi", conversation=conversation)
        stored = await store.save(result)
        assert len(stored) == 2
        again = await store.load(name)
        assert again.messages == result.all_messages()
        assert len(again.messages) == count
        assert again.usage == result.conversation.usage


async def test_messages_come_back_as_they_were(store: Any, name: str) -> None:
    document = BinaryContent(data=bytes(range(256)) * 12_000, media_type="application/pdf")
    await saved(store, name, "\0 é", ["look", document], "x" * 200_000)
    assert await loaded(store, name) == ["\0 é", ["look", document], "x" * 200_000]
    assert await loaded(store, name, limit=1) == ["x" * 200_000]
    assert await loaded(store, f"{name} no") is None


async def test_values_of_64_levels_come_back_byte_for_byte(store: Any, name: str) -> None:
    deep: Any = {"z": 1.0, "a": 2**53 + 1}
    for _ in range(63):
        deep = {"within": deep}
    messages: list[ModelMessage] = [
        ModelResponse(parts=[ToolCallPart("look", deep, tool_call_id="1")]),
        ModelRequest(parts=[ToolReturnPart("look", deep, tool_call_id="1")]),
    ]
    await store.save(Conversation(conversation_id=name, messages=messages))
    found = await store.load(name)
    dump = ModelMessagesTypeAdapter.dump_json
    assert dump(found.messages) == dump(messages)
    arguments, content = found.messages[0].parts[0].args, found.messages[1].parts[0].content
    assert json.dumps([arguments, content]) == json.dumps([deep, deep])


async def test_one_of_two_writers_is_refused(store: Any, name: str) -> None:
    await saved(store, name, "1")
    copies = [await store.load(name) for _ in range(2)]
    for number, copy in enumerate(copies):
        copy.messages.append(said(f"by {number}"))
    results = await asyncio.gather(*map(store.save, copies), return_exceptions=True)
    assert [type(each) for each in results].count(ConversationConflict) == 1
    assert len(await loaded(store, name) or ()) == 2
    with pytest.raises(ConversationConflict):
        await saved(store, name, "again")


async def test_branches_and_forks_share_entries(store: Any, name: str) -> None:
    first = await saved(store, name, "1", "2", "3")
    branch = await store.branch(name, at=1, expected_revision=first.revision)
    branch.messages.append(said("other"))
    await store.save(branch)
    assert await loaded(store, name) == ["1", "other"]
    fork = await store.fork(name, at=1, new_conversation_id=f"{name} fork")
    fork.messages.append(said("forked"))
    await store.save(fork)
    assert await loaded(store, f"{name} fork") == ["1", "forked"]
    record = await store.read_record(name)
    tip = record.branches[0]
    back = await store.branch(name, from_entry=tip, expected_revision=record.revision)
    assert [message.parts[0].content for message in back.messages] == ["1", "2", "3"]
    await store.delete(name)
    assert await loaded(store, name) is None
    assert await loaded(store, f"{name} fork") == ["1", "forked"]


async def test_a_deleted_conversation_is_gone_and_can_be_created_again(store: Any, name: str) -> None:
    await saved(store, name, "1")
    (entry,) = await store.load_entries(name)
    await store.delete(name)
    await store.delete(name)
    with pytest.raises(LookupError):
        await store.read_entry(entry.id)
    await saved(store, name, "2")
    assert await loaded(store, name) == ["2"]


async def test_a_conversation_deleted_while_being_read_is_missing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        store, unpack = SessionsConversationStore(client), payloads.unpack
        await saved(store, name, "x" * 3_500_000)
        record = await store.read_record(name)
        assert record is not None
        (entry,) = await store.load_entries(name)

        async def interrupted(*arguments: Any) -> Any:
            monkeypatch.undo()
            await client.sessions.delete(session_id_of(name))
            return await unpack(*arguments)

        monkeypatch.setattr(payloads, "unpack", interrupted)
        with pytest.raises(LookupError):
            await store.read_history(record.head_id)
        await saved(store, name, "y" * 3_500_000)
        (entry,) = await store.load_entries(name)
        monkeypatch.setattr(payloads, "unpack", interrupted)
        with pytest.raises(LookupError):
            await store.read_entry(entry.id)


async def test_conversations_are_listed_by_scope_the_last_saved_first(store: Any) -> None:
    scope = f"scope/é {uuid.uuid4()}"
    names = [str(uuid.uuid4()) for _ in range(3)]
    for each in names:
        await saved(store, each, "1", scope=scope)
    listed = [record.conversation_id for record in await store.list_conversations(scope=scope)]
    assert listed == names[::-1]
    assert len(await store.list_conversations(scope=scope, limit=2)) == 2
    assert await store.list_conversations(scope=scope, limit=0) == []
    assert await loaded(store, names[0], scope="another") is None
