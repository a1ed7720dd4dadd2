"""Adds messages with the OpenAI Agents SDK's SQLiteSession."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agents import SQLiteSession

from benchmarks.peers.repeat import SESSIONS, Add, measure
from benchmarks.text import CONTENT, ROLE


@asynccontextmanager
async def peer(folder: Path) -> AsyncIterator[Add]:
    sessions = [SQLiteSession(f"session-{number}", folder / "peer.db") for number in range(SESSIONS)]
    yield lambda number: sessions[number].add_items([{"role": ROLE, "content": CONTENT}])
    for session in sessions:
        session.close()


if __name__ == "__main__":
    measure(peer)
