"""Reads the newest of 10 and of 1,000 checkpoints, with our saver and with LangGraph's AsyncSqliteSaver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from benchmarks.peers.beside import LARGE, Operations, measure
from benchmarks.text import CONTENT, ROLE
from sessions_client import AsyncClient
from sessions_client.integrations.langgraph import AsyncSessionsSaver

FEW = 10


@asynccontextmanager
async def prepare(folder: Path, address: str) -> AsyncIterator[Operations]:
    async with (
        AsyncClient(address) as client,
        AsyncSqliteSaver.from_conn_string(str(folder / "own.db")) as own,
    ):
        ours = AsyncSessionsSaver(client)
        few, _ = await _reading(ours, FEW), await _reading(own, FEW)
        many = await _reading(ours, LARGE)
        yield {
            "own get": await _reading(own, LARGE),
            "our get of few": few,
            "our get": many,
            "GetSession": lambda: client.sessions.get(str(LARGE)),
        }


async def _reading(saver: Any, count: int) -> Callable[[], Awaitable[object]]:
    config = {"configurable": {"thread_id": str(count), "checkpoint_ns": ""}}
    for number in range(count):
        values = {"channel_values": {"messages": [{"role": ROLE, "content": CONTENT}]}}
        checkpoint = {**empty_checkpoint(), **values}
        config = await saver.aput(config, checkpoint, {"source": "loop", "step": number}, {})
        await saver.aput_writes(config, [("messages", number)], "task")
    newest = {"configurable": {"thread_id": str(count), "checkpoint_ns": ""}}
    return lambda: saver.aget_tuple(newest)


if __name__ == "__main__":
    measure(prepare)
