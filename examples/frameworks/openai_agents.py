"""An agent of the OpenAI Agents SDK whose conversation is a session, and whose responses are visible as they are
written.

make run                                             # in one terminal
python -m examples.frameworks.openai_agents my-chat  # in another; the same id continues the conversation
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from examples.frameworks.model import QUESTIONS, model_url
from sessions_client import AsyncClient
from sessions_client.integrations.openai_agents import SessionsSession

if TYPE_CHECKING:
    from agents.items import TResponseStreamEvent


@function_tool
def multiply(a: int, b: int) -> int:
    """Multiplies two numbers."""
    return a * b


class ShownModel(OpenAIChatCompletionsModel):
    """Shows subscribers of the session what the model is writing."""

    def __init__(self, session: SessionsSession, openai: AsyncOpenAI) -> None:
        super().__init__(model="scripted", openai_client=openai)
        self._session = session

    async def stream_response(self, *args: Any, **options: Any) -> AsyncIterator[TResponseStreamEvent]:
        async with self._session.draft() as draft:
            async for event in super().stream_response(*args, **options):
                if event.type == "response.output_text.delta":
                    await draft.write(event.delta)
                yield event


async def main(session_id: str) -> None:
    set_tracing_disabled(True)
    with model_url() as url:
        openai = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
        async with AsyncClient(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:
            session = SessionsSession(session_id, client=client, user_id="u1")
            agent = Agent(name="Calculator", model=ShownModel(session, openai), tools=[multiply])
            for question in QUESTIONS:
                result = Runner.run_streamed(agent, question, session=session)
                async for _ in result.stream_events():
                    pass
                print(f"{question} {result.final_output}")


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or ["demo-openai-agents"])))
