"""Appends events with Google ADK's DatabaseSessionService on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService
from google.genai import types

from benchmarks.peers.repeat import SESSIONS, Add, measure
from benchmarks.text import CONTENT, ROLE


@asynccontextmanager
async def peer(folder: Path) -> AsyncIterator[Add]:
    service = DatabaseSessionService(f"sqlite+aiosqlite:///{folder / 'peer.db'}")
    sessions = [await service.create_session(app_name="benchmark", user_id=ROLE) for _ in range(SESSIONS)]

    def add(number: int) -> Awaitable[object]:
        content = types.Content(role=ROLE, parts=[types.Part(text=CONTENT)])
        appended: Awaitable[object] = service.append_event(
            sessions[number], Event(author=ROLE, content=content)
        )
        return appended

    yield add
    await service.close()


if __name__ == "__main__":
    measure(peer)
