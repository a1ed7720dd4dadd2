"""Appends to a session of 1,000 items, one or 16 at a time, with our adapter and with the SDK's SQLAlchemySession."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.peers.beside import LARGE, Operations, measure
from benchmarks.text import CONTENT, ROLE
from sessions_client import AsyncClient
from sessions_client.integrations.openai_agents import SessionsSession

CALLERS = 16
ITEM: Any = {"role": ROLE, "content": CONTENT}


@asynccontextmanager
async def prepare(folder: Path, targets: Mapping[str, str]) -> AsyncIterator[Operations]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'own.db'}")
    sessions: dict[str, Any] = {"own": SQLAlchemySession("large", engine=engine, create_tables=True)}
    async with AsyncExitStack() as opened:
        for name, target in targets.items():
            client = await opened.enter_async_context(AsyncClient(target))
            sessions[name] = SessionsSession("large", client=client)
        operations: dict[str, Callable[[], Awaitable[object]]] = {}
        for name, session in sessions.items():
            await session.add_items([ITEM] * LARGE)
            operations[f"{name} append"] = partial(session.add_items, [ITEM])
            operations[f"{name} together"] = partial(_together, session)
        yield operations
    await engine.dispose()


async def _together(session: Any) -> None:
    await asyncio.gather(*(session.add_items([ITEM]) for _ in range(CALLERS)))


if __name__ == "__main__":
    measure(prepare)
