"""A manager that opens a user's session, handles messages and closes it.

make run                                      # in one terminal
.venv/bin/python examples/session_manager.py  # in another
"""

from __future__ import annotations

import asyncio
import os
from datetime import datetime
from typing import Any

from sessions_client import AsyncClient


class SessionManager:
    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    async def create_user_session(self, user_id: str, device_info: dict[str, str]) -> dict[str, Any]:
        session = await self.client.sessions.create(
            user_id=user_id,
            metadata={
                "device": device_info["type"],
                "platform": device_info["platform"],
                "created_at": datetime.now().isoformat(),
            },
            config={"timeout": 3600, "max_messages": 100, "context_window": 10},
        )
        context = await self.client.sessions.set_context(
            session.id,
            context={
                "state": "initialized",
                "current_task": None,
                "history": [],
                "metadata": {"start_time": datetime.now().isoformat(), "message_count": 0},
            },
        )
        return {"session": session, "context": context}

    async def handle_user_message(self, session_id: str, message: str) -> dict[str, Any]:
        session = await self.client.sessions.get(session_id)
        context = await self.client.sessions.get_context(session_id)

        history = context.get("history", [])
        history.append({"role": "user", "content": message, "timestamp": datetime.now().isoformat()})
        updated_context = await self.client.sessions.update_context(
            session_id,
            context={
                "state": "processing",
                "current_task": "handle_message",
                "history": history[-10:],
                "metadata": {
                    "start_time": context["metadata"]["start_time"],
                    "message_count": len(history),
                },
            },
        )
        return {"session": session, "context": updated_context}

    async def end_user_session(self, session_id: str) -> dict[str, Any]:
        context = await self.client.sessions.get_context(session_id)
        session_data = await self.client.sessions.export(session_id)
        await self.client.sessions.archive(session_id)
        summary = {
            "session_id": session_id,
            "start_time": context["metadata"]["start_time"],
            "end_time": datetime.now().isoformat(),
            "message_count": context["metadata"]["message_count"],
            "final_state": context["state"],
        }
        return {"summary": summary, "data": session_data}


async def main() -> None:
    async with AsyncClient(os.environ.get("SESSIONS_ADDRESS", "127.0.0.1:50051")) as client:
        manager = SessionManager(client)
        session = await manager.create_user_session("u1", device_info={"type": "web", "platform": "chrome"})
        session_id = session["session"].id
        await manager.handle_user_message(session_id, "How can I use this feature?")
        ended = await manager.end_user_session(session_id)
        print("Session summary:", ended["summary"])
        print("Exported:", ended["data"])


if __name__ == "__main__":
    asyncio.run(main())
