"""`sessions-mcp`, called by the SDK's own client: in-process, over standard input and output, and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.server.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceUpdatedNotification

from sessions_client import AsyncClient, AsyncSubscription, OutOfRange
from sessions_client.integrations.mcp import RESULT_BYTES, server
from tests.support.ports import HOST, free_port

ADDRESS = os.environ["SESSIONS_TEST_ADDRESS"]
PROGRAM = ["-m", "sessions_client.integrations.mcp", "--target", ADDRESS]
READING = {"find_sessions", "get_session", "get_context", "get_history"}


@asynccontextmanager
async def over_http(**options: Any) -> AsyncIterator[Client]:
    port = free_port()
    program = await asyncio.create_subprocess_exec(sys.executable, *PROGRAM, "--http", f"{HOST}:{port}")
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
                writer.close()
                break
            except OSError:
                assert program.returncode is None
                await asyncio.sleep(0.05)
        async with Client(f"http://{HOST}:{port}/mcp", **options) as client:
            yield client
    finally:
        program.terminate()
        await program.wait()


@asynccontextmanager
async def within_the_process(**options: Any) -> AsyncIterator[Client]:
    async with AsyncClient(ADDRESS) as sessions, Client(server(sessions, **options)) as client:
        yield client


def over_stdio(**options: Any) -> Client:
    return Client(
        StdioServerParameters(command=sys.executable, args=PROGRAM, env=dict(os.environ)), **options
    )


async def call_tool(client: Client, tool: str, **arguments: Any) -> Any:
    result: Any = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)


@pytest.mark.parametrize("connect", [within_the_process, over_stdio, over_http])
async def test_an_agent_makes_changes_and_reads_a_session(connect: Any) -> None:
    user = f"u {uuid.uuid4()}"
    async with connect() as client:
        made = await call_tool(client, "create_session", user_id=user, metadata={"device": "tv"})
        session_id = made["id"]
        await call_tool(client, "move_session", session_id=session_id, verb="start")
        await call_tool(client, "add_message", session_id=session_id, role="user", content="hi é")
        await call_tool(client, "update_context", session_id=session_id, values={"cart.total": 12})
        assert (await call_tool(client, "get_context", session_id=session_id, path="cart"))["value"] == {
            "total": 12
        }
        history = await call_tool(client, "get_history", session_id=session_id, limit=5)
        assert [each["content"] for each in history["messages"]] == ["hi é"]
        found = await call_tool(client, "find_sessions", user_id=user, metadata_filter={"device": "tv"})
        assert [each["id"] for each in found["sessions"]] == [session_id]
        resource = await client.read_resource(f"session://{session_id}")
        assert json.loads(resource.contents[0].text)["user_id"] == user
        resource = await client.read_resource(f"session://{session_id}/history")
        assert json.loads(resource.contents[0].text)["messages"][0]["content"] == "hi é"
        await call_tool(client, "delete_session", session_id=session_id)
        missing = await client.call_tool("get_session", {"session_id": session_id})
        assert missing.is_error
        assert "There is no such session" in missing.content[0].text


@pytest.mark.parametrize(
    ("session_id", "name"),
    [("u:1", "u:1"), ("u:1@host:99", "u%3A1%40host%3A99"), ("..", ".."), ("A.b_~", "%41.b_~")],
)
async def test_a_resource_is_named_by_any_session_id_and_by_its_percent_encoding(
    session_id: str, name: str
) -> None:
    async with AsyncClient(ADDRESS) as sessions, Client(server(sessions)) as client:
        await sessions.sessions.create("u", session_id=session_id, if_exists="return")
        for uri in (f"session://{name}", f"session://{name}/history"):
            assert (await client.read_resource(uri)).contents[0].uri == uri
            async with client.listen(resource_subscriptions=[uri]) as updates:
                await sessions.sessions.add_message(session_id, role="user", content="hi")
                assert await anext(updates) == ResourceUpdated(uri=uri)


async def test_a_refused_resource_or_filter_is_answered_with_a_sentence() -> None:
    async with within_the_process() as client:
        for uri, sentence in {
            "session://missing": "There is no such session",
            "session://a b": "Must be 1 to 128 characters",
        }.items():
            with pytest.raises(MCPError, match=sentence):
                await client.read_resource(uri)
        found: Any = await client.call_tool("find_sessions", {"metadata_filter": {"n": {"$gt": 10**40}}})
        assert "which no double holds" in found.content[0].text


async def test_a_read_only_server_offers_no_tool_that_changes_anything() -> None:
    async with within_the_process(read_only=True) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == READING
        refused = await client.call_tool("create_session", {"user_id": "u"})
        assert refused.is_error


async def test_large_results_are_shortened_and_say_so() -> None:
    async with AsyncClient(ADDRESS) as sessions, Client(server(sessions)) as client:
        session = await sessions.sessions.create("u")
        await sessions.sessions.add_message(session.id, role="user", content="x" * 200_000)
        result: Any = await client.call_tool("get_history", {"session_id": session.id})
        text = result.content[0].text
        assert RESULT_BYTES < len(text) < RESULT_BYTES + 200
        assert text.endswith("more bytes. Ask for fewer messages, or for a path.]")


async def session_of(sessions: AsyncClient) -> str:
    return (await sessions.sessions.create("u")).id


@pytest.mark.parametrize("connect", [over_stdio, over_http])
async def test_clients_that_listen_to_resources_are_notified_of_changes(connect: Any) -> None:
    async with AsyncClient(ADDRESS) as sessions, connect() as client:
        one, other = [await session_of(sessions) for _ in range(2)]
        whole, history = f"session://{one}", f"session://{one}/history"
        async with client.listen(resource_subscriptions=[whole, history]) as updates:
            await sessions.sessions.add_message(other, role="user", content="elsewhere")
            await sessions.sessions.set_context(one, context={"n": 1})
            assert (await anext(updates)).uri == whole
            await sessions.sessions.add_message(one, role="user", content="hi")
            assert sorted([(await anext(updates)).uri, (await anext(updates)).uri]) == [whole, history]
            found = await client.read_resource(history)
            assert json.loads(found.contents[0].text)["messages"][0]["content"] == "hi"


@pytest.mark.parametrize("connect", [over_stdio, over_http])
async def test_clients_of_earlier_protocols_subscribe_to_each_resource(connect: Any) -> None:
    received: asyncio.Queue[str] = asyncio.Queue()

    async def receive(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            received.put_nowait(message.params.uri)

    async with AsyncClient(ADDRESS) as sessions, connect(mode="legacy", message_handler=receive) as client:
        one, other = [f"session://{await session_of(sessions)}" for _ in range(2)]
        for uri in (f"{one}/history", f"{one}/history", other):
            await client.session.subscribe_resource(uri)
        await sessions.sessions.set_context(one.removeprefix("session://"), context={"n": 1})
        await sessions.sessions.add_message(one.removeprefix("session://"), role="user", content="hi")
        assert await received.get() == f"{one}/history"
        await client.session.unsubscribe_resource(f"{one}/history")
        await sessions.sessions.add_message(one.removeprefix("session://"), role="user", content="unheard")
        await sessions.sessions.start(other.removeprefix("session://"))
        assert await received.get() == other
        assert received.empty()


async def test_resources_that_cannot_be_followed_are_refused_with_a_sentence() -> None:
    async with within_the_process() as client:
        for uri, sentence in {
            "session://missing": "There is no such session",
            "other://x": "give session://ID or session://ID/history",
        }.items():
            with pytest.raises(MCPError, match=sentence):
                async with client.listen(resource_subscriptions=[uri]):
                    pass


async def test_a_stream_ends_after_the_deletion_of_one_of_its_sessions() -> None:
    async with AsyncClient(ADDRESS) as sessions, Client(server(sessions)) as client:
        one, other = [await session_of(sessions) for _ in range(2)]
        uris = [f"session://{one}", f"session://{other}"]
        async with client.listen(resource_subscriptions=uris) as updates:
            await sessions.sessions.delete(one)
            assert [update async for update in updates] == [ResourceUpdated(uri=f"session://{one}")]


async def test_a_stream_ends_when_its_session_can_no_longer_be_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def breaks(_: object) -> None:
        raise OutOfRange("The log was replaced.")

    async with AsyncClient(ADDRESS) as sessions, Client(server(sessions)) as client:
        one = await session_of(sessions)
        monkeypatch.setattr(AsyncSubscription, "__anext__", breaks)
        async with client.listen(resource_subscriptions=[f"session://{one}"]) as updates:
            assert [update async for update in updates] == []


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--target", ""], 1, "sessions-mcp: target: must be an address"),
        (["--target", "h:0"], 1, "sessions-mcp: target: the port of `h:0` must be"),
        (["--tls-ca", "missing.pem"], 1, "sessions-mcp: tls: "),
        (["--http", ""], 2, "argument --http: give a host and a port"),
        (["--http", "h:99999"], 2, "argument --http: give a host and a port"),
    ],
)
async def test_addresses_that_cannot_work_are_refused_with_a_sentence(
    arguments: list[str], code: int, sentence: str
) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable, *PROGRAM, *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await program.communicate()
    assert (program.returncode, sentence in complaint.decode()) == (code, True), complaint
    assert b"Traceback" not in complaint


async def test_an_empty_token_is_none() -> None:
    parameters = StdioServerParameters(
        command=sys.executable, args=PROGRAM, env={**os.environ, "SESSIONS_TOKEN": ""}
    )
    async with Client(parameters) as client:
        assert "sessions" in await call_tool(client, "find_sessions", limit=1)
