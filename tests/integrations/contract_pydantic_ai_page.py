"""The program of the page for pydantic-ai."""

from __future__ import annotations

import uuid

from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from tests.integrations.pages import program, run


async def test_the_program_continues_its_conversation() -> None:
    text = program("pydantic-ai").replace("customer-42", str(uuid.uuid4()))
    agent = Agent(TestModel())
    await run(text, agent=agent)
    again = await run(text, agent=agent)
    assert len(again["result"].all_messages()) == 4
