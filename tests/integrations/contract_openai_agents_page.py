"""The programs of the page for the OpenAI Agents SDK."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    Runner,
    set_default_openai_api,
    set_default_openai_client,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

from examples.frameworks.model import model_server
from sessions_client import AsyncClient, DraftUpdate
from sessions_client.integrations.openai_agents import SessionsSession
from tests.integrations.pages import program, run

SECTION = "OpenAI Agents SDK"


SEEN = threading.Event()
"""The model waits for it after each token."""


def wait_until_seen(_text: str) -> None:
    SEEN.wait(30)


@pytest.fixture
def openai() -> Iterator[AsyncOpenAI]:
    """A client of a scripted model, also for agents that name none."""
    set_tracing_disabled(True)
    set_default_openai_api("chat_completions")
    SEEN.clear()
    with model_server(after_token=wait_until_seen) as url:
        made = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
        set_default_openai_client(made)
        yield made


async def test_the_first_program_stores_the_conversation(openai: AsyncOpenAI) -> None:
    name = str(uuid.uuid4())
    await run(program(SECTION).replace("customer-42", name))
    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        roles = [message.role for message in await client.sessions.get_history(name)]
    assert roles == ["user", "assistant"]


async def test_the_model_of_the_page_shows_what_it_writes(openai: AsyncOpenAI) -> None:
    names: dict[str, Any] = {"OpenAIChatCompletionsModel": OpenAIChatCompletionsModel}
    shown_model = (await run(program(SECTION, 1), **names))["ShownModel"]

    async def watch(events: Any) -> None:
        async for event in events:
            if isinstance(event, DraftUpdate):
                SEEN.set()

    async with AsyncClient(os.environ["SESSIONS_TEST_ADDRESS"]) as client:
        session = SessionsSession(str(uuid.uuid4()), client=client)
        await session.add_items([{"role": "user", "content": "Hello"}])
        agent = Agent(name="helper", model=shown_model(session, model="scripted", openai_client=openai))
        async with client.sessions.subscribe(session.session_id, include_drafts=True) as events:
            watching = asyncio.create_task(watch(events))
            result = Runner.run_streamed(agent, "How much have we said?", session=session)
            async for _ in result.stream_events():
                pass
            watching.cancel()
    assert SEEN.is_set()
