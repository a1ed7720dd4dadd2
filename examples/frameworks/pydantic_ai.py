"""An agent of pydantic-ai whose conversation is a session.

make run                                           # in one terminal
python -m examples.frameworks.pydantic_ai my-chat  # in another; the same id continues the conversation
"""

from __future__ import annotations

import asyncio
import os
import sys

from pydantic_ai import Agent
from pydantic_ai.conversation import Conversation
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from examples.frameworks.model import QUESTIONS, model_url
from sessions_client import AsyncClient
from sessions_client.integrations.pydantic_ai import SessionsConversationStore


def multiply(a: int, b: int) -> int:
    """Multiplies two numbers."""
    return a * b


async def main(conversation_id: str) -> None:
    with model_url() as url:
        model = OpenAIChatModel("scripted", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="none"))
        agent = Agent(model, tools=[multiply])
        async with AsyncClient(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:
            store = SessionsConversationStore(client)
            for question in QUESTIONS:
                conversation = await store.load(conversation_id)
                conversation = conversation or Conversation(conversation_id=conversation_id)
                result = await agent.run(question, conversation=conversation)
                await store.save(result)
                print(f"{question} {result.output}")


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or ["demo-pydantic-ai"])))
