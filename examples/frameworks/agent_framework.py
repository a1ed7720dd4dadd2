"""An agent of Microsoft Agent Framework whose history is a session.

make run                                               # in one terminal
python -m examples.frameworks.agent_framework my-chat  # in another; the same id continues the conversation
"""

from __future__ import annotations

import asyncio
import os
import sys

from agent_framework import Agent
from agent_framework.openai import OpenAIChatCompletionClient

from examples.frameworks.model import QUESTIONS, model_url
from sessions_client import AsyncClient
from sessions_client.integrations.agent_framework import SessionsHistoryProvider


def multiply(a: int, b: int) -> int:
    """Multiplies two numbers."""
    return a * b


async def main(session_id: str) -> None:
    with model_url() as url:
        model = OpenAIChatCompletionClient("scripted", base_url=f"{url}/v1", api_key="none")
        async with AsyncClient(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:
            history = SessionsHistoryProvider(client=client, user_id="u1")
            agent = Agent(model, tools=[multiply], context_providers=[history])
            session = agent.create_session(session_id=session_id)
            for question in QUESTIONS:
                print(question, await agent.run(question, session=session))


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or ["demo-agent-framework"])))
