"""A session server's sessions for agents that use the Model Context Protocol.

    sessions-mcp --target 127.0.0.1:50051 --read-only

Tools create, find, read and change sessions; the resources `session://{id}` and `session://{id}/history` are a session
and its newest messages; a client that subscribes to one is notified of changes. With `--read-only` there are no
tools that change anything. A result is cut at 64 KiB and says so, since its reader is a model with a limited context.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal

from sessions_client.integrations._extras import needs

with needs("mcp", __name__):
    from mcp.server import MCPServer
    from mcp.server.mcpserver import ResourceSecurity
    from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
    from mcp_types import ToolAnnotations

from sessions_client import AsyncClient, Message, NotFound, SessionsError, Set, StorageOptions
from sessions_client.integrations._mcp_updates import HISTORY, SESSION, add_updates
from sessions_client.integrations._target import add_target, client_of

RESULT_BYTES: Final = 64 * 1024
MOST_SESSIONS: Final = 100
MOST_MESSAGES: Final = 200
_INSTRUCTIONS: Final = (
    "Sessions are conversations with a context (one JSON object) and an ordered history of messages. "
    "Find a session with find_sessions, then read it with get_session and get_history."
)


def server(
    client: AsyncClient,
    *,
    read_only: bool = False,
    storage_options: StorageOptions | Mapping[str, Any] | None = None,
) -> MCPServer[Any]:
    """The MCP server of a client, to be run with any transport. `storage_options` is for the sessions that it
    creates."""
    # The SDK refuses parameters that look like paths, such as the ids `u:1` and `..`; here none becomes a path.
    no_paths = ResourceSecurity(exempt_params={"session_id"})
    made: MCPServer[Any] = MCPServer("sessions", instructions=_INSTRUCTIONS, resource_security=no_paths)
    _add_reading(made, client)
    add_updates(made, client)
    if not read_only:
        _add_writing(made, client, storage_options)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `sessions-mcp` over standard input and output, or over HTTP with `--http HOST:PORT`."""
    parser = argparse.ArgumentParser(prog="sessions-mcp", description="Serves sessions to agents over MCP.")
    add_target(parser)
    parser.add_argument("--read-only", action="store_true", help="offer no tool that changes anything")
    parser.add_argument(
        "--http",
        metavar="HOST:PORT",
        type=_host_and_port,
        help="serve streamable HTTP at /mcp instead of stdio",
    )
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(options))
    except SessionsError as error:
        sys.exit(f"sessions-mcp: {error}")


def _host_and_port(text: str) -> tuple[str, int]:
    """What `--http` takes; without a host it is this machine alone."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 2**16):
        raise argparse.ArgumentTypeError("give a host and a port, such as 127.0.0.1:8000")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


async def _serve(options: argparse.Namespace) -> None:
    async with client_of(options) as client:
        made = server(client, read_only=options.read_only)
        if options.http is None:
            await made.run_stdio_async()
        else:
            host, port = options.http
            await made.run_streamable_http_async(host=host, port=port)


def _add_reading(made: MCPServer[Any], client: AsyncClient) -> None:
    reading = ToolAnnotations(read_only_hint=True)

    @made.tool(annotations=reading)
    async def find_sessions(
        user_id: str | None = None, metadata_filter: dict[str, Any] | None = None, limit: int = 20
    ) -> str:
        """Finds sessions, the last changed first: of a user, or whose metadata fits a filter such as
        {"device": "tv", "visits": {"$gte": 3}}."""
        return await _result(lambda: _found(client, user_id, metadata_filter, limit))

    @made.tool(annotations=reading)
    async def get_session(session_id: str) -> str:
        """Returns a session: its state, user, metadata and settings."""
        return await _result(lambda: client.sessions.get(session_id))

    @made.tool(annotations=reading)
    async def get_context(session_id: str, path: str | None = None) -> str:
        """Returns a session's context, or what is at a path in it, such as cart.items."""
        return await _result(lambda: client.sessions.get_context(session_id, path=path))

    @made.tool(annotations=reading)
    async def get_history(session_id: str, limit: int = 20, before_sequence: int | None = None) -> str:
        """Returns the newest messages, oldest first; before_sequence continues with earlier ones."""
        return await _result(lambda: _history(client, session_id, limit, before_sequence))

    @made.resource(SESSION, mime_type="application/json")
    async def session_resource(session_id: str) -> str:
        """A session: its state, user, metadata and settings."""
        return await _content(lambda: client.sessions.get(session_id))

    @made.resource(HISTORY, mime_type="application/json")
    async def history_resource(session_id: str) -> str:
        """The newest messages of a session, oldest first."""
        return await _content(lambda: _history(client, session_id, MOST_MESSAGES, None))


def _add_writing(made: MCPServer[Any], client: AsyncClient, storage_options: Any) -> None:
    @made.tool()
    async def create_session(user_id: str, metadata: dict[str, Any] | None = None) -> str:
        """Creates a session for a user."""
        return await _result(
            lambda: client.sessions.create(user_id, metadata=metadata, storage_options=storage_options)
        )

    @made.tool()
    async def add_message(session_id: str, role: str, content: str) -> str:
        """Adds a message at the end of a session's history."""
        return await _result(lambda: client.sessions.add_message(session_id, role=role, content=content))

    @made.tool()
    async def update_context(session_id: str, values: dict[str, Any]) -> str:
        """Sets values in a session's context by their paths, such as {"cart.total": 12}."""
        changes = [Set(path, value) for path, value in values.items()]
        return await _result(lambda: client.sessions.update_context(session_id, changes=changes))

    @made.tool()
    async def move_session(
        session_id: str, verb: Literal["start", "pause", "resume", "end", "archive"]
    ) -> str:
        """Starts, pauses, resumes, ends or archives a session."""
        return await _result(lambda: getattr(client.sessions, verb)(session_id))

    @made.tool(annotations=ToolAnnotations(destructive_hint=True))
    async def delete_session(session_id: str) -> str:
        """Erases a session and everything in it, permanently."""
        return await _result(lambda: client.sessions.delete(session_id))


async def _found(
    client: AsyncClient, user_id: str | None, metadata_filter: dict[str, Any] | None, limit: int
) -> dict[str, Any]:
    pager = client.sessions.search(
        user_id=user_id,
        metadata_filter=metadata_filter,
        order_by="update_time desc",
        limit=max(1, min(limit, MOST_SESSIONS)),
    )
    return {"sessions": [each.to_dict() async for each in pager]}


async def _history(client: AsyncClient, session_id: str, limit: int, before: int | None) -> list[Message]:
    wanted = max(1, min(limit, MOST_MESSAGES))
    return await client.sessions.get_history(session_id, limit=wanted, before_sequence=before)


async def _result(call: Callable[[], Awaitable[Any]]) -> str:
    """What a tool returns; an error is one sentence for the model."""
    try:
        return _shortened(await call())
    except SessionsError as error:
        raise ToolError(str(error)) from error


async def _content(call: Callable[[], Awaitable[Any]]) -> str:
    """What a resource contains; an error is the sentence of a protocol error."""
    try:
        return _shortened(await call())
    except NotFound as error:
        raise ResourceNotFoundError(str(error)) from error
    except SessionsError as error:
        raise ResourceError(str(error)) from error


def _shortened(found: Any) -> str:
    """A value as JSON, cut at the limit."""
    plain = found.to_dict() if hasattr(found, "to_dict") else found
    text = json.dumps(plain, ensure_ascii=False)
    raw = text.encode("utf-8", "replace")
    if len(raw) <= RESULT_BYTES:
        return text
    kept = raw[:RESULT_BYTES].decode("utf-8", "ignore")
    return f"{kept}\n[Cut: {len(raw) - RESULT_BYTES} more bytes. Ask for fewer messages, or for a path.]"


if __name__ == "__main__":
    main()
