"""Appends to a session of 1,000 events and lists 1,000 sessions, with our adapter and with ADK's own services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.sqlite_session_service import SqliteSessionService
from google.genai import types

from benchmarks.peers.beside import LARGE, Operations, measure
from benchmarks.text import CONTENT, ROLE
from sessions_client import AsyncClient
from sessions_client.integrations.google_adk import SessionsSessionService


@asynccontextmanager
async def prepare(folder: Path, address: str) -> AsyncIterator[Operations]:
    async with (
        AsyncClient(address) as client,
        DatabaseSessionService(f"sqlite+aiosqlite:///{folder / 'own.db'}") as own,
    ):
        ours, sqlite = SessionsSessionService(client), SqliteSessionService(str(folder / "sqlite.db"))
        yield {
            "own append": await _append(own),
            "our append": await _append(ours),
            "sqlite list": await _listing(sqlite),
            "own list": await _listing(own),
            "our list": await _listing(ours),
        }


async def _append(service: Any) -> Callable[[], Awaitable[object]]:
    session = await service.create_session(app_name="append", user_id=ROLE)

    async def append() -> None:
        content = types.Content(role=ROLE, parts=[types.Part(text=CONTENT)])
        await service.append_event(session, Event(author=ROLE, content=content))

    for _ in range(LARGE):
        await append()
    return append


async def _listing(service: Any) -> Callable[[], Awaitable[object]]:
    for number in range(LARGE):
        await service.create_session(app_name="list", user_id=ROLE, state={"number": number})
    return lambda: service.list_sessions(app_name="list", user_id=ROLE)


if __name__ == "__main__":
    measure(prepare)
