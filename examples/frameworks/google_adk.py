"""An agent of Google ADK whose sessions, events and states are stored by the session service.

make run                                          # in one terminal
python -m examples.frameworks.google_adk my-chat  # in another; the same id continues the conversation
"""

from __future__ import annotations

import asyncio
import os
import sys

from google.adk.agents import LlmAgent
from google.adk.models import Gemini
from google.adk.runners import Runner
from google.genai import types

from examples.frameworks.model import QUESTIONS, model_url
from sessions_client import AsyncClient
from sessions_client.integrations.google_adk import SessionsSessionService

APP, USER = "calculator", "u1"


def multiply(a: int, b: int) -> int:
    """Multiplies two numbers."""
    return a * b


async def main(session_id: str) -> None:
    with model_url() as url:
        model = Gemini(model="gemini-scripted", base_url=url, client_kwargs={"api_key": "none"})
        agent = LlmAgent(name="calculator", model=model, tools=[multiply])
        async with AsyncClient(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:
            service = SessionsSessionService(client)
            if await service.get_session(app_name=APP, user_id=USER, session_id=session_id) is None:
                await service.create_session(app_name=APP, user_id=USER, session_id=session_id)
            runner = Runner(agent=agent, app_name=APP, session_service=service)
            for question in QUESTIONS:
                content = types.Content(role="user", parts=[types.Part(text=question)])
                answer = ""
                async for event in runner.run_async(user_id="u1", session_id=session_id, new_message=content):
                    if event.is_final_response():
                        answer = event.content.parts[0].text
                print(f"{question} {answer}")


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or ["demo-google-adk"])))
