"""`sessions-mcp`, asked by the SDK's own client: within the process, over standard input and output, and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from sessions_client import AsyncClient
from sessions_client.integrations.mcp import RESULT_BYTES, server

ADDRESS = os.environ["SESSIONS_TEST_ADDRESS"]
PROGRAM = ["-m", "sessions_client.integrations.mcp", "--target", ADDRESS]
READING = {"find_sessions", "get_session", "get_context", "get_history"}


@asynccontextmanager
async def over_http() -> AsyncIterator[Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = await asyncio.create_subprocess_exec(sys.executable, *PROGRAM, "--http", f"127.0.0.1:{port}")
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                assert program.returncode is None
                await asyncio.sleep(0.05)
        async with Client(f"http://127.0.0.1:{port}/mcp") as client:
            yield client
    finally:
        program.terminate()
        await program.wait()


@asynccontextmanager
async def within_the_process(**options: Any) -> AsyncIterator[Client]:
    async with AsyncClient(ADDRESS) as sessions, Client(server(sessions, **options)) as client:
        yield client


def over_stdio() -> Client:
    return Client(StdioServerParameters(command=sys.executable, args=PROGRAM, env=dict(os.environ)))


async def told(client: Client, tool: str, **arguments: Any) -> Any:
    result: Any = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)


@pytest.mark.parametrize("connect", [within_the_process, over_stdio, over_http])
async def test_an_agent_makes_changes_and_reads_a_session(connect: Any) -> None:
    user = f"u {uuid.uuid4()}"
    async with connect() as client:
        made = await told(client, "create_session", user_id=user, metadata={"device": "tv"})
        session_id = made["id"]
        await told(client, "move_session", session_id=session_id, verb="start")
        await told(client, "add_message", session_id=session_id, role="user", content="hi é")
        await told(client, "update_context", session_id=session_id, values={"cart.total": 12})
        assert (await told(client, "get_context", session_id=session_id, path="cart"))["value"] == {
            "total": 12
        }
        history = await told(client, "get_history", session_id=session_id, limit=5)
        assert [each["content"] for each in history["messages"]] == ["hi é"]
        found = await told(client, "find_sessions", user_id=user, metadata_filter={"device": "tv"})
        assert [each["id"] for each in found["sessions"]] == [session_id]
        resource = await client.read_resource(f"session://{session_id}")
        assert json.loads(resource.contents[0].text)["user_id"] == user
        resource = await client.read_resource(f"session://{session_id}/history")
        assert json.loads(resource.contents[0].text)["messages"][0]["content"] == "hi é"
        await told(client, "delete_session", session_id=session_id)
        missing = await client.call_tool("get_session", {"session_id": session_id})
        assert missing.is_error
        assert "There is no such session" in missing.content[0].text


async def test_a_reader_is_offered_nothing_that_changes_anything() -> None:
    async with within_the_process(read_only=True) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == READING
        refused = await client.call_tool("create_session", {"user_id": "u"})
        assert refused.is_error


async def test_large_results_are_cut_and_say_so() -> None:
    async with AsyncClient(ADDRESS) as sessions, Client(server(sessions)) as client:
        session = await sessions.sessions.create("u")
        await sessions.sessions.add_message(session.id, role="user", content="x" * 200_000)
        result: Any = await client.call_tool("get_history", {"session_id": session.id})
        text = result.content[0].text
        assert RESULT_BYTES < len(text) < RESULT_BYTES + 200
        assert text.endswith("more bytes. Ask for fewer messages, or for a path.]")
