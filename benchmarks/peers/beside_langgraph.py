"""Reads the newest of 10 and of 1,000 checkpoints, with our saver and with LangGraph's AsyncSqliteSaver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
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
async def prepare(folder: Path, targets: Mapping[str, str]) -> AsyncIterator[Operations]:
    async with AsyncExitStack() as opened:
        own = await opened.enter_async_context(AsyncSqliteSaver.from_conn_string(str(folder / "own.db")))
        await _reading(own, FEW)
        operations = {"own get": await _reading(own, LARGE)}
        for name, target in targets.items():
            client = await opened.enter_async_context(AsyncClient(target))
            saver = AsyncSessionsSaver(client)
            operations[f"{name} get of few"] = await _reading(saver, FEW)
            operations[f"{name} get"] = await _reading(saver, LARGE)
            operations[f"{name} GetSession"] = partial(client.sessions.get, str(LARGE))
        yield operations


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
