"""The calls of the history provider and the session store match their docs page."""

from __future__ import annotations

import os
import uuid

from agent_framework import AgentSession, Message

from sessions_client import AsyncClient
from sessions_client.integrations.agent_framework import SessionsHistoryProvider, SessionsSessionStore
from tests.integrations.calls import documented, measured


async def test_each_method_makes_the_calls_that_the_page_lists() -> None:
    name, other = str(uuid.uuid4()), str(uuid.uuid4())
    messages = [Message(role="user", contents=[str(number)]) for number in range(20)]
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        provider, store = SessionsHistoryProvider(client=client), SessionsSessionStore(client)
        found = await measured(
            {
                "save_messages": lambda: provider.save_messages(name, messages),
                "get_messages": lambda: provider.get_messages(name),
                "clear": lambda: provider.clear(name),
                "set": lambda: store.set(other, AgentSession()),
                "get": lambda: store.get(other),
                "delete": lambda: store.delete(other),
            }
        )
    assert found == documented("Microsoft Agent Framework")
