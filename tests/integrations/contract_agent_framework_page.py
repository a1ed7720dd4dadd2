"""The program of the page for Microsoft Agent Framework."""

from __future__ import annotations

import uuid
from typing import Any

from agent_framework import BaseChatClient, ChatResponse, Message

from tests.integrations.pages import program, run


class Echo(BaseChatClient):
    """A model that says how many messages it was given."""

    async def _inner_get_response(self, *, messages: Any, **_: Any) -> ChatResponse:
        return ChatResponse(messages=[Message("assistant", [str(len(messages))])])


async def test_the_agent_has_its_history_and_the_store_its_snapshot() -> None:
    found = await run(program("Microsoft Agent Framework"), chat_client=Echo())
    agent, snapshots = found["agent"], found["snapshots"]
    session = agent.create_session(session_id=str(uuid.uuid4()))
    said = [(await agent.run("Hello", session=session)).text for _ in range(2)]
    assert said == ["1", "3"]
    await snapshots.set(session.session_id, session)
    again = await snapshots.get(session.session_id)
    assert again.session_id == session.session_id
