"""Puts checkpoints of one message with LangGraph's AsyncSqliteSaver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from benchmarks.peers.repeat import Add, measure
from benchmarks.text import CONTENT, ROLE


@asynccontextmanager
async def peer(folder: Path) -> AsyncIterator[Add]:
    async with AsyncSqliteSaver.from_conn_string(str(folder / "peer.db")) as saver:

        def add(number: int) -> Awaitable[object]:
            config = {"configurable": {"thread_id": f"session-{number}", "checkpoint_ns": ""}}
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {"messages": [{"role": ROLE, "content": CONTENT}]}
            put: Awaitable[object] = saver.aput(config, checkpoint, {"source": "input", "step": 1}, {})
            return put

        yield add


if __name__ == "__main__":
    measure(peer)
