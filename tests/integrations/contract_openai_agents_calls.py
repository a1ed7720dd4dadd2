"""The calls of `SessionsSession` match its docs page."""

from __future__ import annotations

import os
import uuid
from typing import Any

from sessions_client import AsyncClient
from sessions_client.integrations.openai_agents import SessionsSession
from tests.integrations.calls import documented, measured


async def test_each_method_makes_the_calls_that_the_page_lists() -> None:
    items: list[Any] = [{"role": "user", "content": str(number)} for number in range(20)]
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        session = SessionsSession(str(uuid.uuid4()), client=client)
        snapshots: list[Any] = []

        async def snapshot() -> None:
            snapshots.append(await session._get_compaction_snapshot(100))

        found = await measured(
            {
                "add_items": lambda: session.add_items(items),
                "get_items": session.get_items,
                "pop_item": session.pop_item,
                "_get_compaction_snapshot": snapshot,
                "replace_suffix": lambda: snapshots[0].replace_suffix(5, items[:1]),
                "clear_session": session.clear_session,
            }
        )
    assert found == documented("OpenAI Agents SDK")
