"""Appends to a session of 1,000 events and lists 1,000 sessions, with our adapter and with ADK's own services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
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
async def prepare(folder: Path, targets: Mapping[str, str]) -> AsyncIterator[Operations]:
    async with AsyncExitStack() as opened:
        database = DatabaseSessionService(f"sqlite+aiosqlite:///{folder / 'own.db'}")
        own = await opened.enter_async_context(database)
        sqlite = SqliteSessionService(str(folder / "sqlite.db"))
        operations = {"own append": await _append(own), "own list": await _listing(own)}
        operations["sqlite list"] = await _listing(sqlite)
        for name, target in targets.items():
            service = SessionsSessionService(await opened.enter_async_context(AsyncClient(target)))
            operations[f"{name} append"] = await _append(service)
            operations[f"{name} list"] = await _listing(service)
        yield operations


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
