"""Adds messages with the OpenAI Agents SDK's SQLAlchemySession on SQLite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.peers.repeat import SESSIONS, Add, measure
from benchmarks.text import CONTENT, ROLE


@asynccontextmanager
async def peer(folder: Path) -> AsyncIterator[Add]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'peer.db'}")
    sessions = [
        SQLAlchemySession(f"session-{number}", engine=engine, create_tables=True)
        for number in range(SESSIONS)
    ]
    yield lambda number: sessions[number].add_items([{"role": ROLE, "content": CONTENT}])
    await engine.dispose()


if __name__ == "__main__":
    measure(peer)
