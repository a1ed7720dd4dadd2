"""The adapters for Agent Framework, compared with its own file and memory providers as the reference."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_framework import (
    AgentSession,
    Content,
    FileHistoryProvider,
    FileSessionStore,
    InMemoryHistoryProvider,
    Message,
    SessionStore,
)

from sessions_client import AsyncClient, NotFound, Scope
from sessions_client.integrations import _payloads as payloads
from sessions_client.integrations.agent_framework import SessionsHistoryProvider, SessionsSessionStore


@pytest.fixture
async def client() -> AsyncIterator[AsyncClient]:
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        yield client


class InMemory(InMemoryHistoryProvider):
    """The framework's own provider, with the state that an agent would pass in."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._states: dict[Any, dict[str, Any]] = {}

    async def get_messages(self, session_id: Any, **_: Any) -> Any:
        return await super().get_messages(session_id, state=self._states.setdefault(session_id, {}))

    async def save_messages(self, session_id: Any, messages: Any, **_: Any) -> None:
        await super().save_messages(session_id, messages, state=self._states.setdefault(session_id, {}))


@pytest.fixture(params=["in memory", "in files", "ours"])
def make(request: pytest.FixtureRequest, client: AsyncClient, tmp_path: Path) -> Any:
    """Makes a history provider with the given options."""
    if request.param == "in memory":
        return InMemory
    if request.param == "in files":
        return lambda **options: FileHistoryProvider(tmp_path, **options)
    return lambda **options: SessionsHistoryProvider(client=client, **options)


@pytest.fixture(params=["in memory", "in files", "ours"])
def store(request: pytest.FixtureRequest, client: AsyncClient, tmp_path: Path) -> Any:
    if request.param == "in memory":
        return SessionStore()
    return FileSessionStore(tmp_path) if request.param == "in files" else SessionsSessionStore(client)


@pytest.fixture(params=["plain", "any string / é\n\0"])
def name(request: pytest.FixtureRequest) -> str:
    return f"{request.param}{uuid.uuid4()}"


def said(text: str, role: str = "user", **more: Any) -> Message:
    return Message(role=role, contents=[text], **more)


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


def dumped(messages: list[Message]) -> str:
    """A byte for byte form: preserves the order of keys, and 1.0 differs from 1."""
    return json.dumps([message.to_dict() for message in messages])


async def test_messages_come_back_as_they_were(make: Any, name: str) -> None:
    provider = make()
    assert await provider.get_messages(name) == []
    await provider.save_messages(name, [])
    deep: Any = "end"
    for _ in range(64):
        deep = {"within": deep}
    arguments = {"z": 1.0, "a": 2**53, "deep": deep}
    call = Content.from_function_call(call_id="c", name="f", arguments=arguments)
    result = Content.from_function_result(call_id="c", result="42")
    image = Content.from_data(bytes(range(256)) * 8_000, "image/png")
    messages = [
        said("hi\0 é", author_name="someone", message_id="m 1", additional_properties={"k": [1.0, None]}),
        Message(role="assistant", contents=[call]),
        Message(role="tool", contents=[result]),
        Message(role="user", contents=["look", image]),
    ]
    await provider.save_messages(name, messages[:1])
    await provider.save_messages(name, messages[1:])
    assert dumped(await make_again(provider).get_messages(name)) == dumped(messages)


def make_again(provider: Any) -> Any:
    """Another provider on the same storage, as in another process."""
    if isinstance(provider, SessionsHistoryProvider):
        return SessionsHistoryProvider(client=provider._client)
    return provider


async def test_saving_a_transcript_again_adds_only_new_messages(make: Any, name: str) -> None:
    provider = make()
    turns = [said(str(number), "user" if number % 2 == 0 else "assistant") for number in range(8)]
    await provider.save_messages(name, turns[:4])
    await provider.save_messages(name, turns[:6])
    assert texts(await provider.get_messages(name)) == list("012345")
    await provider.save_messages(name, turns[5:])
    assert texts(await provider.get_messages(name)) == list("01234567")
    await provider.save_messages(name, turns)
    await provider.save_messages(name, turns[-2:])
    assert texts(await provider.get_messages(name)) == list("01234567")


async def test_a_repeated_input_is_kept_twice(make: Any, name: str) -> None:
    provider = make()
    for saved in (["a"], ["a"], ["a", "b"], ["b"], ["c", "a"]):
        await provider.save_messages(name, [said(text) for text in saved])
    answer = [said("same", "assistant", message_id="id")]
    await provider.save_messages(name, answer)
    await provider.save_messages(name, answer)
    other = InMemory()
    for saved in (["a"], ["a"], ["a", "b"], ["b"], ["c", "a"]):
        await other.save_messages(name, [said(text) for text in saved])
    await other.save_messages(name, answer)
    await other.save_messages(name, answer)
    assert texts(await provider.get_messages(name)) == texts(await other.get_messages(name))


async def test_sessions_without_an_id_are_the_same(make: Any) -> None:
    provider, text = make(), str(uuid.uuid4())
    before = len(await provider.get_messages(None))
    await provider.save_messages(None, [said(text), said("answer", "assistant", message_id=text)])
    assert texts(await provider.get_messages(None))[before:] == [text, "answer"]


async def test_messages_excluded_by_a_compaction_are_skipped_on_request(make: Any, name: str) -> None:
    provider = make(skip_excluded=True)
    excluded = said("old", additional_properties={"_excluded": True})
    await provider.save_messages(name, [excluded, said("new")])
    assert texts(await provider.get_messages(name)) == ["new"]


async def test_a_thousand_messages_are_read_in_their_order(make: Any, name: str) -> None:
    provider = make()
    numbers = [str(number) for number in range(1_200)]
    for start in range(0, 1_200, 400):
        await provider.save_messages(name, [said(each) for each in numbers[start : start + 400]])
    assert texts(await provider.get_messages(name)) == numbers


async def test_concurrent_savers_lose_and_repeat_nothing(make: Any, name: str) -> None:
    provider = make()
    turns = [[said(f"{number}"), said(f"{number}!", "assistant")] for number in range(12)]
    await asyncio.gather(*(provider.save_messages(name, turn) for turn in turns))
    found = texts(await provider.get_messages(name))
    assert sorted(found) == sorted(text for turn in turns for text in texts(turn))
    assert all(found[place + 1] == f"{found[place]}!" for place in range(0, 24, 2))


async def test_a_transcript_saved_concurrently_is_stored_once(make: Any, name: str) -> None:
    provider = make()
    turns = [said("question"), said("answer", "assistant"), said("thanks")]
    await asyncio.gather(*(provider.save_messages(name, turns) for _ in range(12)))
    assert texts(await provider.get_messages(name)) == ["question", "answer", "thanks"]


async def test_providers_of_two_sources_have_separate_histories(client: AsyncClient, name: str) -> None:
    first, second = SessionsHistoryProvider(client=client), SessionsHistoryProvider("audit", client=client)
    await first.save_messages(name, [said("1")])
    await second.save_messages(name, [said("2")])
    assert texts(await first.get_messages(name)) == ["1"]
    assert texts(await second.get_messages(name)) == ["2"]


async def test_messages_larger_than_one_request_are_saved_together(client: AsyncClient) -> None:
    provider, name = SessionsHistoryProvider(client=client), str(uuid.uuid4())
    messages = [said("x" * 3_500_000), said("y" * 3_500_000, "assistant"), said("z")]
    await provider.save_messages(name, messages)
    assert dumped(await provider.get_messages(name)) == dumped(messages)
    await provider.clear(name)
    await provider.clear(str(uuid.uuid4()))
    assert await provider.get_messages(name) == []
    left = client.records.list(Scope(session_id=name), subtree=True, keys_only=True)
    assert [record.name async for record in left] == []


async def test_messages_cleared_while_being_read_are_left_out(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, name, unpack = SessionsHistoryProvider(client=client), str(uuid.uuid4()), payloads.unpack

    async def interrupted(*arguments: Any) -> Any:
        monkeypatch.undo()
        await provider.clear(name)
        return await unpack(*arguments)

    await provider.save_messages(name, [said("x" * 3_500_000)])
    monkeypatch.setattr(payloads, "unpack", interrupted)
    assert await provider.get_messages(name) == []
    await provider.save_messages(name, [said("x" * 3_500_000)])
    monkeypatch.setattr(payloads, "unpack", interrupted)
    await provider.save_messages(name, [said("x" * 3_500_000), said("answer", "assistant")])
    assert [len(text) for text in texts(await provider.get_messages(name))] == [3_500_000, 6]


async def test_messages_of_other_programs_are_part_of_the_history(client: AsyncClient) -> None:
    name = str(uuid.uuid4())
    await client.sessions.create(session_id=name, user_id="u")
    await client.sessions.add_message(name, role="user", content="by hand")
    provider = SessionsHistoryProvider(client=client)
    await provider.save_messages(name, [said("answer", "assistant", author_name="helper")])
    assert texts(await provider.get_messages(name)) == ["by hand", "answer"]
    shown = (await client.sessions.get_history(name))[-1]
    assert (shown.role, shown.name, shown.content) == ("assistant", "helper", "answer")


def session_of(text: str) -> AgentSession:
    session = AgentSession(session_id="own", service_session_id={"conversation": "c"})
    session.state.update({"z": 1.0, "a": {"n": 2**53, "message": said(text)}, "list": [None, True]})
    return session


async def test_snapshots_come_back_as_they_were(store: Any, name: str) -> None:
    assert await store.get(name) is None
    await store.delete(name)
    session = session_of("hi\0 é")
    await store.set(name, session)
    session.state["later"] = 1
    found = await store.get(name)
    assert json.dumps(found.to_dict()) == json.dumps(session_of("hi\0 é").to_dict())
    assert isinstance(found.state["a"]["message"], Message)
    found.state.clear()
    assert (await store.get(name)).state
    await store.set(name, session)
    assert (await store.get(name)).state["later"] == 1
    await store.delete(name)
    assert await store.get(name) is None


async def test_a_snapshot_needs_a_key_and_a_session_that_can_be_restored(store: Any, name: str) -> None:
    for call in (store.get(""), store.set("", AgentSession()), store.delete("")):
        with pytest.raises(ValueError, match="non-empty"):
            await call


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
async def test_values_that_could_not_be_restored_are_refused(
    client: AsyncClient, tmp_path: Path, name: str
) -> None:
    class Own(AgentSession):
        pass

    session = session_of("x")
    session.state["thing"] = object()
    infinite = session_of("x")
    infinite.state["number"] = float("inf")
    for store in (FileSessionStore(tmp_path), SessionsSessionStore(client)):
        with pytest.raises(TypeError, match="AgentSession instances only"):
            await store.set(name, Own())
        with pytest.raises(TypeError, match="register_state_type"):
            await store.set(name, session)
        with pytest.raises(ValueError, match="must be a finite float"):
            await store.set(name, infinite)
        assert await store.get(name) is None


async def test_replacing_a_large_snapshot_leaves_nothing_behind(client: AsyncClient) -> None:
    store, name = SessionsSessionStore(client), str(uuid.uuid4())
    provider = SessionsHistoryProvider(client=client)
    await provider.save_messages(name, [said("stays")])
    for letter in "xy":
        await store.set(name, session_of(letter * 5_000_000))
        found = await store.get(name)
        assert found is not None
        assert found.to_dict() == session_of(letter * 5_000_000).to_dict()
        names = [each.name async for each in client.records.list(Scope(session_id=name), subtree=True)]
        assert len(names) == 4
    await provider.clear(name)
    assert (await store.get(name)) is not None
    await provider.save_messages(name, [said("stays")])
    await store.set(name, session_of("small"))
    names = [each.name async for each in client.records.list(Scope(session_id=name), subtree=True)]
    assert len(names) == 1
    await store.delete(name)
    assert texts(await provider.get_messages(name)) == ["stays"]
    assert await store.get(name) is None


async def test_a_large_snapshot_is_written_again_if_another_writer_deletes_its_parts(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, name, write = SessionsSessionStore(client), str(uuid.uuid4()), payloads.write_chunks
    large = session_of("x" * 3_500_000)

    async def interrupted(*arguments: Any) -> None:
        await write(*arguments)
        monkeypatch.undo()
        await store.set(name, session_of("small"))

    monkeypatch.setattr(payloads, "write_chunks", interrupted)
    await store.set(name, large)
    found = await store.get(name)
    assert found is not None
    assert found.to_dict() == large.to_dict()


async def test_deleting_the_snapshot_of_a_session_without_messages_erases_it(client: AsyncClient) -> None:
    store, name = SessionsSessionStore(client, storage_options={"ttl": 3600}), str(uuid.uuid4())
    await store.set(name, session_of("x"))
    assert (await client.sessions.get(name)).expire_time is not None
    await store.delete(name)
    with pytest.raises(NotFound):
        await client.sessions.get(name)


async def test_the_history_alone_warns_of_nothing_experimental() -> None:
    program = "from sessions_client.integrations.agent_framework import SessionsHistoryProvider"
    process = await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", program)
    assert await process.wait() == 0
