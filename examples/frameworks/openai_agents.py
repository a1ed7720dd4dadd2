"""An agent of the OpenAI Agents SDK whose conversation is a session.

make run                                             # in one terminal
python -m examples.frameworks.openai_agents my-chat  # in another; the same id continues the conversation
"""

from __future__ import annotations

import asyncio
import os
import sys

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from examples.frameworks.model import QUESTIONS, model_url
from sessions_client import AsyncClient
from sessions_client.integrations.openai_agents import SessionsSession


@function_tool
def multiply(a: int, b: int) -> int:
    """Multiplies two numbers."""
    return a * b


async def main(session_id: str) -> None:
    set_tracing_disabled(True)
    with model_url() as url:
        openai = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
        model = OpenAIChatCompletionsModel(model="scripted", openai_client=openai)
        agent = Agent(name="Calculator", model=model, tools=[multiply])
        async with AsyncClient(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:
            session = SessionsSession(session_id, client=client, user_id="u1")
            for question in QUESTIONS:
                result = await Runner.run(agent, question, session=session)
                print(f"{question} {result.final_output}")


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or ["demo-openai-agents"])))
