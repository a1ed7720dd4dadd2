"""Appends to a session of 1,000 items, 16 at a time, with our adapter and with the SDK's SQLAlchemySession."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.peers.beside import LARGE, Operations, measure
from benchmarks.text import CONTENT, ROLE
from sessions_client import AsyncClient
from sessions_client.integrations.openai_agents import SessionsSession

CALLERS = 16


@asynccontextmanager
async def prepare(folder: Path, address: str) -> AsyncIterator[Operations]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'own.db'}")
    own = SQLAlchemySession("large", engine=engine, create_tables=True)
    async with AsyncClient(address) as client:
        ours = SessionsSession("large", client=client)
        for session in (own, ours):
            await session.add_items([{"role": ROLE, "content": CONTENT}] * LARGE)
        yield {"own append": lambda: _append(own), "our append": lambda: _append(ours)}
    await engine.dispose()


async def _append(session: Any) -> None:
    await asyncio.gather(*(session.add_items([{"role": ROLE, "content": CONTENT}]) for _ in range(CALLERS)))


if __name__ == "__main__":
    measure(prepare)
