"""An agent that keeps its conversation through the tools of `sessions-mcp`, as any MCP host can.

make run                                 # in one terminal
python -m examples.frameworks.mcp        # in another; it prints the id that continues the conversation
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from examples.frameworks.model import QUESTIONS, ask, model_url

ADDRESS = os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")


async def called(client: Client, tool: str, **arguments: Any) -> Any:
    """The result of a tool."""
    result: Any = await client.call_tool(tool, arguments)
    if result.is_error:
        raise RuntimeError(result.content[0].text)
    return json.loads(result.content[0].text)


def answered(url: str, messages: list[dict[str, Any]]) -> str:
    """The model's final response, after running the tools that it calls."""
    message = ask(url, messages)
    if message["content"] is not None:
        return str(message["content"])
    numbers = json.loads(message["tool_calls"][0]["function"]["arguments"])
    return answered(url, [*messages, message, {"role": "tool", "content": str(numbers["a"] * numbers["b"])}])


async def main(session_id: str | None = None) -> None:
    program = ["-m", "sessions_client.integrations.mcp", "--target", ADDRESS]
    parameters = StdioServerParameters(command=sys.executable, args=program, env=dict(os.environ))
    with model_url() as url:
        async with Client(parameters) as client:
            if session_id is None:
                session_id = (await called(client, "create_session", user_id="u1"))["id"]
            for question in QUESTIONS:
                await called(client, "add_message", session_id=session_id, role="user", content=question)
                history = await called(client, "get_history", session_id=session_id)
                messages = [
                    {"role": each["role"], "content": each["content"]} for each in history["messages"]
                ]
                answer = await asyncio.to_thread(answered, url, messages)
                await called(client, "add_message", session_id=session_id, role="assistant", content=answer)
                print(f"{question} {answer}")
    print(f"Session {session_id}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
