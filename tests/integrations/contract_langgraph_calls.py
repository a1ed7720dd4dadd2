"""The calls of the saver and the store match their docs pages."""

from __future__ import annotations

import os
import uuid

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.store.base import GetOp, PutOp

from sessions_client import AsyncClient
from sessions_client.integrations.langgraph import AsyncSessionsSaver, AsyncSessionsStore
from tests.integrations.calls import documented, measured


async def test_each_method_makes_the_calls_that_the_page_lists() -> None:
    thread, run_id = str(uuid.uuid4()), str(uuid.uuid4())
    config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        saver, store = AsyncSessionsSaver(client), AsyncSessionsStore(client)
        for _ in range(3):
            config = await saver.aput(config, empty_checkpoint(), {"source": "loop"}, {})

        async def put() -> None:
            values = {"channel_values": {"c": "x"}, "channel_versions": {"c": "1"}}
            checkpoint = {**empty_checkpoint(), **values}
            await saver.aput(config, checkpoint, {"source": "loop", "run_id": run_id}, {"c": "1"})

        async def listed() -> None:
            assert len([found async for found in saver.alist({"configurable": {"thread_id": thread}})]) == 4

        namespace = ("calls", thread)
        found = await measured(
            {
                "put": put,
                "put_writes": lambda: saver.aput_writes(config, [("c", 1), ("d", 2)], "task"),
                "get_tuple": lambda: saver.aget_tuple({"configurable": {"thread_id": thread}}),
                "list": listed,
                "delete_for_runs": lambda: saver.adelete_for_runs([run_id]),
                "copy_thread": lambda: saver.acopy_thread(thread, f"{thread} copy"),
                "prune": lambda: saver.aprune([f"{thread} copy"]),
                "delete_thread": lambda: saver.adelete_thread(thread),
                "batch": lambda: store.abatch([PutOp(namespace, "k", {"v": 1}), GetOp(namespace, "k")] * 5),
                "list_namespaces": lambda: store.alist_namespaces(prefix=("calls",)),
            }
        )
    assert found == documented("LangGraph")
